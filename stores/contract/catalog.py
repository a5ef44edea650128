"""Reads the tables of one schema from Postgres' catalog, as plain data.

It reads the catalog itself, not the information schema: partitions, unlogged tables, domains' base
types, generated columns and rights are only there. Names come qualified, because our sessions have
no path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


@dataclass(slots=True)
class ReflectedColumn:
    """`sql_type`: as format_type prints it, a domain's already replaced by what it is made of.
    `labels`: of an enum type. `element`: what an array holds, in the same way."""

    name: str
    sql_type: str
    not_null: bool
    computed: bool
    labels: tuple[str, ...] = ()
    array: bool = False
    element: str = ""
    comment: str = ""


@dataclass(slots=True)
class ReflectedForeignKey:
    columns: tuple[str, ...]
    schema: str
    table: str
    target_columns: tuple[str, ...]


@dataclass(slots=True)
class ReflectedTable:
    """`kind`: table, partitioned table, view, materialized view, foreign table. `obstacle` says why
    recordgate cannot follow it, empty where it can."""

    name: str
    kind: str
    comment: str = ""
    obstacle: str = ""
    columns: list[ReflectedColumn] = field(default_factory=list)
    key: tuple[str, ...] = ()
    unique: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[ReflectedForeignKey] = field(default_factory=list)
    foreign_keys_of_parts: list[tuple[tuple[str, ...], tuple[str, ...], str]] = field(
        default_factory=list
    )
    """(partitions, columns, target) of foreign keys that only partitions have."""


_SCHEMA = "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = %s"

_TABLES = """
SELECT c.oid, c.relname, c.relkind, c.relpersistence, coalesce(obj_description(c.oid, 'pg_class'),
  ''),
       has_table_privilege(c.oid, 'SELECT'),
       EXISTS (SELECT FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhrelid
               WHERE i.inhparent = c.oid AND NOT p.relispartition)
FROM pg_class c
WHERE c.relnamespace = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.deptype = 'e')
ORDER BY c.relname
"""

_COLUMNS = """
SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attnotnull,
       a.attgenerated <> '' OR a.attidentity = 'a', coalesce(col_description(a.attrelid, a.attnum),
         '')
FROM pg_attribute a
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
"""

_TYPES = """
WITH RECURSIVE used(oid) AS (
    SELECT unnest(%s::oid[])
  UNION
    SELECT t.oid FROM used u JOIN pg_type b ON b.oid = u.oid
    JOIN pg_type t ON t.oid IN (b.typbasetype, b.typelem)
)
SELECT t.oid, t.typtype, t.typbasetype, t.typtypmod, t.typnotnull,
       CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0 END,
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid
         ORDER BY e.enumsortorder)
FROM used u JOIN pg_type t ON t.oid = u.oid
"""

_FORMAT = "SELECT o, m, format_type(o, m) FROM unnest(%s::oid[], %s::int[]) AS x(o, m)"

_INDEXES = """
SELECT i.indrelid, i.indisprimary, i.indimmediate,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, at)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n
             WHERE k.at <= i.indnkeyatts ORDER BY k.at)
FROM pg_index i
WHERE i.indrelid = ANY(%s) AND i.indisunique AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, i.indexrelid
"""

_FOREIGN_KEYS = """
SELECT f.conrelid, n.nspname, t.relname,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(n, at)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.at),
       ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k(n, at)
             JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.n ORDER BY k.at)
FROM pg_constraint f
JOIN pg_class t ON t.oid = f.confrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE f.contype = 'f' AND f.conrelid = ANY(%s) AND f.conparentid = 0
ORDER BY f.conrelid, f.oid
"""

_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}


_PARTS_FOREIGN_KEYS = """
WITH RECURSIVE parts(root, part) AS (
    SELECT c.oid, i.inhrelid FROM pg_class c JOIN pg_inherits i ON i.inhparent = c.oid
     WHERE c.oid = ANY(%s) AND c.relkind = 'p'
  UNION ALL
    SELECT p.root, i.inhrelid FROM parts p JOIN pg_inherits i ON i.inhparent = p.part
)
SELECT p.root, array_agg(DISTINCT c.relname::text ORDER BY c.relname::text), t.relname,
       ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k(n, at)
             JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.n ORDER BY k.at)
               AS columns
