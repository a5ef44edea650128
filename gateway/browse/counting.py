"""The number of records of each type, for the landing page: cheap, true for the viewer, and
remembered a moment.

A search store knows its count. Canonical counts only small tables; of a large one the page says
about how many there are, as Postgres estimates it, and only to those from whom no row is hidden.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import psycopg

from gateway.browse import queries
from gateway.browse.landing import Count
from gateway.browse.seen import Seen
from gateway.context.services import RequestContext, Services, Viewer
from gateway.query.compiled import respond
from gateway.query.execute import ServedSchema
from stores.errors import RecordgateError
from stores.recent import Recent

SMALL = 64 * 2**20
"""Bytes of a table that is counted."""
KEPT = 10.0
"""Seconds."""
VIEWERS = 100
MOST_TYPES = 200
PORTION = 20
"""Types that one query counts; the limits of queries hold for pages, too."""
PATIENCE = 3.0
"""Seconds that a page waits for counts; without them it is still a page."""
_SIZES = """
SELECT c.reltuples::bigint, coalesce(
         (SELECT sum(pg_relation_size(p.relid)) FROM pg_partition_tree(c.oid) p),
         pg_relation_size(c.oid))::bigint
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS asked(space, name, place)
LEFT JOIN pg_namespace n ON n.nspname = asked.space
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name
ORDER BY asked.place
"""


class Counts:
    """Counts by roles: who has the same roles sees the same rows."""

    def __init__(self, services: Services, schema: ServedSchema) -> None:
        self._services, self._schema = services, schema
        self._kept: Recent[frozenset[str], tuple[float, dict[str, Count]]] = Recent(VIEWERS)
        self._one = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()

    async def of(self, viewer: Viewer, types: list[Seen]) -> dict[str, Count]:
        """Return the counts by the type's name. Never raises for a store that cannot answer: then
        the count says why it is not there."""
        async with self._one:
            known = self._kept.get(viewer.roles)
            if known is not None and time.monotonic() < known[0]:
                return known[1]
            counting = asyncio.create_task(self._count(viewer, types[:MOST_TYPES]))
            self._running.add(counting)
            counting.add_done_callback(self._ended)
            if (await asyncio.wait((counting,), timeout=PATIENCE))[0]:
                found = counting.result()
            else:
                # A statement that is called off waits for a server that may not be there; the page
                # does not.
                counting.cancel()
                found = {s.type.name: Count(None, reason="not counted in time") for s in types}
            self._kept.keep(viewer.roles, (time.monotonic() + KEPT, found))
            return found

    def _ended(self, counting: asyncio.Task[Any]) -> None:
        self._running.discard(counting)
        if not counting.cancelled():
            counting.exception()  # looked at, so that one which came too late is not reported

    async def _count(self, viewer: Viewer, types: list[Seen]) -> dict[str, Count]:
        unknown = [s for s in types if not s.may_search and s.may("list")]
        sizes = await self._sizes(unknown)
        small = {name for name, (_, size) in sizes.items() if size <= SMALL}
        data: dict[str, Any] = {}
        why: dict[str, str] = {}
        for start in range(0, len(types), PORTION):
            portion = types[start : start + PORTION]
            asked = queries.counts(portion, small)
            if not asked.query:
                continue
            context = RequestContext(self._services, viewer)
            answer = orjson.loads((await respond(self._schema, context, asked.query)).body)
            data |= answer.get("data") or {}
            for error in answer.get("errors", []):
                # An error without a path is one of the whole query.
                path = error.get("path")
                fields = [str(path[0])] if path else [_field(seen) for seen in portion]
                why |= dict.fromkeys(fields, str(error["message"]))
        found: dict[str, Count] = {}
        for seen in types:
            name = seen.type.name
            field = _field(seen)
            counted = data.get(field)
            if counted is not None:
                kind = "at least" if counted.get("totalIsLowerBound") else "exact"
                found[name] = Count(int(counted["totalCount"]), kind)
            elif field in why:
                found[name] = Count(None, reason=f"not counted: {why[field]}")
            elif (
                name in sizes
                and sizes[name][0] > 0
                and seen.visibility.row_filters(seen.type) is None
            ):
                found[name] = Count(sizes[name][0], "about")
        return found

    async def _sizes(self, types: list[Seen]) -> dict[str, tuple[int, int]]:
        """Return type → rows as Postgres estimates them, -1 where it does not, and bytes; empty
        where it cannot be asked."""
        if not types:
            return {}
        names = [s.type.name for s in types]
        try:
            async with self._services.pool.connection() as conn:
                cursor = await conn.execute(
                    _SIZES, ([s.type.schema for s in types], [s.type.table for s in types])
                )
                rows = await cursor.fetchall()
        except (psycopg.Error, RecordgateError):
            return {}
        return {
            name: (int(r[0]), int(r[1]))
            for name, r in zip(names, rows, strict=True)
            if r[0] is not None and r[1] is not None
        }


def _field(seen: Seen) -> str:
    """Return the field of the query that counts a type's records."""
    return seen.search_field if seen.may_search else seen.type.plural
