"""A property's value as SQL whose JSON is what the caller gets, in the form that the viewer may
see."""

from __future__ import annotations

from psycopg import sql

from gateway.compiler.masks import KeyBinder, masked_sql
from gateway.shape.visibility import Form
from stores.canonical.json_form import is_exact_in_json, json_value
from stores.contract.model import Property, Scalar


def value_as_json(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder
) -> sql.Composable:
    """`key` binds what hashes are made with. A mask that the type cannot show is null."""
    if form is Form.PLAIN:
        value = json_value(prop, column)
        if prop.scalar is Scalar.BIGINT and not prop.array:
            # Beyond 2^53 a JSON number would not survive many a reader.
            return sql.SQL(
                "CASE WHEN {exact} THEN to_json({value}) ELSE to_json({value}::text) END"
            ).format(value=value, exact=is_exact_in_json(value))
        return value
    return masked_sql(prop, column, form, key) or sql.SQL("NULL::text")
