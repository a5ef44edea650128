"""A property's value as SQL whose JSON is what the caller gets, in the form that the viewer may see."""

from __future__ import annotations

from psycopg import sql

from gateway.masks import KeyBinder, masked_sql
from gateway.visibility import Form
from stores.canonical.json_form import json_value
from stores.contract.model import Property, Scalar

SAFE = 2**53 - 1


def value_as_json(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder
) -> sql.Composable:
    """`key` binds what hashes are made with. A mask that the type cannot show is null."""
    if form is Form.PLAIN:
        value = json_value(prop, column)
        if prop.scalar is Scalar.BIGINT and not prop.array:
            # Beyond 2^53 a JSON number would not survive many a reader.
            return sql.SQL(
                "CASE WHEN {0} BETWEEN {1} AND {2} THEN to_json({0}) ELSE to_json({0}::text) END"
            ).format(value, sql.Literal(-SAFE), sql.Literal(SAFE))
        return value
    return masked_sql(prop, column, form, key) or sql.SQL("NULL::text")
