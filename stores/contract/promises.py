"""The promises of a contract about its records and its service, resolved: quality rules and
objectives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal

SEVERITIES = ("info", "warning", "error")
"""The lightest first."""
DEFAULT_SEVERITY = "error"
"""The severity of a rule that states none: whoever declares a rule means it."""
DEFAULT_PERCENTILE = 95.0
DEFAULT_FRESH_PERCENTILE = 99.0
DEFAULT_WINDOW = 28 * 86400.0
ROW_METRICS = ("nullValues", "missingValues", "invalidValues")
"""Metrics that are the number of rows of which each alone is bad."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One measured rule of a type: a number that `metric` (`sql`: the query) gives, and what it
    must be."""

    id: str
    """Unique in the type: the contract's, else the name's, else made of property and metric."""
    metric: str
    operator: str
    bounds: tuple[Decimal, ...]
    """One, or two for the operators with `Between`, the smaller first."""
    property_name: str | None = None
    columns: tuple[str, ...] = ()
    """The columns that the rule is about: the property's own, or those that are unique together."""
    items: bool = False
    """True where the rule is about the elements of an array: a row is bad where one of them is."""
    values: tuple[str, ...] | None = None
    """The valid values of an invalidValues rule; the values that count as missing, beside null, of
    a missingValues rule."""
    pattern: str | None = None
    query: str = ""
    unit: str = "rows"
    dimension: str = ""
    severity: str = DEFAULT_SEVERITY
    schedule: str = ""
    """A cron expression, in UTC; empty: at the worker's interval."""
    external: bool = False
    """True where another scheduler runs the rule: the worker does not."""
    name: str = ""

    @property
    def by_row(self) -> bool:
        """True where a row alone is bad or not."""
        return self.metric in ROW_METRICS

    @property
    def forbids_any(self) -> bool:
        """True where not one bad row is allowed, so that rows which are there already need no
        second look."""
        if not self.by_row:
            return False
        bound = self.bounds[0]
        return (self.operator in ("mustBe", "mustBeLessOrEqualTo") and bound == 0) or (
            self.operator == "mustBeLessThan" and self.unit == "rows" and 0 < bound <= 1
        )

    @property
    def definition(self) -> str:
        """Names what is measured and what is wanted of it: results of another definition are
        another history."""
        parts = (
            self.metric, self.operator, tuple(str(b) for b in self.bounds), self.columns,
            self.items, self.values, self.pattern, self.query, self.unit,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def expected(self) -> str:
        """Return the bounds of the rule in the contract's words: `mustBeLessThan 1 percent`."""
        bounds = " and ".join(f"{b:f}" for b in self.bounds)
        return f"{self.operator} {bounds}" + (" percent" if self.unit == "percent" else "")


def graver_or_equal(severity: str, than: str) -> bool:
    """Return whether a severity is at least `than`."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(than)


@dataclass(frozen=True, slots=True)
class Objective:
    """One entry of `slaProperties`, its value checked."""

    name: str
    """The SLA property's full name, whichever synonym the contract has."""
    value: float | str
    """Seconds of a duration, percent of a share, a number a second, else the text as it stands."""
    types: tuple[str, ...] = ()
    """The record types that it is about; none: the whole product."""
    percentile: float = DEFAULT_PERCENTILE
    """The percentage of requests that must be as fast, for responseTime; the percentage of the time
    in which a store must be as fresh, for freshness."""
    window: float = DEFAULT_WINDOW
    """Seconds over which a share is taken."""
    driver: str = ""
    schedule: str = ""

    @property
    def about(self) -> str:
        """The objective in a few words: `responseTime of City`, `availability`."""
        return self.name + (f" of {', '.join(self.types)}" if self.types else "")

    @property
    def target(self) -> float | None:
        """The percentage of time or of requests that are to be good; None where the objective is
        not one of a share."""
        match self.name:
            case "availability":
                return float(self.value)
            case "errorRate":
                return 100.0 - float(self.value)
            case "responseTime" | "freshness":
                return self.percentile
            case _:
                return None
