"""The sink loop: reads what is dirty from canonical, writes it to one store, publishes, and says
how far it is.

One `SinkWriter` per sink and session of the worker; each goes its own pace. While one batch is
written the next is read. What was taken off the backlog and not published goes back on any failure,
so nothing here has to be undone: redoing is harmless, because every write carries its version.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

import psycopg

from stores.contract.model import Contract
from stores.crash_points import crash_point
from stores.errors import FencedError, NotReadable, RecordgateError, StoreLost
from stores.lsn import format_lsn
from stores.protocols import Position, Store
from sync import unit_reader
from sync.backlog import Backlog, Boundary
from sync.building import Building
from sync.conditions import Conditions
from sync.dead_letters import DeadLetters
from sync.delivery import Delivery
from sync.durable_backlog import DurableReader
from sync.ending import check_cancelled, end
from sync.failures import unexpected
from sync.metrics import SyncMetrics
from sync.pace import Backoff, Pace
from sync.projection import Projector
from sync.relief import Relief
from sync.session import SinkConnections
from sync.store_place import StorePlace
from sync.unit_reader import UnitReader
from sync.units import Unit
from sync.unreadable import Unreadable
from sync.watermarks import Teller, Watermark

log = logging.getLogger(__name__)

LONGEST = 5.0
"""Maximum seconds between two tries of a sink that fails, so that a store that is back gets its
writes soon."""
PATIENCE = 5.0
"""Seconds that a reading under way is given to end when the loop does."""
QUIET = 0.1
"""Seconds between two publishes that only move the position."""


class SinkWriter:
    """See the module. `watermark` is the sink's own, written by the worker."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        contract: Contract,
        watermark: Watermark,
        connections: SinkConnections,
        metrics: SyncMetrics,
        conditions: Conditions,
        batch_size: int,
        memory_keys: int,
    ) -> None:
        self.name = name
        self.store = store
        self.watermark = watermark
        self.problem = "starting"
        self.error: RecordgateError | None = None
        """The error that `problem` tells of, once there is one."""
        self.position: Position | None = None
        """The published position; None while a required load is not finished."""
        self._batch_size = batch_size
        self._bookkeeping = connections.bookkeeping
        self._place = StorePlace(name, store, contract, connections.lineage)
        self._projector = Projector(connections.reading, contract)
        self._unreadable = Unreadable(name, contract.types, self._projector, conditions)
        self._aside = self._unreadable.aside
        self.why_aside = self._aside.why
        self.dead_letters = DeadLetters(connections.bookkeeping.conn, name)
        self._delivery = Delivery(
            name,
            store,
            projector=self._projector,
            dead_letters=self.dead_letters,
            connections=connections,
            metrics=metrics,
        )
        self.building = Building(
            name,
            store,
            contract=contract,
            watermark=watermark,
            connections=connections,
            conditions=conditions,
        )
        self._teller = Teller(name, connections.bookkeeping.conn, connections.bookkeeping.lock)
        self._untold = False
        """Something was written since it was last told; a position that only moves is not: that is
        WAL itself, and would never rest."""
        self._backlog = Backlog()
        self._wake = asyncio.Event()
        self._written: list[Unit] = []
        self._reader = UnitReader(
            backlog=self._backlog,
            durable=DurableReader(connections.bookkeeping.conn, name, contract.types),
            building=self.building,
            unreadable=self._unreadable,
            projector=self._projector,
            connections=connections,
            batch_size=batch_size,
            spilling=lambda: self._relief.moving,
            wake=self._wake,
        )
        self._relief = Relief(
            name,
            backlog=self._backlog,
            reader=self._reader,
            aside=self._aside,
            bookkeeping=connections.bookkeeping,
            memory_keys=memory_keys,
            wake=self._wake,
        )
        self._idle = False
        self._pace = Pace()
        self._backoff = Backoff(most=LONGEST)
        self._failing_since: float | None = None
        self.applied_lsn = 0
        """Every change up to there is in the store, whatever was spilled before."""
        self.ready = asyncio.Event()

    # What the worker calls -----------------------------------------------------------------------

    def mark(self, type_name: str, keys: Iterable[str]) -> None:
        self._backlog.mark(type_name, keys)
        self._wake.set()

    def mark_all(self, type_name: str) -> None:
        self._backlog.mark_all(type_name)
        self._wake.set()

    def boundary(self, lsn: int, as_of: float) -> None:
        """All changes up to `lsn` have been marked."""
        self._backlog.boundary(lsn, as_of)
        self._wake.set()

    def wake(self) -> None:
        """Look at the durable backlog and at what was asked."""
        self._reader.durable_pending = True
        self._wake.set()

    def durable(self) -> Boundary | None:
        """Return the boundary up to which changes may be acknowledged."""
        return self._relief.durable()

    @property
    def backlog_size(self) -> int:
        return self._backlog.size

    @property
    def failing(self) -> bool:
        return self._failing_since is not None

    def failed_for(self, now: float) -> float:
        """Seconds for which it has failed at the moment `now` of the monotonic clock; 0 where it
        works."""
        return 0.0 if self._failing_since is None else now - self._failing_since

    def too_full(self) -> bool:
        return self._relief.too_full

    async def relieve(self, lsn: int) -> None:
        """Move dirty keys to the durable backlog where that is due. `lsn`: the position up to which
        changes have been marked."""
        await self._relief.relieve(lsn, self.failed_for(time.monotonic()))

    # The loop -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write until cancelled. Raise psycopg.Error and FencedError, which end the session."""
        while True:
            check_cancelled()
            retry_after: float | None = None
            try:
                await self._serve()
            except (psycopg.Error, FencedError):
                raise
            except StoreLost as error:
                self._failed(error)
                if not error.foreign:
                    self._place.lost = True
                    await self.building.require_all(str(error))
            except RecordgateError as error:
                self._failed(error)
                retry_after = getattr(error, "retry_after", None)
            except Exception as error:  # an adapter's fault must not take the other sink along
                log.exception("%s: unexpected failure", self.name)
                self._failed(error)
            finally:
                self._take_back()
            await asyncio.sleep(self._backoff.next(retry_after))

    async def _serve(self) -> None:
        await self._bookkeeping.assure()
        await self._place.mend()
        await self.store.take_charge(self._bookkeeping.lease.term)
        self.position = await self.building.prepare()
        self._aside.published(self.position)
        self.opened()
        async with self._bookkeeping.lock:
            await self.dead_letters.load()
        await self._unreadable.recall()
        self._reader.durable.restart()
        self._reader.durable_pending = True
        ahead: asyncio.Task[Unit | None] | None = None
        try:
            while True:
                check_cancelled()
                if self.building.asked or self.building.missed:
                    await self._settle(ahead)
                    ahead = None
                    await self._publish()
                    if self.building.missed:
                        self.position = await self.building.start_over()
                    await self.building.answer()
                if self.building.looks_again:
                    await self._settle(ahead)
                    ahead = None
                    await self.building.look_again()
                if ahead is None:
                    ahead = asyncio.create_task(self._next())
                await self._wait(ahead)
                if ahead.done():
                    unit, ahead = ahead.result(), None
                    if unit is not None:
                        if not unit.alone:
                            ahead = asyncio.create_task(self._next())
                        await self._carry_out(unit)
                if self._publish_due() <= 0:
                    await self._publish()
        finally:
            if ahead is not None:
                # A statement that is cancelled can cost the connection: let it end where it does.
                self._wake.set()
                await asyncio.wait({ahead}, timeout=PATIENCE)
                await end([ahead])

    async def _settle(self, ahead: asyncio.Task[Unit | None] | None) -> None:
        """Carry out what was read ahead, so that nothing is under way."""
        if ahead is None:
            return
        self._wake.set()
        unit = await ahead
        if unit is not None:
            await self._carry_out(unit)

    async def _wait(self, ahead: asyncio.Task[Unit | None]) -> None:
        due = self._publish_due()
        await asyncio.wait({ahead}, timeout=None if due == float("inf") else max(0.0, due))

    def _publish_due(self) -> float:
        """Seconds until the next publish; infinite where there is nothing to say."""
        if self._written:
            if self._idle:
                return 0.0
            busy = self._backlog.size > 4 * self._batch_size or self.building.walking
            return self._pace.left(busy=busy)
        if self._next_position(()) is not None:
            return self._pace.left(busy=False, least=QUIET)
        return float("inf")

    # Reading --------------------------------------------------------------------------------------

    async def _next(self) -> Unit | None:
        """Return the next unit, read from canonical, or None after a wait during which something
        may have changed."""
        self._wake.clear()
        unit = await self._reader.read(self.applied_lsn)
        if unit is not None:
            return unit
        self._idle = True
        try:
            async with asyncio.timeout(min(unit_reader.POLL, self.building.patience())):
                await self._wake.wait()
        except TimeoutError:
            pass
        finally:
            self._idle = False
        return None

    # Writing --------------------------------------------------------------------------------------

    async def _carry_out(self, unit: Unit) -> None:
        try:
            await self._carry(unit)
        except NotReadable as error:
            await self._set_aside(unit, error)

    async def _carry(self, unit: Unit) -> None:
        if unit.refused is not None:
            raise unit.refused
        if unit.finishes:
            await self._publish()
            assert unit.load is not None
            async with self._projector.lock:
                await self.building.finish(unit.load, self._projector, self._slack(unit.type_name))
            return
        if unit.sweeps:
            await self._sweep(unit)
        elif unit.load is not None:
            await self._delivery.write(unit, [unit.load.number])
            crash_point("load-written")
        else:
            await self._delivery.write(unit, self.building.targets(unit.type_name))
        self._written.append(unit)
        self._pace.wrote()
        crash_point("written")

    async def _sweep(self, unit: Unit) -> None:
        """Read again every record of a type that the sink holds, after a truncate."""
        await self._publish()  # a scan sees what is published
        for type_name in [unit.type_name] if unit.page is None else list(unit.page.marks):
            for number in self.building.targets(type_name):
                after: str | None = None
                while held := await self.store.scan(type_name, number, after, self._batch_size):
                    part = Unit(type_name)
                    await self._reader.read_keys(part, [s.key for s in held])
                    if part.refused is not None:
                        raise part.refused
                    await self._delivery.write(part, [number])
                    after = held[-1].key
                    if len(held) < self._batch_size:
                        break

    # Publishing -----------------------------------------------------------------------------------

    def _next_position(self, written: Sequence[Unit]) -> tuple[Boundary, Position | None] | None:
        """Return the boundary and position that a publish of `written` reaches, or None where they
        are not new."""
        boundary = self._relief.reached(u for u in self._reader.taken if u not in written)
        if boundary is None or self._reader.durable_pending:
            return None
        old, required = self.position, self.watermark.required
        trusted = (
            self._aside.trusts(required)
            and boundary.as_of > 0
            and boundary.lsn >= self.watermark.published
        )
        if trusted:
            withheld = self._aside.withheld(required, old)
            new = self._place.position(boundary.lsn, boundary.as_of, withheld)
            if old is None or (new.lsn, new.as_of) > (old.lsn, old.as_of):
                return boundary, new
        return (boundary, None) if boundary.lsn > self.applied_lsn else None

    async def _publish(self) -> None:
        written = list(self._written)
        reached = self._next_position(written)
        position = reached[1] if reached else None
        await self._bookkeeping.assure()
        if position is not None:
            await self._place.check(self.position)
        crash_point("publishing")
        self._pace.begin()
        await self.store.publish(position)
        self._pace.end()
        crash_point("published")
        if self.dead_letters.any or any(u.page is not None or u.load is not None for u in written):
            await self._note(written)
        if reached is not None:
            self._backlog.passed(reached[0])
        self._written = [u for u in self._written if u not in written]
        self._reader.taken = [u for u in self._reader.taken if u not in written]
        if reached is not None:
            self.applied_lsn = max(self.applied_lsn, reached[0].lsn)
        if position is not None:
            self.position = position
            self._aside.published(position)
            self.watermark.published = position.lsn
        self._untold |= bool(written)
        if position is not None and self._untold:
            self._teller.tell()
            self._untold = not self.at_rest
        if written or position is not None:
            self._succeeded()

    async def _note(self, published: Sequence[Unit]) -> None:
        """Record what of the durable backlog and of loads is done, and which dead letters are
        answered."""
        async with self._bookkeeping.changing():
            for unit in published:
                if unit.page is not None:
                    await self._reader.durable.remove(unit.page)
                await self.dead_letters.applied(unit.type_name, unit.documents)
                if unit.load is not None:
                    await self.building.note_published(
                        unit.load, unit.documents, unit.version, unit.last
                    )
        if any(u.load is not None for u in published):
            crash_point("load-noted")

    async def _set_aside(self, unit: Unit, error: NotReadable) -> None:
        """The type of `error` waits, with what was to be done for `unit`; all others go on."""
        self._reader.taken = [u for u in self._reader.taken if u is not unit]
        if unit.batch is not None and not unit.spilled:
            self._backlog.give_back(unit.batch)
        if unit.load is not None and not unit.finishes:
            await self._publish()  # the pages before it, so that the load goes on from there
            unit.load.restart()
        await self._unreadable.add(error)

    # Failing --------------------------------------------------------------------------------------

    def _slack(self, type_name: str) -> int:
        return self._backlog.pending(type_name) + self.dead_letters.count(type_name)

    def _take_back(self) -> None:
        """Whatever was not published is to be done again."""
        for unit in self._reader.taken:
            if unit.batch is not None and not unit.spilled:
                self._backlog.give_back(unit.batch)
        self._reader.taken, self._written = [], []
        self._reader.durable.restart()
        self._reader.durable_pending = True
        self.building.restart()

    def _failed(self, error: Exception) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
        self.error = error if isinstance(error, RecordgateError) else unexpected(error)
        message = self.error.message
        if message != self.problem:
            log.warning("%s: %s; trying again", self.name, message)
        self.problem = message

    def _succeeded(self) -> None:
        if self._failing_since is not None:
            log.info("%s: works again", self.name)
        self._failing_since = None
        self.problem, self.error = "", None
        self._backoff.reset()

    async def finish(self) -> None:
        """The last publish of a clean stop; the loop has ended."""
        if self.ready.is_set() and not self.failing:
            await self._publish()

    def note_failure(self, error: RecordgateError) -> None:
        """The store cannot be opened."""
        self._failed(error)

    @property
    def at_rest(self) -> bool:
        """Return whether nothing waits and nothing is under way."""
        return self._backlog.empty and not self._reader.taken and not self._relief.moving

    @property
    def at_ease(self) -> bool:
        """Open and trusted: it can be compared with canonical."""
        trusted = self._aside.trusts(self.watermark.required)
        return self.ready.is_set() and not self.failing and trusted

    @property
    def set_aside(self) -> frozenset[str]:
        """The types that canonical cannot read now."""
        return self._aside.types

    def state(self) -> dict[str, object]:
        """Return the sink's state, for the console."""
        position = self.position
        return {
            "problem": self.problem,
            "position": format_lsn(position.lsn) if position else None,
            "asOf": position.as_of if position else None,
            "backlogInMemory": self._backlog.size,
            "durableBacklog": self._reader.durable_pending,
            "loads": {
                name: {"generation": load.number, "rows": load.kept_rows}
                for name, load in self.building.loads.items()
            },
            "generations": dict(self.building.active),
            "setAside": self._aside.reasons(),
        }

    def opened(self) -> None:
        """The store answers, and its generations are known. Only a publish shows that it can be
        written."""
        if not self.failing:
            self.problem = ""
        self.ready.set()
        log.info(
            "%s: open at %s",
            self.name,
            format_lsn(self.position.lsn) if self.position else "no position",
        )
