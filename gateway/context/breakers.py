"""Circuit breakers: whether a store that has failed is asked again. Pure: the time comes in, a
decision goes out.

Closed: every call is let through. After `threshold` failures in a row: open, no call for a pause,
which doubles with each failed trial. Then half-open: one call is let through as a trial, and its
end decides.
"""

from __future__ import annotations

from enum import StrEnum

THRESHOLD = 5
FIRST_PAUSE = 1.0
MOST_PAUSE = 30.0


class State(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Breaker:
    """Times are seconds of one clock that only goes forward. A call holds the ticket that `admit`
    gave it; what a call of an earlier state says at its end no longer counts."""

    __slots__ = ("_epoch", "_failures", "_open_until", "_pause", "_succeeded", "_trial")

    def __init__(self) -> None:
        self._epoch = 0
        self._failures = 0
        self._pause = 0.0
        self._open_until: float | None = None
        self._trial = False
        self._succeeded = float("-inf")

    def state(self, now: float) -> State:
        if self._open_until is None:
            return State.CLOSED
        return State.HALF_OPEN if self._trial or now >= self._open_until else State.OPEN

    def admits(self, now: float) -> bool:
        """Return whether a call would be let through now."""
        return self._open_until is None or (not self._trial and now >= self._open_until)

    def admit(self, now: float) -> int | None:
        """A ticket for one call; None where it is not let through."""
        if self._open_until is None:
            return self._epoch
        if self._trial or now < self._open_until:
            return None
        self._trial = True
        self._epoch += 1
        return self._epoch

    @property
    def ticket(self) -> int:
        """Return a ticket for a call that begins in the state of now."""
        return self._epoch

    def retry_after(self, now: float) -> float:
        """Seconds until a call may be let through; 0 where one is."""
        if self._open_until is None:
            return 0.0
        return max(0.0, self._open_until - now) or (self._pause if self._trial else 0.0)

    def succeeded(self, ticket: int, now: float) -> None:
        self._succeeded = now
        if ticket != self._epoch:
            return
        self._failures = 0
        if self._trial:
            self._trial, self._open_until, self._pause = False, None, 0.0
            self._epoch += 1

    def failed(self, ticket: int, now: float) -> None:
        if ticket != self._epoch or (self._open_until is not None and not self._trial):
            return
        self._failures += 1
        if self._trial or self._failures >= THRESHOLD:
            self._pause = min(MOST_PAUSE, self._pause * 2 or FIRST_PAUSE)
            self._open_until = now + self._pause
            self._trial = False
            self._failures = 0
            self._epoch += 1

    def given_up(self, ticket: int, began: float, now: float) -> None:
        """The caller did not wait for the end. That is a failure where the store has answered
        nobody since the call began."""
        if ticket == self._epoch and self._succeeded < began:
            self.failed(ticket, now)
        elif ticket == self._epoch and self._trial:
            self._trial = False
            self._epoch += 1
