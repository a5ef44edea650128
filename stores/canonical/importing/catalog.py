"""Reads the table that is imported into from Postgres' catalog: types, defaults, constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql
from psycopg.rows import tuple_row

from stores.canonical.importing.connection import Connection
from stores.canonical.tables import constraint_columns
from stores.contract.model import Contract, RecordType
from stores.errors import SetupError

MAX_KEY_BYTES = 2600
"""An entry of a Postgres index cannot be larger than about 2,700 bytes."""


@dataclass(frozen=True, slots=True)
class TargetForeignKey:
    """`columns` of `table` point to `target_columns` of `target`; both (schema, name)."""

    table: tuple[str, str]
    columns: tuple[str, ...]
    target: tuple[str, str]
    target_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """`expression` as Postgres prints it, over the names of `columns`."""

    name: str
    expression: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """`types`: column → format_type's name. `defaulted`: columns that may be left out of an INSERT.
    `computed`: those that may not be in one. `not_null`: columns without NULL. `checks`: those
    that the contract does not make. `unique`: column sets of unique constraints beside the key.
    `references`: foreign keys of this table; `referenced`: those of any table that keep a record
    of this one from being deleted."""

    schema: str
    name: str
    key: tuple[str, ...]
    types: dict[str, str]
    defaulted: frozenset[str]
    computed: frozenset[str]
    not_null: frozenset[str]
    checks: tuple[Check, ...]
    unique: tuple[tuple[str, ...], ...]
    references: tuple[TargetForeignKey, ...]
    referenced: tuple[TargetForeignKey, ...]

    @property
    def index_bytes(self) -> dict[str, int]:
        """Column → bytes that its value may take, for columns of the key or of a unique index."""
        shares: dict[str, int] = {}
        for names in (self.key, *self.unique):
            for name in names:
                shares[name] = max(len(names), shares.get(name, 1))
        return {name: MAX_KEY_BYTES // share for name, share in shares.items()}

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod),
       a.atthasdef OR a.attidentity <> '' OR NOT a.attnotnull, a.attnotnull,
       a.attgenerated <> ''
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n
    ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
   AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
"""

_CHECKS = """
SELECT k.conname::text, pg_get_expr(k.conbin, k.conrelid),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey))
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = %s AND k.contype = 'c'
 ORDER BY 1
"""

_UNIQUE = """
SELECT array_agg(a.attname::text ORDER BY k.ord)
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, ord)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE n.nspname = %s AND c.relname = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
   AND i.indexprs IS NULL AND NOT i.indnullsnotdistinct AND k.ord <= i.indnkeyatts
 GROUP BY i.indexrelid
"""

_FOREIGN = """
SELECT n.nspname, c.relname, fn.nspname, f.relname,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(attnum, ord)
               JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
                 ORDER BY u.ord),
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(attnum, ord)
               JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
                 ORDER BY u.ord),
       k.confdeltype
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class f ON f.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND ((n.nspname, c.relname) = (%(schema)s, %(table)s) OR (fn.nspname, f.relname) = (%(schema)s,
     %(table)s))
"""


def read_table(connection: Connection, contract: Contract, record: RecordType) -> TargetTable:
    """Raises SetupError where the table, a column or its key is not as the contract says."""
    where = (record.schema, record.table)
    cursor = connection.cursor(row_factory=tuple_row)
    columns = cursor.execute(_COLUMNS, where).fetchall()
    if not columns:
        raise SetupError(
            f"the table {record.schema}.{record.table} of {record.name} does not exist",
            hint="run `recordgate apply`",
        )
    types = {name: kind for name, kind, _, _, _ in columns}
    lacking = [p.column for p in record.properties if p.column not in types]
    if lacking:
        raise SetupError(
            f"the table {record.schema}.{record.table} lacks the columns {', '.join(lacking)}",
            hint="run `recordgate apply`",
        )
    unique = [tuple(row[0]) for row in cursor.execute(_UNIQUE, where).fetchall()]
    if not any(set(columns) == set(record.key) for columns in unique):
        raise SetupError(
            f"{record.schema}.{record.table} has no unique constraint on {', '.join(record.key)}, "
            f"the key of {record.name}"
        )
    references: dict[TargetForeignKey, None] = {}
    referenced: dict[TargetForeignKey, None] = {}
    for row in cursor.execute(_FOREIGN, {"schema": where[0], "table": where[1]}).fetchall():
        foreign = TargetForeignKey((row[0], row[1]), tuple(row[4]), (row[2], row[3]), tuple(row[5]))
        if foreign.table == where:
            references[foreign] = None
        if foreign.target == where and row[6] in ("a", "r", b"a", b"r"):
            referenced[foreign] = None
    for relation in record.relations:
        if relation.owner:
            target = contract.types[relation.target]
            references[
                TargetForeignKey(
                    where, relation.columns, (target.schema, target.table), relation.target_columns
                )
            ] = None
    return TargetTable(
        schema=record.schema,
        name=record.table,
        key=record.key,
        types=types,
        defaulted=frozenset(name for name, _, defaulted, _, _ in columns if defaulted),
        computed=frozenset(name for name, _, _, _, computed in columns if computed),
        not_null=frozenset(name for name, _, _, not_null, _ in columns if not_null),
        checks=_unknown_checks(cursor.execute(_CHECKS, where).fetchall(), record),
        unique=tuple(sorted({u for u in unique if set(u) != set(record.key)})),
        references=tuple(references),
        referenced=tuple(referenced),
    )


def _unknown_checks(rows: list[tuple[Any, ...]], record: RecordType) -> tuple[Check, ...]:
    known = constraint_columns(record)
    return tuple(
        Check(name, text, tuple(columns)) for name, text, columns in rows if name not in known
    )
