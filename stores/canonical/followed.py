"""The form of each table whose changes are captured: what tells that rows changed which no change
told of.

A form is read by one statement of catalogs alone, which waits for nobody's lock, and is kept in
canonical's table recordgate.followed. `sync.forms` compares two of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
from psycopg.types.json import Jsonb

from stores.canonical.catalog import Name
from stores.canonical.connect import AsyncConnection
from stores.canonical.publication import publication_name, tracked_columns
from stores.contract.model import Contract


class Column(msgspec.Struct, frozen=True, array_like=True):
    """`written` changes whenever something about the column is altered; `made` is a digest of a
    generated column's expression, empty for others."""

    number: int
    type: int
    modifier: int
    written: str
    made: str


class Leaf(msgspec.Struct, frozen=True, array_like=True):
    """A table that holds rows: the table itself, or a partition of it. `file` is another one once
    all its rows were rewritten or thrown away. `identity`: its relreplident."""

    name: str
    file: int
    identity: str


class FollowedTable(msgspec.Struct, frozen=True):
    """`columns`: those that the contract names, None where the table lacks one. `leaves` by OID.
    `labels`: of the enums that the columns are made of, by OID. `parts`: of the composite types
    that they are made of. `published`: what the publication says of the table, None where it
    does not name it. `secured`: row level security hides rows from us. `silent`: tables by OID
    whose rows are read with the table's, and whose changes are not told: those that inherit from
    it, unlogged partitions. `keyless`: a leaf has no primary key by which rows are named in the
    log. `refused`: Postgres fails the application's updates and deletes of it, for its identity
    is an index that is not there, or FULL with a virtual generated column."""

    oid: int
    partitioned: bool
    columns: dict[str, Column | None]
    leaves: dict[str, Leaf]
    labels: dict[str, str]
    parts: dict[str, str]
    published: str | None
    secured: bool
    silent: tuple[str, ...] = ()
    keyless: bool = False
    refused: bool = False


Forms: TypeAlias = dict[Name, FollowedTable | None]
"""Table → form, None where it does not exist."""

