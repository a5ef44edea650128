"""What commands ask of the running worker, through canonical's table recordgate.sync_requests: reload, rollback.

The table works wherever the worker runs, and outlives it: a request that was running when the worker
died is found again, and is done when the generations it asked for are active.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection
from stores.errors import RecordgateError
from sync.session import Books
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
_STATE = """
SELECT r.state, r.message, r.targets,
  (SELECT coalesce(sum(g.rows), 0)::bigint FROM recordgate.generations AS g
   WHERE g.type = r.type AND r.targets ->> g.sink = g.number::text)
FROM recordgate.sync_requests AS r WHERE r.id = %s
"""
_ACTIVE = """
SELECT bool_or(number >= %s) FROM recordgate.generations
WHERE sink = %s AND type = %s AND state = 'active'
"""


async def ask(conn: AsyncConnection, action: str, type_name: str, sink: str | None) -> int:
    """Ask the worker; the number of the request."""
    row = await (await conn.execute(_ASK, (action, type_name, sink))).fetchone()
    assert row is not None
    return int(row[0])


async def state(conn: AsyncConnection, request: int) -> tuple[str, str, dict[str, int], int]:
    """(asked | running | done | failed, message, sink → generation, records loaded so far in all)."""
    row = await (await conn.execute(_STATE, (request,))).fetchone()
    assert row is not None
    return row[0], row[1], row[2], row[3]


class Requests:
    """The worker's side."""

    def __init__(self, guard: Books, writers: Mapping[str, SinkWriter]) -> None:
        self._guard = guard
        self._writers = writers

    async def run(self) -> None:
        """Until cancelled. Each request has a task of its own: one for a sink that is down holds up none."""
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
            for task in under_way.values():
                task.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def _attend(
        self, request: int, action: str, type_name: str, sink: str | None, state: str, targets: Any
    ) -> None:
        names = [sink] if sink else list(self._writers)
        if state == "asked":
            try:
                targets = {
                    name: await self._pass_on(action, type_name, name)
                    for name in names
                    if name in self._writers
                }
            except RecordgateError as error:
                await self._set(request, "failed", {}, str(error))
                return
            await self._set(request, "running", targets, "")
        for name, number in targets.items():
            async with self._guard.lock:
                cursor = await self._guard.conn.execute(_ACTIVE, (number, name, type_name))
                row = await cursor.fetchone()
            if not row or not row[0]:
                return
        await self._set(request, "done", targets, "")

    async def _pass_on(self, action: str, type_name: str, name: str) -> int:
        writer = self._writers[name]
        answer = writer.building.ask(action, type_name)
        writer.wake()
        return await answer

    async def _set(self, request: int, state: str, targets: Any, message: str) -> None:
        async with self._guard.lock:
            await self._guard.conn.execute(_SET, (state, Jsonb(targets), message, state, request))
