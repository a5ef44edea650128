"""Checks that canonical is prepared for capture: WAL level, privileges, publication, replica
identities.

A table without a usable replica identity is refused before anything is published to it: Postgres
would fail the *application's* updates and deletes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from stores.errors import SetupError
from sync.sources.pgoutput.transactions import TrackedTable

APPLY = "run `recordgate apply`"

_SERVER = """
SELECT current_setting('wal_level'), pg_is_in_recovery(),
       pg_encoding_to_char(d.encoding), r.rolsuper OR r.rolreplication, r.rolname
FROM pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user
"""

_PUBLICATION = """
SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot
FROM pg_publication WHERE pubname = %s
"""

_PUBLISHED = """
SELECT schemaname, tablename, attnames::text[], rowfilter IS NOT NULL
FROM pg_publication_tables WHERE pubname = %s
"""

# Of a partitioned table the partitions count: their rows are what is logged.
_IDENTITIES = """
WITH wanted AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM unnest(%s::text[], %s::text[]) AS w(schema_name, table_name)
    JOIN pg_namespace n ON n.nspname = w.schema_name
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
), leaf AS (
    SELECT w.*, coalesce(p.relid, w.oid) AS leaf
    FROM wanted w
    LEFT JOIN LATERAL pg_partition_tree(w.oid) p ON p.isleaf
)
SELECT l.nspname, l.relname, l.relkind = 'p', c.relname,
       CASE WHEN c.relreplident = 'f' THEN ARRAY(
           SELECT a.attname::text FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000)
       ) ELSE ARRAY(
           SELECT a.attname::text
           FROM pg_index i
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY
             (i.indkey[:i.indnkeyatts - 1])
           WHERE i.indrelid = c.oid
             AND CASE c.relreplident
                     WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false
                 END
       ) END
FROM leaf l JOIN pg_class c ON c.oid = l.leaf
"""

DOMAINS = """
WITH RECURSIVE base AS (
    SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
    UNION ALL
    SELECT b.oid, t.typbasetype FROM base b JOIN pg_type t ON t.oid = b.typbasetype
    WHERE t.typtype = 'd'
)
SELECT b.oid, b.typbasetype FROM base b JOIN pg_type t ON t.oid = b.typbasetype
  WHERE t.typtype <> 'd'
"""
"""OID of a domain, OID of the type that it is made of."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The columns that the log holds of an updated or deleted row of `relation`, a table or one of
    its partitions. A FULL identity has generated columns too from Postgres 18 on."""

    relation: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Published:
    columns: frozenset[str]
    filtered: bool


def check_requirements(
    conn: psycopg.Connection[Any], publication: str, tables: Mapping[tuple[str, str], TrackedTable]
) -> None:
    """Raise SetupError with everything that is missing."""
    server = conn.execute(_SERVER).fetchone()
    assert server is not None
    problems = server_problems(*server)
    if problems:
        raise SetupError("; ".join(problems), hint="see `recordgate doctor`")
    found = conn.execute(_PUBLICATION, (publication,)).fetchone()
    if found is None:
        raise SetupError(f"canonical has no publication {publication}", hint=APPLY)
    all_operations, via_root = found
    if not all_operations:
        problems.append(f"publication {publication} leaves out some kinds of change")
    published = {
        (schema, table): Published(frozenset(columns), filtered)
        for schema, table, columns, filtered in conn.execute(_PUBLISHED, (publication,))
    }
    identities: dict[tuple[str, str], list[Identity]] = {}
    schemas, names = [s for s, _ in tables], [t for _, t in tables]
    for schema, table, partitioned, relation, columns in conn.execute(
        _IDENTITIES, (schemas, names)
    ):
        if partitioned and not via_root:
            problems.append(
                f"publication {publication} does not publish {schema}.{table} as one table"
                " (publish_via_partition_root)"
            )
        identities.setdefault((schema, table), []).append(Identity(relation, frozenset(columns)))
    for name, table in tables.items():
        problems += table_problems(name, table, published.get(name), identities.get(name, []))
    if problems:
        raise SetupError("; ".join(dict.fromkeys(problems)), hint=APPLY)


def without(
    tables: Mapping[tuple[str, str], TrackedTable], lacking: Collection[tuple[str, str]]
) -> dict[tuple[str, str], TrackedTable]:
    """`tables` but those `lacking`."""
    return {name: table for name, table in tables.items() if name not in lacking}


def server_problems(
    wal_level: str, recovering: bool, encoding: str, may_replicate: bool, role: str
) -> list[str]:
    """Return the faults of the server and of our role there."""
    problems = []
    if recovering:
        problems.append("canonical is a standby; the primary is needed")
    elif wal_level != "logical":
        problems.append(f"canonical has wal_level = {wal_level}; it must be logical")
    if encoding == "SQL_ASCII":
        problems.append("the database's encoding SQL_ASCII does not say how its text is encoded")
    if not may_replicate:
        problems.append(f"role {role} lacks the attribute REPLICATION")
    return problems


def table_problems(
    name: tuple[str, str],
    table: TrackedTable,
    published: Published | None,
    identities: list[Identity],
) -> list[str]:
    """Return the faults of one table of the contract."""
    shown = ".".join(name)
    if not identities:
        return [f"table {shown} does not exist"]
    if published is None:
        return [f"table {shown} is not published"]
    problems = []
    if published.filtered:
        problems.append(f"table {shown} is published with a row filter")
    hidden = [column for column in table.tracked if column not in published.columns]
    if hidden:
        problems.append(f"table {shown} is published without the column {', '.join(hidden)}")
    for identity in identities:
        part = "" if identity.relation == name[1] else f" (partition {identity.relation})"
        if not identity.columns.issuperset(table.key):
            problems.append(
                f"the replica identity of table {shown}{part} does not hold the key"
                f" {', '.join(table.key)}: its updates and deletes could not be followed"
            )
        unpublished = sorted(identity.columns - published.columns)
        if unpublished:
            problems.append(
                f"the replica identity of table {shown}{part} holds unpublished"
                f" columns ({', '.join(unpublished)}), so Postgres refuses its updates"
            )
    return problems
