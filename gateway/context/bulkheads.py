"""A bulkhead: how many calls of one kind may run at once, so that they cannot take all there is. A
few more wait a moment for their turn; the rest is refused at once."""

from __future__ import annotations

from anyio import CapacityLimiter, WouldBlock, move_on_after

PATIENCE = 0.5
"""Seconds that a call waits for its turn."""
WAITING = 10
"""Calls that may wait, for each one that may run."""


class Bulkhead:
    def __init__(self, places: int) -> None:
        self.places = places
        self._limiter = CapacityLimiter(places)
        self._running: list[object] = []

    @property
    def running(self) -> int:
        return int(self._limiter.borrowed_tokens)

    def try_enter(self) -> bool:
        """Take a place where one is free and nobody waits for it; `leave` gives it back."""
        caller = object()
        try:
            self._limiter.acquire_on_behalf_of_nowait(caller)
        except WouldBlock:
            return False
        self._running.append(caller)
        return True

    async def enter(self) -> bool:
        """Take a place, after a wait where needed; False where there is none in time."""
        if self.try_enter():
            return True
        if self._limiter.statistics().tasks_waiting >= WAITING * self.places:
            return False
        caller = object()
        with move_on_after(PATIENCE):
            await self._limiter.acquire_on_behalf_of(caller)
            self._running.append(caller)
            return True
        return False

    def leave(self) -> None:
        """Give a place back; it goes to the call that has waited longest."""
        self._limiter.release_on_behalf_of(self._running.pop())
