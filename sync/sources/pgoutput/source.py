"""The ChangeSource of a replication slot: opening it, its events, acknowledging, and how old they
are.

Three things run beside the reader of `events`, also while that is busy: a task that tells the
server what is acknowledged before `wal_sender_timeout` ends the stream, one that samples
canonical's clock, and the socket's buffers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial

import psycopg

from stores.canonical.connect import AsyncConnection, Connection, connect, connect_async
from stores.canonical.driver_errors import translate
from stores.canonical.publication import untold_columns
from stores.contract.model import Contract
from stores.errors import StoreUnavailable
from sync.changes import Event, Progress, Transaction, tracked_columns
from sync.ending import end
from sync.sources.pgoutput import clock, messages, slot
from sync.sources.pgoutput.connection import ReplicationConnection, start_replication
from sync.sources.pgoutput.requirements import DOMAINS, check_requirements, without
from sync.sources.pgoutput.transactions import Assembler, TrackedTable

log = logging.getLogger(__name__)

COALESCE = 0.05
"""Seconds in which acknowledgements are gathered to one status update."""
STATUS_INTERVAL = 1.0
"""Maximum seconds between status updates; fewer if wal_sender_timeout requires it."""
SAMPLE_ACTIVE = 0.2
SAMPLE_IDLE = 1.0
"""Seconds between two samples of canonical's clock while positions move, and while they do not."""
WAL_SENDER_TIMEOUT = """
SELECT extract(epoch FROM current_setting('wal_sender_timeout')::interval)::float8
"""
"""A query for the server's wal_sender_timeout in seconds; 0: none."""
SILENCE = 60.0
"""Seconds without any message, though asked for one, after which the connection counts as lost."""


