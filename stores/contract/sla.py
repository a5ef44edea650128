"""`slaProperties` → objectives. Names, and their synonyms of two letters, are those of the Data QoS
list that ODCS refers to; times of day and dates are as ISO 8601 writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from stores.contract.extensions import VENDOR, suggestion
from stores.contract.node import Node
from stores.contract.options import KNOWN as KNOWN_PROPERTIES
from stores.contract.promises import (
    DEFAULT_FRESH_PERCENTILE,
    DEFAULT_PERCENTILE,
    DEFAULT_WINDOW,
    Objective,
)
from stores.contract.schedules import schedule_problem

DURATIONS = (
    "freshness", "latency", "retention", "frequency", "timeToDetect", "timeToNotify",
    "timeToRepair", "responseTime",
)  # fmt: skip
SHARES = ("availability", "errorRate", "completeness", "accuracy")
"""Percentages."""
NUMBERS = ("throughput",)
DAYS = ("generalAvailability", "endOfSupport", "endOfLife")
TIMES = ("timeOfAvailability",)
TEXTS = ("support",)
KNOWN = (*DURATIONS, *SHARES, *NUMBERS, *DAYS, *TIMES, *TEXTS)
MEASURED = frozenset(
    {
        "availability", "responseTime", "errorRate", "freshness", "frequency", "timeOfAvailability",
    }
)  # fmt: skip
"""The properties that something in recordgate measures."""

SYNONYMS = {
    "av": "availability", "th": "throughput", "er": "errorRate", "ga": "generalAvailability",
    "es": "endOfSupport", "el": "endOfLife", "re": "retention", "fy": "frequency", "ly": "latency",
    "td": "timeToDetect", "tn": "timeToNotify", "tr": "timeToRepair", "ac": "accuracy",
    "cp": "completeness",
}  # fmt: skip

_UNITS = {
    1e-3: ("ms", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
    7 * 86400.0: ("w", "week", "weeks"),
    30 * 86400.0: ("month", "months", "mo"),
    365 * 86400.0: ("y", "yr", "yrs", "year", "years"),
}
UNITS = {unit: seconds for seconds, units in _UNITS.items() for unit in units}
RATES = {
    "": 1.0,
    "1/s": 1.0,
    "/s": 1.0,
    "rps": 1.0,
    "per second": 1.0,
    "1/min": 1 / 60,
    "/min": 1 / 60,
}
PERCENT = ("", "percent", "%", "pct")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?(Z|[+-](0\d|1[0-4]):?[0-5]\d)?")


@dataclass(frozen=True, slots=True)
class Element:
    """A record type as `element` names it: by name or table, and a property behind a point."""

    type: str
    table: str
    properties: frozenset[str]


def strictest(objectives: Iterable[Objective]) -> dict[str, float]:
    """SLA property → seconds, of the durations that data has; the strictest where one is there
    twice."""
    found: dict[str, float] = {}
    for objective in objectives:
        name = objective.name
        if name in DURATIONS and name != "responseTime" and isinstance(objective.value, float):
            found[name] = min(objective.value, found.get(name, objective.value))
    return found


def resolve_objectives(root: Node, elements: Sequence[Element]) -> Iterator[Objective]:
    """Each entry of `slaProperties` that is right; the others are findings."""
    known = {name.lower(): name for name in KNOWN} | SYNONYMS
    for entry in root.items("slaProperties"):
        name = known.get(entry.text("property").lower())
        if name is None:
            if entry.text("property"):
                entry.get("property").report(
                    "UNKNOWN_SLA",
                    f"unknown SLA property {entry.text('property')!r}",
                    suggestion(entry.text("property"), list(KNOWN)),
                )
            continue
        before = len(entry.findings)
        value = _value(entry, name)
        types = _types(entry, elements)
        percentile, window = _more(entry, name)
        schedule = _schedule(entry)
        if value is None or types is None or len(entry.findings) > before:
            continue
        if name not in MEASURED:
            entry.get("property").report(
                "NOT_MEASURED", f"{name} is declared, and nothing measures it", severity="warning"
            )
        yield Objective(name, value, types, percentile, window, entry.text("driver"), schedule)


def _value(entry: Node, name: str) -> float | str | None:
    if name in DURATIONS:
        return _scaled(entry, name, UNITS, "ms, s, min, h, d, w, month or y")
    if name in NUMBERS:
        return _scaled(entry, name, RATES, "1/s or 1/min")
    if name in SHARES:
        return _share(entry, name)
    at = entry.get("value")
    if name in DAYS and not _is_day(at.spelling):
        at.report("BAD_SLA", f"the value of {name} must be a day", "as 2027-12-31")
        return None
    if name in TIMES and not _TIME.fullmatch(at.spelling.strip()):
        hint = "as 09:00, or 09:00-05:00 with its offset"
        at.report("BAD_SLA", f"the value of {name} must be a time of day", hint)
        return None
    return at.spelling.strip()


def _is_day(text: str) -> bool:
    for parse in (date.fromisoformat, datetime.fromisoformat):
        try:
            parse(text.strip())
        except ValueError:
            continue
        return True
    return False


def _amount(at: Node) -> float | None:
    """The number, however it is spelled; None where it is none, infinite, or not above 0."""
    try:
        amount = float(at.spelling) if not isinstance(at.data, bool | list | dict) else math.nan
    except ValueError:
        return None
    return amount if math.isfinite(amount) and amount > 0 else None


def _scaled(entry: Node, name: str, units: dict[str, float], hint: str) -> float | None:
    value, unit = entry.get("value"), entry.text("unit").strip()
    amount = _amount(value)
    if amount is None:
        value.report("BAD_SLA", f"the value of {name} must be a number above 0")
        return None
    factor = units.get(unit) or units.get(unit.lower())
    if factor is None:
        at = entry.get("unit") if unit else entry
        message = f"{name}: unknown unit {unit!r}" if unit else f"{name} has no unit"
        at.report("BAD_SLA", message, hint)
        return None
    return amount * factor


def _share(entry: Node, name: str) -> float | None:
    at = entry.get("value")
    amount = _amount(at)
    if amount is None and name == "errorRate" and at.spelling.strip() in ("0", "0.0"):
        amount = 0.0
    if amount is None or amount > 100:
        at.report("BAD_SLA", f"the value of {name} must be a percentage above 0, at most 100")
        return None
    if entry.text("unit").strip().lower() not in PERCENT:
        entry.get("unit").report(
            "BAD_SLA", f"{name}: unknown unit {entry.text('unit')!r}", "percent"
        )
        return None
    return amount


def _types(entry: Node, elements: Sequence[Element]) -> tuple[str, ...] | None:
    """The types that `element` names, with commas between; None where it names nothing that is
    there."""
    found: list[str] = []
    for word in entry.text("element").split(","):
        if not (word := word.strip()):
            continue
        name, _, prop = word.partition(".")
        one = next((e for e in elements if name in (e.type, e.table)), None)
        if one is None or (prop and prop not in one.properties):
            entry.get("element").report(
                "BAD_SLA",
                f"`element` names {word!r}, which the contract does not have",
                suggestion(name, [e.type for e in elements]),
            )
            return None
        found.append(one.type)
    return tuple(dict.fromkeys(found))


def _more(entry: Node, name: str) -> tuple[float, float]:
    """The percentile of a response time or of a freshness, and the window of a share in seconds:
    custom properties of ours."""
    known = KNOWN_PROPERTIES["service level"]
    percentile = DEFAULT_FRESH_PERCENTILE if name == "freshness" else DEFAULT_PERCENTILE
    window = DEFAULT_WINDOW
    for own in entry.items("customProperties"):
        if own.text("vendor") != VENDOR:
            continue
        at, key = own.get("value"), own.text("property")
        amount = _amount(at)
        of_share = name in ("responseTime", "freshness")
        if key not in known or (key == "percentile" and not of_share):
            own.get("property").report(
                "UNKNOWN_EXTENSION",
                f"recordgate has no custom property {key!r} on {name}",
                "percentile (of responseTime and freshness), window",
            )
        elif key == "percentile":
            if amount is None or not 0 < amount < 100:
                at.report("BAD_SLA", "`percentile` must be between 0 and 100")
            else:
                percentile = amount
        else:
            days = re.fullmatch(r"(\d{1,3})d", at.spelling.strip())
            if days is None or not 1 <= int(days[1]) <= 366:
                at.report("BAD_SLA", "`window` must be 1d to 366d", "window: 28d")
            else:
                window = int(days[1]) * 86400.0
    return percentile, window


def _schedule(entry: Node) -> str:
    schedule, scheduler = entry.text("schedule").strip(), entry.text("scheduler").strip().lower()
    if not schedule or scheduler not in ("", "cron"):
        return ""
    problem = schedule_problem(schedule)
    if problem:
        entry.get("schedule").report(
            "BAD_SCHEDULE", f"the schedule {schedule!r} {problem}", 'as "0 6 * * *", in UTC'
        )
        return ""
    return schedule
