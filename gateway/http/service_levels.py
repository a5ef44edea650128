"""Counts for the contract's objectives of what this gateway answers: requests that were good, and
requests in all. They are kept in memory until they are taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stores.contract.indicators import Indicator

FAILURES = frozenset({"INTERNAL", "OVERLOADED", "STORE_UNAVAILABLE", "TIMEOUT"})
"""Codes of answers that are the gateway's failure. Any other is the caller's, and not counted."""
CALLERS = frozenset({"STALE"})
"""Codes of answers with a status of 500 or more that the caller brought about: it asked for more
than the stores had. How fresh they are has an indicator of its own."""
MOST_KINDS = 1000
"""Sets of record types for which it is remembered which objectives they count for."""


@dataclass(slots=True)
class Count:
    """Requests of one indicator. `most`: seconds above which an answer is not good."""

    indicator: Indicator
    most: float
    good: int = 0
    total: int = 0


class ServiceLevels:
    """One gateway's counts; it must be used by one thread."""

    def __init__(self, indicators: Iterable[Indicator] = ()) -> None:
        unique = {i.name: i for i in indicators if i.store is None}
        self._counts = [Count(i, _most(i)) for i in unique.values()]
        self._of: dict[frozenset[str], list[Count]] = {}

    def note(self, types: frozenset[str], seconds: float, code: str, status: int) -> None:
        """Count a request about `types` that was answered within `seconds`."""
        failed = code in FAILURES or (status >= 500 and code not in CALLERS)
        if not failed and (status >= 400 or code != "OK"):
            return
        counts = self._of.get(types)
        if counts is None:
            if len(self._of) >= MOST_KINDS:
                self._of.clear()
            counts = [c for c in self._counts if c.indicator.covers(types)]
            self._of[types] = counts
        for count in counts:
            count.total += 1
            if not failed and seconds <= count.most:
                count.good += 1

    def take(self) -> dict[str, tuple[int, int]]:
        """Return good and all requests by the indicator's name since they were last taken."""
        taken: dict[str, tuple[int, int]] = {}
        for count in self._counts:
            taken[count.indicator.name] = (count.good, count.total)
            count.good = count.total = 0
        return taken


def _most(indicator: Indicator) -> float:
    objective = indicator.objective
    return float(objective.value) if objective.name == "responseTime" else float("inf")