class PgOutputSource:
    """Changes of the contract's tables from `slot`. See `sync.changes.ChangeSource`."""

    kind = "pgoutput"
    tells_untold = True

    def __init__(self, url: str, contract: Contract, *, slot: str, publication: str) -> None:
        """`url` is canonical's; `publication` must be there when the source is opened."""
        self.system = ""
        self._url = url
        self._slot = slot
        self._name = f"recordgate {slot}"
        self._publication = publication
        self._tables = tracked_tables(contract)
        self._stream: ReplicationConnection | None = None
        self._backend_pid = 0
        self._monitor: AsyncConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._preparing: Connection | None = None
        self._wake = asyncio.Event()
        self._acknowledged = asyncio.Event()
        self._active = asyncio.Event()
        self._flushed = 0
        self._failure: BaseException | None = None
        self._status_interval = STATUS_INTERVAL
        self._samples = clock.SampleLog()
        self._assembler = Assembler(self._tables, 0)
        self._known: Mapping[int, tuple[str, str]] = {}
        self._lacking: Collection[tuple[str, str]] = ()

    def expect(
        self, known: Mapping[int, tuple[str, str]], lacking: Collection[tuple[str, str]]
    ) -> None:
        """See ChangeSource."""
        self._known, self._lacking = known, lacking
        self._assembler.know(known)

    async def open(self, resume: int | None, *, system: str | None = None) -> int:
        """See ChangeSource. Makes the slot on a first start."""
        await self.close()
        try:
            start = await asyncio.to_thread(self._prepare, resume, system)
            self._flushed = start
            self._samples = clock.SampleLog()
            self._monitor = await connect_async(self._url, application_name=self._name)
            self._stream = await _in_thread(
                partial(start_replication, self._url, self._slot, self._publication, start)
            )
            self._backend_pid = self._stream.backend_pid
        except psycopg.Error as error:
            await self.close()
            raise translate(error) from None
        except BaseException:
            await self.close()
            raise
        finally:
            self._preparing = None
        self._failure = None
        self._tasks = [
            asyncio.create_task(self._guard(self._tell)),
            asyncio.create_task(self._guard(self._sample)),
        ]
        return start

    def _prepare(self, resume: int | None, system: str | None) -> int:
        """Check canonical and the slot, which a first start makes: where to start."""
        with connect(self._url, application_name=self._name) as conn:
            self._preparing = conn
            check_requirements(conn, self._publication, without(self._tables, self._lacking))
            problem = slot.gap(slot.slot_state(conn, self._slot), resume, system)
            if problem is not None:
                raise problem
            confirmed, _ = slot.ensure_slot(conn, self._slot)
            if (
                self._backend_pid
                and slot.slot_state(conn, self._slot).active_pid == self._backend_pid
            ):
                # Our last connection, which the server has not seen end: a network that was cut.
                conn.execute("SELECT pg_terminate_backend(%s)", (self._backend_pid,))
            self.system = slot.wait_released(conn, self._slot).system
            start = confirmed if resume is None else resume
            self._assembler = Assembler(
                self._tables,
                start,
                base_types=dict(conn.execute(DOMAINS).fetchall()),
                known=self._known,
            )
            timeout = conn.execute(WAL_SENDER_TIMEOUT).fetchall()[0][0]
            self._status_interval = min(STATUS_INTERVAL, timeout / 4 or STATUS_INTERVAL)
            return start

    async def events(self) -> AsyncIterator[list[Event]]:
        """See ChangeSource."""
        delivered = Progress(0, 0.0)
        while True:
            if self._failure is not None:
                raise self._failure
            stream = self._stream
            if stream is None:
                raise StoreUnavailable("the change source is not open", store="postgres")
            assembler = self._assembler
            more = stream.receive(assembler.feed)
            if assembler.reply_requested:
                assembler.reply_requested = False
                self._status()
            found = assembler.take()
            if not assembler.in_transaction:
                self._samples.reached(assembler.position)
                if found:
                    self._active.set()
                    last = found[-1]
                    assert isinstance(last, Transaction)
                    delivered = Progress(last.lsn, delivered.at)
                now = Progress(assembler.position, self._samples.as_of)
                if now.at and now != delivered:
                    found.append(now)
                    delivered = now
            if found:
                yield found
            if found or more:
                await asyncio.sleep(0)
            else:
                await self._arrival(stream)

    async def _arrival(self, stream: ReplicationConnection) -> None:
        """Wait until there is something to receive, a new sample, or a failure."""
        self._wake.clear()
        stream.watch(self._wake.set)
        try:
            async with asyncio.timeout(SILENCE):
                await self._wake.wait()
        except TimeoutError:
            raise StoreUnavailable(
                f"canonical has sent nothing for {SILENCE:.0f} s", store="postgres"
            ) from None
        finally:
            if self._stream is stream:
                stream.unwatch()

    def acknowledge(self, lsn: int) -> None:
        """See ChangeSource. An older position than the last one changes nothing."""
        if lsn > self._flushed:
            self._flushed = lsn
            self._acknowledged.set()

    async def lag_bytes(self) -> int | None:
        """Return the bytes of WAL that canonical retains for the slot."""
        monitor = self._monitor
        if monitor is None:
            raise StoreUnavailable("the change source is not open", store="postgres")
        try:
            cursor = await monitor.execute(
                "SELECT greatest(0, pg_current_wal_lsn() - restart_lsn)::bigint"
                " FROM pg_replication_slots WHERE slot_name = %s",
                (self._slot,),
            )
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise translate(error) from None
        return None if row is None else row[0]

    async def reset(self) -> None:
        """Drop the slot, whatever its state: one that still works would tell the same gap again
        where it was found in the stream. A slot that is not ours stays."""
        await self.close()
        await asyncio.to_thread(self._drop_slot)

    def _drop_slot(self) -> None:
        with connect(self._url, application_name=self._name) as conn:
            state = slot.slot_state(conn, self._slot)
            if state.plugin == slot.PLUGIN and state.same_database:
                slot.drop_slot(conn, self._slot)

    async def close(self) -> None:
        """Tell the server the last acknowledgement and let go of the slot. Safe at any time."""
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            # Nobody waits for the slot any more; its making may still wait for others'
            # transactions.
            with suppress(psycopg.Error):
                await asyncio.to_thread(preparing.cancel_safe, timeout=2.0)
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.send(self._status_message(ask=False))
            stream.close()
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            with suppress(psycopg.Error):
                await monitor.close()
        self._wake.set()

    # What runs beside the reader ------------------------------------------------------------------

    async def _tell(self) -> None:
        """Status updates: soon after an acknowledgement, and always in time."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._status_interval):
                    await self._acknowledged.wait()
                    await asyncio.sleep(COALESCE)
            self._acknowledged.clear()
            self._status()

    async def _sample(self) -> None:
        """Samples of canonical's clock; each asks the server how far the stream is."""
        assert self._monitor is not None
        before: tuple[int, int] | None = None
        while True:
            cursor = await self._monitor.execute(clock.SAMPLE)
            row = await cursor.fetchone()
            assert row is not None
            at, inserted, flushed, writer_delay, block, segment = row
            sample = clock.make_sample(
                at, int(inserted), int(flushed), writer_delay, block, int(segment)
            )
            self._samples.add(sample)
            self._wake.set()
            self._status(ask=True)
            await asyncio.sleep(SAMPLE_ACTIVE)
            moved = (sample.inserted, self._assembler.position)
            if moved == before:
                self._active.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(SAMPLE_IDLE - SAMPLE_ACTIVE):
                        await self._active.wait()
            before = moved

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Hand a task's failure to the reader of `events`."""
        try:
            await work()
        except psycopg.Error as error:
            log.debug("canonical's clock is no longer read", exc_info=error)
            self._failure = StoreUnavailable(
                "the connection to canonical was lost", store="postgres"
            )
        except Exception as error:
            log.exception("a task of the change source failed")
            self._failure = error
        self._wake.set()

    def _status(self, *, ask: bool = False) -> None:
        if self._stream is not None:
            self._stream.send(self._status_message(ask=ask))

    def _status_message(self, *, ask: bool) -> bytes:
        received = max(self._assembler.position, self._flushed)
        return messages.status(received, self._flushed, ask=ask)


def tracked_tables(contract: Contract) -> dict[tuple[str, str], TrackedTable]:
    """Return, for each table of the contract, the columns that the source needs of it."""
    old = untold_columns(contract)
    return {
        (t.schema, t.table): TrackedTable(
            t.name, t.key, tracked_columns(contract, t), old.get(t.name, ())
        )
        for t in contract.types.values()
    }


async def _in_thread(connect: Callable[[], ReplicationConnection]) -> ReplicationConnection:
    """`connect` off the loop; when cancelled, what it makes after all is closed."""
    future = asyncio.get_running_loop().run_in_executor(None, connect)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_close_result)
        raise


def _close_result(future: asyncio.Future[ReplicationConnection]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()
