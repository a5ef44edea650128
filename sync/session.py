"""The connections to canonical of one session of the worker, and who is allowed to have one.

A session advisory lock makes sure that one worker reads a slot. It goes with its connection, so a worker
that loses canonical has lost the lock, and begins a new session.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

import psycopg

from stores.canonical.connect import SYSTEM_IDENTITY, AsyncConnection, connect_async
from sync.projection import connect_for_reading

LOCK_RETRY = 0.5

_HEARTBEAT = """
INSERT INTO recordgate.workers AS w (slot, owner, epoch, host, pid, heartbeat_at)
VALUES (%(slot)s, %(owner)s, 1, %(host)s, %(pid)s, now())
ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner, host = excluded.host, pid = excluded.pid,
  epoch = w.epoch + CASE WHEN w.owner = excluded.owner THEN 0 ELSE 1 END, heartbeat_at = now()
"""


@dataclass
class Books:
    """A connection for short statements of one sink's bookkeeping; `lock` keeps them whole."""

    conn: AsyncConnection
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class SinkConnections:
    reading: AsyncConnection
    books: Books


@dataclass
class Session:
    """`guard` holds the lock and writes heartbeats and watermarks; `marking` serves the stream of changes."""

    guard: Books
    marking: AsyncConnection
    sinks: dict[str, SinkConnections]
    system: str
    slot: str
    owner: uuid.UUID

    async def heartbeat(self) -> None:
        await self.guard.conn.execute(
            _HEARTBEAT,
            {
                "slot": self.slot,
                "owner": self.owner,
                "host": socket.gethostname(),
                "pid": os.getpid(),
            },
        )

    async def close(self) -> None:
        connections = [self.guard.conn, self.marking]
        for sink in self.sinks.values():
            connections += [sink.reading, sink.books.conn]
        for conn in connections:
            with suppress(psycopg.Error):
                await conn.close()


def lock_key(slot: str) -> int:
    """The advisory lock of the worker that reads `slot`."""
    return int.from_bytes(
        sha256(f"recordgate worker {slot}".encode()).digest()[:8], "big", signed=True
    )


async def try_lock(conn: AsyncConnection, slot: str) -> bool:
    cursor = await conn.execute("SELECT pg_try_advisory_lock(%s)", (lock_key(slot),))
    row = await cursor.fetchone()
    return bool(row and row[0])


async def worker_runs(conn: AsyncConnection, slot: str) -> bool:
    """Whether a worker holds the lock now."""
    key = lock_key(slot) & 0xFFFFFFFFFFFFFFFF
    cursor = await conn.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND classid::bigint = %s AND objid::bigint = %s)",
        (key >> 32, key & 0xFFFFFFFF),
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def open_session(url: str, slot: str, sinks: list[str], owner: uuid.UUID) -> Session:
    """Wait for the lock, then open everything. Raises StoreUnavailable, SetupError, psycopg.Error."""
    opened: list[AsyncConnection] = []
    try:
        guard = await connect_async(url, application_name="recordgate worker")
        opened.append(guard)
        while not await try_lock(guard, slot):  # noqa: ASYNC110 - the other worker is elsewhere
            await asyncio.sleep(LOCK_RETRY)
        marking = await connect_for_reading(url, "recordgate changes")
        opened.append(marking)
        connections = {}
        for sink in sinks:
            reading = await connect_for_reading(url, f"recordgate reads for {sink}")
            opened.append(reading)
            books = await connect_async(url, application_name=f"recordgate {sink}")
            opened.append(books)
            connections[sink] = SinkConnections(reading, Books(books))
        row = await (await guard.execute(SYSTEM_IDENTITY.encode())).fetchone()
        assert row is not None
        session = Session(Books(guard), marking, connections, str(row[0]), slot, owner)
        await session.heartbeat()
        return session
    except BaseException:
        for conn in opened:
            with suppress(psycopg.Error):
                await conn.close()
        raise
