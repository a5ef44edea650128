"""The end of the gateway in good order: from the signal on it is not ready, after a moment it takes
no new requests, and it waits for those that run, up to a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Drain:
    """`running`: requests being answered, health and metrics aside. `arriving`: those whose body is
    not whole yet, which nothing is done for. `refusing`: new ones are answered 503."""

    def __init__(self) -> None:
        self.running = self.arriving = 0
        self.begun = False
        self.refusing = False
        self._replaced = False
        self._idle = asyncio.Event()
        self._ending: list[Callable[[], None]] = []

    def at_end(self, end: Callable[[], None]) -> None:
        """`end` is called when no new requests are taken: what would go on for ever is ended
        there."""
        self._ending.append(end)

    def entered(self) -> None:
        self.running += 1

    def left(self) -> None:
        self.running -= 1
        self._look()

    def begun_to_arrive(self) -> None:
        self.arriving += 1

    def arrived(self) -> None:
        """Note that the request's body is whole, or will not be."""
        self.arriving -= 1
        self._look()

    def _look(self) -> None:
        if (self.refusing or self._replaced) and not self.running and not self.arriving:
            self._idle.set()

    async def run(self, *, delay: float, most: float) -> bool:
        """Go through the end: `delay` seconds in which a load balancer may see that the gateway is
        not ready, then at most `most` seconds for what runs. Whether everything has ended."""
        self.begun = True
        await asyncio.sleep(delay)
        self.refusing = True
        return await self._ended(most)

    async def emptied(self, most: float) -> bool:
        """Another gateway of this process takes what comes: nothing is refused. Streams are broken
        off, and what runs has at most `most` seconds. Whether everything has ended."""
        self._replaced = True
        return await self._ended(most)

    async def _ended(self, most: float) -> bool:
        """End what would go on for ever, and wait for the rest. Return whether it has ended within
        `most` seconds."""
        for end in self._ending:
            end()
        if self.running or self.arriving:
            try:
                await asyncio.wait_for(self._idle.wait(), most)
            except TimeoutError:
                return False
        return True
