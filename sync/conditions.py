"""The faults that stand in this session of the worker: recorded in canonical, and told once in the
log.

Who finds a fault calls `raise_`, who finds it over calls `over`; neither costs a statement where
nothing changed. What the session before left behind stays until this one has had time to find it
again: a restart is no cure, and a fault that nobody looks for any more must not stay for ever.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from stores.canonical import conditions as table
from stores.canonical.conditions import Condition, place, words

if TYPE_CHECKING:
    from sync.session import Bookkeeping

log = logging.getLogger(__name__)

SETTLE = 90.0
"""Seconds after which a condition of the session before that was not raised again is over."""


class Conditions:
    """The conditions of one session, reached as `session.conditions`. Callers must not hold the
    lock of `bookkeeping`. Methods raise psycopg.Error, and FencedError if another worker is in
    charge; both end the session."""

    def __init__(self, bookkeeping: Bookkeeping) -> None:
        self._bookkeeping = bookkeeping
        self._standing: dict[tuple[str, str, str], Condition] = {}
        self._left: set[tuple[str, str, str]] = set()
        """The conditions that the previous session raised and this one has not seen yet."""
        self._began = time.monotonic()

    @property
    def standing(self) -> list[Condition]:
        """Return the conditions that stand now, the oldest first."""
        return list(self._standing.values())

    async def take_over(self) -> None:
        """Read what the session before left behind; to be called once, before anything is
        raised."""
        async with self._bookkeeping.lock:
            found = await table.read(self._bookkeeping.conn)
        # What a collector recorded is its own to end.
        self._standing = {c.identity: c for c in found if c.sink != table.COLLECT}
        self._left = set(self._standing)
        self._began = time.monotonic()

    async def raise_(self, condition: Condition) -> None:
        """Record that a fault stands, and log it at first. One that stands already keeps the time
        that it stands since; only other words for it are written."""
        known = self._standing.get(condition.identity)
        self._left.discard(condition.identity)
        if known and (known.message, known.hint) == (condition.message, condition.hint):
            return
        if known is None:
            condition = Condition(
                condition.code, condition.message, condition.hint, condition.sink, condition.type,
                time.time(),
            )  # fmt: skip
        self._standing[condition.identity] = condition
        if known is None or known.message != condition.message:
            log.warning("%s", words(condition))
        async with self._bookkeeping.changing() as conn:
            await table.record(conn, [condition])

    async def over(self, *, code: str, sink: str = "", type: str = "") -> None:
        """Record that a fault is over, and log it where it stood."""
        known = self._standing.pop((sink, type, code), None)
        if known is None:
            return
        self._left.discard(known.identity)
        log.info("%s: over", place(known) or code)
        async with self._bookkeeping.changing() as conn:
            await table.clear(conn, [known])

    async def settle(self) -> None:
        """Remove what the session before left behind and this one has not found again. To be called
        on a pace."""
        if not self._left or time.monotonic() - self._began < SETTLE:
            return
        for sink, type_name, code in list(self._left):
            await self.over(code=code, sink=sink, type=type_name)
