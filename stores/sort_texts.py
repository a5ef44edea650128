"""Dates and moments as texts whose bytes sort as the values do, also before Christ and after 9999,
and decimals of a fixed scale as integers: the form in which stores without such types compare
them. Pure.

Documents have days and moments as Postgres prints them: `2024-06-01`, `0044-03-15 BC`,
`12024-01-01`, `-infinity`. Those from year 1 to 9999 sort as they are; the others get a sign before
them that sorts where they belong.
"""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from stores.contract.model import Property, Scalar
from stores.errors import InputError
from stores.exactness import is_padded, scaled
from stores.values import from_text, to_text

MOST_YEARS = 9_999_999
LEAST, BEFORE, AFTER, GREATEST = "!", '"', ":", "~"
"""Signs before -infinity, years before Christ, years after 9999, and infinity: all digits sort
between the second and the third."""
NOT_A_NUMBER, INFINITE, LEAST_INTEGER = 2**63 - 1, 2**63 - 2, -(2**63)
"""A decimal's NaN, which is greater than all, as an integer; and what no scaled value reaches."""
_DECIMAL = re.compile(r"(-?\d{1,30}(\.\d{1,30})?|NaN)\Z", re.ASCII)
TEMPORAL = frozenset({Scalar.DATE, Scalar.TIMESTAMP, Scalar.DATETIME})


def sort_text(text: str) -> str:
    """A day or moment, as a document has it, in the form that sorts."""
    if text[4:5] == "-" and not text.endswith(" BC"):
        return text
    if text == "-infinity":
        return LEAST
    if text == "infinity":
        return GREATEST
    year, dash, rest = text.partition("-")
    if text.endswith(" BC"):
        return f"{BEFORE}{MOST_YEARS - int(year):07d}{dash}{rest}"
    return f"{AFTER}{int(year):07d}{dash}{rest}"


def in_document(prop: Property, value: Any) -> Any:
    """A value, as `stores.values` coerces it, as a document has it in JSON."""
    if prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        text = to_text(prop, value).replace(" ", "T", 1)
        return text.replace("+00", "+00:00") if prop.scalar is Scalar.TIMESTAMP else text
    if isinstance(value, date | datetime | time):
        return to_text(prop, value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and is_padded(prop):
        return value.rstrip(" ")
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value


def scaled_integer(prop: Property, value: Any) -> tuple[int, bool]:
    """A decimal without its point, rounded down, and whether that is the value itself."""
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if number.is_nan():
        return NOT_A_NUMBER, True
    if number.is_infinite():
        return (INFINITE if number > 0 else LEAST_INTEGER), True
    moved = number.scaleb(scaled(prop) or 0)
    if abs(moved) > INFINITE - 1:
        return (INFINITE if moved > 0 else LEAST_INTEGER), True
    whole = int(moved.to_integral_value(rounding="ROUND_FLOOR"))
    return whole, moved == whole


# Cursors -----------------------------------------------------------------------------------------


def printed(prop: Property, value: Any) -> str | None:
    """A value of a document as Postgres prints it as text: what a cursor has."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        text = str(value).replace("T", " ", 1)
        return text.replace("+00:00", "+00") if prop.scalar is Scalar.TIMESTAMP else text
    return str(value)


def read_back(prop: Property, text: str | None) -> Any:
    """The value of a document that `printed` gives as `text`. Raises ValueError where it is none
    that Postgres prints."""
    if text is None:
        return None
    value: Any = text
    if prop.scalar in (Scalar.INT, Scalar.BIGINT):
        value = int(text) if len(text) <= 20 else None
    elif prop.scalar is Scalar.BOOLEAN:
        value = {"true": True, "false": False}.get(text)
    elif prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        value = text.replace(" ", "T", 1)
        if prop.scalar is Scalar.TIMESTAMP:
            value = value.replace("+00", "+00:00")
    elif prop.scalar is Scalar.DECIMAL and not _DECIMAL.match(text):
        value = None
    if value is None or printed(prop, value) != text or not _is_printed(prop, text):
        raise ValueError(prop.name)
    return value


def _is_printed(prop: Property, text: str) -> bool:
    """Return whether Postgres could have printed the text; of most types the text is not parsed
    again."""
    if prop.scalar is Scalar.STRING:
        return not (is_padded(prop) and text.endswith(" "))
    if prop.scalar is Scalar.DECIMAL:
        return text == "NaN" or len(text.partition(".")[2]) == (scaled(prop) or 0)
    try:
        return to_text(prop, from_text(prop, text)) == text
    except InputError:
        return False
