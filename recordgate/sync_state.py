"""Reads the state of the sync side from recordgate's tables in canonical, for the console of a
gateway, which may run without a worker."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

SECONDS = 2.0

SINKS = """
SELECT w.sink,
       extract(epoch FROM clock_timestamp() - w.as_of)::float8,
       greatest(pg_current_wal_insert_lsn() - w.lsn, 0)::bigint,
       (SELECT count(*) FROM recordgate.backlog b WHERE b.sink = w.sink),
       (SELECT count(*) FROM recordgate.dead_letters d WHERE d.sink = w.sink)
  FROM recordgate.watermarks w ORDER BY w.sink
"""

SLOT = """
SELECT (pg_current_wal_insert_lsn() - s.restart_lsn)::bigint
  FROM pg_replication_slots s WHERE s.slot_name = %s
"""


async def sync_state(pool: AsyncConnectionPool[Any], slot: str) -> dict[str, Any]:
    """`sinks` by name, and `slotBytes` (None: no slot); with `problem` where canonical does not
    say."""
    try:
        async with asyncio.timeout(SECONDS), pool.connection(SECONDS) as conn:
            sinks = await (await conn.execute(SINKS.encode())).fetchall()
            held = await (await conn.execute(SLOT.encode(), (slot,))).fetchone()
    except (TimeoutError, PoolTimeout, psycopg.Error):
        return {"problem": "canonical is not reachable"}
    return {
        "sinks": {
            name: {
                "lagSeconds": round(max(0.0, seconds), 3),
                "lagBytes": lag,
                "backlog": backlog,
                "deadLetters": dead_letters,
            }
            for name, seconds, lag, backlog, dead_letters in sinks
        },
        "slotBytes": held[0] if held else None,
    }
