"""Reads of many callers that go together.

A read that comes while fewer than IN_FLIGHT are on their way is sent at once, as it is: nothing
waits for company. Those that come meanwhile go together when one of them is back, so the busier a
store, the less each read costs. Each begins after its caller asked, and sees all that was there by
then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

IN_FLIGHT = 2
"""Maximum reads under way: one connection answers faster than one event loop can ask, so a second
one suffices to hide the round trip."""
MOST = 100
"""Reads that go together at the most."""


class Together(Generic[K, V]):
    """`one` reads a key; `many` reads several, and gives their values by place, missing ones left
    out. `common` tells an error of all from one that a single key may be the reason of: then
    each is read by itself, so that nobody suffers for another's key. Several that take longer
    than `seconds` raise TimeoutError; a single one is its caller's to limit. Bound to one event
    loop."""

    def __init__(
        self,
        one: Callable[[K], Awaitable[V | None]],
        many: Callable[[Sequence[K]], Awaitable[Mapping[int, V | None]]],
        common: Callable[[Exception], bool],
        seconds: float,
    ) -> None:
        self._one, self._many, self._common, self._seconds = one, many, common, seconds
        self._running = 0
        self._waiting: deque[tuple[K, asyncio.Future[V | None]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        return not self._running

    async def read(self, key: K) -> V | None:
        """Read `key` together with other callers. Raise what `one` and `many` raise. Cancelling
        one caller does not affect the others."""
        if self._running < IN_FLIGHT:
            self._running += 1
            try:
                return await self._one(key)
            finally:
                self._next()
        future: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        return await future

    def _next(self) -> None:
        """Start the waiting reads after one has returned."""
        self._running -= 1
        members: list[tuple[K, asyncio.Future[V | None]]] = []
        while self._waiting and len(members) < MOST:
            member = self._waiting.popleft()
            if not member[1].done():
                members.append(member)
        if members:
            self._running += 1
            task = asyncio.ensure_future(self._go(members))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _go(self, members: Sequence[tuple[K, asyncio.Future[V | None]]]) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                if len(members) == 1:
                    await self._alone(*members[0])
                    return
                found = await self._many([key for key, _ in members])
            for place, (_, future) in enumerate(members):
                if not future.done():
                    future.set_result(found.get(place))
        except Exception as error:
            if not isinstance(error, TimeoutError) and not self._common(error):
                await asyncio.gather(*(self._alone(*member) for member in members))
                return
            for _, future in members:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in members:
                if not future.done():
                    future.cancel()
            self._next()

    async def _alone(self, key: K, future: asyncio.Future[V | None]) -> None:
        try:
            value = await self._one(key)
        except Exception as error:
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(value)
