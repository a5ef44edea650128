"""The values that a store compares exactly as canonical does. Pure.

A list is answered by another store only where its answer is the same, byte for byte: so each
comparison and each step of an order is looked at here, by the property's type.
"""

from __future__ import annotations

import re
from enum import IntEnum

from stores.contract.model import Property, Scalar

MAX_SCALED_DIGITS = 18
"""Digits of a decimal that, without its point, is an integer of 64 bits."""

_PLAIN_TYPES = {
    Scalar.INT: ("smallint", "integer"),
    Scalar.BIGINT: ("bigint",),
    Scalar.BOOLEAN: ("boolean",),
    Scalar.DATE: ("date",),
    Scalar.TIMESTAMP: ("timestamp with time zone",),
    Scalar.DATETIME: ("timestamp without time zone",),
    Scalar.TIME: ("time without time zone",),
    Scalar.UUID: ("uuid",),
}
"""Scalar → the types that canonical compares as what they are; any other by its text."""
_NUMERIC = re.compile(r"numeric\((\d+),\s*(\d+)\)\Z")
_LENGTH = re.compile(r"\([^)]*\)")
_UNSAFE = re.compile(r"[\"\\\x00-\x1f.$]")
"""Characters of a name that the stores' paths do not hold as they are."""


class Exact(IntEnum):
    """The comparisons of a property that are exact; each member holds those before it."""

    NOTHING = 0
    MISSING = 1
    """isNull."""
    EQUAL = 2
    """eq, neq, in, notIn, and of a text contains and startsWith."""
    ORDERED = 3
    """gt and the like, and orders."""


def scaled(prop: Property) -> int | None:
    """The scale of a decimal whose every value fits 64 bits without its point; else None."""
    found = _NUMERIC.match(prop.sql_type) if prop.scalar is Scalar.DECIMAL else None
    if found is None or int(found[1]) > MAX_SCALED_DIGITS or int(found[2]) > int(found[1]):
        return None
    return int(found[2])


def is_padded(prop: Property) -> bool:
    """Return whether blanks at the end of a text say nothing: `character(n)`."""
    return prop.scalar is Scalar.STRING and _LENGTH.sub("", prop.sql_type).strip() == "character"


def exactness(prop: Property, *, bytewise: bool, plain_collation: bool) -> Exact:
    """Return how a store compares the property. `bytewise`: canonical orders text by its bytes.
    `plain_collation`: no column has an order or equality of its own, as one that was attached
    may."""
    if _UNSAFE.search(prop.name):
        return Exact.NOTHING
    if prop.scalar is Scalar.JSON:
        return Exact.NOTHING  # a `null` inside is a value to canonical
    if prop.array or prop.scalar is Scalar.FLOAT:
        return Exact.MISSING
    if prop.scalar is Scalar.STRING:
        if not plain_collation:
            return Exact.MISSING
        return Exact.ORDERED if bytewise else Exact.EQUAL
    if prop.scalar is Scalar.DECIMAL:
        return Exact.MISSING if scaled(prop) is None else Exact.ORDERED
    if prop.scalar is Scalar.BYTES:
        return Exact.EQUAL if prop.sql_type == "bytea" else Exact.MISSING
    plain = _LENGTH.sub("", prop.sql_type).strip() in _PLAIN_TYPES[prop.scalar]
    return Exact.ORDERED if plain else Exact.MISSING


def why_not_exact(prop: Property) -> str:
    """Return what to say of a property whose comparison is not exact."""
    if prop.scalar is Scalar.FLOAT:
        return f"{prop.graphql} is a float, which only canonical compares exactly"
    if prop.scalar is Scalar.STRING:
        return f"canonical orders {prop.graphql} in its own way"
    if prop.scalar is Scalar.DECIMAL:
        return f"{prop.graphql} has decimals without a fixed scale of at most 18 digits"
    return f"the store does not compare {prop.graphql} as canonical does"
