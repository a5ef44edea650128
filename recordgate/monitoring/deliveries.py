"""Judges deliveries: whether a type's data has come when it was promised or usually comes, and as
much of it as usually comes on such a day. Pure.

A day is compared with the days of the same weekday: the season brings the sensitivity. The middle
is the median and the width the median of distances from it, so that no single odd day moves them;
days that were odd are not learned from. docs/decisions/deliveries.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any, TypeAlias

from stores.canonical.deliveries import Day
from stores.contract.model import Contract
from stores.contract.promises import Objective

SENSITIVITY = 5.0
"""Widths from the middle from which on a volume is odd."""
LEAST_WIDTH = 0.02
"""The least width, as a share of the middle: smaller changes are ordinary."""
NORMAL = 1.4826
"""The standard deviation of normal values for a median distance of 1."""
LEARNED = 8
"""Days of the same weekday that are compared with."""
LEAST_SAME = 4
"""Fewer of the same weekday than this, and its volume is not judged."""
LEVEL_AFTER = 7
"""More odd days than this, one after the other, are a new level."""
LEAST_DAYS = 8
"""Fewer days than this, and the usual time is not known."""
TOLERANCE = timedelta(minutes=30)
"""The least time after the usual one from which on a delivery is late."""

LEARNING, NOT_DUE, DUE, LATE, MISSING = "learning", "not due", "due", "late", "missing"
ARRIVED, SHORT, LONG, EARLY = "arrived", "short", "long", "early"
STATES = (LEARNING, NOT_DUE, DUE, LATE, MISSING, ARRIVED, SHORT, LONG, EARLY)
WRONG = (LATE, MISSING, SHORT, LONG)
"""States that somebody should look at."""


@dataclass(frozen=True, slots=True)
class Band:
    """The ordinary values of a day: their middle, and their bounds."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The standing of the deliveries of a type. `due`: when the next is expected, by `by`:
    "promised time", "promised frequency" or "habit". `latest_safe`: a delivery that comes later
    than this breaks the promise, since importing and publishing take their time. `band` is of the
    rows of a day such as `day`; `rows` came on it."""

    type: str
    state: str
    why: str
    due: datetime | None = None
    by: str = ""
    latest_safe: datetime | None = None
    day: date | None = None
    rows: int | None = None
    band: Band | None = None
    learned: int = 0


def band_of(values: Sequence[float], sensitivity: float = SENSITIVITY) -> Band:
    """Return the bounds of ordinary values by earlier ones, of which there is at least one."""
    middle = median(values)
    distance = NORMAL * median(abs(v - middle) for v in values)
    width = sensitivity * max(distance, LEAST_WIDTH * middle, math.sqrt(max(middle, 0.0)))
    return Band(middle, max(0.0, middle - width), middle + width)


def compared_with(history: Sequence[Day], day: date) -> list[Day]:
    """Return the days that `day` is compared with: the last ordinary ones of its weekday; none
    where there are fewer than LEAST_SAME. `history` is before it, the oldest first.

    A day is odd by the ordinary days of its weekday before it. As long as those are too few it
    counts as ordinary: else a quiet Saturday would be odd among other days, and never be learned.
    """
    by_weekday: dict[int, list[Day]] = {}
    odd_in_a_row = 0
    for one in history:
        ordinary = by_weekday.setdefault(one.day.weekday(), [])
        basis = ordinary[-LEARNED:]
        if len(basis) >= LEAST_SAME:
            band = band_of([d.rows for d in basis])
            if not band.low <= one.rows <= band.high:
                odd_in_a_row += 1
                if odd_in_a_row <= LEVEL_AFTER:
                    continue
                # So many odd days one after the other are another level, which is learned anew.
                by_weekday = {}
                ordinary = by_weekday.setdefault(one.day.weekday(), [])
        odd_in_a_row = 0
        ordinary.append(one)
    found = by_weekday.get(day.weekday(), [])[-LEARNED:]
    return found if len(found) >= LEAST_SAME else []


def judge_volume(history: Sequence[Day], day: Day) -> tuple[str, Band | None]:
    """Return "arrived", "short", "long" or "learning" for a day by those before it, and what it was
    compared with."""
    basis = compared_with(history, day.day)
    if not basis:
        return LEARNING, None
    band = band_of([d.rows for d in basis])
    if day.rows < band.low:
        return SHORT, band
    return (LONG if day.rows > band.high else ARRIVED), band


def usual_time(history: Sequence[Day], day: date) -> tuple[datetime, timedelta] | None:
    """Return when a delivery of such a day is usually there, in UTC, and how much later it may be;
    None where too little is known, or such a day usually has none."""
    if len(history) < LEAST_DAYS:
        return None
    begin = day - timedelta(weeks=LEARNED)
    weekdays = [d for d in history if d.day.weekday() == day.weekday() and d.day >= begin]
    possible = min(LEARNED, (day - history[0].day).days // 7)
    if possible and len(weekdays) * 2 < possible:
        return None
    basis = (weekdays if len(weekdays) >= LEAST_SAME else list(history))[-LEARNED:]
    seconds = [(d.last - _midnight(d.day)).total_seconds() for d in basis]
    middle = median(seconds)
    distance = NORMAL * median(abs(s - middle) for s in seconds)
    allowed = max(TOLERANCE, timedelta(seconds=SENSITIVITY * distance))
    return _midnight(day) + timedelta(seconds=middle), allowed


def standing_of(
    contract: Contract, type_name: str, days: Sequence[Day], now: datetime
) -> Standing | None:
    """Return how the deliveries of a type stand at `now`; None where none was ever made and none
    was promised. `days` are those up to now, the oldest first."""
    promise = _promise(contract, type_name)
    if not days and promise is None:
        return None
    today = now.astimezone(UTC).date()
    before = [d for d in days if d.day < today]
    current = next((d for d in days if d.day == today), None)
    due, by, allowed = _due(promise, days, before, today)
    latest = None
    if promise is not None and due is not None:
        latest = due - timedelta(seconds=_percentile95([d.seconds for d in days]))
        latest -= timedelta(seconds=contract.sla.get("latency", 0.0))

    def found(state: str, why: str, day: Day | None = None, band: Band | None = None) -> Standing:
        return Standing(
            type_name, state, why, due, by, latest, day.day if day else None,
            day.rows if day else None, band, len(days),
        )  # fmt: skip

    if current is not None and (promise is None or promise.name != "frequency"):
        return found(*_of_today(before, current, due, now))
    missed = _missed(promise, before, today)
    if due is not None and now > due + allowed:
        return found(LATE, f"nothing has come since {_when(days)}; it was {_expected(by, due)}")
    if missed is not None and due is not None:
        return found(MISSING, f"nothing came on {missed:%A, %Y-%m-%d}, and nothing since")
    if due is None:
        return found(*_not_due(promise, days, before, today))
    if latest is not None and now > latest:
        return found(DUE, f"what comes now is not there when it was promised: {due:%H:%M} UTC")
    return found(DUE if now >= due else NOT_DUE, f"it is {_expected(by, due)}")


Verdict: TypeAlias = "tuple[str, str, Day | None, Band | None]"
"""A state, why, the day that it is about, and what that was compared with."""


def _of_today(before: Sequence[Day], current: Day, due: datetime | None, now: datetime) -> Verdict:
    """Judge a day on which something has come."""
    state, band = judge_volume(before, current)
    if state == SHORT and due is not None and now < due + TOLERANCE:
        # More of it may be on the way.
        state = ARRIVED
    if state in (SHORT, LONG):
        return state, _volume(state, current, band), current, band
    if due is not None and current.last < due - timedelta(hours=1) - TOLERANCE:
        return EARLY, f"it came at {current.last:%H:%M} UTC", current, band
    came = f"{current.rows:,} records, the last at {current.last:%H:%M} UTC"
    if state == LEARNING:
        came += f"; how many are usual on a {current.day:%A} is not known yet"
    return state, came, current, band


def _not_due(
    promise: Objective | None, days: Sequence[Day], before: Sequence[Day], today: date
) -> Verdict:
    """Judge the last day, where nothing is expected today."""
    if promise is None and len(days) < LEAST_DAYS:
        text = f"{len(days)} of {LEAST_DAYS} days with a delivery were seen"
        return LEARNING, text, None, None
    if not before:
        return NOT_DUE, "nothing has come yet", None, None
    state, band = judge_volume(before[:-1], before[-1])
    if state in (SHORT, LONG):
        return state, _volume(state, before[-1], band), before[-1], band
    return NOT_DUE, f"none is usual on a {today:%A}", before[-1], band


def _due(
    promise: Objective | None, days: Sequence[Day], before: Sequence[Day], today: date
) -> tuple[datetime | None, str, timedelta]:
    """Return when today's, or the next, delivery is due, why, and how much later it may be."""
    if promise is not None and promise.name == "frequency":
        if not days:
            return None, "", TOLERANCE
        return (
            days[-1].last + timedelta(seconds=float(promise.value)),
            "promised frequency",
            timedelta(),
        )
    if promise is not None:
        return _at(str(promise.value), today), "promised time", timedelta()
    usual = usual_time(before, today)
    if usual is None:
        return None, "", TOLERANCE
    return usual[0], "habit", usual[1]


