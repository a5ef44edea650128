"""The relief of a sink that cannot keep up: its dirty keys go from memory to the durable backlog.

The backlog of a sink is bounded, and changes are acknowledged only where they are in the store or
in the durable backlog. So keys move there when they are too many, and when the sink fails or does
not get on, for else the source could not be acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from sync import durable_backlog
from sync.aside import Aside
from sync.backlog import Backlog, Batch, Boundary
from sync.session import Bookkeeping
from sync.unit_reader import UnitReader
from sync.units import Unit

log = logging.getLogger(__name__)

SPILL_FAILING = 5.0
SPILL_SLOW = 60.0
"""Seconds after which the dirty keys of a sink that fails, or does not get on, go to canonical."""


class Relief:
    """Moves the dirty keys of one sink, and knows up to where its changes are safe."""

    def __init__(
        self,
        name: str,
        *,
        backlog: Backlog,
        reader: UnitReader,
        aside: Aside,
        bookkeeping: Bookkeeping,
        memory_keys: int,
        wake: asyncio.Event,
    ) -> None:
        self._name = name
        self._backlog = backlog
        self._reader = reader
        self._aside = aside
        self._bookkeeping = bookkeeping
        self._memory_keys = memory_keys
        self._wake = wake
        self._moving: list[Batch] = []
        """The batches that are being moved: neither in memory nor in the durable backlog."""
        self._lock = asyncio.Lock()
        self._progress_at, self._progress_to = time.monotonic(), 0

    @property
    def moving(self) -> bool:
        """Return whether keys are on their way to the durable backlog."""
        return bool(self._moving)

    @property
    def too_full(self) -> bool:
        """Return whether more keys are dirty than memory is meant for."""
        return self._backlog.size > self._memory_keys

    def reached(self, units: Iterable[Unit]) -> Boundary | None:
        """Return the boundary up to which every change is seen to, where the keys of `units` are
        not."""
        open_ = [u.batch.lowest for u in units if u.batch] + [b.lowest for b in self._moving]
        return self._backlog.reached(open_)

    def durable(self) -> Boundary | None:
        """Return the boundary up to which every change is in the store or in the durable backlog,
        so that it may be acknowledged."""
        boundary = self.reached(u for u in self._reader.taken if not u.spilled)
        if boundary is not None:
            self._backlog.passed(boundary)
            if boundary.lsn > self._progress_to:
                self._progress_to, self._progress_at = boundary.lsn, time.monotonic()
        return boundary

    async def relieve(self, lsn: int, failed_for: float) -> None:
        """Move the dirty keys where they are too many or wait too long; copy those under way, which
        a store that hangs may never give back. `lsn`: the position up to which changes have been
        marked; `failed_for`: seconds for which the sink has failed.

        One call at a time: the keys that a second call moved would be forgotten by the end of the
        first, and be acknowledged before they are committed.
        """
        async with self._lock:
            await self._relieve(lsn, failed_for)

    async def _relieve(self, lsn: int, failed_for: float) -> None:
        under_way = [u for u in self._reader.taken if u.batch and not u.spilled]
        if self._backlog.empty and not under_way:
            return
        slow = time.monotonic() - self._progress_at > SPILL_SLOW
        if self.too_full or failed_for > SPILL_FAILING or slow:
            self._moving = self._backlog.take_all()
        else:  # what is set aside waits there from the first
            under_way = []
            self._moving = self._backlog.take_types(self._aside.types)
            if not self._moving:
                return
        level = logging.DEBUG if self._reader.durable_pending else logging.INFO
        self._reader.durable_pending = True
        self._reader.spills += 1
        batches = [*self._moving, *(u.batch for u in under_way if u.batch)]
        async with self._bookkeeping.changing() as conn:
            await durable_backlog.add_batches(conn, self._name, batches, lsn)
        for unit in under_way:
            unit.spilled = True
        self._moving = []
        self._wake.set()
        size = sum(len(b.keys) for b in batches)
        log.log(level, "%s: %d dirty keys moved to the durable backlog", self._name, size)
