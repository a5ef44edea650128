"""A page of the changes behind a position, as a viewer sees them, by one statement.

What the viewer saw of a record at the position is compared with what they see of it at the page's
end, both in their form: a record that they did not see and see now, or that looks other than
before, is an upsert; one that they saw and see no more is a delete; of all else nothing leaves,
not even that it changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from gateway.compiler.masks import KEY_SET
from gateway.compiler.verdicts import seen_by
from gateway.context.change_heads import read_head
from gateway.context.change_tokens import ChangePosition
from gateway.export.rows import Export, named_values
from gateway.export.values import json_line
from gateway.http.problems import HttpProblem
from gateway.shape.visibility import Form
from stores.canonical.kept_changes import Head, columns_of

MOST_BYTES = 4 * 1024 * 1024
"""About how large the records of a page may be together; a larger one comes alone."""

_PAGE = """
WITH raw AS (
  SELECT id, key, bytes FROM recordgate.change_log WHERE type = {type} AND id > {behind}
  ORDER BY id LIMIT {first}
), page AS MATERIALIZED (
  SELECT id, key
  FROM (SELECT id, key, sum(bytes) OVER (ORDER BY id) - bytes AS before FROM raw) AS r
  WHERE before < {bytes}
), upto AS MATERIALIZED (
  SELECT max(id) AS id FROM page
), keys AS MATERIALIZED (
  SELECT key, min(id) AS first, max(id) AS last FROM page GROUP BY key
), both_images AS (
  SELECT k.last, f.image AS image_before, f.seen AS seen_before,
    CASE WHEN n.id IS NOT NULL THEN n.image ELSE i.image END AS image_after,
    CASE WHEN n.id IS NOT NULL THEN n.seen ELSE i.seen END AS seen_after
  FROM keys AS k
  JOIN recordgate.change_log AS f ON f.id = k.first
  LEFT JOIN LATERAL (
    SELECT l.id, l.image, l.seen FROM recordgate.change_log AS l
    WHERE l.type = {type} AND l.key = k.key AND l.id > (SELECT id FROM upto) ORDER BY l.id LIMIT 1
  ) AS n ON true
  LEFT JOIN recordgate.change_images AS i ON i.type = {type} AND i.key = k.key
), shown AS (
  SELECT b.last, b.image_before IS NOT NULL AND {seen_before} AS was,
    b.image_after IS NOT NULL AND {seen_after} AS is,
    {differs} AS differs, {after} AS after,
    CASE WHEN b.image_after IS NULL THEN {key_before} ELSE {key_after} END AS key
  FROM both_images AS b, {columns_before}, {columns_after}
), told AS (
  SELECT last, CASE WHEN "is" THEN '{{"op":"upsert","record":' || after || '}}'
    ELSE '{{"op":"delete","record":' || key || '}}' END AS line
  FROM shown WHERE CASE WHEN "is" THEN NOT was OR differs ELSE was END
)
SELECT u.id,
  (extract(epoch FROM (SELECT at FROM recordgate.change_log WHERE id = u.id)) * 1000000)::bigint,
  (SELECT string_agg(line, E'\\n' ORDER BY last) FROM told), (SELECT count(*) FROM told)
FROM upto AS u
"""
_STANDS = """
SELECT 1 FROM recordgate.change_log
WHERE type = %s AND id = %s AND (extract(epoch FROM at) * 1000000)::bigint = %s
"""


@dataclass(frozen=True, slots=True)
class Page:
    """`lines`: the changes as NDJSON. `position`: behind the last one. `more`: whether the log goes
    on. `lsn`: of the commits up to there nothing is missing, where there is no more."""

    lines: str
    count: int
    position: ChangePosition
    more: bool
    lsn: str


def page_statement(export: Export, after: int, first: int) -> sql.Composed:
    """The statement of a page. Values are literals, so that a `%` in a name is none of a
    parameter."""
    record_type, visibility = export.record_type, export.visibility
    before, now = sql.SQL("t1"), sql.SQL("t2")
    shown_before = json_line(named_values(export, before))
    shown_now = json_line(named_values(export, now))
    differs: sql.Composable = sql.SQL("{} <> {}").format(shown_before, shown_now)
    image_before: sql.Composable = sql.SQL("b.image_before")
    if _all_is_plain(export):
        # The images say it as well, and more cheaply.
        differs = sql.SQL("b.image_before <> b.image_after")
        image_before = sql.SQL("CASE WHEN b.image_after IS NULL THEN b.image_before END")
    keys = Export(record_type, fields=record_type.key_properties, visibility=visibility)
    return sql.SQL(_PAGE).format(
        type=sql.Literal(record_type.name),
        behind=sql.Literal(after),
        first=sql.Literal(first),
        bytes=sql.Literal(MOST_BYTES),
        seen_before=seen_by(record_type, visibility, sql.SQL("b.seen_before")),
        seen_after=seen_by(record_type, visibility, sql.SQL("b.seen_after")),
        differs=differs,
        after=shown_now,
        key_before=json_line(named_values(keys, before)),
        key_after=json_line(named_values(keys, now)),
        columns_before=columns_of(record_type, image_before, before),
        columns_after=columns_of(record_type, sql.SQL("b.image_after"), now),
    )


def _all_is_plain(export: Export) -> bool:
    whole = len(export.columns) == len(export.record_type.properties)
    return whole and all(export.form(p) is Form.PLAIN for p in export.columns)


async def read_page(
    conn: psycopg.AsyncConnection[Any], export: Export, at: ChangePosition, first: int
) -> Page | None:
    """The page behind `at`; None where the history is gone. Raises StoreUnavailable,
    psycopg.Error."""
    assert export.followed is not None
    async with conn.transaction():
        # What is looked at and what is read must be one snapshot: rows are removed meanwhile.
        # A page of thousands of rows looks dear enough to be compiled, which takes longer.
        await conn.execute(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL jit = off"
        )
        head = await read_head(conn, export.followed)
        if not await _stands(conn, export, head, at):
            return None
        if at.id >= head.last:
            return Page("", 0, at, False, head.lsn)
        if export.mask_key is not None:
            await conn.execute(KEY_SET, (export.mask_key.inner, export.mask_key.outer))
        row = await (await conn.execute(page_statement(export, at.id, first))).fetchone()
    assert row is not None
    last, last_at, lines, count = row
    reached = ChangePosition(at.system, at.view, at.timeline, at.epoch, last, last_at)
    return Page(lines or "", count, reached, last < head.last, head.lsn)


async def _stands(
    conn: psycopg.AsyncConnection[Any], export: Export, head: Head, at: ChangePosition
) -> bool:
    """Return whether `at` is a place in this log. A database that was put back to an earlier state
    gives the numbers of its rows once more, but not their times."""
    if (at.timeline, at.epoch) != (head.timeline, head.epoch) or at.id < head.horizon:
        return False
    if at.id == head.horizon:
        return at.at == head.horizon_at
    given = (export.record_type.name, at.id, at.at)
    return await (await conn.execute(_STANDS.encode(), given)).fetchone() is not None


def gone(location: str) -> HttpProblem:
    """The refusal of a position whose history is gone."""
    return HttpProblem(
        "GONE",
        "the changes behind this position are no longer kept, or are not those of before",
        hint=f"begin anew with {location}",
        headers={"Location": location},
    )
