"""Turns a value of a Debezium message into the text that Postgres' `::text` gives in our pinned
sessions.

Debezium writes a type in one of several ways, chosen by the connector's modes; its documentation
calls them "Data type mappings" of the Postgres connector. What a mode has lost cannot be brought
back: such a combination is refused by `unsupported`.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeAlias

Text: TypeAlias = Callable[[Any], str]

DECIMAL = ("string", "precise", "double")
TIME = (
    "microseconds",
    "nanoseconds",
    "adaptive",
    "adaptive_time_microseconds",
    "connect",
    "isostring",
)
BINARY = ("hex", "bytes", "base64", "base64-url-safe")
"""The modes of the connector; the first of each is what our own configuration sets."""


@dataclass(frozen=True, slots=True)
class Modes:
    decimal: str = "string"
    time: str = "microseconds"
    binary: str = "hex"


@dataclass(frozen=True, slots=True)
class ColumnType:
    """`oid`: of the type, or of the one that a domain is made of. `modifier`: its typmod, -1 for
    none."""

    oid: int
    modifier: int = -1
    category: str = ""


BOOL, BYTEA, INET, BPCHAR, NUMERIC = 16, 17, 869, 1042, 1700
FLOAT4, FLOAT8, MONEY = 700, 701, 790
DATE, TIME_OF_DAY, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ = 1082, 1083, 1114, 1184, 1186, 1266
BIT, VARBIT = 1560, 1562
INTEGERS = frozenset((20, 21, 23, 26))

PLACEHOLDER = "__debezium_unavailable_value"
UNAVAILABLE = frozenset(
    (
        PLACEHOLDER,
        PLACEHOLDER.encode().hex(),
        base64.b64encode(PLACEHOLDER.encode()).decode(),
        base64.urlsafe_b64encode(PLACEHOLDER.encode()).decode(),
    )
)
"""Stands for a TOASTed value that did not change, and that the connector was not told."""

MIN_DAY, MAX_DAY = -2440588, 2145031948
"""Postgres' dates in days since 1970, 4713 BC to 5874897 AD: the connector tells infinity by a
number beyond them."""
INFINITE = 1 << 62
"""Time stamps beyond it, in any unit, stand for infinity."""


def unsupported(kind: ColumnType, modes: Modes) -> str:
    """Return why values of the type cannot be told exactly, or an empty text."""
    if kind.category == "A":
        return "an array"
    if kind.oid in (BIT, VARBIT):
        return "a bit string"
    if kind.oid == TIMETZ:
        return "a time with time zone, which the connector moves to UTC"
    if kind.oid == MONEY:
        return "money"
    if kind.oid == NUMERIC and modes.decimal != "string" and kind.modifier < 0:
        return (
            "a numeric without scale, whose digits only decimal.handling.mode = string keeps"
            " exactly"
        )
    if kind.oid == TIME_OF_DAY and modes.time == "isostring":
        return "a time, whose 24:00 time.precision.mode = isostring writes as 00:00"
    if kind.oid == TIMESTAMP and modes.time == "nanoseconds":
        return "a timestamp, which time.precision.mode = nanoseconds loses beyond the year 2262"
    if kind.oid == TIMESTAMP and modes.time == "connect" and not 0 <= kind.modifier <= 3:
        return "a timestamp of microseconds, which time.precision.mode = connect cuts"
    if kind.oid == TIME_OF_DAY and modes.time == "connect" and not 0 <= kind.modifier <= 3:
        return "a time of microseconds, which time.precision.mode = connect cuts"
    return ""


def text_of(kind: ColumnType, modes: Modes) -> Text:
    """The function for a column. It raises ValueError for a value that is not of the type."""
    oid = kind.oid
    if oid == BOOL:
        return boolean
    if oid in (FLOAT4, FLOAT8):
        return float4 if oid == FLOAT4 else float8
    if oid == NUMERIC:
        return _numeric(kind.modifier, modes.decimal)
    if oid == BYTEA:
        return _binary(modes.binary)
    if oid == DATE:
        return date
    if oid == TIME_OF_DAY:
        return _time_of_day(_per_second(kind, modes))
    if oid == TIMESTAMP:
        return _timestamp(_per_second(kind, modes))
    if oid == TIMESTAMPTZ:
        return zoned
    if oid == INTERVAL:
        return interval
    if oid == BPCHAR:
        return padded
    if oid == INET:
        return inet
    return plain


def plain(value: Any) -> str:
    """Text, numbers without fraction, and what is written as Postgres prints it."""
    if value.__class__ is str:
        return value
    if value.__class__ is int:
        return str(value)
    if value.__class__ is bool:
        return boolean(value)
    raise ValueError(f"a value of kind {type(value).__name__}")


def boolean(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise ValueError("not a boolean")


def padded(value: Any) -> str:
    return plain(value).rstrip(" ")


def inet(value: Any) -> str:
    text = plain(value)
    return text if "/" in text else text + ("/128" if ":" in text else "/32")


# Numbers ------------------------------------------------------------------------------------------

_SPECIAL = {
    "NAN": "NaN",
    "NaN": "NaN",
    "POSITIVE_INFINITY": "Infinity",
    "NEGATIVE_INFINITY": "-Infinity",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
}


def float8(value: Any) -> str:
    return _floating(value, _shortest_float8, 15)


def float4(value: Any) -> str:
    return _floating(value, _shortest_float4, 6)


def _floating(value: Any, digits: Callable[[float], str], precision: int) -> str:
    """Print a float as Postgres does (float8out with extra_float_digits > 0): with an exponent of
    at least two digits below 1e-4 and from 1e`precision` on."""
    if isinstance(value, str):
        return _SPECIAL[value] if value in _SPECIAL else _floating(float(value), digits, precision)
    number = float(value)
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    sign, figures, exponent = Decimal(digits(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, figures))
    power = len(text) + exponent - 1
    minus = "-" if sign else ""
    if text == "0":
        return f"{minus}0"
    if power < -4 or power >= precision:
        mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
        return f"{minus}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02}"
    if power < 0:
        return f"{minus}0.{'0' * (-power - 1)}{text}"
    whole = text[: power + 1].ljust(power + 1, "0")
    rest = text[power + 1 :]
    return f"{minus}{whole}.{rest}" if rest else minus + whole


def _shortest_float8(value: float) -> str:
    """Return the shortest text of a double. Unlike Python, Postgres does not use a number that
    lies just between two doubles (1e23)."""
    text = repr(value)
    for neighbour in (math.nextafter(value, math.inf), math.nextafter(value, -math.inf)):
        if math.isfinite(neighbour) and (
            Fraction(text) * 2 == Fraction(value) + Fraction(neighbour)
        ):
            return min(
                (f"{value:.{p}e}" for p in (15, 16) if float(f"{value:.{p}e}") == value), key=len
            )
    return text


def _shortest_float4(value: float) -> str:
    (exact,) = struct.unpack("f", struct.pack("f", value))
    for precision in range(1, 10):
        text = f"{exact:.{precision}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == exact:
            return text
    return repr(exact)


def _numeric(modifier: int, mode: str) -> Text:
    # The scale has eleven bits, two's complement, since Postgres 15 (numeric.c).
    scale = None if modifier < 0 else (((modifier - 4) & 0x7FF) ^ 1024) - 1024

    def number(value: Any) -> str:
        if isinstance(value, dict):
            return _fixed(_unscaled(value["value"], int(value["scale"])))
        if isinstance(value, str):
            if value in _SPECIAL:
                return _SPECIAL[value]
            if mode == "precise":
                return _fixed(_unscaled(value, max(scale or 0, 0)))
            return _fixed(_decimal(value))
        exact = _decimal(repr(value))
        if scale is not None and scale >= 0:
            exact = exact.quantize(Decimal(1).scaleb(-scale))
        return _fixed(exact)

    return number


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError("not a decimal number") from None


def _unscaled(text: str, scale: int) -> Decimal:
    raw = _base64(text)
    number = int.from_bytes(raw, "big", signed=True)
    digits = tuple(map(int, str(abs(number))))
    return Decimal((int(number < 0), digits, -scale))


def _fixed(number: Decimal) -> str:
    if not number:  # Postgres has no negative zero
        number = abs(number)
    return f"{number:f}"


# Bytes --------------------------------------------------------------------------------------------


def _binary(mode: str) -> Text:
    def hexadecimal(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("not bytes")
        if mode == "hex":
            return "\\x" + bytes.fromhex(value).hex()
        return "\\x" + _base64(value.replace("-", "+").replace("_", "/")).hex()

    return hexadecimal


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


# Times --------------------------------------------------------------------------------------------


def _per_second(kind: ColumnType, modes: Modes) -> int:
    """Units of a time or time stamp that is a number."""
    if modes.time == "nanoseconds":
        return 1_000_000_000
    if modes.time == "connect":
        return 1000
    short = 0 <= kind.modifier <= 3
    if short and (
        modes.time == "adaptive"
        or (modes.time == "adaptive_time_microseconds" and kind.oid == TIMESTAMP)
    ):
        return 1000
    return 1_000_000


def date(value: Any) -> str:
    if isinstance(value, str):
        return _iso_date(value.removesuffix("Z"))
    value = _whole(value)
    if value > MAX_DAY:
        return "infinity"
    if value < MIN_DAY:
        return "-infinity"
    year, month, day = civil(value)
    return _dated(year, month, day, "")


def _timestamp(per_second: int) -> Text:
    def stamp(value: Any) -> str:
        if isinstance(value, str):
            return zoned(value.removesuffix("Z"), zone="")
        value = _whole(value)
        if value >= INFINITE:
            return "infinity"
        if value <= -INFINITE:
            return "-infinity"
        seconds, rest = divmod(value, per_second)
        days, second = divmod(seconds, 86400)
        return _dated(*civil(days), " " + _clock(second, rest, per_second))

    return stamp


def _time_of_day(per_second: int) -> Text:
    def time_of_day(value: Any) -> str:
        if isinstance(value, str):
            return _trimmed(value.removesuffix("Z"))
        value = _whole(value)
        seconds, rest = divmod(value, per_second)
        return _clock(seconds, rest, per_second)

    return time_of_day


def _whole(value: Any) -> int:
    if value.__class__ is not int:
        raise ValueError("not a number of days or parts of a second")
    return value


_ZONED = re.compile(
    r"([+-]?)(\d{4,})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(Z|[+-]00(?::00)?)?\Z"
)


def zoned(value: Any, zone: str = "+00") -> str:
    """A time stamp as ISO 8601 writes it, in UTC; years are astronomical: 0 is 1 BC."""
    if value in ("infinity", "-infinity"):
        return str(value)
    found = _ZONED.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not a time stamp in UTC")
    sign, year, month, day, hour, minute, second, fraction, _ = found.groups()
    clock = f" {hour}:{minute}:{second or '00'}"
    fraction = (fraction or "").rstrip("0")
    clock += f".{fraction}" if fraction else ""
    return _dated(int(sign + year), int(month), int(day), clock + zone)


_DATE = re.compile(r"([+-]?)(\d{4,})-(\d\d)-(\d\d)\Z")


def _iso_date(text: str) -> str:
    if text in ("infinity", "-infinity"):
        return text
    found = _DATE.match(text)
    if found is None:
        raise ValueError("not a date")
    sign, year, month, day = found.groups()
    if int(year) > 5_874_897:  # the connector's word for infinity
        return "-infinity" if sign == "-" else "infinity"
    return _dated(int(sign + year), int(month), int(day), "")


def _dated(year: int, month: int, day: int, rest: str) -> str:
    if year <= 0:
        return f"{1 - year:04}-{month:02}-{day:02}{rest} BC"
    return f"{year:04}-{month:02}-{day:02}{rest}"


def _clock(seconds: int, rest: int, per_second: int) -> str:
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02}:{minute:02}:{second:02}"
    if rest:
        text += "." + str(rest).rjust(len(str(per_second)) - 1, "0").rstrip("0")
    return text


def _trimmed(clock: str) -> str:
    if clock.count(":") == 1:
        clock += ":00"
    return clock.rstrip("0").rstrip(".") if "." in clock else clock


def civil(days: int) -> tuple[int, int, int]:
    """Days since 1970-01-01 to year, month, day of the proleptic Gregorian calendar, for any year
    (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days)."""
    days += 719468
    era, of_era = divmod(days, 146097)
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    part = (5 * of_year + 2) // 153
    day = of_year - (153 * part + 2) // 5 + 1
    month = part + 3 if part < 10 else part - 9
    return year_of_era + era * 400 + (month <= 2), month, day


_INTERVAL = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?"
    r"(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?\Z"
)


def interval(value: Any) -> str:
    """Print an interval as IntervalStyle = iso_8601 does, without parts that are zero."""
    found = _INTERVAL.match(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("not an interval; interval.handling.mode must be string")
    years, months, days, hours, minutes, seconds = found.groups()
    second = (seconds or "0").rstrip("0").rstrip(".") if "." in (seconds or "") else seconds or "0"
    dates = [
        f"{int(n)}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if int(n or 0)
    ]
    times = [f"{int(n)}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if int(n or 0)]
    if second not in ("0", "-0", ""):
        times.append(f"{second}S")
    if not dates and not times:
        return "PT0S"
    return "P" + "".join(dates) + ("T" + "".join(times) if times else "")
