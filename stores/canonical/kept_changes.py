"""The records of a type as they are kept for those who follow its changes: the image of a record
as SQL, and how an image becomes columns again.

An image is a JSON object of the contract's columns by name, each as the text that Postgres prints,
so that it reads back exactly; JSON stands as itself. `recordgate.change_images` has one for each
record that is there, `recordgate.change_log` those of before each change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from stores.canonical.connect import TIMELINE
from stores.canonical.document_sql import equal_keys, keys_as_columns, table
from stores.canonical.tables import sql_type
from stores.contract.model import RecordType, Scalar
from stores.keys import decode_key, sql_key

ALIAS = "t1"
"""The name of the type's table in the conditions of `Followed.verdicts`."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A type whose changes are kept. `verdicts`: role → whether its row filter lets a row of ALIAS
    through, as SQL, for each role that has one."""

    type: RecordType
    verdicts: tuple[tuple[str, str], ...] = ()

    @property
    def shape(self) -> str:
        """The digest of what the images hold. An image of another shape is of no use."""
        columns = [(p.column, p.sql_type) for p in self.type.properties]
        said = json.dumps(
            [self.type.schema, self.type.table, self.type.key, columns, self.verdicts]
        )
        return hashlib.sha256(said.encode()).hexdigest()[:32]


def _image(record_type: RecordType) -> sql.Composable:
    columns = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(
            sql.SQL("{}" if p.scalar is Scalar.JSON and not p.array else "{}::text").format(
                sql.Identifier(ALIAS, p.column)
            ),
            sql.Identifier(p.column),
        )
        for p in record_type.properties
    )
    return sql.SQL("(SELECT to_jsonb(x.*) FROM (SELECT {}) AS x)").format(columns)


def _seen(followed: Followed) -> sql.Composable:
    if not followed.verdicts:
        return sql.SQL("NULL::text[]")
    roles = sql.SQL(", ").join(
        sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(verdict), sql.Literal(role))
        for role, verdict in followed.verdicts
    )
    return sql.SQL("array_remove(ARRAY[{}]::text[], NULL)").format(roles)


def _now(followed: Followed, source: sql.Composable) -> sql.Composable:
    record_type = followed.type
    return sql.SQL(
        "now AS MATERIALIZED (SELECT DISTINCT ON (1) {key} AS key, {image} AS image, {seen} AS seen"
        " FROM {source} ORDER BY 1)"
    ).format(
        key=sql_key([sql.Identifier(ALIAS, c) for c in record_type.key]),
        image=_image(record_type),
        seen=_seen(followed),
        source=source,
    )


_COMPARE = """
WITH {now}, was AS MATERIALIZED (
  SELECT key, image, seen FROM recordgate.change_images WHERE type = {type}{those}
), diff AS MATERIALIZED (
  SELECT coalesce(now.key, was.key) AS key, was.image AS before,
    was.seen AS seen_before, now.image, now.seen
  FROM now FULL JOIN was ON now.key = was.key
  WHERE now.image IS DISTINCT FROM was.image OR now.seen IS DISTINCT FROM was.seen
), logged AS (
  INSERT INTO recordgate.change_log (type, key, image, seen, bytes, at)
  SELECT {type}, key, before, seen_before,
    greatest(octet_length(before::text), octet_length(image::text), 1), clock_timestamp()
  FROM diff ORDER BY key
), put AS (
  INSERT INTO recordgate.change_images (type, key, image, seen)
  SELECT {type}, key, image, seen FROM diff WHERE image IS NOT NULL
  ON CONFLICT (type, key) DO UPDATE SET image = excluded.image, seen = excluded.seen
), gone AS (
  DELETE FROM recordgate.change_images AS i USING diff
  WHERE i.type = {type} AND i.key = diff.key AND diff.image IS NULL
)
SELECT count(*) FROM diff
"""


def compare_keys(followed: Followed, keys: Sequence[str]) -> sql.Composed:
    """Bring the log and the images of `keys` to what canonical has: one row, how many changed. A
    text that is no key is nobody's. Values are literals: with parameters a `%` in a name of the
    contract would count as one."""
    record_type = followed.type
    decoded = [(k, v) for k in keys if (v := decode_key(k, len(record_type.key))) is not None]
    given = [sql.Literal([k for k, _ in decoded])]
    given += [sql.Literal([v[i] for _, v in decoded]) for i in range(len(record_type.key))]
    source = sql.SQL("({asked}) AS asked JOIN {table} AS {alias} ON {on}").format(
        asked=keys_as_columns(record_type, given),
        table=table(record_type),
        alias=sql.Identifier(ALIAS),
        on=equal_keys(record_type, ALIAS, "asked"),
    )
    return sql.SQL(_COMPARE).format(
        now=_now(followed, source),
        type=sql.Literal(record_type.name),
        those=sql.SQL(" AND key = ANY({}::text[])").format(given[0]),
    )


def compare_all(followed: Followed) -> sql.Composed:
    """Do as `compare_keys`, for all records."""
    record_type = followed.type
    source = sql.SQL("{} AS {}").format(table(record_type), sql.Identifier(ALIAS))
    return sql.SQL(_COMPARE).format(
        now=_now(followed, source), type=sql.Literal(record_type.name), those=sql.SQL("")
    )


def fill(followed: Followed) -> sql.Composed:
    """Make the images of all records, where there are none."""
    record_type = followed.type
    source = sql.SQL("{} AS {}").format(table(record_type), sql.Identifier(ALIAS))
    return sql.SQL(
        "WITH {now} INSERT INTO recordgate.change_images (type, key, image, seen)"
        " SELECT {type}, key, image, seen FROM now"
    ).format(now=_now(followed, source), type=sql.Literal(record_type.name))


def columns_of(record_type: RecordType, image: sql.Composable, alias: sql.SQL) -> sql.Composed:
    """An item of FROM: the columns of `image` under `alias`, all null where it is null."""
    return sql.SQL("jsonb_to_record({}) AS {}({})").format(
        image,
        alias,
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(p.column), sql.SQL(sql_type(p)))
            for p in record_type.properties
        ),
    )


HEAD = f"""
SELECT {TIMELINE}, epoch, shape, horizon, (extract(epoch FROM horizon_at) * 1000000)::bigint,
  timeline,
  lsn::text,
  (SELECT id FROM recordgate.change_log AS l WHERE l.type = s.type ORDER BY id DESC LIMIT 1),
  (SELECT (extract(epoch FROM at) * 1000000)::bigint FROM recordgate.change_log AS l
    WHERE l.type = s.type ORDER BY id DESC LIMIT 1)
FROM recordgate.change_state AS s WHERE type = %s
"""  # noqa: S608 - TIMELINE is a constant


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log of a type, as HEAD reads it. `written`: the timeline that canonical writes
    now, `timeline`: that of the log. `last` and `last_at`: its last row; those of the horizon where
    there is none behind it."""

    written: int
    epoch: int
    shape: str
    horizon: int
    horizon_at: int
    timeline: int
    lsn: str
    last: int
    last_at: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> Head:
        (written, epoch, shape, horizon, horizon_at, timeline, lsn, last, last_at) = row
        if last is None:
            last, last_at = horizon, horizon_at
        return cls(written, epoch, shape, horizon, horizon_at, timeline, lsn, last, last_at)
