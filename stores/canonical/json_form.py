"""The one JSON form of a record's values, as SQL: documents and canonical answers print the same.

`Scalar` in stores.contract.model has the table of forms. Sessions that use these expressions pin
`SESSION_SETTINGS`, so that the forms do not vary with the server's configuration.
"""

from __future__ import annotations

from psycopg import sql

from stores.contract.model import Property, Scalar
from stores.values import MAX_EXACT_INTEGER

SESSION_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "search_path": "pg_catalog",
    "standard_conforming_strings": "on",
}
"""Names are always schema-qualified: `search_path` keeps a hostile schema from shadowing
functions."""


def json_value(prop: Property, column: sql.Composable) -> sql.Composable:
    """An expression whose `to_json` is the property's JSON form; `column` is already quoted."""
    if prop.array:
        if prop.scalar is Scalar.FLOAT:
            return finite_elements(column)
        if prop.scalar is Scalar.DECIMAL:
            return sql.SQL("{}::text[]").format(column)
        return column
    if prop.scalar is Scalar.DECIMAL:
        return sql.SQL("{}::text").format(column)
    if prop.scalar is Scalar.BYTES:
        return sql.SQL("translate(encode({}, 'base64'), E'\\n', '')").format(column)
    if prop.scalar is Scalar.FLOAT:
        return finite(column)
    if prop.scalar is Scalar.STRING and prop.sql_type not in ("text",):
        return sql.SQL("{}::text").format(column)
    return column


def finite(column: sql.Composable) -> sql.Composable:
    """A float, NULL for NaN and the infinities: JSON has no number for them, and they are missing
    in every answer, comparison and count. (A decimal is a text in JSON, and its NaN a value as
    Postgres has it.)"""
    return sql.SQL(
        "CASE WHEN {0} IN ('NaN', 'Infinity', '-Infinity') THEN NULL ELSE {0} END"
    ).format(column)


def finite_elements(column: sql.Composable) -> sql.Composable:
    """The same of an array's elements."""
    for word in ("NaN", "Infinity", "-Infinity"):
        column = sql.SQL("array_replace({}, {}, NULL)").format(column, sql.Literal(word))
    return column


def is_exact_in_json(column: sql.Composable) -> sql.Composable:
    """Return a condition: the integer `column` is one that `stores.values.exact_in_json` leaves a
    number."""
    limit = MAX_EXACT_INTEGER
    return sql.SQL("{} BETWEEN {} AND {}").format(column, sql.Literal(-limit), sql.Literal(limit))


def session_options() -> str:
    """SESSION_SETTINGS as the `options` parameter of a libpq connection."""

    def escape(value: str) -> str:
        return value.replace("\\", "\\\\").replace(" ", "\\ ")

    return " ".join(
        f"-c {name}={escape(value)}"
        for name, value in SESSION_SETTINGS.items()
        if name != "client_encoding"
    )
