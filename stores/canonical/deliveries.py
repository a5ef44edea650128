"""Reads the finished imports of a type by the day: when the first and the last came, how many
records they had, and how long they took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from stores.canonical.connect import AsyncConnection, Connection

DAYS = 120
"""The number of days that are looked at."""

_DAYS = """
SELECT type, (finished_at AT TIME ZONE 'UTC')::date, min(finished_at), max(finished_at),
  sum(rows)::bigint, count(*)::integer,
  max(extract(epoch FROM finished_at - started_at))::float8
FROM recordgate.import_batches
WHERE state = 'done' AND type = ANY (%s::text[]) AND finished_at <= %s
  AND finished_at > %s::timestamptz - make_interval(days => %s)
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Day:
    """All imports of one type that finished on a day in UTC. `rows`: records that they had, also
    those that changed nothing; `seconds`: the longest of them."""

    day: date
    first: datetime
    last: datetime
    rows: int
    batches: int = 1
    seconds: float = 0.0


def read_days(conn: Connection, types: Sequence[str], now: datetime) -> dict[str, list[Day]]:
    """Return the days before `now` on which something of a type was imported, by type, the oldest
    first."""
    return _by_type(types, conn.execute(_DAYS.encode(), (list(types), now, now, DAYS)).fetchall())


async def read_days_async(
    conn: AsyncConnection, types: Sequence[str], now: datetime
) -> dict[str, list[Day]]:
    """Return the same as `read_days`."""
    cursor = await conn.execute(_DAYS.encode(), (list(types), now, now, DAYS))
    return _by_type(types, await cursor.fetchall())


def _by_type(types: Sequence[str], rows: Sequence[tuple[object, ...]]) -> dict[str, list[Day]]:
    found: dict[str, list[Day]] = {name: [] for name in types}
    for name, *values in rows:
        found[str(name)].append(Day(*values))  # type: ignore[arg-type]
    return found
