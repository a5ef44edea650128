"""The text form of a record's key: one value as its text; several joined by commas.

In a composite key a backslash and a comma inside a value are escaped by a backslash, so the form is
reversible and every store, URL and log line shows the same readable key. `sql_key` makes the same
form inside Postgres.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql


def encode_key(values: Sequence[str]) -> str:
    """The key of `values`, each the text form that Postgres prints."""
    if len(values) == 1:
        return values[0]
    return ",".join(v.replace("\\", "\\\\").replace(",", "\\,") for v in values)


def decode_key(key: str, parts: int) -> tuple[str, ...] | None:
    """Return the values of a key of `parts` columns, or None if the text is not such a key."""
    if parts == 1:
        return (key,)
    values: list[str] = []
    current: list[str] = []
    escaped = False
    for char in key:
        if escaped:
            current.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            values.append("".join(current))
            current = []
        else:
            current.append(char)
    values.append("".join(current))
    return None if escaped or len(values) != parts else tuple(values)


def sql_key(columns: Sequence[sql.Composable]) -> sql.Composable:
    """An SQL expression that yields `encode_key` of `columns` (expressions, already quoted)."""
    if len(columns) == 1:
        return sql.SQL("{}::text").format(columns[0])
    escaped = [
        sql.SQL(r"replace(replace({}::text, '\', '\\'), ',', '\,')").format(c) for c in columns
    ]
    return sql.SQL("({})").format(sql.SQL(" || ',' || ").join(escaped))
