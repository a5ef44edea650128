"""Computes how an objective stands: its share, its budget, how fast the budget is used, and until
when it lasts at that pace. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stores.canonical.service_minutes import Sums
from stores.contract.indicators import Indicator

BURN_WINDOWS = {
    "5m": 300.0, "30m": 1800.0, "1h": 3600.0, "2h": 7200.0, "6h": 21600.0, "1d": 86400.0,
    "3d": 259200.0,
}  # fmt: skip
"""Windows of the burn rates, as the SRE workbook pairs them, in seconds."""
PAIRS = (
    (14.4, "5m", "1h", "page"), (6.0, "30m", "6h", "page"), (3.0, "2h", "1d", "ticket"), (1.0,
    "6h", "3d", "ticket",
))  # fmt: skip
"""(burn rate, short window, long window, how urgent it is) of an alert."""
MIN_EVENTS = 20
"""Requests below which a share of them says nothing."""
KEPT, BROKEN, UNKNOWN = "kept", "broken", "not known"


@dataclass(frozen=True, slots=True)
class Level:
    """The standing of an objective. Amounts are seconds where slices of time are counted, else
    requests.

    `share` (percent) is None, and `state` "not known", where nothing or too little was counted.
    `allowed` and `used` are of the budget. `burn`: by window, how many times faster than the budget
    allows it is used; None where the window has too little. `lasts_until`: when the budget is spent
    at the pace of the last hour.
    """

    indicator: Indicator
    target: float
    state: str
    since: datetime | None = None
    seen: float = 0.0
    share: float | None = None
    allowed: float = 0.0
    used: float = 0.0
    burn: Mapping[str, float | None] | None = None
    lasts_until: datetime | None = None

    @property
    def remaining(self) -> float | None:
        """The share of the budget that is left, below 0 where more was used; None without one."""
        return None if self.allowed <= 0 else 1 - self.used / self.allowed


def level_of(indicator: Indicator, sums: Sequence[Sums], now: datetime) -> Level:
    """Return how an objective stands by the `sums` of its indicator over its own window and over
    each of BURN_WINDOWS."""
    objective = indicator.objective
    target = objective.target
    assert target is not None
    by_window = {s.window: s for s in sums}
    whole = by_window.get(objective.window)
    if whole is None:
        return Level(indicator, target, UNKNOWN)
    budget = 1 - target / 100
    bad, amount = _bad(indicator, whole)
    burn = {name: _burn(indicator, by_window.get(w), budget) for name, w in BURN_WINDOWS.items()}
    if amount <= 0 or (not indicator.of_time and amount < MIN_EVENTS):
        return Level(indicator, target, UNKNOWN, whole.since, whole.seconds, burn=burn)
    # Of time the whole window's budget may be used, however little of it was seen yet.
    allowed = budget * (objective.window if indicator.of_time else amount)
    state = BROKEN if bad > allowed + 1e-9 else KEPT
    share = 100 * (1 - bad / amount)
    lasts = _lasts(allowed - bad, by_window.get(3600.0), indicator, now)
    return Level(
        indicator, target, state, whole.since, whole.seconds, share, allowed, bad, burn, lasts
    )


def _bad(indicator: Indicator, sums: Sums) -> tuple[float, float]:
    """Return what was bad, and all that was seen."""
    if indicator.of_time:
        return max(0.0, sums.seconds - sums.good_seconds), sums.seconds
    return float(sums.total - sums.good), float(sums.total)


def _burn(indicator: Indicator, sums: Sums | None, budget: float) -> float | None:
    if sums is None or budget <= 0:
        return None
    bad, amount = _bad(indicator, sums)
    if amount <= 0 or (not indicator.of_time and amount < MIN_EVENTS):
        return None
    return bad / amount / budget


def _lasts(left: float, hour: Sums | None, indicator: Indicator, now: datetime) -> datetime | None:
    if hour is None or left <= 0:
        return None
    bad, _ = _bad(indicator, hour)
    if bad <= 0 or hour.seconds <= 0 or not indicator.of_time:
        return None
    seconds = left / (bad / hour.seconds)
    return now + timedelta(seconds=seconds) if seconds < 400 * 86400 else None


def levels_of(found: Sequence[Indicator], sums: Sequence[Sums], now: datetime) -> list[Level]:
    """Return how each indicator's objective stands, in the contract's order."""
    by_name: dict[str, list[Sums]] = {}
    for one in sums:
        by_name.setdefault(one.indicator, []).append(one)
    return [level_of(i, by_name.get(i.name, []), now) for i in found]


def windows_of(found: Sequence[Indicator]) -> list[float]:
    """Return the windows that `levels_of` needs the sums of, in seconds."""
    return sorted({*BURN_WINDOWS.values(), *(i.objective.window for i in found)})


def as_value(level: Level) -> dict[str, Any]:
    """Return a level as JSON has it."""
    return {
        "indicator": level.indicator.name,
        "objective": level.indicator.objective.about,
        "store": level.indicator.store,
        "target": level.target,
        "windowDays": level.indicator.objective.window / 86400,
        "state": level.state,
        "since": None if level.since is None else level.since.isoformat(),
        "seenSeconds": level.seen,
        "share": level.share,
        "unit": "seconds" if level.indicator.of_time else "requests",
        "budget": {
            "allowed": level.allowed,
            "used": level.used,
            "remainingRatio": level.remaining,
            "lastsUntil": None if level.lasts_until is None else level.lasts_until.isoformat(),
        },
        "burnRates": dict(level.burn or {}),
    }


def as_text(level: Level) -> list[str]:
    """Return a level as lines for people."""
    objective, indicator = level.indicator.objective, level.indicator
    name = objective.about + (f" in {indicator.store}" if indicator.store else "")
    if objective.name in ("responseTime", "freshness"):
        name += f" within {span(float(objective.value))}"
    promise = f"promised {level.target:g} % of {'the time' if indicator.of_time else 'requests'}"
    if level.share is None:
        why = "nothing was measured yet"
        if level.since is not None:
            why = f"fewer than {MIN_EVENTS} requests since {level.since:%Y-%m-%d %H:%M} UTC"
        return [f"{level.state}: {name}: {why}; {promise}"]
    days, seen = objective.window / 86400, level.seen / 86400
    of = f"{days:g} days" if seen >= days * 0.999 else f"{seen:.1f} of {days:g} days"
    lines = [f"{level.state}: {name}: {level.share:.3f} % ({of} seen); {promise}"]
    amount = span if indicator.of_time else _requests
    if level.allowed > 0:
        line = f"  budget: {amount(level.used)} of {amount(level.allowed)} used"
        if level.lasts_until is not None:
            until = f"{level.lasts_until:%A, %Y-%m-%d %H:%M} UTC"
            line += f"; at the last hour's pace it is spent on {until}"
        lines.append(line)
    return lines


def span(seconds: float) -> str:
    """Return a time in words: `200 ms`, `7 min 5 s`, `2 d 3 h`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g} ms"
    parts: list[str] = []
    left = seconds
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{int(count)} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _requests(count: float) -> str:
    return f"{count:,.0f} requests"
