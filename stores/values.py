"""Values of properties: from JSON to Python and back to the text that Postgres prints.

`coerce` takes what JSON or GraphQL brings, `from_text` what a key or a file brings; both give the
Python value that psycopg binds, or InputError, which names the property and never shows the value.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import orjson

from stores import far_days
from stores.contract.model import Property, Scalar
from stores.errors import InputError

INT_RANGE = {
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
MAX_EXACT_INTEGER = 2**53 - 1
"""The largest integer that every reader of JSON keeps exact; callers get a greater one as a string.
"""
MAX_DECIMAL_TEXT = 1100
MAX_EXPONENT = 1000
MAX_JSON_DEPTH = 100
MAX_JSON_INT = 2**1024

BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
"""The texts of booleans, in any case of letters."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?\Z", re.ASCII)
_DATETIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}(:?\d{2})?)?\Z", re.ASCII
)
_INTEGER = re.compile(r"[+-]?\d{1,40}\Z", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?\Z", re.ASCII)
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""Names of a decimal's values that are not finite."""
_UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _Misfit(Exception):
    """Carries why a value does not fit the property; becomes InputError with the property's
    name."""


def coerce(prop: Property, value: Any) -> Any:
    """The Python value of a JSON value; None stays None. A day or moment that Python has not is a
    text (see far_days). Raises InputError."""
    if value is None:
        return None
    try:
        if not prop.array:
            return _COERCE[prop.scalar](prop, value)
        if not isinstance(value, list | tuple):
            raise _Misfit("must be a list")
        one = _COERCE[prop.scalar]
        return [None if item is None else one(prop, item) for item in value]
    except _Misfit as error:
        raise InputError(f"{prop.name}: {error}") from None


def exact_in_json(value: Any) -> Any:
    """Return `value`; an integer beyond MAX_EXACT_INTEGER as its text."""
    return str(value) if isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER else value


def from_text(prop: Property, text: str) -> Any:
    """The Python value of a text form: of a key, a URL, a cell. Raises InputError."""
    value: Any = text
    scalar = prop.scalar
    try:
        if prop.array:
            raise _Misfit("a list has no text form here")
        if scalar in (Scalar.INT, Scalar.BIGINT):
            if not _INTEGER.match(text):
                raise _Misfit("must be an integer")
            value = int(text)
        elif scalar is Scalar.FLOAT:
            if not _DECIMAL.match(text):
                raise _Misfit("must be a number")
            value = float(text)
        elif scalar is Scalar.BOOLEAN:
            if text.lower() not in BOOLEANS:
                raise _Misfit("must be true or false")
            value = BOOLEANS[text.lower()]
        elif scalar is Scalar.JSON:
            try:
                value = orjson.loads(text)
            except orjson.JSONDecodeError:
                raise _Misfit("must be JSON") from None
        elif scalar is Scalar.BYTES and text.startswith("\\x"):
            try:
                return bytes.fromhex(text[2:])
            except ValueError:
                raise _Misfit("must be hexadecimal") from None
    except _Misfit as error:
        raise InputError(f"{prop.name}: {error}") from None
    return coerce(prop, value)


def to_text(prop: Property, value: Any) -> str:
    """The text form of a Python value, as `value::text` prints it under stores' session settings;
    of a float, one that reads back as the same (Postgres and Python round the last digit
    otherwise)."""
    if prop.array:
        return "{" + ",".join(_element(prop, item) for item in value) + "}"
    return _text(prop, value)


def _text(prop: Property, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if prop.scalar is Scalar.JSON:
        try:
            return orjson.dumps(value).decode()
        except TypeError:  # an integer of more than 64 bits
            return json.dumps(value, separators=(",", ":"))
    if isinstance(value, str):
        if prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):  # one that Python has not
            return value.replace("T", " ").replace("+00:00", "+00")
        return value
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Decimal):
        scale = re.search(r",(\d+)\)", prop.sql_type)
        return f"{value:.{scale.group(1)}f}" if scale else f"{value:f}"
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(UTC)
            return _clock_text(value.strftime("%Y-%m-%d %H:%M:%S").zfill(19), value) + "+00"
        return _clock_text(value.strftime("%Y-%m-%d %H:%M:%S").zfill(19), value)
    if isinstance(value, time):
        return _clock_text(value.strftime("%H:%M:%S"), value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "\\x" + bytes(value).hex()
    return str(value)


def _clock_text(seconds: str, value: datetime | time) -> str:
    return f"{seconds}.{value.microsecond:06d}".rstrip("0") if value.microsecond else seconds


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value).removesuffix(".0")


