# ruff: noqa: S608 - names in these statements are row ids and escaped JSON paths
"""The tables of the SQLite document store: one per generation, and every statement made of names.

A table holds the newest version of each key; a NULL document is a tombstone. The foreign keys that
`children` asks for are indexed inside the JSON, followed by the key's properties in canonical's
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from stores.contract.model import Property, RecordType, Scalar

EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"


def table(generation_id: int) -> str:
    """The table of a generation: from its row id, so no name of a contract becomes SQL."""
    return f"records_{generation_id:d}"


def json_path(name: str) -> str:
    """An SQL literal with the JSON path of a property. Raises ValueError for a name that SQLite's
    paths cannot hold."""
    if '"' in name or "\0" in name:
        raise ValueError(name)
    escaped = name.replace("'", "''")
    return f"""'$."{escaped}"'"""


def value_of(name: str) -> str:
    return f"json_extract(document, {json_path(name)})"


def key_order(record_type: RecordType) -> list[str]:
    """Expressions that order records as canonical orders its key: numbers by value, text bytewise.
    A decimal is compared as a number of 15 digits first and as text after that."""
    steps: list[str] = []
    for prop in record_type.key_properties:
        value = value_of(prop.name)
        if prop.scalar is Scalar.DECIMAL:
            steps.append(f"CAST({value} AS NUMERIC)")
        steps.append(value)
    return steps


def foreign_keys(record_type: RecordType) -> list[tuple[str, ...]]:
    """The property names of each foreign key that the type holds, without repetition."""
    found: dict[tuple[str, ...], None] = {}
    for relation in record_type.relations:
        if relation.owner:
            names = tuple(record_type.by_column[c].name for c in relation.columns)
            found[names] = None
    return list(found)


def create_statements(record_type: RecordType, generation_id: int) -> list[str]:
    name = table(generation_id)
    statements = [
        f"CREATE TABLE {name} (key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, document "
        "TEXT)",
        f"CREATE INDEX {name}_tombstones ON {name} (key) WHERE document IS NULL",
    ]
    for number, names in enumerate(foreign_keys(record_type)):
        columns = [value_of(n) for n in names] + key_order(record_type)
        statements.append(
            f"CREATE INDEX {name}_children_{number} ON {name} ({', '.join(columns)})"
            " WHERE document IS NOT NULL"
        )
    return statements


def upsert(generation_id: int) -> str:
    name = table(generation_id)
    return (
        f"INSERT INTO {name} (key, version, document) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
        " SET version = excluded.version, document = excluded.document"
        f" WHERE excluded.version > {name}.version"
    )


def held_versions(generation_id: int) -> str:
    """Keys and versions of those keys of a JSON array that are held."""
    name = table(generation_id)
    return f"SELECT t.key, t.version FROM json_each(?) AS j JOIN {name} AS t ON t.key = j.value"


def get_one(generation_id: int) -> str:
    return (
        f"SELECT key, document FROM {table(generation_id)} WHERE key = ? AND document IS NOT NULL"
    )


def get_many(generation_id: int) -> str:
    name = table(generation_id)
    return (
        f"SELECT t.key, t.document FROM json_each(?) AS j JOIN {name} AS t ON t.key = j.value"
        " WHERE t.document IS NOT NULL"
    )


def scan(generation_id: int, *, first: bool) -> str:
    return (
        f"SELECT key, version, document FROM {table(generation_id)}"
        f" WHERE key {'>=' if first else '>'} ? AND document IS NOT NULL ORDER BY key LIMIT ?"
    )


def count(generation_id: int) -> str:
    """All less the tombstones: both are read from indexes, not from the documents' pages."""
    name = table(generation_id)
    return (
        f"SELECT (SELECT count(*) FROM {name})"
        f" - (SELECT count(*) FROM {name} WHERE document IS NULL)"
    )


def newer(generation_id: int) -> str:
    return f"SELECT key FROM {table(generation_id)} WHERE version > ?"


def children(record_type: RecordType, generation_id: int, names: Sequence[str]) -> str:
    """Return the statement for one parent's children. The index of its foreign key serves both
    filter and order, so that the statement stops at the limit."""
    equal = " AND ".join(f"{value_of(n)} = ?" for n in names)
    order = ", ".join(key_order(record_type))
    return (
        f"SELECT document FROM {table(generation_id)} WHERE document IS NOT NULL AND {equal}"
        f" ORDER BY {order} LIMIT ?"
    )


def count_children(generation_id: int, names: Sequence[str]) -> str:
    equal = " AND ".join(f"{value_of(n)} = ?" for n in names)
    return f"SELECT count(*) FROM {table(generation_id)} WHERE document IS NOT NULL AND {equal}"


def bound(prop: Property, value: Any) -> Any:
    """`value` as SQLite sees it inside the document's JSON (see Scalar for the forms)."""
    if value is None or isinstance(value, bool):
        return None if value is None else int(value)
    if isinstance(value, Decimal):
        return str(value) if prop.scalar is Scalar.DECIMAL else float(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value
