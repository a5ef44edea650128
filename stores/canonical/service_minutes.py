"""Service levels in canonical: good slices and requests a minute, of each gateway; after some days
together by the hour; and their sums over a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from stores.canonical.connect import AsyncConnection, Connection

SLICE = 5
"""Seconds of a slice, twelve of which are a minute."""
BY_MINUTE = timedelta(days=4)
"""The age up to which minutes are kept; older ones are kept by the hour."""
BY_HOUR = timedelta(days=400)

_WRITE = """
INSERT INTO recordgate.service_minutes AS m (indicator, minute, writer, slices, good, total)
SELECT i, to_timestamp(t), %s, s, g, a
FROM unnest(%s::text[], %s::float8[], %s::integer[], %s::bigint[], %s::bigint[]) AS r(i, t, s, g, a)
ON CONFLICT (indicator, minute, writer)
DO UPDATE SET slices = m.slices | excluded.slices, good = excluded.good, total = excluded.total
"""
_FIRST = """
INSERT INTO recordgate.service_indicators (indicator, since)
SELECT i, to_timestamp(t) FROM unnest(%s::text[], %s::float8[]) AS r(i, t)
ON CONFLICT (indicator) DO UPDATE SET since = least(service_indicators.since, excluded.since)
WHERE service_indicators.since > excluded.since
"""
_ALONE = (
    "SELECT pg_catalog.pg_try_advisory_xact_lock(hashtextextended('recordgate.service_levels', 0))"
)
_ROLL_UP = """
WITH old AS (
  DELETE FROM recordgate.service_minutes WHERE minute < date_trunc('hour', now() - %s, 'UTC')
  RETURNING indicator, minute, slices, good, total
), one AS (
  SELECT indicator, minute, bit_or(slices) AS slices, sum(good) AS good, sum(total) AS total
  FROM old GROUP BY indicator, minute
)
INSERT INTO recordgate.service_hours AS h (indicator, hour, good_seconds, good, total)
SELECT indicator, date_trunc('hour', minute, 'UTC'),
  sum(length(replace(slices::bit(12)::text, '0', '')) * 5), sum(good), sum(total)
FROM one GROUP BY 1, 2
ON CONFLICT (indicator, hour) DO UPDATE SET
  good_seconds = least(3600, h.good_seconds + excluded.good_seconds),
  good = h.good + excluded.good, total = h.total + excluded.total
"""
_FORGET = "DELETE FROM recordgate.service_hours WHERE hour < now() - %s"
_SUMS = """
WITH moment AS (SELECT date_trunc('minute', now() - interval '10 s', 'UTC') AS until),
span AS (
  SELECT w, until, CASE WHEN w < %(by_minute)s THEN until - make_interval(secs => w)
    ELSE date_trunc('hour', until - make_interval(secs => w), 'UTC') END AS since
  FROM moment CROSS JOIN unnest(%(windows)s::float8[]) AS w
)
SELECT s.indicator, w, s.since, extract(epoch FROM until - greatest(s.since, span.since))::float8,
  (coalesce(a.seconds, 0) + coalesce(b.seconds, 0))::float8,
  (coalesce(a.good, 0) + coalesce(b.good, 0))::bigint,
  (coalesce(a.total, 0) + coalesce(b.total, 0))::bigint
FROM recordgate.service_indicators AS s CROSS JOIN span
CROSS JOIN LATERAL (
  SELECT sum(length(replace(n.slices::bit(12)::text, '0', '')) * 5) AS seconds,
    sum(n.good) AS good, sum(n.total) AS total
  FROM (SELECT bit_or(m.slices) AS slices, sum(m.good) AS good, sum(m.total) AS total
        FROM recordgate.service_minutes m WHERE m.indicator = s.indicator
        AND m.minute >= span.since AND m.minute < until GROUP BY m.minute) AS n
) AS a
CROSS JOIN LATERAL (
  SELECT sum(h.good_seconds) AS seconds, sum(h.good) AS good, sum(h.total) AS total
  FROM recordgate.service_hours h
  WHERE h.indicator = s.indicator AND h.hour >= span.since AND h.hour < until
) AS b
WHERE s.indicator = ANY (%(indicators)s::text[]) AND s.since < until
"""


@dataclass(frozen=True, slots=True)
class Minute:
    """All that one writer knows of a minute: `at` is its beginning in seconds since the epoch,
    `slices` the bits of its good slices, `good` and `total` requests."""

    indicator: str
    at: float
    slices: int = 0
    good: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of an indicator over the last `window` seconds, of which `seconds` were seen: since
    the first time that anything was written of it. Time in which nobody wrote is seen, and not
    good."""

    indicator: str
    window: float
    since: datetime
    seconds: float
    good_seconds: float
    good: int
    total: int


def first_second(minute: Minute) -> float:
    """Return the beginning of the minute's first good slice, else of the minute. Pure."""
    lowest = (minute.slices & -minute.slices).bit_length() - 1
    return minute.at + max(0, lowest) * SLICE


async def write_minutes(conn: AsyncConnection, writer: UUID, minutes: Sequence[Minute]) -> None:
    """Write what `writer` knows of these minutes. The same write again changes nothing."""
    since = {m.indicator: first_second(m) for m in reversed(minutes)}
    await conn.execute(_FIRST.encode(), (list(since), list(since.values())))
    await conn.execute(
        _WRITE.encode(),
        (
            writer,
            [m.indicator for m in minutes],
            [m.at for m in minutes],
            [m.slices for m in minutes],
            [m.good for m in minutes],
            [m.total for m in minutes],
        ),
    )


async def roll_up(conn: AsyncConnection) -> None:
    """Put old minutes together by the hour, and forget the oldest hours; nothing is done where
    another process does it now."""
    async with conn.transaction():
        alone = await (await conn.execute(_ALONE.encode())).fetchone()
        if alone and alone[0]:
            await conn.execute(_ROLL_UP.encode(), (BY_MINUTE,))
            await conn.execute(_FORGET.encode(), (BY_HOUR,))


def read_sums(conn: Connection, indicators: Sequence[str], windows: Sequence[float]) -> list[Sums]:
    """Return the sums of each indicator over each of the `windows` (seconds) that end with the last
    whole minute. An indicator of which nothing was written has none."""
    rows = conn.execute(_SUMS.encode(), _of_sums(indicators, windows)).fetchall()
    return [Sums(*row) for row in rows]


async def read_sums_async(
    conn: AsyncConnection, indicators: Sequence[str], windows: Sequence[float]
) -> list[Sums]:
    """Return the same as `read_sums`."""
    cursor = await conn.execute(_SUMS.encode(), _of_sums(indicators, windows))
    return [Sums(*row) for row in await cursor.fetchall()]


def _of_sums(indicators: Sequence[str], windows: Sequence[float]) -> dict[str, object]:
    return {
        "indicators": list(indicators),
        "windows": list(windows),
        "by_minute": (BY_MINUTE - timedelta(hours=1)).total_seconds(),
    }
