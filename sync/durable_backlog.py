"""One sink's dirty keys in canonical, table recordgate.backlog: what outlives the worker and holds
no WAL.

A row is removed only if it is still the version (xmin) that was taken: a key that was marked again
in the meantime stays. The type `~all` is a sweep: its key is the type of which every record is
meant. Rows of types that the worker's contract does not have stay, and hold up nothing: the worker
whose contract has the type takes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from stores.canonical.connect import AsyncConnection
from sync.backlog import Batch

SWEEP = "~all"

# On conflict the row is written anew even where nothing changes: its new xmin says "marked again".
_ADD = """
INSERT INTO recordgate.backlog (sink, type, key, lsn)
SELECT %(sink)s, %(type)s, k, '0/0'::pg_lsn + %(lsn)s::numeric FROM unnest(%(keys)s::text[]) AS k
ON CONFLICT (sink, type, key) DO UPDATE SET lsn = excluded.lsn, queued_at = now()
"""
_PAGE = """
SELECT type, key, xmin::text FROM recordgate.backlog
WHERE sink = %(sink)s AND (type, key) > (%(type)s, %(key)s)
  AND CASE type WHEN '~all' THEN key ELSE type END = ANY(%(types)s)
ORDER BY type, key LIMIT %(limit)s
"""
_REMOVE = """
DELETE FROM recordgate.backlog AS b USING unnest(%(keys)s::text[], %(marks)s::text[]) AS taken(key,
  mark)
WHERE b.sink = %(sink)s AND b.type = %(type)s AND b.key = taken.key AND b.xmin::text = taken.mark
"""
_COUNT = """
SELECT count(*) FROM recordgate.backlog
WHERE sink = %(sink)s
  AND (%(types)s::text[] IS NULL OR CASE type WHEN '~all' THEN key ELSE type END = ANY(%(types)s))
"""
ADD_CHUNK = 20_000


@dataclass(slots=True)
class DurablePage:
    """Keys of one type. `marks`: key → what the row's xmin was."""

    type_name: str
    marks: dict[str, str]


async def add(
    conn: AsyncConnection, sink: str, type_name: str, keys: Sequence[str], lsn: int
) -> None:
    """Add dirty keys; `lsn` is shown to operators only."""
    for start in range(0, len(keys), ADD_CHUNK):
        # Sorted, so that two that add at once cannot lock each other out.
        chunk = sorted(keys[start : start + ADD_CHUNK])
        await conn.execute(_ADD, {"sink": sink, "type": type_name, "keys": chunk, "lsn": lsn})


async def add_batches(conn: AsyncConnection, sink: str, batches: Iterable[Batch], lsn: int) -> None:
    """Move a memory backlog here, all of it or nothing."""
    async with conn.transaction():
        for batch in batches:
            if batch.sweep is not None:
                await add(conn, sink, SWEEP, [batch.type_name], lsn)
            if batch.keys:
                await add(conn, sink, batch.type_name, list(batch.keys), lsn)


class DurableReader:
    """Walks through a sink's rows of `types` page by page, and again from the start until none are
    left."""

    def __init__(self, conn: AsyncConnection, sink: str, types: Collection[str]) -> None:
        self._conn = conn
        self._sink = sink
        self._types = list(types)
        self._after = ("", "")

    def restart(self) -> None:
        """Begin from the start: pages that were handed out were not published."""
        self._after = ("", "")

    @property
    def at_start(self) -> bool:
        return self._after == ("", "")

    async def page(self, limit: int, without: Collection[str] = ()) -> DurablePage | None:
        """Return the next page, without the types in `without`, or None at the end; the next call
        starts again from the beginning."""
        cursor = await self._conn.execute(
            _PAGE,
            {
                "sink": self._sink,
                "type": self._after[0],
                "key": self._after[1],
                "types": [t for t in self._types if t not in without],
                "limit": limit,
            },
        )
        rows = await cursor.fetchall()
        if not rows:
            self.restart()
            return None
        type_name = rows[0][0]
        page = DurablePage(type_name, {key: mark for name, key, mark in rows if name == type_name})
        self._after = (type_name, next(reversed(page.marks)))
        return page

    async def remove(self, page: DurablePage) -> None:
        """Remove the page's keys, but those that were marked again."""
        await self._conn.execute(
            _REMOVE,
            {
                "sink": self._sink,
                "type": page.type_name,
                "keys": list(page.marks),
                "marks": list(page.marks.values()),
            },
        )


async def count(conn: AsyncConnection, sink: str, types: Collection[str] | None = None) -> int:
    """Return the number of the sink's rows, in all or of `types`."""
    given = {"sink": sink, "types": None if types is None else list(types)}
    row = await (await conn.execute(_COUNT, given)).fetchone()
    return int(row[0]) if row else 0
