"""A property's value as SQL whose JSON is what the caller gets, in the form that the viewer may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from gateway.compiler.statement import quoted
from gateway.visibility import Form
from stores.canonical.json_form import json_value
from stores.contract.model import Property, Scalar

SAFE = 2**53 - 1


def value_as_json(
    prop: Property, column: sql.Composable, form: Form, salt: Callable[[], sql.Composable]
) -> sql.Composable:
    """`salt` binds what goes before a value that is shown as its hash. A mask that the type cannot show
    is null."""
    maskable = prop.scalar is Scalar.STRING and not prop.array
    if form is Form.PLAIN:
        value = json_value(prop, column)
        if prop.scalar is Scalar.BIGINT and not prop.array:
            # Beyond 2^53 a JSON number would not survive many a reader.
            return sql.SQL(
                "CASE WHEN {0} BETWEEN {1} AND {2} THEN to_json({0}) ELSE to_json({0}::text) END"
            ).format(value, sql.Literal(-SAFE), sql.Literal(SAFE))
        return value
    if form is Form.HASH and maskable:
        return sql.SQL("encode(sha256(convert_to({} || {}::text, 'UTF8')), 'hex')").format(
            salt(), column
        )
    if form is Form.PARTIAL and maskable:
        return sql.SQL(
            "CASE WHEN length({0}::text) > 3 THEN left({0}::text, 1) || '***'"
            " WHEN {0} IS NOT NULL THEN '***' END"
        ).format(column)
    return sql.SQL("NULL::text")


def as_object(items: Sequence[tuple[str, sql.Composable]]) -> sql.Composable:
    """A scalar expression: a JSON object with these members in this order."""
    members = [sql.SQL("{} AS {}").format(value, quoted(key)) for key, value in items]
    return sql.SQL("(SELECT row_to_json(x.*) FROM (SELECT {}) x)").format(
        sql.SQL(", ").join(members)
    )