def _element(prop: Property, value: Any) -> str:
    """Return an element of an array literal, quoted where Postgres quotes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    text = _text(prop, value)
    if text and text.lower() != "null" and not re.search(r'[ \t\n\r\v\f{},"\\]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _string(_: Property, value: Any) -> str:
    if not isinstance(value, str):
        raise _Misfit("must be text")
    return _clean(value)


def _clean(text: str) -> str:
    if "\x00" in text:
        raise _Misfit("has a NUL character")
    if _SURROGATE.search(text):
        raise _Misfit("has an unpaired surrogate")
    return text


def _int(prop: Property, value: Any) -> int:
    if isinstance(value, str) and prop.scalar is Scalar.BIGINT and _INTEGER.match(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Misfit("must be an integer")
    kind = prop.sql_type.removesuffix("[]")
    low, high = INT_RANGE.get(kind, INT_RANGE["integer" if prop.scalar is Scalar.INT else "bigint"])
    if not low <= value <= high:
        raise _Misfit(f"must be between {low} and {high}")
    return value


def _float(prop: Property, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misfit("must be a number")
    most = 3.4028234e38 if prop.sql_type.removesuffix("[]") == "real" else math.inf
    try:
        found = float(value)
    except OverflowError:
        raise _Misfit("is out of range") from None
    if not math.isfinite(found) or abs(found) > most:
        raise _Misfit("is out of range")
    return found


def _decimal(_: Property, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise _Misfit("must be a decimal number")
    if isinstance(value, int) and value.bit_length() > 3600:
        raise _Misfit("is out of range")
    text = repr(value) if isinstance(value, float) else str(value)
    if text in _NOT_FINITE and not isinstance(value, float):
        return Decimal(text)
    if len(text) > MAX_DECIMAL_TEXT:
        raise _Misfit("is out of range")
    if not _DECIMAL.match(text):
        raise _Misfit("must be a decimal number")
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise _Misfit("must be a decimal number") from None
    exponent = found.as_tuple().exponent
    if abs(found.adjusted()) > MAX_EXPONENT or (
        isinstance(exponent, int) and abs(exponent) > MAX_EXPONENT
    ):
        raise _Misfit("is out of range")
    return found


def _boolean(_: Property, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Misfit("must be true or false")
    return value


def _date(_: Property, value: Any) -> date | str:
    """A text for a day that Python has not (see far_days)."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise _Misfit("must be a date, YYYY-MM-DD")
    if not _DATE.match(value):
        far = far_days.far_date(value)
        if far is None:
            raise _Misfit("must be a date, YYYY-MM-DD")
        return far
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise _Misfit("is not a day of the calendar") from None


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _DATETIME.match(value):
        raise _Misfit("must be a time stamp, YYYY-MM-DDTHH:MM:SS")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise _Misfit("is not a day or time of the calendar") from None


def _timestamp(_: Property, value: Any) -> datetime | str:
    """A text for a moment that Python has not (see far_days)."""
    far = _far_moment(value, zoned=True)
    if far is not None:
        return far
    found = _moment(value)
    if found.tzinfo is None:
        raise _Misfit("must have a time zone, as in 2024-05-01T12:00:00Z")
    try:
        return found.astimezone(UTC)
    except OverflowError:  # in UTC, it is a day before the year 1 or after 9999
        far = far_days.far_moment(found.isoformat(), zoned=True)
        if far is None:
            raise _Misfit("is out of range") from None
        return far


def _far_moment(value: Any, *, zoned: bool) -> str | None:
    if not isinstance(value, str) or _DATETIME.match(value):
        return None
    return far_days.far_moment(value, zoned=zoned)


def _datetime(_: Property, value: Any) -> datetime | str:
    """A text for a moment that Python has not (see far_days)."""
    far = _far_moment(value, zoned=False)
    if far is not None:
        return far
    found = _moment(value)
    if found.tzinfo is not None:
        raise _Misfit("must have no time zone")
    return found


def _time(_: Property, value: Any) -> time | str:
    """A text for the end of the day, which Python has not."""
    if isinstance(value, time) and value.tzinfo is None:
        return value
    if not isinstance(value, str) or not _TIME.match(value):
        raise _Misfit("must be a time, HH:MM:SS")
    if value in ("24:00", far_days.END_OF_DAY):
        return far_days.END_OF_DAY
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise _Misfit("is not a time of the day") from None


def _uuid(_: Property, value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str) or not _UUID.match(value):
        raise _Misfit("must be a UUID")
    return UUID(value)


def _bytes(_: Property, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _Misfit("must be base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _Misfit("must be base64 text") from None


def _json(_: Property, value: Any) -> Any:
    """Any JSON value that jsonb takes: no NUL, no NaN, not too deep."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if depth > MAX_JSON_DEPTH:
            raise _Misfit(f"is nested deeper than {MAX_JSON_DEPTH}")
        if isinstance(item, str):
            _clean(item)
        elif isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise _Misfit("has a key that is not text")
                _clean(key)
                pending.append((inner, depth + 1))
        elif isinstance(item, list | tuple):
            pending.extend((inner, depth + 1) for inner in item)
        elif isinstance(item, float) and not math.isfinite(item):
            raise _Misfit("has a number that JSON does not allow")
        elif isinstance(item, int) and not isinstance(item, bool) and abs(item) >= MAX_JSON_INT:
            raise _Misfit("has a number that is out of range")
        elif item is not None and not isinstance(item, bool | int | float):
            raise _Misfit("must be JSON")
    return value


_COERCE = {
    Scalar.STRING: _string,
    Scalar.INT: _int,
    Scalar.BIGINT: _int,
    Scalar.FLOAT: _float,
    Scalar.DECIMAL: _decimal,
    Scalar.BOOLEAN: _boolean,
    Scalar.DATE: _date,
    Scalar.TIMESTAMP: _timestamp,
    Scalar.DATETIME: _datetime,
    Scalar.TIME: _time,
    Scalar.UUID: _uuid,
    Scalar.BYTES: _bytes,
    Scalar.JSON: _json,
}
