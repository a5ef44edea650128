"""Canonical's history as the worker's session finds it."""

from __future__ import annotations

import asyncio
import logging

import psycopg
from psycopg import pq

from stores.canonical.connect import LINEAGE, AsyncConnection, conninfo
from stores.lineage import Forks, Lineage, parse_history
from stores.lsn import format_lsn
from sync.watermarks import Watermark

log = logging.getLogger(__name__)

_FIRST = """
INSERT INTO recordgate.lineage (system, first) VALUES (%s, %s)
ON CONFLICT (one) DO UPDATE SET system = excluded.system, first = excluded.first
"""
_FILE = "SELECT pg_read_file('pg_wal/' || lpad(upper(to_hex(%s::bigint)), 8, '0') || '.history')"


async def read_lineage(conn: AsyncConnection, url: str) -> Lineage:
    """The lineage of the database that `conn` leads to, which is no standby. Raises
    psycopg.Error."""
    row = await (await conn.execute(LINEAGE.encode())).fetchone()
    assert row is not None
    system, timeline, first = str(row[0]), int(row[1]), int(row[2])
    if not first:
        # Copied here from another server, whose timelines count no more.
        first = timeline
        await conn.execute(_FIRST, (system, first))
    forks = await _forks(conn, url, timeline) if timeline > 1 else ()
    return Lineage(system, timeline, forks, first)


def left_behind(lineage: Lineage, timeline: int) -> str:
    """Return why positions that were recorded on `timeline` count no more, for people."""
    end = lineage.end_of(timeline or lineage.first)
    return f"canonical's history changed when timeline {lineage.timeline} began" + (
        f" at {format_lsn(end)}" if end is not None else ""
    )


async def _forks(conn: AsyncConnection, url: str, timeline: int) -> Forks:
    """Empty where canonical does not let us read them: then nothing of an earlier timeline is
    believed."""
    text = await asyncio.to_thread(_history, url, timeline)
    if text is None:
        try:
            row = await (await conn.execute(_FILE, (timeline,))).fetchone()
            text = row[0] if row else None
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            log.warning(
                "the start of timeline %d cannot be read from canonical (%s): earlier records"
                " are discarded",
                timeline, type(error).__name__,
            )  # fmt: skip
    return parse_history(text or "")


def _history(url: str, timeline: int) -> str | None:
    """Return the timeline's history file by the replication protocol, for which the attribute
    REPLICATION suffices."""
    text = conninfo(url, replication="database", application_name="recordgate timelines")
    pgconn = pq.PGconn.connect(text.encode())
    try:
        if pgconn.status != pq.ConnStatus.OK:
            return None
        result = pgconn.exec_(b"TIMELINE_HISTORY %d" % timeline)
        if result.status != pq.ExecStatus.TUPLES_OK or not result.ntuples:
            return None
        value = result.get_value(0, 1)
        return None if value is None else _text(value)
    finally:
        pgconn.finish()


def _text(value: bytes) -> str:
    """The file's content comes as it is, or as bytea prints it."""
    if value.startswith(b"\\x"):
        value = bytes.fromhex(value[2:].decode("ascii"))
    return value.decode("utf-8", "replace")


def why_left(lineage: Lineage, mark: Watermark) -> str:
    """Return why a watermark is of no use any more; empty where it is of canonical's history."""
    if mark.system != lineage.system:
        return "canonical is another database"
    if not lineage.holds(mark.timeline, mark.durable):
        return left_behind(lineage, mark.timeline)
    return ""
