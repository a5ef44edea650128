"""The worker: follows canonical's changes into every sink, one session after another, until it is
stopped.

A session begins with the lock on the slot and ends with the loss of canonical. It has a task that
reads the source and marks dirty keys, one loop a sink, and one that records watermarks and
acknowledges. A sink's failure never ends a session; canonical's always does, and the next one goes
on from the records.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

import psycopg

from stores.canonical.connect import database_of
from stores.canonical.driver_errors import translate
from stores.canonical.kept_changes import Followed
from stores.canonical.publication import slot_name
from stores.canonical.standing import RETRYING
from stores.contract.model import Contract
from stores.crash_points import crash_point
from stores.errors import ConflictError, FencedError, GapError, RecordgateError, StoreError
from stores.lsn import format_lsn
from stores.protocols import Store
from sync import generations, selection, watermarks
from sync.changes import ChangeSource, Event, Progress, Transaction
from sync.ending import check_cancelled, end
from sync.failures import ends_the_session, not_readable, unexpected, waiting_mends
from sync.faults import Faults, retrying
from sync.feed import Feed
from sync.gauges import Gauges
from sync.impact import Impact, Touched
from sync.kept_changes import ChangeKeeper
from sync.lease import Predecessor
from sync.metrics import SyncMetrics
from sync.opening import beside_the_lease
from sync.pace import Backoff
from sync.requests import Requests
from sync.session import Session, open_session
from sync.sweep import Sweep, SweepPace
from sync.table_watch import TableWatch, why
from sync.timelines import why_left
from sync.visibility import Visibility
from sync.watermarks import Watermark
from sync.writer import SinkWriter

log = logging.getLogger(__name__)

RECORD = 0.5
"""Seconds between two records of watermarks while changes come."""
RECORD_IDLE = 5.0
"""Seconds between two records of watermarks without changes: a record is itself WAL, and would
keep a quiet database busy."""
HEARTBEAT = 5.0
LOOK = 0.5
"""Seconds between two looks at what stands in the way of the sinks."""
CHANGES_AHEAD = 10_000
"""Changes that are held while earlier ones are marked; a transaction's part more, at most."""


