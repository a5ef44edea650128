"""A replication connection: START_REPLICATION, then COPY in both directions on libpq, without naps.

`receive` takes what has arrived, `readable` waits for more, `send` never blocks. Nothing is read
while nobody calls `receive`: libpq, the socket and then the server wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import psycopg
from psycopg import pq

from stores.canonical.connect import conninfo
from stores.canonical.driver_errors import translate
from stores.errors import ConflictError, GapError, RecordgateError, SetupError, StoreUnavailable
from stores.lsn import format_lsn

log = logging.getLogger(__name__)

MESSAGES = 2000
BYTES = 4 << 20
"""Maximum bytes that one `receive` returns, so that it does not hold up the event loop."""


class ReplicationConnection:
    """COPY of a slot's changes; made by `start_replication`, used from one event loop."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._fd = pgconn.socket
        self._writing = False
        self._gap: GapError | None = None
        pgconn.notice_handler = self._notice

    @property
    def backend_pid(self) -> int:
        """The server's process at the other end."""
        return self._pgconn.backend_pid

    def receive(self, feed: Callable[[bytes], None]) -> bool:
        """Give what has arrived to `feed`, message by message; True where there may be more. Raises
        StoreUnavailable when the stream has ended, GapError when the server skipped changes."""
        get = self._pgconn.get_copy_data
        messages = size = 0
        consumed = False
        try:
            while messages < MESSAGES and size < BYTES:
                count, view = get(1)
                if count > 0:
                    feed(view.tobytes())
                    messages += 1
                    size += count
                    consumed = False
                elif count == 0:
                    if consumed:
                        return False
                    self._pgconn.consume_input()
                    consumed = True
                    if self._gap is not None:
                        raise self._gap
                else:
                    raise self._ended()
        except psycopg.Error as error:
            raise StoreUnavailable(
                "the connection to canonical's log was lost", store="postgres"
            ) from error
        return True

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` once when there is something to receive."""
        loop = asyncio.get_running_loop()

        def arrived() -> None:
            loop.remove_reader(self._fd)
            wake()

        loop.add_reader(self._fd, arrived)

    def unwatch(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)

    def send(self, message: bytes) -> None:
        """Send, now or when the socket takes it. An error shows at the next `receive`."""
        try:
            self._pgconn.put_copy_data(message)
        except psycopg.Error as error:
            log.debug("status update not sent: %s", error)
            return
        self._flush()

    def close(self) -> None:
        """End the COPY where that can be said without waiting, and the connection."""
        self.unwatch()
        self._stop_writing()
        try:
            if self._pgconn.status == pq.ConnStatus.OK:
                self._pgconn.put_copy_end()
                self._pgconn.flush()
        except psycopg.Error as error:
            log.debug("replication connection was broken when closed: %s", error)
        self._pgconn.finish()

    def _flush(self) -> None:
        try:
            unsent = self._pgconn.flush()
        except psycopg.Error as error:
            log.debug("status update not sent: %s", error)
            unsent = 0
        if not unsent:
            self._stop_writing()
        elif not self._writing:
            self._writing = True
            asyncio.get_running_loop().add_writer(self._fd, self._flush)

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            asyncio.get_running_loop().remove_writer(self._fd)

    def _notice(self, result: pq.abc.PGresult) -> None:
        # Postgres 18 goes on with a warning where the publication was missing when the changes were
        # made.
        if result.error_field(pq.DiagnosticField.SQLSTATE) == b"55000":
            self._gap = GapError(
                "canonical skipped changes: the publication was missing for a time",
                hint="nothing to do: every type is reloaded by itself; see `recordgate status`",
            )

    def _ended(self) -> RecordgateError:
        """Return why the server ended the stream."""
        for _ in range(3):  # the end of each direction, then the error, where there is one
            result = self._pgconn.get_result()
            if result is None or result.status == pq.ExecStatus.COPY_IN:
                break
            if result.status == pq.ExecStatus.FATAL_ERROR:
                return stream_error(_sqlstate(result))
        return StoreUnavailable("canonical ended the stream of changes", store="postgres")


def start_replication(url: str, slot: str, publication: str, start: int) -> ReplicationConnection:
    """Connect and start the stream behind `start`. Blocks; not for the event loop's thread. Raises
    what `stream_error` says."""
    text = conninfo(
        url, replication="database", application_name=f"recordgate {slot}", tcp_user_timeout=30_000
    )
    pgconn = pq.PGconn.connect(text.encode())
    try:
        if pgconn.status != pq.ConnStatus.OK:
            raise translate(
                psycopg.OperationalError((pgconn.error_message or b"").decode("utf-8", "replace"))
            )
        escape = pq.Escaping(pgconn)
        names = b'"' + publication.replace('"', '""').encode() + b'"'
        result = pgconn.exec_(
            b"START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names %s)"
            % (
                escape.escape_identifier(slot.encode()),
                format_lsn(start).encode(),
                escape.escape_literal(names),
            )
        )
        if result.status != pq.ExecStatus.COPY_BOTH:
            raise stream_error(_sqlstate(result))
        pgconn.nonblocking = 1
        return ReplicationConnection(pgconn)
    except BaseException:
        pgconn.finish()
        raise


def stream_error(state: str) -> RecordgateError:
    """The error for a stream that did not start or has ended, by its SQLSTATE."""
    if state == "55006":  # object_in_use
        return ConflictError(
            "another process reads the replication slot",
            hint="only one worker may run; stop the other one first",
        )
    if state == "42704":  # undefined_object: before Postgres 18, a publication that was missing
        return GapError(
            "canonical cannot send its changes: the publication was missing for a time",
            hint="nothing to do: every type is reloaded by itself; see `recordgate status`",
        )
    try:
        error = translate(psycopg.errors.lookup(state)())
    except KeyError:
        error = RecordgateError(f"SQLSTATE {state or 'unknown'}")
    if isinstance(error, SetupError):
        return error
    # Whatever it was: opening again finds out whether the stream can go on.
    return StoreUnavailable(
        f"canonical ended the stream of changes: {error.message}", store="postgres"
    )


def _sqlstate(result: pq.abc.PGresult) -> str:
    return (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
