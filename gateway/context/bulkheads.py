"""A bulkhead: how many calls of one kind may run at once, so that they cannot take all there is. A few
more wait a moment for their turn; the rest is refused at once."""

from __future__ import annotations

import asyncio
from collections import deque

PATIENCE = 0.5
"""Seconds that a call waits for its turn."""
WAITING = 10
"""Calls that may wait, for each one that may run."""


class Bulkhead:
    def __init__(self, places: int) -> None:
        self.places = places
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_enter(self) -> bool:
        """Take a place where one is free and nobody waits for it; `leave` gives it back."""
        if self.running >= self.places or self._waiting:
            return False
        self.running += 1
        return True

    async def enter(self) -> bool:
        """Take a place, after a wait where needed; False where there is none in time."""
        if self.try_enter():
            return True
        if len(self._waiting) >= WAITING * self.places:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(turn, PATIENCE)
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
        return True

    def leave(self) -> None:
        """The place goes to who waits for longest, else it is free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1
