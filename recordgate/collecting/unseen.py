"""Finds the records of a type that a walk did not have, by one statement of Postgres."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import sql

from stores.canonical.connect import Connection
from stores.contract.model import RecordType

_TYPES = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attname = ANY(%s)
"""


def unseen(connection: Connection, record: RecordType, keys: Iterable[list[Any]]) -> bytes:
    """The keys of the records that are none of `keys` (texts in the key's order), as lines of JSON.
    A text that is no value of the key's type is no record's key."""
    table = sql.Identifier(record.schema, record.table)
    types: dict[str, str] = dict(
        connection.execute(_TYPES, (table.as_string(connection), list(record.key))).fetchall()
    )
    texts = sql.SQL(", ").join(
        sql.SQL("{} text").format(sql.Identifier(f"k{i}")) for i in range(len(record.key))
    )
    typed = sql.SQL(", ").join(
        sql.SQL("CASE WHEN pg_input_is_valid({0}, {1}) THEN {0}::{2} END AS {0}").format(
            sql.Identifier(f"k{i}"), sql.Literal(types[column]), _type(types[column])
        )
        for i, column in enumerate(record.key)
    )
    same = sql.SQL(" AND ").join(
        sql.SQL("s.{} = t.{}").format(sql.Identifier(f"k{i}"), sql.Identifier(column))
        for i, column in enumerate(record.key)
    )
    shown = sql.SQL(", ").join(
        sql.SQL("{}, t.{}").format(sql.Literal(record.by_column[c].name), sql.Identifier(c))
        for c in record.key
    )
    with connection.transaction():
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE walked ({}) ON COMMIT DROP").format(texts)
        )
        with connection.cursor().copy("COPY walked FROM STDIN") as copy:
            for key in keys:
                copy.write_row(key)
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE seen ON COMMIT DROP AS SELECT {} FROM walked").format(
                typed
            )
        )
        connection.execute("ANALYZE seen")
        found = connection.execute(
            sql.SQL(
                "SELECT jsonb_build_object({})::text FROM {} t WHERE NOT EXISTS (SELECT FROM seen"
                " s WHERE {})"
            ).format(shown, table, same)
        ).fetchall()
    return b"".join(row[0].encode() + b"\n" for row in found)


def count_of(connection: Connection, record: RecordType) -> int:
    table = sql.Identifier(record.schema, record.table)
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def _type(printed: str) -> sql.SQL:
    """A type as Postgres prints it: it is SQL, not input."""
    return sql.SQL(printed)
