"""Waits until committed transactions can be seen: a change can arrive before its commit is visible.

The server sends a transaction once its commit record is flushed; other sessions see it a moment
later, or much later where a synchronous standby is waited for. A reading in between would miss the
change, with nothing left to repeat it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stores.canonical.connect import AsyncConnection

log = logging.getLogger(__name__)

FIRST_NAP = 0.001
LONGEST_NAP = 0.1
TELL_AFTER = 5.0
_HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as pg_current_snapshot() reports it: the ids from `end` on, and those `running`,
    are not visible."""

    end: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        _, end, running = text.split(":")
        return cls(int(end), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int) -> bool:
        """`xid` has 32 bits, as the stream sends it; it is meant to be near `end`."""
        full = (self.end & ~0xFFFFFFFF) | xid
        if full - self.end > _HALF:
            full -= 1 << 32
        elif self.end - full > _HALF:
            full += 1 << 32
        return full < self.end and full not in self.running


class Visibility:
    """Remembers the last snapshot, so that most transactions cost no question."""

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self._last: Snapshot | None = None

    async def wait(self, xids: Sequence[int]) -> None:
        """Return when every one of `xids`, all committed, is visible to any snapshot taken from now
        on."""
        nap, waited = FIRST_NAP, 0.0
        while not self._all(xids):
            cursor = await self._conn.execute("SELECT pg_current_snapshot()::text", prepare=True)
            row = await cursor.fetchone()
            assert row is not None
            self._last = Snapshot.parse(row[0])
            if self._all(xids):
                return
            await asyncio.sleep(nap)
            if waited < TELL_AFTER <= waited + nap:
                log.warning(
                    "a commit has not been visible for %.0f s: check synchronous standbys for lag",
                    TELL_AFTER,
                )
            waited += nap
            nap = min(nap * 2, LONGEST_NAP)

    def _all(self, xids: Iterable[int]) -> bool:
        last = self._last
        return last is not None and all(last.sees(xid) for xid in xids)
