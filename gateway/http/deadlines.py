"""Time limits that cost nothing to set: `asyncio.timeout` asks the event loop for a timer each
time, here one coarse timer looks after all limits that are open. For limits that nearly always end
before their time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from weakref import WeakKeyDictionary

TICK = 0.025
"""Seconds by which a limit may end late."""


class _Ticker:
    """Looks at the open limits of one event loop; sleeps while there are none."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.open: set[Limit] = set()
        self._running = False

    def add(self, limit: Limit) -> None:
        self.open.add(limit)
        if not self._running:
            self._running = True
            self.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        for limit in list(self.open):
            limit.look(now)
        self._running = bool(self.open)
        if self._running:
            self.loop.call_later(TICK, self._tick)


_tickers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Ticker] = WeakKeyDictionary()


class Limit:
    """`with Limit(seconds):` as `async with asyncio.timeout(seconds)`: TimeoutError where the block
    takes longer. `begin` is called once, when the block has taken `after` seconds."""

    __slots__ = (
        "_after",
        "_before",
        "_begin",
        "_expired",
        "_seconds",
        "_task",
        "_ticker",
        "_until",
    )

    def __init__(
        self, seconds: float, *, after: float = 0.0, begin: Callable[[], None] | None = None
    ) -> None:
        self._seconds, self._after, self._begin = seconds, after, begin
        self._expired = False

    def __enter__(self) -> Limit:
        loop = asyncio.get_running_loop()
        ticker = _tickers.get(loop)
        if ticker is None:
            ticker = _tickers[loop] = _Ticker(loop)
        task = asyncio.current_task(loop)
        assert task is not None
        self._task, self._ticker, self._before = task, ticker, task.cancelling()
        now = loop.time()
        self._until, self._after = now + self._seconds, now + self._after
        ticker.add(self)
        return self

    def expire(self) -> None:
        """End the block now."""
        if not self._expired and self in self._ticker.open:
            self._expired = True
            self._task.cancel()

    def look(self, now: float) -> None:
        if self._begin is not None and now >= self._after:
            begin, self._begin = self._begin, None
            begin()
        if now >= self._until:
            self.expire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ticker.open.discard(self)
        if (
            self._expired
            and self._task.uncancel() <= self._before
            and (kind is asyncio.CancelledError)
        ):
            raise TimeoutError from error
