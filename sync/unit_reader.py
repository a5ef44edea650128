"""Reads the units of a sink from canonical: keys in memory, pages of the durable backlog, pages of
a load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from stores.errors import NotReadable
from sync.backlog import Backlog
from sync.building import Building
from sync.durable_backlog import SWEEP, DurableReader
from sync.projection import Projector
from sync.session import SinkConnections
from sync.units import Unit
from sync.unreadable import Unreadable

LOAD_PAGE = 2000
"""Records of a page while a generation is built."""
POLL = 2.0
"""Seconds between two looks at the durable backlog, where `verify --repair` and others add keys."""


class UnitReader:
    """The reading half of a `SinkWriter`."""

    def __init__(
        self,
        *,
        backlog: Backlog,
        durable: DurableReader,
        building: Building,
        unreadable: Unreadable,
        projector: Projector,
        connections: SinkConnections,
        batch_size: int,
        spilling: Callable[[], bool],
        wake: asyncio.Event,
    ) -> None:
        self.durable = durable
        self.durable_pending = True
        """True where the durable backlog may hold keys."""
        self.taken: list[Unit] = []
        """Units that were read or are being read, and are not published."""
        self.spills = 0
        """The number of times that keys were moved to the durable backlog."""
        self._backlog, self._building = backlog, building
        self._unreadable, self._aside = unreadable, unreadable.aside
        self._projector, self._bookkeeping = projector, connections.bookkeeping
        self._batch_size, self._spilling, self._wake = batch_size, spilling, wake
        self._durable_looked = 0.0
        self._others_turn = False

    async def read(self, applied_lsn: int) -> Unit | None:
        """Read the next unit, or return None. Keys in memory come first, but every second turn goes
        to other work. `applied_lsn`: every change up to there is in the store."""
        if await self._unreadable.try_again():
            self.durable.restart()
            self.durable_pending = True
        live = not self._backlog.idle(self._aside.types)
        self._others_turn = not self._others_turn
        if live and not self._others_turn:
            return await self.read_live()
        unit = await self._read_durable()
        if unit is None:
            unit = await self._read_load(applied_lsn)
        if unit is None and not self._backlog.idle(self._aside.types):
            unit = await self.read_live()
        return unit

    async def read_live(self) -> Unit:
        batch = self._backlog.take(self._batch_size, self._aside.types)
        assert batch is not None
        unit = Unit(batch.type_name, batch=batch)
        self.taken.append(unit)
        if batch.sweep is None:
            await self.read_keys(unit, list(batch.keys))
        return unit

    async def _read_durable(self) -> Unit | None:
        due = time.monotonic() - self._durable_looked > POLL
        if self._spilling() or not (self.durable_pending or due):
            return None
        begins = self.durable.at_start
        if begins and any(u.page for u in self.taken):
            return None  # the rows that were taken are still there
        spills = self.spills
        self._durable_looked = time.monotonic()
        async with self._bookkeeping.lock:
            page = await self.durable.page(self._batch_size, self._aside.types)
        if page is None:
            if begins and spills == self.spills:
                self.durable_pending = False
            elif not begins:
                self._wake.set()
            return None
        self.durable_pending = True
        unit = Unit(page.type_name, page=page)
        self.taken.append(unit)
        if page.type_name == SWEEP:
            return unit
        await self.read_keys(unit, list(page.marks))
        return unit

    async def _read_load(self, applied_lsn: int) -> Unit | None:
        without = self._aside.types
        finished = self._building.ready_to_finish(applied_lsn, without)
        if finished is not None:
            return Unit(finished.type_name, load=finished, finishes=True)
        load = self._building.next_walk(without)
        if load is None:
            return None
        unit = Unit(load.type_name, load=load)
        self.taken.append(unit)
        try:
            async with self._projector.lock:
                page = await self._projector.page(load.type_name, load.cursor, LOAD_PAGE)
        except NotReadable as error:
            unit.refused = error
            return unit
        load.note_read(page)
        unit.version, unit.documents = page.version, page.documents
        unit.unreadable, unit.last = page.unreadable, page.last
        return unit

    async def read_keys(self, unit: Unit, keys: Sequence[str]) -> None:
        try:
            async with self._projector.lock:
                reading = await self._projector.read(unit.type_name, keys)
        except NotReadable as error:
            unit.refused = error
            return
        unit.version, unit.documents = reading.version, reading.documents
        unit.unreadable = reading.unreadable
