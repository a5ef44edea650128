"""Reads what is needed of the contract's tables to understand their changes: types and replica
identities.

An envelope without schema does not tell a time's unit or a decimal's scale, and no envelope tells
which columns of an old row were in the log and which are padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from sync.sources.debezium.texts import ColumnType
from sync.sources.pgoutput.requirements import DOMAINS
from sync.sources.pgoutput.transactions import TrackedTable

_COLUMNS = """
SELECT n.nspname, c.relname, c.relreplident = 'f', a.attname, a.atttypid, a.atttypmod,
       t.typbasetype <> 0, t.typtypmod, t.typcategory, coalesce(a.attnum = ANY (
           SELECT unnest(i.indkey[:i.indnkeyatts - 1]) FROM pg_index i
           WHERE i.indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                                                            WHEN 'i' THEN i.indisreplident END),
                                                              false)
FROM unnest(%s::text[], %s::text[]) AS w(schema_name, table_name)
JOIN pg_namespace n ON n.nspname = w.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
"""


@dataclass(frozen=True, slots=True)
class TableForm:
    """`tracked`: the columns that changes carry; those that the table lacks have no type. `old`:
    the columns of which an old row is believed; None: all of them (REPLICA IDENTITY FULL)."""

    schema: str
    table: str
    key: tuple[str, ...]
    tracked: tuple[str, ...]
    types: Mapping[str, ColumnType]
    old: frozenset[str] | None


def table_forms(
    conn: psycopg.Connection[Any], tables: Mapping[tuple[str, str], TrackedTable]
) -> dict[tuple[str, str], TableForm]:
    """Return the forms of the tables that exist."""
    base: dict[int, int] = dict(conn.execute(DOMAINS).fetchall())
    types: dict[tuple[str, str], dict[str, ColumnType]] = {}
    identity: dict[tuple[str, str], set[str] | None] = {}
    names = ([s for s, _ in tables], [t for _, t in tables])
    for row in conn.execute(_COLUMNS, names):
        schema, table, full, column, oid, modifier, domain, of_domain, category, in_identity = row
        name = (schema, table)
        types.setdefault(name, {})[column] = ColumnType(
            base.get(oid, oid), of_domain if domain else modifier, category
        )
        known = identity.setdefault(name, None if full else set())
        if known is not None and in_identity:
            known.add(column)
    forms = {}
    for name, table in tables.items():
        if name in types:
            believed = identity[name]
            forms[name] = TableForm(
                *name,
                table.key,
                table.tracked,
                types[name],
                None if believed is None else frozenset(believed),
            )
    return forms


def names_of_database(conn: psycopg.Connection[Any]) -> frozenset[str]:
    """Return the names by which a connector may call the database of `conn`: its own, and the one
    in our URL (a proxy's)."""
    row = conn.execute("SELECT current_database()").fetchone()
    assert row is not None
    return frozenset((str(row[0]), conn.info.dbname))
