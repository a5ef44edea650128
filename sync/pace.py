"""Small clocks of the sink loop: they decide when to publish and when to try again."""

from __future__ import annotations

import random
import time

LEAST = 0.005
MOST = 0.5
BUSY = 2.0
"""Seconds between the first write and its publish: at least, at most, and while a backlog is worked
off."""


class Pace:
    """Spaces publishes so that they take at most half of the time: what is cheap is done often."""

    def __init__(self) -> None:
        self._cost = LEAST
        self._since: float | None = None
        self._ended = 0.0
        self._began = 0.0

    def wrote(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def left(self, *, busy: bool, least: float = LEAST) -> float:
        """Seconds until a publish is due; 0 or less: now."""
        pause = max(BUSY, self._cost) if busy else min(max(least, self._cost), MOST)
        since = self._ended if self._since is None else self._since
        return since + pause - time.monotonic()

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._ended = time.monotonic()
        self._cost = 0.7 * self._cost + 0.3 * (self._ended - self._began)
        self._since = None


class Backoff:
    """Exponential, with jitter; never gives up."""

    def __init__(self, first: float = 0.1, most: float = 30.0) -> None:
        self._first, self._most = first, most
        self._next = first

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait before the next try."""
        pause = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._next * 2, self._most)
        return max(pause, at_least or 0.0)

    def reset(self) -> None:
        self._next = self._first
