"""The rules of a property as check expressions. Pure; a missing value breaks no rule."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from psycopg import sql

from stores.contract.model import Property, Scalar
from stores.errors import ContractError

_NUMBERS = frozenset((Scalar.INT, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL))


def check_expressions(prop: Property) -> Iterator[tuple[str, str]]:
    """(rule, SQL expression) for each rule that the type itself does not keep. The rules of an
    array's elements other than enum are kept by imports and mutations: a check cannot look into
    an array."""
    column = sql.Identifier(prop.column)
    if prop.enum:
        values = sql.SQL(", ").join(sql.Literal(v) for v in prop.enum)
        # Of a type of the application the contract may still name a value that the type has lost:
        # as text it is no error.
        own = "." in prop.sql_type
        if prop.array:
            cast = sql.SQL("text[]" if own else prop.sql_type)
            template = "{}::text[] <@ ARRAY[{}]::{}" if own else "{} <@ ARRAY[{}]::{}"
            yield "enum", _text(template, column, values, cast)
        else:
            yield "enum", _text("{}::text IN ({})" if own else "{} IN ({})", column, values)
    if prop.array or prop.scalar is Scalar.JSON:
        return
    for rule, operator, bound in (
        ("min", ">=", prop.minimum),
        ("max", "<=", prop.maximum),
        ("xmin", ">", prop.exclusive_minimum),
        ("xmax", "<", prop.exclusive_maximum),
    ):
        if bound is not None:
            yield rule, _text("{} " + operator + " {}", column, _bound(prop, bound))
    if prop.multiple_of is not None:
        step = _bound(prop, prop.multiple_of)
        yield "multiple", _text("mod({}::numeric, {}) = 0", column, step)
    length = "octet_length" if prop.scalar is Scalar.BYTES else "char_length"
    if prop.min_length is not None:
        yield "minlen", _text(length + "({}) >= {}", column, sql.Literal(prop.min_length))
    if prop.max_length is not None:
        yield "maxlen", _text(length + "({}) <= {}", column, sql.Literal(prop.max_length))
    if prop.pattern is not None:
        yield "pattern", _text("{} ~ {}", column, sql.Literal(prop.pattern))


def _bound(prop: Property, text: str) -> sql.Composable:
    if prop.scalar not in _NUMBERS:
        return sql.Literal(text)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 400:
        raise ContractError(f"{prop.name}: the bound {text[:40]!r} is not a number")
    return sql.SQL(f"{number:f}")


def _text(template: str, *parts: sql.Composable) -> str:
    return sql.SQL(template).format(*parts).as_string(None).strip()
