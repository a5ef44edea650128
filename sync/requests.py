"""Requests of commands to the running worker, in canonical's table recordgate.sync_requests:
reload, rollback.

The table works wherever the worker runs, and outlives it. The generation that a request is about is
noted before anything is done about it, so that a worker which takes over finishes it and does not
do it a second time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection
from stores.errors import FencedError, RecordgateError
from sync.ending import end
from sync.session import Bookkeeping
from sync.writer import SinkWriter

log = logging.getLogger(__name__)

POLL = 0.5

_OPEN = """
SELECT id, action, type, sink, state, targets FROM recordgate.sync_requests
WHERE state IN ('asked', 'running') ORDER BY id
"""
_SET = """
UPDATE recordgate.sync_requests SET state = %s, targets = %s, message = %s,
  done_at = CASE WHEN %s IN ('done', 'failed') THEN now() END WHERE id = %s
"""
_ASK = """
INSERT INTO recordgate.sync_requests (action, type, sink) VALUES (%s, %s, %s) RETURNING id
"""
_WITHDRAW = """
UPDATE recordgate.sync_requests SET state = 'failed', message = %s, done_at = now()
WHERE id = %s AND state IN ('asked', 'running')
"""
_STATE = """
SELECT r.state, r.message, r.targets,
  (SELECT coalesce(sum(g.rows), 0)::bigint FROM recordgate.generations AS g
   WHERE g.type = r.type AND r.targets ->> g.sink = g.number::text)
FROM recordgate.sync_requests AS r WHERE r.id = %s
"""
# Retired: it was active, and somebody went back behind it since.
_ACTIVATED = """
SELECT bool_or(number >= %s) FROM recordgate.generations
WHERE sink = %s AND type = %s AND state IN ('active', 'retired')
"""


async def ask(conn: AsyncConnection, action: str, type_name: str, sink: str | None) -> int:
    """Ask the worker; the number of the request."""
    row = await (await conn.execute(_ASK, (action, type_name, sink))).fetchone()
    assert row is not None
    return int(row[0])


async def state(conn: AsyncConnection, request: int) -> tuple[str, str, dict[str, int], int]:
    """(asked | running | done | failed, message, sink → generation, records loaded so far in
    all)."""
    row = await (await conn.execute(_STATE, (request,))).fetchone()
    assert row is not None
    return row[0], row[1], row[2], row[3]


async def withdraw(conn: AsyncConnection, request: int, message: str) -> None:
    """Withdraw a request that its caller no longer waits for, so that no later worker starts it."""
    await conn.execute(_WITHDRAW, (message, request))


class Requests:
    """The worker's side."""

    def __init__(self, guard: Bookkeeping, writers: Mapping[str, SinkWriter]) -> None:
        self._guard = guard
        self._writers = writers

    async def run(self) -> None:
        """Process requests until cancelled. Each has a task of its own, so that a sink that is
        down does not delay the others."""
        under_way: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                async with self._guard.lock:
                    rows = await (await self._guard.conn.execute(_OPEN)).fetchall()
                for row in rows:
                    if row[0] not in under_way:
                        under_way[row[0]] = asyncio.create_task(self._attend(*row))
                await asyncio.sleep(POLL)
                for request, task in list(under_way.items()):
                    if task.done():
                        del under_way[request]
                        task.result()
        finally:
            await end(under_way.values())

    async def _attend(
        self,
        request: int,
        action: str,
        type_name: str,
        sink: str | None,
        state: str,
        noted: dict[str, int],
    ) -> None:
        """`noted`: the generations that a worker which died has set out for. A reload that is
        running is the recorded generations' affair; only its end is told here, and where nobody
        builds it any more it is asked again. A rollback is over when it is answered."""
        if state == "asked" or action == "rollback":
            targets: dict[str, int] = {}
            try:
                for name in [sink] if sink else list(self._writers):
                    if name in self._writers:
                        noted[name] = await self._pass_on(request, action, type_name, name, noted)
                        targets[name] = noted[name]
            except FencedError:
                raise
            except RecordgateError as error:
                await self._set(request, "failed", targets, str(error))
                return
            if action == "rollback":
                await self._set(request, "done", targets, "")
                return
            await self._set(request, "running", targets, "")
        left = {}
        forgotten = []
        for name, number in noted.items():
            # Seen before the table is asked: a load ends after it is active there.
            writer = self._writers.get(name)
            idle = writer is not None and writer.building.idle(type_name)
            async with self._guard.lock:
                cursor = await self._guard.conn.execute(_ACTIVATED, (number, name, type_name))
                row = await cursor.fetchone()
            if row and row[0]:
                left[name] = number
            elif idle:
                forgotten.append(name)
            else:
                return
        if forgotten:
            log.warning(
                "no worker builds %s for %s: starting again", type_name, ", ".join(forgotten)
            )
            await self._set(request, "asked", left, "")
            return
        await self._set(request, "done", noted, "")

    async def _pass_on(
        self, request: int, action: str, type_name: str, name: str, noted: dict[str, int]
    ) -> int:
        async def note(number: int) -> None:
            """A worker that takes over goes on with this number instead of finding another."""
            await self._set(request, "asked", {**noted, name: number}, "")

        writer = self._writers[name]
        answer = writer.building.ask(action, type_name, noted.get(name), note)
        writer.wake()
        return await answer

    async def _set(self, request: int, state: str, targets: Any, message: str) -> None:
        async with self._guard.changing() as conn:
            await conn.execute(_SET, (state, Jsonb(targets), message, state, request))
