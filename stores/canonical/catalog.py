"""Reads the contract's tables from Postgres' catalog: columns, key, replica identity,
publication."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stores.canonical.connect import Connection

Name = tuple[str, str]
"""(schema, table)"""


@dataclass(frozen=True, slots=True)
class Column:
    type: str
    """The type as format_type prints it. For a domain it is the base type, which is what the
    contract declares."""
    not_null: bool
    generated: bool
    virtual: bool = False
    """Generated when it is read: never stored, and so never in the log."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that holds rows: the table itself, or a partition of it."""

    name: Name
    identity: str
    """relreplident: d (the key), f (full), i (an index), n (nothing)."""
    has_key: bool
    """A primary key by which rows are named in the log: one that is not deferrable."""
    index_columns: tuple[str, ...] = ()
    """Columns of the index that is its identity, where one is."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    target: Name
    target_columns: tuple[str, ...]
    deferrable: bool
    action: str
    """The actions on update and on delete, one letter each; "aa" means no action for both."""


@dataclass(frozen=True, slots=True)
class Table:
    kind: str
    """relkind: r (table), p (partitioned), v (view), m (materialized view), f (foreign)."""
    columns: dict[str, Column]
    key: tuple[str, ...]
    key_name: str | None
    leaves: tuple[Leaf, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    secured: bool = False
    """Row level security hides rows of it from the account that asks."""
    inheriting: tuple[Name, ...] = ()
    """Tables that inherit from it, but partitions: their rows are read with its own."""
    unlogged: tuple[Name, ...] = ()
    """The unlogged ones of the table and its partitions; their changes are not in the WAL."""

    @property
    def holds_rows(self) -> bool:
        return self.kind in ("r", "p")


@dataclass(frozen=True, slots=True)
class Publication:
    all_tables: bool
    options_as_wanted: bool
    """Publishes insert, update, delete and truncate, by way of the partition root, with stored
    generated columns where the server can."""
    tables: frozenset[Name]
    filtered: bool
    """True where some table is published with a row filter or a column list."""


_TABLES = """
SELECT n.nspname, c.relname, c.relkind::text,
       (SELECT json_agg(json_build_array(a.attname,
                 (WITH RECURSIVE made_of AS (
                      SELECT a.atttypid AS type, a.atttypmod AS modifier
                      UNION ALL
                      SELECT t.typbasetype, t.typtypmod FROM made_of
                        JOIN pg_type t ON t.oid = made_of.type WHERE t.typtype = 'd')
                  SELECT format_type(m.type, m.modifier) FROM made_of m
                    JOIN pg_type t ON t.oid = m.type WHERE t.typtype <> 'd'),
                 a.attnotnull, a.attgenerated <> '', a.attgenerated = 'v'))
          FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT json_build_object('name', p.conname, 'columns',
                 (SELECT json_agg(a.attname ORDER BY k.place)
                    FROM unnest(p.conkey) WITH ORDINALITY AS k(number, place)
                    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number))
          FROM pg_constraint p WHERE p.conrelid = c.oid AND p.contype = 'p'),
       (SELECT json_agg(json_build_array(ln.nspname, l.relname, l.relreplident,
                 EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisprimary
                   AND i.indimmediate),
                 (SELECT json_agg(a.attname) FROM pg_index i
                    JOIN pg_attribute a ON a.attrelid = l.oid
                      AND a.attnum = ANY (i.indkey[:i.indnkeyatts - 1])
                   WHERE i.indrelid = l.oid AND i.indisreplident AND l.relreplident = 'i'))
                 ORDER BY ln.nspname, l.relname)
          FROM pg_class l JOIN pg_namespace ln ON ln.oid = l.relnamespace
         WHERE l.oid = c.oid OR (c.relkind = 'p' AND l.oid IN (SELECT relid
           FROM pg_partition_tree(c.oid)))),
       (SELECT json_agg(json_build_array(f.conname, fn.nspname, ft.relname, f.condeferrable,
                 f.confupdtype::text || f.confdeltype::text,
                 (SELECT json_agg(json_build_array(a.attname, b.attname) ORDER BY k.place)
                    FROM unnest(f.conkey, f.confkey) WITH ORDINALITY AS k(here, there, place)
                    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.here
                    JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = k.there)))
          FROM pg_constraint f JOIN pg_class ft ON ft.oid = f.confrelid
          JOIN pg_namespace fn ON fn.oid = ft.relnamespace
         WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conparentid = 0),
       row_security_active(c.oid),
       (WITH RECURSIVE held AS (
            SELECT c.oid AS relation
            UNION
            SELECT i.inhrelid FROM held JOIN pg_inherits i ON i.inhparent = held.relation)
        SELECT json_agg(json_build_array(hn.nspname, h.relname, c.relkind = 'r' AND h.oid <> c.oid)
                        ORDER BY hn.nspname, h.relname)
          FROM held JOIN pg_class h ON h.oid = held.relation AND h.relkind <> 'p'
          JOIN pg_namespace hn ON hn.oid = h.relnamespace
         WHERE h.relpersistence <> 'p' OR c.relkind = 'r' AND h.oid <> c.oid)
  FROM unnest(%s::text[], %s::text[]) AS wanted(schema, name)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


