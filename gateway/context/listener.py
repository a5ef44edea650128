"""Hears from canonical that a store shows more than before, so that those who wait for it are
woken; and knows canonical's clock, by which staleness is reckoned, and its timeline.

One connection a process listens on the channel that the worker's sinks notify after a publish. It
is a help, not a promise: while it is lost, and for what it does not tell, waiters look for
themselves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg.rows import TupleRow

from stores.canonical.connect import LINEAGE
from stores.canonical.notices import POSITIONS, SOURCE
from stores.lineage import Lineage

log = logging.getLogger("gateway")

CLOCK_EVERY = 10.0
RETRY = 1.0
UNHEARD = 0.008
"""Seconds between two looks of a waiter while the connection is lost."""
SAFETY = 0.1
"""The most seconds between two looks while the listener is connected: positions may move without a
change, which nobody announces."""

_NOW = "extract(epoch FROM clock_timestamp())::float8"
_CLOCK = f"SELECT {_NOW}, l.* FROM ({LINEAGE}) AS l"  # noqa: S608

_SOURCES = (
    b"SELECT name, extract(epoch FROM as_of)::float8 FROM recordgate.sources"
    b" WHERE as_of IS NOT NULL"
)

_SET_ASIDE = b"""SELECT DISTINCT type FROM recordgate.dead_letters
WHERE kind = 'sink' AND sink = 'documents' AND type IS NOT NULL"""


class CanonicalListener:
    """`heard`: how often something was heard, for those who keep what they read."""

    def __init__(self) -> None:
        self.heard = 0
        self.connected = False
        self.lost = False
        """The last try to connect failed, or the connection broke and is not back."""
        self.ahead = 0.0
        """Seconds by which canonical's clock is ahead of ours, at most."""
        self.sources: dict[str, float] = {}
        """Type → until when what its source has is here, in canonical's seconds; of collected types
        alone."""
        self.collected = False
        """True where there are such types."""
        self.set_aside: frozenset[str] = frozenset()
        """Types of which the document store has refused records, as of ten seconds ago at most:
        lists of it lack them."""
        self.seen: Callable[[Lineage], None] = lambda _: None
        """Told which database and timeline the address leads to, with every new connection and now
        and then."""
        self._waiting: set[asyncio.Future[None]] = set()
        self._also: dict[str, Callable[[str], None]] = {}

    def now(self) -> float:
        """Canonical's time, or a little later: an answer is never said to be fresher than it is."""
        return time.time() + self.ahead

    async def wait(self, seconds: float) -> None:
        """Wait until something is heard, for at most `seconds`, and for no longer than is sensible
        between two looks."""
        most = min(seconds, SAFETY if self.connected else UNHEARD)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(turn)
        try:
            await asyncio.wait({turn}, timeout=most)
        finally:
            self._waiting.discard(turn)

    def also(self, channel: str, hear: Callable[[str], None]) -> None:
        """Listen on `channel`, too; `hear` gets each payload, and an empty one after each new
        connection."""
        self._also[channel] = hear

    def _ring(self) -> None:
        self.heard += 1
        waiting, self._waiting = self._waiting, set()
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)

    async def run(self, conninfo: str) -> None:
        """Listen until cancelled; `conninfo` leads to canonical."""
        while True:
            try:
                await self._listen(conninfo)
            except psycopg.Error as error:
                if self.connected:
                    log.warning(
                        "the connection that listens for store positions is lost: %s",
                        type(error).__name__,
                    )
            finally:
                self.connected, self.lost = False, True
            await asyncio.sleep(RETRY)

    async def _listen(self, conninfo: str) -> None:
        conn = await psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, application_name="recordgate gateway news"
        )
        try:
            for channel in (POSITIONS, *self._also):
                await conn.execute(f"LISTEN {channel}".encode())
            await self._read_clock(conn)
            self.connected, self.lost = True, False
            self._ring()
            for hear in self._also.values():
                hear("")
            while True:
                async for notice in conn.notifies(timeout=CLOCK_EVERY):
                    if notice.channel == POSITIONS and notice.payload.startswith(SOURCE):
                        self._hear_source(notice.payload)
                    elif notice.channel == POSITIONS:
                        self._ring()
                    else:
                        self._also[notice.channel](notice.payload)
                await self._read_clock(conn)
        finally:
            await conn.close()

    def _hear_source(self, payload: str) -> None:
        at, _, name = payload.removeprefix(SOURCE).partition(":")
        if self.collected:
            self.sources[name] = float(at)

    async def _read_clock(self, conn: psycopg.AsyncConnection[TupleRow]) -> None:
        before = time.time()
        cursor = await conn.execute(_CLOCK.encode())
        row = await cursor.fetchone()
        assert row is not None
        # Our clock stood between before and now when canonical's was read: the larger difference
        # counts.
        self.ahead = row[0] - before
        _, system, timeline, first = row
        if self.collected:
            cursor = await conn.execute(_SOURCES)
            self.sources = dict(await cursor.fetchall())
        with suppress(psycopg.errors.InsufficientPrivilege):
            cursor = await conn.execute(_SET_ASIDE)
            self.set_aside = frozenset(name for (name,) in await cursor.fetchall())
        self.seen(Lineage(system, int(timeline), first=int(first or timeline)))