class Worker:
    """`source` makes the change source of a session. `sinks`: name → store;
    the worker opens them once it is in charge, and closes them when another is, and at its end."""

    def __init__(
        self,
        *,
        contract: Contract,
        canonical_url: str,
        source: Callable[[], ChangeSource],
        sinks: Mapping[str, Store],
        batch_size: int = 1000,
        backlog_memory_keys: int = 200_000,
        metrics: SyncMetrics | None = None,
        sweep: SweepPace | None = None,
        followed: Mapping[str, Followed] | None = None,
    ) -> None:
        self.metrics = metrics or SyncMetrics()
        self._contract = contract
        self._url = canonical_url
        self._make_source = source
        self._source: ChangeSource | None = None
        self._sinks = dict(sinks)
        self._batch_size = batch_size
        self._memory_keys = backlog_memory_keys
        self._sweep_pace = sweep or SweepPace()
        self._slot = slot_name(contract, database_of(canonical_url))
        self._owner = uuid.uuid4()
        self._impact = Impact(contract)
        self._feed = Feed(contract)
        self._keeper = ChangeKeeper(contract, followed or {})
        self._stop = asyncio.Event()
        self._writers: dict[str, SinkWriter] = {}
        self._open: set[str] = set()
        self._problem = "starting"
        self._error: RecordgateError | None = None
        self._gap: GapError | None = None
        """The gap that ended the last session."""
        self._marked_lsn = 0
        self._as_of = 0.0
        self._busy = False
        """Changes have been marked since the last record of watermarks."""

    # The outside ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`. Wait without limit for canonical or a store that is away. Log an
        unexpected failure, and start a new session."""
        backoff = Backoff(first=0.2, most=10.0)
        gauges = asyncio.create_task(self._refresh_gauges(), name="gauges")
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    await self._session()
                except psycopg.Error as error:
                    self._lost(translate(error))
                except GapError as error:
                    self._gap = error  # told by the stream, which would tell it again
                    self._lost(error)
                except RecordgateError as error:
                    self._lost(error)
                except Exception as error:
                    log.exception("unexpected failure; restarting the session")
                    self._lost(unexpected(error))
                if time.monotonic() - began > 30:
                    backoff.reset()
                if not self._stop.is_set():
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), backoff.next())
        finally:
            await end([gauges])
            await self._close_stores()

    async def stop(self) -> None:
        """Publish what is written, record how far it is, and return from `run`."""
        self._stop.set()

    def state(self) -> dict[str, Any]:
        """Return what each sink does now, for the console."""
        return {
            "problem": self._problem,
            "position": format_lsn(self._marked_lsn),
            "sinks": {name: writer.state() for name, writer in self._writers.items()},
        }

    def stuck(self, sinks: Collection[str], types: Collection[str] = ()) -> RecordgateError | None:
        """Return what keeps the worker from working for one of `sinks`, or one of `types` there,
        if waiting alone will not heal it; else None."""
        writers = [w for name, w in self._writers.items() if name in sinks]
        errors = [self._error, *(w.error for w in writers)]
        aside = [w.why_aside(types) for w in writers]
        return next((e for e in errors if e and not waiting_mends(e)), None) or next(
            (e for e in aside if e), None
        )

    def _lost(self, error: RecordgateError) -> None:
        self._error = error
        if error.message != self._problem:
            log.warning("%s; trying again", error.message)
        self._problem = error.message

    # One session ----------------------------------------------------------------------------------

    async def _session(self) -> None:
        opening = asyncio.create_task(
            open_session(
                self._url,
                self._slot,
                list(self._sinks),
                self._owner,
                self._stand_by,
                keeps=self._keeper.active,
            )
        )
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return
            session = opening.result()
        finally:
            await end([opening, stopping])
        source = self._source = self._make_source()
        missed = self._keeper.touch_all
        watch = TableWatch(self._contract, self._url, session, source, missed)
        try:
            self._problem = "opening the source of changes"
            marks = await beside_the_lease(
                session, self._slot, self._open_source(session, source, watch), self._stop
            )
            if marks is None:
                return
            self._writers = {
                name: SinkWriter(
                    name,
                    store,
                    contract=self._contract,
                    watermark=marks[name],
                    connections=session.sinks[name],
                    metrics=self.metrics,
                    conditions=session.conditions,
                    batch_size=self._batch_size,
                    memory_keys=self._memory_keys,
                )
                for name, store in self._sinks.items()
            }
            self._problem = ""
            self._error = None
            await session.conditions.over(code=RETRYING)
            await self._run_tasks(session, source, watch)
        except FencedError:
            raise
        except RecordgateError as error:
            await self._record_why(session, error)
            raise
        except psycopg.Error:
            raise
        except Exception as error:
            await self._record_why(session, unexpected(error))
            raise
        finally:
            self._writers = {}
            self._source = None
            with suppress(RecordgateError):
                await source.close()
            await session.close()

    async def _record_why(self, session: Session, error: RecordgateError) -> None:
        """Raise a condition that says why the worker begins anew, for those who find no session;
        does nothing where canonical is not reachable."""
        with suppress(psycopg.Error, RecordgateError):
            await session.conditions.raise_(retrying(error))

    async def _run_tasks(self, session: Session, source: ChangeSource, watch: TableWatch) -> None:
        visibility = Visibility(session.marking)
        requests = Requests(session.guard, self._writers)
        loops = [
            asyncio.create_task(self._sink(session, writer), name=f"sink {writer.name}")
            for writer in self._writers.values()
        ]
        loops += [
            asyncio.create_task(session.stay(), name="lease"),
            asyncio.create_task(self._follow(session, source, visibility, watch), name="changes"),
            asyncio.create_task(watch.run(self._writers), name="tables"),
            asyncio.create_task(self._record(session, source), name="watermarks"),
            asyncio.create_task(requests.run(), name="requests"),
            asyncio.create_task(self._sweep(session), name="sweep"),
            asyncio.create_task(self._find_faults(session), name="faults"),
        ]
        stopping = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({*loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
            if stopping in done:
                await self._last_words(session, source, loops)
        finally:
            await end([*loops, stopping])

    async def _last_words(
        self, session: Session, source: ChangeSource, loops: list[asyncio.Task[None]]
    ) -> None:
        """Publish and record what is written, at a clean stop, so that the next start has little
        to repeat. A failure here only means more to repeat."""
        await end(loops)
        for writer in self._writers.values():
            with suppress(StoreError):
                await writer.finish()
        await self._record_once(session, source)

    async def _open_source(
        self, session: Session, source: ChangeSource, watch: TableWatch
    ) -> dict[str, Watermark]:
        """Open the source where the records say, and the watermark of each sink. A gap, or a first
        start, makes every type of the sinks concerned a required load."""
        await watch.begin()
        known = await watermarks.read(session.guard.conn)
        lineage = session.lineage
        mine = {name: known[name] for name in self._sinks if name in known}
        left = {n: cause for n, m in mine.items() if (cause := why_left(lineage, m)) != ""}
        everything = set(self._contract.types)
        start, gap, least = await self._resume(
            source, {name: m for name, m in mine.items() if name not in left}
        )
        moved = any((m.timeline or lineage.first) != lineage.timeline for m in mine.values())
        missed = watch.missed
        marks: dict[str, Watermark] = {}
        for name in self._sinks:
            mark = mine.get(name)
            if mark is None:
                reason = "first load"
            elif name in left:
                reason = left[name]
            elif mark.durable < least:
                reason = gap
            else:
                reason = ""
            if mark is None or reason:
                mark = Watermark(lineage.system, start, time.time(), 0, set(everything), reason)
                await self._forget_building(session, name, everything)
            elif (mark.timeline or lineage.first) != lineage.timeline:
                # The store may show readings of after the fork, which its position does not tell.
                last = lineage.last_version(mark.timeline)
                assert last is not None
                mark.suspect = last if mark.suspect is None else min(mark.suspect, last)
            mark.timeline = lineage.timeline
            if mark.types is not None and not everything <= mark.types:
                unknown = everything - mark.types
                mark.required |= unknown
                mark.reason = f"the previous worker did not follow {', '.join(sorted(unknown))}"
            if missed:
                mark.required |= missed.keys()
                mark.reason = mark.reason or why(missed)
                await self._forget_building(session, name, missed)
            mark.types = frozenset(everything)
            mark.required &= everything
            marks[name] = mark
        if moved:
            log.warning("canonical is on timeline %d now", lineage.timeline)
        # Before anything is loaded: from here on the slot holds what the loads do not see.
        async with session.guard.changing() as conn:
            for name, mark in marks.items():
                await watermarks.write(conn, name, mark)
            await watch.keep(conn)
            broken = bool(gap or missed) or moved or least == float("inf")
            await self._feed.open(conn, start, broken=broken)
        await self._keeper.open(session, start, broken=broken)
        crash_point("source-opened")
        self._marked_lsn = start
        self._as_of = 0.0
        return marks

    async def _resume(
        self, source: ChangeSource, marks: Mapping[str, Watermark]
    ) -> tuple[int, str, float]:
        """Open the source where the sink that is least far needs it: the position, why changes are
        missing where some are, and the position that a sink must have for them not to be its
        own. A sink that comes back after long may be the only one with a gap."""
        system = next((m.system for m in marks.values()), None)
        gap = self._gap.message if self._gap else ""
        places: list[tuple[int | None, float]] = [
            (durable, durable) for durable in sorted({m.durable for m in marks.values()})
        ]
        for resume, least in (places or [(None, float("inf"))]) if not gap else ():
            try:
                return await source.open(resume, system=system), gap, least
            except GapError as error:
                gap = error.message
                log.warning("changes are missing: %s; types are reloaded", error.message)
        await source.reset()
        start = await source.open(None)
        self._gap = None
        return start, gap, float("inf")

    async def _forget_building(self, session: Session, sink: str, types: Iterable[str]) -> None:
        """Forget the generations that were being built before a gap: they have missed changes."""
        async with session.guard.changing() as conn:
            await generations.forget_building(conn, sink, types)

    # The sinks ------------------------------------------------------------------------------------

    async def _sink(self, session: Session, writer: SinkWriter) -> None:
        """Open the store, however long that takes, and run its loop."""
        backoff = Backoff(most=2.0)
        while writer.name not in self._open:
            check_cancelled()
            try:
                await self._open_store(writer.name)
            except ConflictError as error:
                writer.note_failure(error)
                before = session.predecessor
                if before is None or not before.end_if_stopped(error.holder):
                    await asyncio.sleep(backoff.next())
            except RecordgateError as error:
                writer.note_failure(error)
                await asyncio.sleep(backoff.next(getattr(error, "retry_after", None)))
        await writer.run()

    async def _find_faults(self, session: Session) -> None:
        """Record what stands in the way of the sinks, and what no longer does."""
        faults = Faults(session.conditions, self._writers.values())
        while True:
            await faults.look()
            await session.conditions.settle()
            await asyncio.sleep(LOOK)

    async def _open_store(self, name: str) -> None:
        """A store that is being opened when the session ends is opened all the same, in its thread,
        and must be known to be: it is to be closed."""
        opening = asyncio.ensure_future(self._sinks[name].open(self._contract, write=True))
        try:
            await asyncio.wait({opening})
        except asyncio.CancelledError:
            while not opening.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({opening})
            raise
        finally:
            if opening.done() and opening.exception() is None:
                self._open.add(name)
        opening.result()

    async def _stand_by(self, holder: Predecessor | None) -> None:
        self._problem = f"standing by behind {holder or 'another worker'}"
        self._error = None
        await self._close_stores()

    async def _close_stores(self) -> None:
        """Close the stores, because another worker is in charge or this one ends: an embedded
        store has a single writer."""
        for name in list(self._open):
            self._open.discard(name)
            with suppress(RecordgateError):
                await self._sinks[name].close()

    async def _sweep(self, session: Session) -> None:
        sweep = Sweep(
            contract=self._contract,
            canonical_url=self._url,
            guard=session.guard,
            writers=self._writers,
            metrics=self.metrics,
            pace=self._sweep_pace,
        )
        await sweep.run()

    # The changes ----------------------------------------------------------------------------------

    async def _follow(
        self, session: Session, source: ChangeSource, visibility: Visibility, watch: TableWatch
    ) -> None:
        """Read the source, and mark what has arrived in the meantime at once: the busier it is, the
        more transactions share one question to canonical."""
        arrived: list[Event] = []
        changes = 0
        stirred, room = asyncio.Event(), asyncio.Event()

        async def read() -> None:
            nonlocal changes
            try:
                async for events in source.events():
                    arrived.extend(events)
                    changes += sum(len(e.changes) for e in events if isinstance(e, Transaction))
                    stirred.set()
                    if changes >= CHANGES_AHEAD:
                        room.clear()
                        await room.wait()
            finally:
                stirred.set()

        reading = asyncio.create_task(read())
        try:
            while not reading.done():
                await stirred.wait()
                stirred.clear()
                events, changes = arrived.copy(), 0
                arrived.clear()
                room.set()
                await self._take(session, visibility, watch, events)
            reading.result()
        finally:
            await end([reading])

    async def _take(
        self, session: Session, visibility: Visibility, watch: TableWatch, events: list[Event]
    ) -> None:
        feed = self._feed
        await feed.turn(session.guard, self._marked_lsn)
        touched = Touched()
        xids = []
        lsn = 0
        for event in events:
            if isinstance(event, Transaction):
                self._impact.touch(event.changes, touched)
                if feed.active:
                    feed.note(event.changes)
                if event.xid is not None:
                    xids.append(event.xid)
                lsn = max(lsn, event.lsn)
            elif isinstance(event, Progress):
                lsn = max(lsn, event.lsn)
                self._as_of = max(self._as_of, event.at)
        if touched:
            await visibility.wait(xids)
            await self._mark(session, touched)
            await feed.write(session.guard, lsn or self._marked_lsn)
            await self._keeper.write(session.keeping, lsn or self._marked_lsn)
            self._busy = True
        if touched.reshaped:
            await watch.look()
        await watch.untold(touched.missed, lsn)
        if lsn > 0:
            self._marked_lsn = max(self._marked_lsn, lsn)
            for writer in self._writers.values():
                writer.boundary(self._marked_lsn, self._as_of)
        await self._relieve()

    async def _mark(self, session: Session, touched: Touched) -> None:
        writers = self._writers.values()
        feed = self._feed if self._feed.active else None
        for type_name in touched.missed:
            self._keeper.touch_all(type_name)
            if feed:
                feed.touch_all(type_name)
        for type_name in touched.emptied:
            self._keeper.touch_all(type_name)
            if feed:
                feed.touch_all(type_name)
            for writer in writers:
                writer.mark_all(type_name)
        for type_name, keys in touched.keys.items():
            self._keeper.touch(type_name, keys)
            if feed:
                feed.touch(type_name, keys)
            for writer in writers:
                writer.mark(type_name, keys)
        for reach, values in touched.reaches.items():
            try:
                async for page in selection.roots(session.marking, self._contract, reach, values):
                    self._keeper.touch(reach.root, page)
                    if feed:
                        feed.touch(reach.root, page)
                    for writer in writers:
                        writer.mark(reach.root, page)
                    await self._relieve()
            except psycopg.Error as error:
                if session.marking.closed or ends_the_session(error):
                    raise
                self._mark_blindly(reach.root, error)

    def _mark_blindly(self, type_name: str, error: psycopg.Error) -> None:
        """Mark all records of the type, because it cannot be determined which of them a change
        touched."""
        why = not_readable(type_name, error)
        log.warning("%s; every record of it is read again as soon as possible", why)
        self._keeper.touch_all(type_name)
        if self._feed.active:
            self._feed.touch_all(type_name)
        for writer in self._writers.values():
            writer.mark_all(type_name)

    async def _relieve(self) -> None:
        for writer in self._writers.values():
            if writer.too_full():
                await writer.relieve(self._marked_lsn)

    # The records ----------------------------------------------------------------------------------

    async def _record(self, session: Session, source: ChangeSource) -> None:
        """Record watermarks and acknowledge; heartbeats beside it."""
        recorded = heartbeat = time.monotonic()
        while True:
            await asyncio.sleep(RECORD)
            for writer in self._writers.values():
                await writer.relieve(self._marked_lsn)
            await self._feed.look(session.guard)
            await self._keeper.tick(session.keeping, session.lineage, self._marked_lsn)
            now = time.monotonic()
            if self._busy or now - recorded > RECORD_IDLE:
                self._busy = any(not w.at_rest for w in self._writers.values())
                recorded = now
                await self._record_once(session, source)
            if now - heartbeat > HEARTBEAT:
                heartbeat = now
                async with session.guard.lock:
                    await session.guard.lease.heartbeat(session.guard.conn)

    async def _record_once(self, session: Session, source: ChangeSource) -> None:
        await self._keeper.record(session.keeping, self._marked_lsn)
        for name, writer in self._writers.items():
            boundary = writer.durable()
            mark = writer.watermark
            if boundary is not None:
                mark.durable = max(mark.durable, boundary.lsn)
            if writer.position is not None:
                mark.as_of = writer.position.as_of
            async with mark.lock, session.guard.changing() as conn:
                await watermarks.write(conn, name, mark)
        crash_point("recorded")
        source.acknowledge(min(w.watermark.durable for w in self._writers.values()))

    async def _refresh_gauges(self) -> None:
        """Refresh the gauges for as long as the worker runs, in a session or not."""
        gauges = Gauges(self._url, self._slot, self._sinks, self._contract.types, self.metrics)
        try:
            while True:
                await gauges.refresh(self._writers, self._source)
                await asyncio.sleep(HEARTBEAT)
        finally:
            await gauges.close()
