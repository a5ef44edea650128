"""`slaProperties` → seconds. Names are those of the Data QoS list that ODCS refers to."""

from __future__ import annotations

import math

from stores.contract.extensions import suggestion
from stores.contract.node import Node

DURATIONS = ("freshness", "latency", "retention", "frequency", "timeToDetect", "timeToNotify", "timeToRepair")  # fmt: skip
OTHERS = (
    "availability", "throughput", "errorRate", "generalAvailability", "endOfSupport", "endOfLife",
    "timeOfAvailability", "responseTime", "completeness", "accuracy", "support",
)  # fmt: skip
"""Known to the standard, and nothing that recordgate measures in seconds."""

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


def resolve_sla(root: Node) -> dict[str, float]:
    """SLA property → seconds, of those that are durations; the strictest where one is there twice."""
    found: dict[str, float] = {}
    known = {name.lower(): name for name in (*DURATIONS, *OTHERS)}
    for entry in root.items("slaProperties"):
        name = known.get(entry.text("property").lower())
        if name is None:
            if entry.text("property"):
                entry.get("property").report(
                    "UNKNOWN_SLA",
                    f"unknown SLA property {entry.text('property')!r}",
                    suggestion(entry.text("property"), list(known.values())),
                )
            continue
        if name in OTHERS:
            continue
        seconds = _seconds(entry, name)
        if seconds is not None:
            found[name] = min(seconds, found.get(name, seconds))
    return found


def _seconds(entry: Node, name: str) -> float | None:
    value, unit = entry.get("value"), entry.text("unit").strip()
    try:
        amount = float(value.spelling) if not isinstance(value.data, bool | list | dict) else None
    except ValueError:
        amount = None
    if amount is None or not math.isfinite(amount) or amount <= 0:
        value.report("BAD_SLA", f"the value of {name} must be a number above 0")
        return None
    factor = UNITS.get(unit) or UNITS.get(unit.lower())
    if factor is None:
        at = entry.get("unit") if unit else entry
        message = f"{name}: unknown unit {unit!r}" if unit else f"{name} has no unit"
        at.report("BAD_SLA", message, "ms, s, min, h, d, w, month or y")
        return None
    return amount * factor
