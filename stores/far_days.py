"""Days and moments as Postgres has them: also of years that Python's `date` has not (before 1,
after 9999), and the infinite ones. Pure.

Such a value is a text in the form of JSON: `0044-03-15 BC`, `12000-01-01T12:00:00+00:00`,
`infinity`; of a time of the day only `24:00:00`. Python's own types stand for all others.
"""

from __future__ import annotations

import re
from datetime import date

DAY = 86_400_000_000
"""Microseconds."""
FIRST_DAY = -2_440_588
"""The first day of Postgres, 4714-11-24 BC, in days since 1970; that of its time stamps, too."""
LAST_DAY = 2_145_042_903
"""The last day of a date, 5874897-12-31."""
END_OF_DAY = "24:00:00"
EPOCH_DAY = date(1970, 1, 1).toordinal()

_FORM = re.compile(
    r"([0-9]{4,7})-([0-9]{2})-([0-9]{2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
    r"(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?( BC)?"
)
_INFINITE = ("infinity", "-infinity")
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar, for years beyond Python's `date`
    (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms")."""
    year -= month <= 2
    era = year // 400
    yoe = year - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


def civil_from_days(days: int) -> tuple[int, int, int]:
    """The way back: year, month and day."""
    days += 719468
    era = days // 146097
    doe = days - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + (3 if mp < 10 else -9)
    return yoe + era * 400 + (month <= 2), month, doy - (153 * mp + 2) // 5 + 1


LAST_MOMENT_DAY = days_from_civil(294276, 12, 31)
"""The last day of a time stamp."""


def day_parts(days: int) -> tuple[str, str]:
    """The day as Postgres prints it, and what stands at the end of it and of its time."""
    if 1 <= days + EPOCH_DAY <= date.max.toordinal():
        return date.fromordinal(days + EPOCH_DAY).isoformat(), ""
    year, month, day = civil_from_days(days)
    era = " BC" if year < 1 else ""
    return f"{1 - year if era else year:04}-{month:02}-{day:02}", era


def date_form(days: int) -> str:
    """A day since 1970 as JSON has it."""
    text, era = day_parts(days)
    return text + era


def clock_form(micros: int) -> str:
    """Microseconds of a day as `HH:MM:SS[.ffffff]`, as Postgres prints them."""
    seconds, fraction = divmod(micros, 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02}:{minute:02}:{second:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


def moment_form(micros: int, zone: str) -> str:
    """Microseconds since 1970 as JSON has them, with `zone` behind the time."""
    days, rest = divmod(micros, DAY)
    text, era = day_parts(days)
    return f"{text}T{clock_form(rest)}{zone}{era}"


def is_infinite(text: str) -> bool:
    return text in _INFINITE


def far_date(text: str) -> str | None:
    """Return the normal form of a day outside Python's range, or None if the text is not a day of
    Postgres."""
    if text in _INFINITE:
        return text
    found = _parsed(text)
    if found is None or found[1] is not None:
        return None
    return date_form(found[0]) if found[0] <= LAST_DAY else None


def far_moment(text: str, *, zoned: bool) -> str | None:
    """Return the normal form of a moment outside Python's range, in UTC if it has a zone. Return
    None if the text is not a moment of Postgres, or has or lacks a zone against `zoned`."""
    if text in _INFINITE:
        return text
    found = _parsed(text)
    if found is None:
        return None
    days, micros, offset = found
    if micros is None or (offset is not None) is not zoned:
        return None
    moment = days * DAY + micros - (offset or 0)
    if not FIRST_DAY * DAY <= moment < (LAST_MOMENT_DAY + 1) * DAY:
        return None
    return moment_form(moment, "+00:00" if zoned else "")


def _parsed(text: str) -> tuple[int, int | None, int | None] | None:
    """Return days, microseconds of the day and the zone's microseconds, each None if the text
    lacks it."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= _length(_astronomical(match), month):
        return None
    days = days_from_civil(_astronomical(match), month, day)
    if days < FIRST_DAY:
        return None
    if match[4] is None:
        return days, None, None
    hour, minute, second = int(match[4]), int(match[5]), int(match[6] or 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    micros = ((hour * 60 + minute) * 60 + second) * 1_000_000
    micros += int((match[7] or "0").ljust(6, "0"))
    zone = match[8]
    if zone is None:
        return days, micros, None
    digits = zone[1:].replace(":", "")
    minutes = 0 if zone == "Z" else int(digits[:2]) * 60 + int(digits[2:] or 0)
    if minutes > 15 * 60 + 59:
        return None
    return days, micros, (-minutes if zone[0] == "-" else minutes) * 60_000_000


def _astronomical(match: re.Match[str]) -> int:
    """1 BC is the year 0."""
    return 1 - int(match[1]) if match[9] else int(match[1])


def _length(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and leap else _LENGTHS[month - 1]
