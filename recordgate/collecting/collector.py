"""The collector: takes the sources that are due, one lease a thread, until it is stopped."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

from recordgate.collecting import books, landing
from recordgate.collecting.books import Lease
from recordgate.collecting.file_walk import FileWalk
from recordgate.collecting.walk import Outcome, Surroundings, Walk
from stores.canonical.connect import Connection, connect
from stores.canonical.importing.run import ImportSession
from stores.contract.collect import Collect
from stores.errors import FencedError, RecordgateError, StoreUnavailable

log = logging.getLogger(__name__)

MOST_THREADS = 4
POLL = 1.0
"""Seconds between two looks for a source that is due."""
LEFT = 3600.0
"""Seconds after which a file that no landing names is a dead collector's."""
WATCH = 10.0
"""Seconds between two looks for sources that are late and landings that are old."""
_HARD = frozenset(
    ("ADDRESS_REFUSED", "SOURCE_AUTH", "PAGES_LOOP", "SOURCE_REFUSED", "NOT_JSON", "BAD_PAGE",
    "REFUSED", "DRIFT",
     "PAGE_TOO_LARGE", "TOO_MANY_PAGES")
)  # fmt: skip
"""Problems that waiting alone will hardly mend: they are told at once; others when they come again.
"""


class _Stopped(BaseException):
    """The collector is to end."""


class Collector:
    """`run` blocks until `stop` is called, from another thread or a signal's handler."""

    def __init__(self, at: Surroundings) -> None:
        self._at = replace(at, sleep=self._sleep)
        self._stop = threading.Event()
        self.owner = f"{landing.HOST}:{os.getpid()}"

    def stop(self) -> None:
        self._stop.set()

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped

    def run(self) -> None:
        """Collect all sources of the contract; returns at once where it has none."""
        names = list(self._at.contract.collected)
        if not names:
            return
        threads = [
            threading.Thread(
                target=self._work, args=(names, i == 0), name=f"collect-{i}", daemon=True
            )
            for i in range(min(MOST_THREADS, len(names)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, names: list[str], watches: bool) -> None:
        """One thread; canonical may be away for a while."""
        told = False
        while not self._stop.is_set():
            try:
                with (
                    connect(self._at.url) as connection,
                    ImportSession(self._at.url, self._at.contract) as session,
                ):
                    books.register(connection, self._at.contract)
                    told = False
                    self._go_on(connection, session, names, watches)
            except _Stopped:
                return
            except Exception as error:
                if not told:
                    log.warning("collecting begins again: %s", type(error).__name__)
                told = True
                self._stop.wait(2 * POLL)

    def _go_on(
        self, connection: Connection, session: ImportSession, names: list[str], watches: bool
    ) -> None:
        watched = swept = -math.inf
        while not self._stop.is_set():
            if watches and time.monotonic() - watched >= WATCH:
                watched = time.monotonic()
                sweep = watched - swept >= LEFT
                swept = watched if sweep else swept
                watch(connection, self._at, sweep=sweep)
            lease = books.take(connection, names, self.owner)
            if lease is None:
                self._sleep(POLL)
                continue
            try:
                collect_once(self._at, connection, session, lease)
            except Exception as error:
                # It is in the books, and told; whatever it is, the other sources go on.
                if isinstance(error, StoreUnavailable) or connection.closed:
                    raise


def collect_once(
    at: Surroundings, connection: Connection, session: ImportSession, lease: Lease
) -> Outcome:
    """Walk along a leased source and give it back, with what came of it in the books. Raises what
    kept it from ending."""
    collect = at.contract.types[lease.name].collect
    assert collect is not None
    walk: Walk | FileWalk
    walk = (Walk if collect.kind == "http" else FileWalk)(at, connection, session, lease)
    try:
        outcome = walk.run()
    except FencedError as error:
        log.info("%s", error)
        raise
    except Exception as error:
        if not isinstance(error, RecordgateError):
            log.exception("collect: %s", lease.name)
        if not connection.closed:
            _failed(connection, lease, collect, error)
        raise
    except BaseException:
        if not connection.closed:
            books.end(connection, lease, state=_kept(lease), rest=0)
        raise
    problem = f"{outcome.incomplete}; nothing was deleted" if outcome.incomplete else ""
    books.end(connection, lease, state="ok", rest=collect.every)
    if problem:
        _tell(connection, lease.name, "INCOMPLETE", problem, "")
    elif books.over(connection, lease.name):
        log.info("collect: %s: over", lease.name)
    return outcome


def _kept(lease: Lease) -> str:
    return str(lease.row["state"])


def _failed(connection: Connection, lease: Lease, collect: Collect, error: Exception) -> None:
    code, hint, asked, message = "COLLECT_FAILED", "", 0.0, type(error).__name__
    if isinstance(error, RecordgateError):
        code, hint, message = error.detail_code, error.hint, error.message
        asked = getattr(error, "retry_after", 0.0)
    failures = lease.row["failures"] + 1
    hard = code in _HARD
    state = "drifted" if code == "DRIFT" else "down" if hard or failures >= 3 else "late"
    rest = books.rest_after(failures, collect.every, asked)
    books.end(connection, lease, state=state, rest=rest, code=code, problem=message, hint=hint)
    if hard or failures >= 2:
        _tell(connection, lease.name, code, message, hint)
    else:
        log.info("collect: %s: %s: %s", lease.name, code, message)


def _tell(connection: Connection, name: str, code: str, message: str, hint: str) -> None:
    word = "source-" + code.removeprefix("SOURCE_").lower().replace("_", "-")
    if books.tell(connection, name, word, message, hint):
        log.warning("collect: %s: %s: %s", name, word, message + (f" ({hint})" if hint else ""))


def watch(connection: Connection, at: Surroundings, *, sweep: bool = True) -> None:
    """Tell of sources that are late, and remove landings that are older than they are kept; with
    `sweep` also files that no landing names."""
    for row in books.all_sources(connection):
        record = at.contract.types.get(row["name"])
        if record is None or record.collect is None or row["state"] != "ok" or row["age"] is None:
            continue
        if row["age"] > record.collect.late_after:
            connection.execute(
                "UPDATE recordgate.sources SET state = 'late' WHERE name = %s AND state = 'ok'",
                (row["name"],),
            )
            message = f"nothing whole came for longer than {record.collect.late_after:g} s"
            _tell(connection, row["name"], "LATE", message, "what came before is served")
    old = books.landings(
        connection,
        "host = %s AND merged_at < now() - make_interval(secs => %s) AND NOT EXISTS (SELECT FROM"
        " recordgate.sources s"
        " WHERE s.name = source AND s.cursor ? 'at' AND (s.cursor->>'walk')::bigint = walk)",
        landing.HOST, at.keep,
    )  # fmt: skip
    for one in old:
        Path(one["file"]).unlink(missing_ok=True)
    if old:
        books.forget(connection, [one["id"] for one in old])
    if sweep:
        _sweep(connection, at)


def _sweep(connection: Connection, at: Surroundings) -> None:
    """Remove files of collectors that died: no landing names them, and nobody has written to them
    for an hour."""
    known = {one["file"] for one in books.landings(connection, "host = %s", landing.HOST)}
    before = time.time() - LEFT
    for path in (at.data_dir.absolute() / "landing").glob("*/*"):
        with contextlib.suppress(OSError):
            if str(path) not in known and path.stat().st_mtime < before:
                path.unlink()
