"""The *twin* of a property's value: what a search index compares, sorts and counts in its place."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from stores.contract.model import Property, Scalar
from stores.far_days import DAY, EPOCH_DAY, days_from_civil

TWIN_BYTES = 960
"""A text twin longer than this is its first bytes and a hash: equality stays exact, an order beyond
this length does not."""
EXACT_DIGITS = 15
"""A decimal of so many digits has a double of its own, in the same order (DBL_DIG)."""


class BadValue(Exception):
    """A property of the document is not of the contract's type; the message names it, not its
    value."""


class Kind(StrEnum):
    """The type of a twin."""

    TEXT = "text"
    INT = "int"
    """Integers; dates as days, times as microseconds, since 1970."""
    FLOAT = "float"
    BOOL = "bool"


_KINDS = {
    Scalar.STRING: Kind.TEXT,
    Scalar.UUID: Kind.TEXT,
    Scalar.INT: Kind.INT,
    Scalar.BIGINT: Kind.INT,
    Scalar.FLOAT: Kind.FLOAT,
    Scalar.BOOLEAN: Kind.BOOL,
    Scalar.DATE: Kind.INT,
    Scalar.TIMESTAMP: Kind.INT,
    Scalar.DATETIME: Kind.INT,
    Scalar.TIME: Kind.INT,
}


NOT_A_NUMBER = sys.float_info.max
"""The twin of a decimal's NaN, which Postgres has beyond all numbers; no decimal of EXACT_DIGITS
comes near it."""


def decimal_scale(prop: Property) -> int | None:
    """Return the decimal places of a numeric that a double holds exactly, else None."""
    match = re.search(r"numeric\((\d+)(?:,(\d+))?\)", prop.sql_type)
    if match is None or int(match[1]) > EXACT_DIGITS:
        return None
    return int(match[2] or 0)


def kind_of(prop: Property) -> Kind | None:
    """Return the type of the property's twin, or None if it has none."""
    if prop.scalar is Scalar.DECIMAL:
        return None if decimal_scale(prop) is None else Kind.FLOAT
    return _KINDS.get(prop.scalar)


INFINITE = 2**62
FARTHEST = INFINITE - 1
"""The last moment with a twin of its own. A time stamp beyond the year 148,000 has the twin of
this microsecond."""
_ISO = re.compile(
    r"(\d{4,})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00(?::?00)?|Z)?)?( BC)?"
)


def _moment(text: str) -> tuple[int, int]:
    """(days, microseconds of the day) of an ISO date or time stamp as Postgres prints it."""
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    days = days_from_civil(1 - year if match[8] else year, month, day)
    hours, minutes, seconds = int(match[4] or 0), int(match[5] or 0), int(match[6] or 0)
    micros = int((match[7] or "0").ljust(6, "0"))
    return days, ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros


def date_number(text: str) -> int:
    """Days since 1970 of "YYYY-MM-DD"."""
    if text.endswith("infinity"):
        return -INFINITE if text.startswith("-") else INFINITE
    try:
        return date.fromisoformat(text).toordinal() - EPOCH_DAY
    except ValueError:
        return _moment(text)[0]


def timestamp_number(text: str) -> int:
    """Microseconds since 1970 of an ISO time stamp in UTC or without a zone."""
    if text.endswith("infinity"):
        return -INFINITE if text.startswith("-") else INFINITE
    days, micros = _moment(text)
    return min(days * DAY + micros, FARTHEST)


def time_number(text: str) -> int:
    """Microseconds since midnight of "HH:MM:SS[.ffffff]"; "24:00:00" is a time to Postgres."""
    hours, minutes, seconds = text.split(":")
    whole, _, fraction = seconds.partition(".")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(whole)) * 1_000_000 + int(
        fraction.ljust(6, "0") or 0
    )


def text_twin(text: str) -> str:
    """The twin of a text."""
    if len(text) <= TWIN_BYTES // 4:
        return text
    raw = text.encode()
    if len(raw) <= TWIN_BYTES:
        return text
    return raw[:TWIN_BYTES].decode(errors="ignore") + hashlib.sha256(raw).hexdigest()


def _typed(kind: type | tuple[type, ...]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError
        return value

    return check


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value) + 0.0  # minus zero equals zero


def _integer(value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise TypeError
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value if len(value) <= TWIN_BYTES // 4 else text_twin(value)


def _decimal(value: Any) -> float:
    number = Decimal(value)
    return NOT_A_NUMBER if number.is_nan() else float(number) + 0.0


def elements(value: Any) -> list[Any]:
    """Return the elements by which a Postgres array is found: all but its nulls, whatever its
    dimensions. Raises TypeError where the value is no list."""
    if not isinstance(value, list):
        raise TypeError
    if any(isinstance(v, list) for v in value):
        return [x for v in value for x in (elements(v) if isinstance(v, list) else elements([v]))]
    return [v for v in value if v is not None]


def twin_converter(prop: Property) -> Callable[[Any], Any]:
    """Return the function from a non-null JSON value (an element's for arrays) to its twin. The
    function raises TypeError or ValueError if the value is not of the property's type."""
    match prop.scalar:
        case Scalar.INT | Scalar.BIGINT:
            return _integer
        case Scalar.FLOAT:
            return _float
        case Scalar.DECIMAL:
            return _decimal
        case Scalar.BOOLEAN:
            return _typed(bool)
        case Scalar.DATE:
            return date_number
        case Scalar.TIMESTAMP | Scalar.DATETIME:
            return timestamp_number
        case Scalar.TIME:
            return time_number
        case _:
            return _text


def operand(prop: Property, value: Any) -> Any:
    """The twin of a filter's operand (a Python value, see stores.query). Raises ValueError where
    the twin cannot tell it from a neighbour."""
    if prop.scalar is Scalar.DECIMAL:
        number = Decimal(str(value))
        if number.is_nan():
            return NOT_A_NUMBER
        if not number.is_finite() or len(number.normalize().as_tuple().digits) > EXACT_DIGITS:
            raise ValueError("the number has more digits than the store compares")
        return float(number) + 0.0
    if isinstance(value, datetime):
        offset = value.utcoffset()
        if offset is not None:
            value = value.replace(tzinfo=None) - offset
        if prop.scalar is Scalar.DATE:
            raise ValueError("a time where a date is compared")
        return timestamp_number(value.isoformat())
    if isinstance(value, date):
        return date_number(value.isoformat())
    if isinstance(value, time):
        return time_number(value.isoformat())
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if kind_of(prop) is Kind.INT and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        found = twin_converter(prop)(value)
    except (TypeError, ValueError, ArithmeticError):
        raise ValueError("the value is not of the property's type") from None
    if found == FARTHEST and prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        raise ValueError("the moment is beyond those that the store tells apart")
    return found
