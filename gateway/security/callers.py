"""Limits one caller's requests: so many a second, with a store for bursts, and so many at once. A
token bucket each; callers that are idle are forgotten when there are too many."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.http.problems import HttpProblem

KEPT = 10_000
"""Callers that are remembered."""
MOST_PASSED = 10
"""The number of idle callers to inspect per eviction."""


@dataclass(slots=True)
class Caller:
    """`tokens` are what the bucket held `at` that time; `running`: requests now, `streaming`:
    streams."""

    tokens: float
    at: float
    running: int = 0
    streaming: int = 0


class Callers:
    """`rate`: requests a second, 0 for any number; `burst`: how many may come at once after a rest;
    `most`: requests of a caller that run at once; `streams`: its streams (subscriptions). `clock`
    in seconds."""

    def __init__(
        self,
        rate: float = 0.0,
        burst: int = 100,
        most: int = 100,
        streams: int = 2_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rate, self.burst = rate, burst
        self.most, self.streams = most, streams
        self._clock = clock
        self._callers: OrderedDict[str, Caller] = OrderedDict()

    def enter(self, name: str, *, stream: bool = False) -> Caller:
        """A place for one request of the caller, who is to `leave` it. Raises HttpProblem (429)."""
        caller = self._callers.get(name)
        if caller is None:
            caller = self._callers[name] = Caller(self.burst, self._clock())
            self._forget()
        else:
            self._callers.move_to_end(name)
        if not stream and caller.running >= self.most:
            raise _too_many(f"more than {self.most} of your requests are running", 1)
        if stream and caller.streaming >= self.streams:
            raise _too_many(f"more than {self.streams} of your streams are open", 1)
        if self.rate > 0:
            self._take(caller)
        caller.running += not stream
        caller.streaming += stream
        return caller

    def leave(self, caller: Caller, *, stream: bool = False) -> None:
        caller.running -= not stream
        caller.streaming -= stream

    def _take(self, caller: Caller) -> None:
        now = self._clock()
        caller.tokens = min(self.burst, caller.tokens + (now - caller.at) * self.rate)
        caller.at = now
        if caller.tokens < 1:
            wait = max(1, math.ceil((1 - caller.tokens) / self.rate))
            raise _too_many(f"more than {self.rate:g} requests a second", wait)
        caller.tokens -= 1

    def _forget(self) -> None:
        """Forget the callers that have asked for nothing for longest; not those with requests
        running."""
        for _ in range(MOST_PASSED):
            if len(self._callers) <= KEPT:
                return
            name, caller = next(iter(self._callers.items()))
            if caller.running or caller.streaming:
                self._callers.move_to_end(name)
            else:
                del self._callers[name]


def _too_many(message: str, seconds: int) -> HttpProblem:
    return HttpProblem(
        "RATE_LIMITED", message, hint="try again later", headers={"Retry-After": str(seconds)}
    )