# `used`: every type that a named column is made of: of an array its elements, of a domain its base,
# and so on.
_READ = """
WITH RECURSIVE wanted AS (
  SELECT w.schema, w.name, w.columns::jsonb AS columns, c.oid, c.relkind, c.relname
  FROM unnest(%(schemas)s::text[], %(names)s::text[], %(columns)s::text[]) AS w(schema, name,
    columns)
  LEFT JOIN (pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND c.relkind IN ('r',
    'p'))
    ON n.nspname = w.schema AND c.relname = w.name
), held AS (
  SELECT oid AS root, oid AS relation FROM wanted WHERE oid IS NOT NULL
  UNION ALL
  SELECT h.root, i.inhrelid FROM held AS h JOIN pg_inherits AS i ON i.inhparent = h.relation
  WHERE NOT i.inhdetachpending
), used AS (
  SELECT w.oid AS relation, a.atttypid AS type FROM wanted AS w
  JOIN pg_attribute AS a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND w.columns ? a.attname
  UNION
  SELECT u.relation, inner_type.type FROM used AS u JOIN pg_type AS t ON t.oid = u.type
  CROSS JOIN LATERAL (
    SELECT t.typelem WHERE t.typelem <> 0
    UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
    UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
    UNION ALL SELECT a.atttypid FROM pg_attribute AS a
      WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
  ) AS inner_type(type)
), published AS (
  SELECT r.prrelid, concat_ws(' ', p.oid, p.xmin, r.oid,
      CASE WHEN r.prqual IS NOT NULL THEN 'rows' END, CASE WHEN r.prattrs IS NOT NULL THEN 'columns'
        END) AS said
  FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid
    WHERE p.pubname = %(publication)s
)
SELECT w.schema, w.name, CASE WHEN w.oid IS NOT NULL THEN jsonb_build_object(
  'oid', w.oid::bigint,
  'partitioned', w.relkind = 'p',
  'columns', (
    SELECT jsonb_object_agg(named.name, CASE WHEN a.attnum IS NOT NULL THEN jsonb_build_array(
        a.attnum, a.atttypid::bigint, a.atttypmod, a.xmin::text,
        CASE WHEN a.attgenerated <> '' THEN md5(d.adbin::text) ELSE '' END) END)
    FROM jsonb_array_elements_text(w.columns) AS named(name)
    LEFT JOIN pg_attribute AS a
      ON a.attrelid = w.oid AND a.attname = named.name AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef AS d ON d.adrelid = w.oid AND d.adnum = a.attnum),
  'leaves', coalesce((
    SELECT jsonb_object_agg(c.oid::text, jsonb_build_array(
        concat_ws('.', n.nspname, c.relname), c.relfilenode::bigint, c.relreplident))
    FROM held AS h JOIN pg_class AS c ON c.oid = h.relation AND c.relkind <> 'p'
    JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE h.root = w.oid), '{}'),
  'labels', coalesce((
    SELECT jsonb_object_agg(e.oid::text, e.enumlabel)
    FROM used AS u JOIN pg_enum AS e ON e.enumtypid = u.type WHERE u.relation = w.oid), '{}'),
  'parts', coalesce((
    SELECT jsonb_object_agg(a.attrelid || '.' || a.attnum, concat_ws(' ', a.attname, a.atttypid,
      a.atttypmod))
    FROM used AS u JOIN pg_type AS t ON t.oid = u.type AND t.typrelid <> 0
    JOIN pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE u.relation = w.oid), '{}'),
  'published', (SELECT p.said FROM published AS p WHERE p.prrelid = w.oid),
  'secured', row_security_active(w.oid),
  'silent', coalesce((
    SELECT jsonb_agg(c.oid::text ORDER BY c.oid)
    FROM held AS h JOIN pg_class AS c ON c.oid = h.relation
    WHERE h.root = w.oid AND c.relkind <> 'p' AND (c.relpersistence <> 'p' OR w.relkind = 'r'
      AND c.oid <> w.oid)), '[]'),
  'keyless', EXISTS (
    SELECT FROM held AS h JOIN pg_class AS c ON c.oid = h.relation AND c.relkind <> 'p'
      WHERE h.root = w.oid
    AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary
      AND i.indimmediate)),
  'refused', EXISTS (
    SELECT FROM held AS h JOIN pg_class AS c ON c.oid = h.relation AND c.relkind <> 'p'
    WHERE h.root = w.oid AND CASE c.relreplident
      WHEN 'f' THEN EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = w.oid
        AND a.attgenerated = 'v')
      WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid
        AND i.indisreplident)
      ELSE false END)
) END
FROM wanted AS w
"""
_WITH_ROWS = """
SELECT c.oid::text FROM pg_class AS c
WHERE c.oid = ANY(%s::oid[]) AND (c.relkind <> 'r' OR pg_relation_size(c.oid) > 0)
"""
_KEPT = 'SELECT "schema", "table", form FROM recordgate.followed'
_KEEP = """
INSERT INTO recordgate.followed ("schema", "table", form) VALUES (%s, %s, %s)
ON CONFLICT ("schema", "table") DO UPDATE SET form = excluded.form, noted_at = now()
"""


def followed_columns(contract: Contract) -> dict[Name, list[str]]:
    """Table → the columns that the contract names."""
    found: dict[Name, dict[str, None]] = {}
    for record_type in contract.types.values():
        columns = found.setdefault((record_type.schema, record_type.table), {})
        columns |= dict.fromkeys(p.column for p in record_type.properties)
        columns |= dict.fromkeys(tracked_columns(contract, record_type))
    return {name: list(columns) for name, columns in found.items()}


async def read(conn: AsyncConnection, contract: Contract) -> Forms:
    """The forms of the contract's tables as they are now."""
    wanted = followed_columns(contract)
    given = {
        "schemas": [schema for schema, _ in wanted],
        "names": [name for _, name in wanted],
        "columns": [json.dumps(columns) for columns in wanted.values()],
        "publication": publication_name(contract),
    }
    rows = await (await conn.execute(_READ.encode(), given, prepare=True)).fetchall()
    return {(schema, name): _form(form) for schema, name, form in rows}


async def with_rows(conn: AsyncConnection, leaves: Iterable[str]) -> frozenset[str]:
    """Return those of `leaves` (OIDs) that may hold rows."""
    rows = await (await conn.execute(_WITH_ROWS, ([int(oid) for oid in leaves],))).fetchall()
    return frozenset(row[0] for row in rows)


async def kept(conn: AsyncConnection) -> Forms:
    """The forms that were kept last."""
    rows = await (await conn.execute(_KEPT)).fetchall()
    return {(schema, name): _form(form) for schema, name, form in rows}


async def keep(conn: AsyncConnection, forms: Mapping[Name, FollowedTable | None]) -> None:
    """Keep forms, inside a transaction of the caller's."""
    for (schema, name), form in forms.items():
        value = None if form is None else Jsonb(msgspec.to_builtins(form))
        await conn.execute(_KEEP, (schema, name, value))


def _form(value: object) -> FollowedTable | None:
    return None if value is None else msgspec.convert(value, FollowedTable)
