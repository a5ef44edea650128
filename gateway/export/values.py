"""A property's value in an export as SQL text: as JSON for NDJSON, as plain text for CSV. COPY
prints most values as they are to be, which is several times cheaper than to make JSON of each and
take it apart again."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from gateway.compiler.masks import KeyBinder
from gateway.compiler.values import value_as_json
from gateway.shape.visibility import Form
from stores.canonical.json_form import is_exact_in_json, json_value
from stores.contract.model import Property, Scalar

_BARE = (Scalar.INT, Scalar.BOOLEAN)
"""Scalars whose text is their JSON."""
_QUOTED = (Scalar.UUID, Scalar.DECIMAL, Scalar.BYTES, Scalar.DATE)
"""Scalars whose text needs quotes to be JSON, and no escape."""
_TEXT = (Scalar.STRING, Scalar.FLOAT, *_BARE, Scalar.BIGINT, *_QUOTED)
"""Scalars whose text is what their JSON says."""


def json_member(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder
) -> sql.Composable:
    """JSON as text, never NULL."""
    if form is Form.PLAIN and not prop.array:
        if prop.scalar in _BARE:
            return sql.SQL("coalesce({}::text, 'null')").format(column)
        if prop.scalar is Scalar.BIGINT:
            return sql.SQL(
                "CASE WHEN {exact} THEN {value}::text"
                " ELSE coalesce('\"' || {value}::text || '\"', 'null') END"
            ).format(value=column, exact=is_exact_in_json(column))
        if prop.scalar in _QUOTED:
            return sql.SQL("coalesce('\"' || {}::text || '\"', 'null')").format(
                json_value(prop, column)
            )
    return sql.SQL("coalesce(to_json({})::text, 'null')").format(
        value_as_json(prop, column, form, key)
    )


def json_line(members: Sequence[tuple[str, sql.Composable]]) -> sql.Composable:
    """A JSON object of members by name. Names are GraphQL's: nothing to escape."""
    parts: list[sql.Composable] = []
    for index, (name, value) in enumerate(members):
        parts += [sql.Literal(f'{"," if index else "{"}"{name}":'), value]
    # A function takes a hundred arguments at most.
    groups = [parts[i : i + 90] for i in range(0, len(parts), 90)]
    texts = [sql.SQL("concat({})").format(sql.SQL(", ").join(g)) for g in groups]
    return sql.SQL("({} || '}}')").format(sql.SQL(" || ").join(texts))


_HARMLESS = (
    *_BARE, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL, Scalar.UUID, Scalar.DATE, Scalar.TIMESTAMP,
    Scalar.DATETIME, Scalar.TIME,
)  # fmt: skip
"""Scalars whose text is never a formula; that a number may begin with "-" is right."""
_FORMULA = "^[=+@\t\r\n＝＋－＠-]"
"""Matches the beginning of a cell that a spreadsheet runs
(https://owasp.org/www-community/attacks/CSV_Injection)."""


def csv_value(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder, *, spreadsheet: bool = False
) -> sql.Composable:
    """The value as COPY is to print it; NULL for none. `spreadsheet`: an apostrophe stands before
    what would be run as a formula."""
    value = _csv_value(prop, column, form, key)
    if not spreadsheet or (prop.scalar in _HARMLESS and form is Form.PLAIN):
        return value
    return sql.SQL("CASE WHEN {0}::text ~ {1} THEN {2} || {0}::text ELSE {0}::text END").format(
        value, sql.Literal(_FORMULA), sql.Literal("'")
    )


def _csv_value(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder
) -> sql.Composable:
    value = value_as_json(prop, column, form, key)
    if form is not Form.PLAIN:
        return value
    if prop.array:
        return sql.SQL("to_json({})::text").format(value)
    if prop.scalar is Scalar.BOOLEAN:
        return sql.SQL("{}::text").format(column)
    if prop.scalar in _TEXT:
        return json_value(prop, column)
    if prop.scalar is Scalar.JSON:
        # JSON as it is: without its quotes, a text could not be told from a number.
        return sql.SQL("{}::text").format(column)
    return sql.SQL("(to_json({}) #>> '{{}}')").format(value)
