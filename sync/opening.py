"""Watches the opening of a change source, which takes as long as others' transactions are open.

A replication slot is made only when every transaction that was open before has ended. Meanwhile the
worker keeps its heartbeat, so that nobody takes over from it, and reports whom it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from stores.canonical.conditions import Condition
from sync.ending import end, happens
from sync.session import Session

T = TypeVar("T")

CODE = "waiting-for-transaction"
QUIET = 2.0
"""Seconds for which it waits without a word."""
AGAIN = 30.0
"""Seconds between two looks at whom it waits for."""
HINT = (
    "end that transaction: pg_terminate_backend(PID), or ROLLBACK PREPARED;"
    " the worker then goes on by itself"
)

# The state of other roles' sessions shows to members of pg_read_all_stats only; then there is no
# xact_start.
_BLOCKERS = """
SELECT DISTINCT p.pid, nullif(b.application_name, ''), b.usename::text, b.xact_start,
  extract(epoch FROM clock_timestamp() - b.xact_start)::float8
FROM pg_stat_activity AS a CROSS JOIN unnest(pg_blocking_pids(a.pid)) AS p(pid)
LEFT JOIN pg_stat_activity AS b ON b.pid = p.pid
WHERE a.application_name = %s AND a.datname = current_database()
ORDER BY b.xact_start
"""
_PREPARED = """
SELECT gid, prepared, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts ORDER BY prepared LIMIT 1
"""


async def beside_the_lease(
    session: Session, slot: str, opening: Coroutine[Any, Any, T], stop: asyncio.Event
) -> T | None:
    """Return the result of `opening` while keeping the worker in charge, or None if `stop` was set
    first. Raise what `opening` raises, and FencedError."""
    enough = asyncio.Event()
    work = asyncio.create_task(opening, name="opening")
    stay = asyncio.create_task(session.stay(enough), name="lease")
    tell = asyncio.create_task(_tell(session, slot, enough), name="waiting")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stay, tell, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            found = work.result()
            enough.set()
            await asyncio.gather(stay, tell)
            await session.conditions.over(code=CODE)
            return found
        for task in (stay, tell):
            if task.done():
                task.result()
        return None
    finally:
        await end([work, stay, tell, stopping])


async def _tell(session: Session, slot: str, enough: asyncio.Event) -> None:
    """Raise the condition where somebody's transaction is waited for."""
    pause = QUIET
    while not await happens(enough, pause):
        pause = QUIET
        async with session.guard.lock:
            conn = session.guard.conn
            rows = await (await conn.execute(_BLOCKERS, (f"recordgate {slot}",))).fetchall()
            prepared = None
            if any(row[0] == 0 for row in rows):
                prepared = await (await conn.execute(_PREPARED)).fetchone()
        if rows:
            message = waiting_words(rows, prepared)
            pause = AGAIN
            await session.conditions.raise_(Condition(CODE, message, HINT))


def waiting_words(rows: list[tuple[Any, ...]], prepared: tuple[Any, ...] | None) -> str:
    """Describe whom the worker waits for: process, application, role, start and age of each,
    oldest first."""
    told = []
    for pid, application, role, start, age in rows:
        if pid == 0:
            name = f"the prepared transaction {prepared[0]!r}" if prepared else "a prepared one"
            start, age = prepared[1:] if prepared else (None, None)
        else:
            name = (
                f"process {pid} ({application or 'no application name'}, role {role or 'unknown'})"
            )
        told.append(f"{name}{_since(start, age)}")
    return (
        "changes are not followed yet, because an open transaction must end first:"
        f" {'; '.join(told)}"
    )


def _since(start: datetime | None, age: float | None) -> str:
    if start is None or age is None:
        return ", open since a time that only a member of pg_read_all_stats may see"
    return f", open for {age:.0f} s, since {start.astimezone(UTC):%H:%M:%S} UTC"
