"""The connections to canonical of one session of the worker, all of them opened once it is in
charge."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from stores.canonical.connect import AsyncConnection, connect_async
from stores.lineage import Lineage
from sync.conditions import Conditions
from sync.ending import end, happens
from sync.lease import SAY, Lease, Predecessor, Waiting, begin_term, wait_for_lock
from sync.projection import connect_for_documents, connect_for_reading
from sync.timelines import read_lineage

LETS_GO = "-c idle_in_transaction_session_timeout=15s"
"""A process that is stopped in the middle of a transaction, as by SIGSTOP, would hold its locks for
as long as it likes: the application's TRUNCATE would wait for it. Canonical ends the session
then; the worker begins another."""


@dataclass
class Bookkeeping:
    """A connection for short statements of bookkeeping. `lock` keeps them whole; what changes
    something goes through `changing`."""

    conn: AsyncConnection
    lease: Lease
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncConnection]:
        """Yield the connection in a transaction that is committed only while this session is in
        charge. Raise FencedError."""
        async with self.lock, self.conn.transaction():
            await self.lease.hold(self.conn)
            yield self.conn

    async def assure(self) -> None:
        """Raise FencedError if another worker is in charge, which a process that was stopped has
        not noticed. Must be called before a store is written to."""
        if not self.lease.fresh:
            async with self.lock:
                await self.lease.see(self.conn)


@dataclass
class SinkConnections:
    reading: AsyncConnection
    bookkeeping: Bookkeeping
    lineage: Lineage


@dataclass
class Session:
    """`guard` holds the lock, says that we live, and writes watermarks; `marking` serves the stream
    of changes; `keeping` keeps changes for those who follow, where there are such types."""

    guard: Bookkeeping
    marking: AsyncConnection
    sinks: dict[str, SinkConnections]
    lineage: Lineage
    predecessor: Predecessor | None
    conditions: Conditions
    keeping: Bookkeeping | None = None

    @property
    def term(self) -> int:
        return self.guard.lease.term

    async def stay(self, enough: asyncio.Event | None = None) -> None:
        """Say that we live until somebody else is in charge, or `enough` is set: a statement that
        is cancelled can cost the connection. Raises FencedError."""
        enough = enough or asyncio.Event()
        while not enough.is_set():
            async with self.guard.lock:
                await self.guard.lease.see(self.guard.conn)
            await happens(enough, SAY)

    async def close(self) -> None:
        connections = [self.guard.conn, self.marking]
        if self.keeping is not None:
            connections.append(self.keeping.conn)
        for sink in self.sinks.values():
            connections += [sink.reading, sink.bookkeeping.conn]
        for conn in connections:
            with suppress(psycopg.Error):
                await conn.close()


async def _say(guard: AsyncConnection, enough: asyncio.Event) -> None:
    """Say that we live while the other connections are made, which takes long where the network is
    slow."""
    with suppress(psycopg.Error):  # who uses the guard next hears it
        while not await happens(enough, SAY):
            await guard.execute("SELECT 1")


async def open_session(
    url: str,
    slot: str,
    sinks: list[str],
    owner: uuid.UUID,
    waiting: Waiting,
    *,
    keeps: bool = False,
) -> Session:
    """Wait until we are in charge (`waiting`: see wait_for_lock), then open everything; with
    `keeps` also what keeps changes. Raises StoreUnavailable, SetupError, psycopg.Error."""
    opened: list[AsyncConnection] = []

    async def reading(name: str) -> AsyncConnection:
        opened.append(await connect_for_documents(url, name))
        return opened[-1]

    async def plain(name: str) -> AsyncConnection:
        opened.append(await connect_async(url, application_name=name, options=LETS_GO))
        return opened[-1]

    connected = asyncio.Event()
    saying: asyncio.Task[None] | None = None
    try:
        guard = await plain("recordgate worker")
        predecessor = await wait_for_lock(guard, slot, waiting)
        saying = asyncio.create_task(_say(guard, connected))
        marking = await connect_for_reading(url, "recordgate changes", LETS_GO)
        opened.append(marking)
        reads = {sink: await reading(f"recordgate reads for {sink}") for sink in sinks}
        bookkeeping = {sink: await plain(f"recordgate {sink}") for sink in sinks}
        keeping = None
        if keeps:
            keeping = await connect_for_documents(url, "recordgate changes kept")
            opened.append(keeping)
        connected.set()
        await saying
        lease = await begin_term(guard, slot, owner, [c.info.backend_pid for c in opened])
        lineage = await read_lineage(guard, url)
        books_of_guard = Bookkeeping(guard, lease)
        conditions = Conditions(books_of_guard)
        await conditions.take_over()
        connections = {
            s: SinkConnections(reads[s], Bookkeeping(bookkeeping[s], lease), lineage) for s in sinks
        }
        kept = None if keeping is None else Bookkeeping(keeping, lease)
        return Session(books_of_guard, marking, connections, lineage, predecessor, conditions, kept)
    except BaseException:
        if saying is not None:
            await end([saying])
        for conn in opened:
            with suppress(psycopg.Error):
                await conn.close()
        raise