def read_tables(conn: Connection, names: Iterable[Name]) -> dict[Name, Table]:
    """Return those of `names` that exist, read by a single statement."""
    wanted = list(names)
    rows = conn.execute(_TABLES, ([s for s, _ in wanted], [t for _, t in wanted])).fetchall()
    found: dict[Name, Table] = {}
    for schema, name, kind, columns, key, leaves, foreign_keys, secured, untold in rows:
        found[schema, name] = Table(
            kind,
            {
                c: Column(kind_, not_null, generated, virtual)
                for c, kind_, not_null, generated, virtual in columns or ()
            },
            tuple(key["columns"]) if key else (),
            key["name"] if key else None,
            tuple(
                Leaf((s, t), identity, has_key, tuple(index or ()))
                for s, t, identity, has_key, index in leaves or ()
            ),
            tuple(
                ForeignKey(
                    key_name,
                    tuple(here for here, _ in pairs),
                    (s, t),
                    tuple(there for _, there in pairs),
                    deferrable,
                    action,
                )
                for key_name, s, t, deferrable, action, pairs in foreign_keys or ()
            ),
            secured,
            tuple((s, t) for s, t, inherits in untold or () if inherits),
            tuple((s, t) for s, t, inherits in untold or () if not inherits),
        )
    return found


_PUBLICATION = """
SELECT p.puballtables,
       p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot
         AND coalesce(to_jsonb(p) ->> 'pubgencols', 's') = 's',
       (SELECT json_agg(json_build_array(n.nspname, c.relname))
          FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = p.oid),
       EXISTS (SELECT FROM pg_publication_rel r
                WHERE r.prpubid = p.oid AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL))
  FROM pg_publication p WHERE p.pubname = %s
"""


def read_publication(conn: Connection, name: str) -> Publication | None:
    row = conn.execute(_PUBLICATION, (name,)).fetchone()
    if row is None:
        return None
    all_tables, as_wanted, tables, filtered = row
    return Publication(all_tables, as_wanted, frozenset((s, t) for s, t in tables or ()), filtered)


def other_publications(conn: Connection, prefix: str, name: str) -> list[str]:
    """Publications that begin with `prefix`, but `name`."""
    query = (
        "SELECT pubname FROM pg_publication"
        " WHERE starts_with(pubname, %s) AND pubname <> %s ORDER BY 1"
    )
    return [row[0] for row in conn.execute(query, (prefix, name)).fetchall()]


def existing_schemas(conn: Connection, names: Iterable[str]) -> set[str]:
    query = "SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)"
    return {row[0] for row in conn.execute(query, (sorted(set(names)),)).fetchall()}
