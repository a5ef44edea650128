"""JSON as SQL text expressions, the very bytes that go into a response: objects are concatenated,
which is several times cheaper than `row_to_json`, and need no second look.

A value whose text here is not what ordinary execution would print (a float outside the plain range,
a missing value of a non-null field, free JSON) has MARK before it. A response with a mark in it is
read and executed in the ordinary way, without the marks; none of the JSON that Postgres prints
holds that byte, since control characters are escaped in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from psycopg import sql

from gateway.compiler.masks import KeyBinder, masked_sql
from gateway.compiler.statement import base_type
from gateway.shape.visibility import Form
from stores.canonical.json_form import is_exact_in_json, json_value
from stores.contract.model import Property, Scalar
from stores.json_numbers import loads

MARK = b"\x02"
_MARK = "E'\\x02' || "

Json: TypeAlias = "sql.Composable | str"
"""A text expression that yields JSON and is never NULL, or the JSON itself where it is constant."""

_QUOTED = (Scalar.DECIMAL, Scalar.UUID, Scalar.BYTES)
"""Scalars whose texts need no escape inside quotes."""
_EXACT_ITEMS = frozenset(
    (
        Scalar.STRING, Scalar.INT, Scalar.BOOLEAN, Scalar.DECIMAL, Scalar.UUID, Scalar.DATE,
        Scalar.TIMESTAMP, Scalar.DATETIME, Scalar.TIME,
    )
)  # fmt: skip
"""Scalars whose arrays Postgres prints as the response has them."""


def exact(raw: bytes) -> bool:
    """Return whether `raw` is what ordinary execution would print of it."""
    return MARK not in raw


def decode(raw: bytes | str) -> Any:
    """The value of what a statement gave, marked or not."""
    if isinstance(raw, str):
        return loads(raw.replace(MARK.decode(), ""))
    return loads(raw.replace(MARK, b""))


def object_text(items: Sequence[tuple[str, Json]]) -> Json:
    """A JSON object with these members in this order. Keys are GraphQL names: nothing to escape."""
    parts: list[Json] = []
    for i, (key, value) in enumerate(items):
        parts += ["," if i else "{", f'"{key}":', value]
    return joined([*parts, "}" if items else "{}"])


def joined(parts: Sequence[Json]) -> Json:
    """The texts one after another; neighbours that are constant become one."""
    found: list[Json] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    if len(found) == 1:
        return found[0]
    return sql.SQL("({})").format(sql.SQL(" || ").join([as_sql(p) for p in found]))


def as_sql(text: Json) -> sql.Composable:
    return constant(text) if isinstance(text, str) else text


@lru_cache(maxsize=4096)
def constant(text: str) -> sql.SQL:
    return sql.SQL(sql.Literal(text).as_string(None) + "::text")


def quoted_text(expression: sql.Composable) -> sql.Composable:
    """A text expression as a JSON string, escaped; NULL stays NULL."""
    return sql.SQL("to_json({})::text").format(expression)


def or_null(expression: sql.Composable) -> sql.Composable:
    return sql.SQL("coalesce({}, 'null')").format(expression)


def value_text(
    prop: Property,
    column: sql.Composable,
    form: Form,
    key: KeyBinder,
    *,
    required: bool,
) -> Json:
    """The property's value in the form that the viewer may see. `key` binds what hashes are made
    with; a mask that the type cannot show is null. `required`: the field is non-null, so that a
    missing value is an error."""
    if form is Form.PLAIN:
        missing = sql.SQL(f"{_MARK}'null'" if required else "'null'")
        return sql.SQL("coalesce({}, {})").format(_plain(prop, column), missing)
    text = masked_sql(prop, column, form, key)
    return "null" if text is None else or_null(quoted_text(text))


def _plain(prop: Property, column: sql.Composable) -> sql.Composable:
    scalar = prop.scalar
    if prop.array:
        # GraphQL's list has one dimension: the elements of more come one after another.
        mark = "" if scalar in _EXACT_ITEMS else _MARK
        return sql.SQL(
            f"({mark}CASE WHEN array_ndims({{0}}) > 1 THEN to_json(ARRAY(SELECT "
            f"unnest({{1}})))::text"
            " ELSE to_json({1})::text END)"
        ).format(column, json_value(prop, column))
    if scalar is Scalar.JSON:
        return sql.SQL(f"({_MARK}{{}}::text)").format(column)
    if scalar is Scalar.FLOAT:
        return _float(column, 6 if base_type(prop.sql_type) == "real" else 15)
    if scalar in (Scalar.INT, Scalar.BOOLEAN):
        return sql.SQL("{}::text").format(column)
    if scalar is Scalar.BIGINT:
        return sql.SQL(
            "CASE WHEN {exact} THEN {value}::text ELSE '\"' || {value}::text || '\"' END"
        ).format(value=column, exact=is_exact_in_json(column))
    if scalar in _QUOTED:
        form = json_value(prop, column)
        if scalar is Scalar.UUID:
            form = sql.SQL("{}::text").format(form)
        return sql.SQL("('\"' || {} || '\"')").format(form)
    return quoted_text(json_value(prop, column))


def _float(column: sql.Composable, digits: int) -> sql.Composable:
    """Whole numbers get the `.0` that a float has in the response, and lose the sign of a negative
    zero (a document's `-0` is read as 0); what either side prints with an exponent is marked."""
    return sql.SQL(
        "CASE WHEN {0} IN ('NaN', 'Infinity', '-Infinity') THEN NULL"
        " WHEN abs({0}) < 1e{1} THEN CASE WHEN {0} = trunc({0}) THEN ({0} + 0)::text || '.0'"
        f" WHEN abs({{0}}) >= 0.0001 THEN {{0}}::text ELSE {_MARK}{{0}}::text END"
        f" ELSE {_MARK}{{0}}::text END"
    ).format(column, sql.SQL(str(digits)))