FROM parts p JOIN pg_class c ON c.oid = p.part JOIN pg_constraint f ON f.conrelid = p.part
JOIN pg_class t ON t.oid = f.confrelid
WHERE f.contype = 'f' AND f.conparentid = 0
GROUP BY p.root, t.relname, columns ORDER BY p.root, t.relname, columns
"""
"""Foreign keys that a partition has and its table has not."""


def read_tables(
    connection: psycopg.Connection[tuple[Any, ...]], schema: str
) -> list[ReflectedTable] | None:
    """Return the tables of `schema`, a partitioned table as one; None if the schema does not
    exist."""
    found = connection.execute(_SCHEMA, (schema,)).fetchone()
    if found is None:
        return None
    tables: dict[int, ReflectedTable] = {}
    for oid, name, kind, persistence, comment, readable, inherited in connection.execute(
        _TABLES, (found[0],)
    ):
        table = ReflectedTable(name, _KINDS[kind], comment)
        if kind not in "rp":
            table.obstacle = f"a {table.kind} has no changes that could be followed"
        elif persistence != "p":
            table.obstacle = "an unlogged table's changes are not in the write-ahead log"
        elif inherited:
            table.obstacle = "other tables inherit from it"
        elif not readable:
            table.obstacle = "this account may not read it"
        tables[oid] = table
    oids = list(tables)
    _add_columns(connection, tables, oids)
    for oid, primary, immediate, columns in connection.execute(_INDEXES, (oids,)):
        if not immediate:
            continue  # a deferrable constraint identifies no row of the log
        if primary:
            tables[oid].key = tuple(columns)
        elif tuple(columns) not in tables[oid].unique:
            tables[oid].unique.append(tuple(columns))
    for oid, target_schema, target, columns, target_columns in connection.execute(
        _FOREIGN_KEYS, (oids,)
    ):
        tables[oid].foreign_keys.append(
            ReflectedForeignKey(tuple(columns), target_schema, target, tuple(target_columns))
        )
    for root, parts, target, columns in connection.execute(_PARTS_FOREIGN_KEYS, (oids,)):
        tables[root].foreign_keys_of_parts.append((tuple(parts), tuple(columns), target))
    for table in tables.values():
        if not table.obstacle and not table.key:
            table.obstacle = "it has no primary key that is checked at once"
    return list(tables.values())


@dataclass(frozen=True, slots=True)
class _Type:
    kind: str
    base: int
    base_modifier: int
    not_null: bool
    element: int
    labels: tuple[str, ...]


def _add_columns(
    connection: psycopg.Connection[tuple[Any, ...]],
    tables: dict[int, ReflectedTable],
    oids: list[int],
) -> None:
    rows = connection.execute(_COLUMNS, (oids,)).fetchall()
    types = {
        row[0]: _Type(row[1], row[2], row[3], row[4], row[5], tuple(row[6]))
        for row in connection.execute(_TYPES, (list({row[2] for row in rows}),))
    }
    wanted: set[tuple[int, int]] = set()
    resolved = []
    for row in rows:
        base, modifier, _, not_null = _undomained(types, row[2], row[3])
        element = types[base].element
        inner, within = 0, modifier
        if element:
            inner, of_domain, domain_of_element, _ = _undomained(types, element, -1)
            within = of_domain if domain_of_element else modifier
        wanted |= {(base, modifier), (inner, within)}
        resolved.append((base, modifier, inner, within, not_null))
    pairs = list(wanted)
    formatted = {
        (oid, modifier): text
        for oid, modifier, text in connection.execute(
            _FORMAT, ([p[0] for p in pairs], [p[1] for p in pairs])
        )
    }
    for row, (base, modifier, inner, within, not_null) in zip(rows, resolved, strict=True):
        sql_type = formatted[base, modifier]
        element_type = formatted[inner, within] if inner else ""
        tables[row[0]].columns.append(
            ReflectedColumn(
                name=row[1],
                sql_type=sql_type,
                not_null=row[4] or not_null,
                computed=row[5],
                labels=types[inner or base].labels,
                array=bool(inner),
                element=element_type,
                comment=row[6],
            )
        )


def _undomained(types: dict[int, _Type], oid: int, modifier: int) -> tuple[int, int, int, bool]:
    """(base type, modifier, the outermost domain or 0, whether a domain forbids null)."""
    domain, not_null = 0, False
    while types[oid].kind == "d":
        domain = domain or oid
        not_null = not_null or types[oid].not_null
        oid, modifier = types[oid].base, types[oid].base_modifier
    return oid, modifier, domain, not_null
