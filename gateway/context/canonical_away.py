"""A doubt in canonical: while it is taken to be away, another store is asked first for what it can
answer, too. Pure: the time comes in.

It keeps nobody from canonical: what only canonical can answer is asked of it all the same.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

FIRST_PAUSE = 0.5
MOST_PAUSE = 8.0
MOST_KEPT = 1_000

T = TypeVar("T", bound=Hashable)


class CanonicalAway:
    """After a read that did not reach it, canonical is away for a pause, which doubles with each
    that follows; then it is tried again. Times are seconds of one clock that only goes forward."""

    __slots__ = ("_answered", "_pause", "_until")

    def __init__(self) -> None:
        self._pause = 0.0
        self._until = float("-inf")
        self._answered = float("-inf")

    def why(self, now: float) -> str:
        """Return why it is taken to be away; else empty."""
        return "canonical did not answer a moment ago" if now < self._until else ""

    @property
    def doubtful(self) -> bool:
        """The last read did not reach it."""
        return bool(self._pause)

    def failed(self, began: float, now: float, *, connected: bool) -> None:
        """A read that began at `began` did not reach it. Those that began together count as one.
        Where something is `connected` to it, it is only busy as long as it answers anybody."""
        if now < self._until or (connected and self._answered >= began):
            return
        self._pause = min(MOST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._until = now + self._pause

    def succeeded(self, now: float) -> None:
        """A read was answered."""
        self._answered = now
        if self._pause:
            self._pause, self._until = 0.0, float("-inf")


class Expiring(Generic[T]):
    """Members of a set that are in it for some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[T, float] = {}

    def add(self, member: T, now: float) -> None:
        if len(self._until) >= MOST_KEPT:
            self._until.clear()
        self._until[member] = now + self._seconds

    def has(self, member: T, now: float) -> bool:
        if not self._until:
            return False
        until = self._until.get(member)
        if until is not None and now >= until:
            del self._until[member]
            return False
        return until is not None
