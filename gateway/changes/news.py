"""Those who wait for changes of a type: woken when some came, all by one look at canonical.

Reads that are equal are made once, so that ten thousand followers who stand at the same place cost
one statement.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress

import psycopg

from gateway.changes.page import Page
from gateway.context.services import Services
from gateway.http.problems import HttpProblem
from gateway.query.canonical import NO_CONNECTION
from stores.canonical.notices import CHANGES

log = logging.getLogger("gateway")

MOST = 5_000
"""Requests of a process that wait for changes."""
READS = 4
"""Pages that are read at once."""
SAFETY = 1.0
"""Seconds between two looks where nothing is told."""

_LAST = """
SELECT t, (SELECT id FROM recordgate.change_log AS l WHERE l.type = t ORDER BY id DESC LIMIT 1)
FROM unnest(%s::text[]) AS t
"""


class ChangeNews:
    """The waiting requests of a process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._last: dict[str, int] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._reads: dict[Hashable, asyncio.Future[Page | None]] = {}
        self._room = asyncio.Semaphore(READS)
        self.ending = False
        services.listener.also(CHANGES, self._hear)

    def __len__(self) -> int:
        return self._count

    def require_room(self) -> None:
        """Raise HttpProblem where as many wait as may."""
        if self._count >= MOST:
            raise HttpProblem("OVERLOADED", "too many requests wait for changes", hint="try again")

    async def wait(self, name: str, behind: int, seconds: float) -> None:
        """Return once the log of the type may have come further than the row `behind`, or the
        process ends; after `seconds` at most."""
        if self.ending or self._last.get(name, 0) > behind:
            self._last.pop(name, None)  # a log that begins anew counts from the beginning
            return
        self.require_room()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(turn)
        self._count += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        try:
            await asyncio.wait({turn}, timeout=seconds)
        finally:
            self._count -= 1
            waiting = self._waiting.get(name)
            if waiting is not None:
                waiting.discard(turn)
                if not waiting:
                    self._waiting.pop(name, None)

    def end(self) -> None:
        """The process ends: nobody waits any longer."""
        self.ending = True
        self._hear("")

    def _hear(self, name: str) -> None:
        for woken in [name] if name else list(self._waiting):
            for turn in self._waiting.pop(woken, ()):
                if not turn.done():
                    turn.set_result(None)

    async def _look(self) -> None:
        """While somebody waits: what is not told is seen all the same."""
        told = False
        while self._count:
            await asyncio.sleep(SAFETY)
            try:
                async with self._services.pool.connection() as conn:
                    rows = await (
                        await conn.execute(_LAST.encode(), (list(self._waiting),))
                    ).fetchall()
            except (*NO_CONNECTION, psycopg.Error) as error:
                if not told:
                    log.warning("changes are not looked for: %s", type(error).__name__)
                told = True
                continue
            told = False
            for name, last in rows:
                if last is not None and last != self._last.get(name):
                    self._last[name] = last
                    self._hear(name)

    async def read(self, same: Hashable, read: Callable[[], Awaitable[Page | None]]) -> Page | None:
        """Return what `read` gives; those who ask the `same` at once share it."""
        running = self._reads.get(same)
        if running is None:
            running = asyncio.ensure_future(self._read(read))
            self._reads[same] = running
            running.add_done_callback(lambda done: self._done(same, done))
        return await asyncio.shield(running)

    async def _read(self, read: Callable[[], Awaitable[Page | None]]) -> Page | None:
        async with self._room:
            return await read()

    def _done(self, same: Hashable, done: asyncio.Future[Page | None]) -> None:
        self._reads.pop(same, None)
        with suppress(asyncio.CancelledError):
            done.exception()  # those who asked may have gone