def _missed(promise: Objective | None, before: Sequence[Day], today: date) -> date | None:
    """Return yesterday where something was expected then and nothing came."""
    yesterday = today - timedelta(days=1)
    if not before or before[-1].day >= yesterday:
        return None
    expected = promise is not None or usual_time(before, yesterday) is not None
    return yesterday if expected else None


def _promise(contract: Contract, type_name: str) -> Objective | None:
    """Return the contract's promise of when data comes: a time of the day before a frequency."""
    found = [
        o
        for name in ("timeOfAvailability", "frequency")
        for o in contract.objectives
        if o.name == name and (not o.types or type_name in o.types)
    ]
    return found[0] if found else None


def _at(text: str, day: date) -> datetime:
    """Return the time of day `text` ("09:00", "09:00-05:00") on a day, in UTC."""
    zoned = text.replace("Z", "+00:00")
    at = time.fromisoformat(zoned)
    return datetime.combine(day, at, at.tzinfo or UTC).astimezone(UTC)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _percentile95(values: Sequence[float]) -> float:
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(0.95 * len(ordered)) - 1)]


def _when(days: Sequence[Day]) -> str:
    return f"{days[-1].last:%Y-%m-%d %H:%M} UTC" if days else "the contract was applied"


def _expected(by: str, due: datetime) -> str:
    how = {"habit": "usually there by", "promised time": "promised by"}.get(by, "promised for")
    return (
        f"{how} {due:%H:%M} UTC"
        if by != "promised frequency"
        else f"{how} {due:%Y-%m-%d %H:%M} UTC"
    )


def _volume(state: str, day: Day, band: Band | None) -> str:
    assert band is not None
    less = "fewer" if state == SHORT else "more"
    return (
        f"{day.rows:,} records on {day.day:%A, %Y-%m-%d}, {less} than usual:"
        f" {band.low:,.0f} to {band.high:,.0f}"
    )


def as_value(standing: Standing) -> dict[str, Any]:
    """Return a standing as JSON has it."""
    band = standing.band
    return {
        "type": standing.type,
        "state": standing.state,
        "why": standing.why,
        "due": None if standing.due is None else standing.due.isoformat(),
        "dueBy": standing.by or None,
        "latestSafeArrival": None
        if standing.latest_safe is None
        else standing.latest_safe.isoformat(),
        "day": None if standing.day is None else standing.day.isoformat(),
        "rows": standing.rows,
        "expectedRows": None
        if band is None
        else {"middle": band.middle, "low": band.low, "high": band.high},
        "daysSeen": standing.learned,
    }
