"""The lease on a slot: one worker at a time works on it, taken over from one that died or stalls,
and fenced for good.

A session advisory lock of canonical is held by the worker's guard connection: whoever dies loses
it. A worker that only stalls (stopped, swapped out, cut off) keeps it; so everybody can see in
pg_stat_activity when the guard last said anything, which costs no WAL, and one that waits ends the
connections of a guard that was silent for `STALLED`.

The *term* makes this safe, not the clock: a number in recordgate.workers, greater with every
session. `hold` reads it under a lock in the same transaction as what is written, so nothing of a
session that was replaced is ever committed. Stores that several hosts can write to keep the term as
well (`Store.take_charge`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeAlias

import psycopg

from stores.canonical.connect import AsyncConnection
from stores.errors import FencedError
from sync.process_state import process_state

log = logging.getLogger(__name__)

RETRY = 0.25
"""Seconds between two tries to get the lock."""
SAY = 0.5
"""Seconds between two signs of life of the guard."""
STALLED = 2.5
"""Seconds of silence after which a guard is replaced."""
ENDINGS = 4
"""The number of times, RETRY apart, that the reader of a slot is ended which belongs to nobody in
charge."""
TRUSTED = 1.2
"""Seconds for which a session that was in charge writes to a store without asking again; well below
STALLED."""

_LOCK = "SELECT pg_try_advisory_lock(%s)"
_HOLDER = """
SELECT l.pid, a.state, extract(epoch FROM clock_timestamp() - a.state_change)::float8
FROM pg_locks AS l LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = %s AND l.objid::bigint = %s
"""
_ROW = "SELECT owner, host, pid, backends FROM recordgate.workers WHERE slot = %s"
# The sessions that the worker has named. Only a role may end its own.
_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND datname = current_database()
  AND (pid = %(guard)s
    OR pid = ANY(%(backends)s) AND application_name LIKE 'recordgate%%')
"""
# A reader whose process is stopped and whose socket is full cannot be told that it is ended: its
# session waits for the socket for ever, unless it is ended once more.
_END_READER = """
SELECT pg_terminate_backend(a.pid) FROM pg_replication_slots AS s JOIN pg_stat_activity AS a
  ON a.pid = s.active_pid
WHERE s.slot_name = %s AND s.database = current_database() AND a.application_name LIKE
  'recordgate%%'
"""
_WAIT_FOR_OTHERS = "SELECT FROM recordgate.workers WHERE slot = %s FOR UPDATE"
# Greater than every term before, also after canonical came back from an older copy: never below its
# clock.
_BEGIN = """
INSERT INTO recordgate.workers AS w (slot, owner, epoch, host, pid, backends, heartbeat_at)
VALUES (%(slot)s, %(owner)s, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, %(host)s,
  %(pid)s,
  %(backends)s, now())
ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner, host = excluded.host, pid = excluded.pid,
  backends = excluded.backends, epoch = greatest(w.epoch + 1, excluded.epoch), heartbeat_at = now()
RETURNING epoch
"""
_HOLD = "SELECT FROM recordgate.workers WHERE slot = %s AND epoch = %s FOR KEY SHARE"
_SEE = "SELECT FROM recordgate.workers WHERE slot = %s AND epoch = %s"
_HEARTBEAT = "UPDATE recordgate.workers SET heartbeat_at = now() WHERE slot = %s AND epoch = %s"


@dataclass
class Lease:
    """The right of one session, `term`, to work on `slot`."""

    slot: str
    term: int
    _seen: float = field(default_factory=lambda: clock())

    async def hold(self, conn: AsyncConnection) -> None:
        """Make the transaction that `conn` is in one that commits only while we are in charge:
        nobody takes over before it has ended. Raises FencedError."""
        await self._ask(conn, _HOLD)

    async def see(self, conn: AsyncConnection) -> None:
        """Raises FencedError where somebody else is in charge now."""
        await self._ask(conn, _SEE)

    async def _ask(self, conn: AsyncConnection, query: str) -> None:
        before = clock()
        cursor = await conn.execute(query.encode(), (self.slot, self.term), prepare=True)
        if not cursor.rowcount:
            raise FencedError("another worker has taken over")
        self._seen = before

    @property
    def fresh(self) -> bool:
        """Return whether canonical has confirmed within the last moments that this worker is in
        charge."""
        return clock() - self._seen < TRUSTED

    async def heartbeat(self, conn: AsyncConnection) -> None:
        """Record a sign of life in recordgate.workers, for operators. Raise FencedError."""
        await self._ask(conn, _HEARTBEAT)


def clock() -> float:
    """Seconds that go on while the process is stopped and, where the system can tell, the machine
    asleep."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


# Getting in charge --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The process that was in charge before us."""

    host: str
    pid: int

    def __str__(self) -> str:
        return f"the worker on {self.host}, process {self.pid}"

    def end_if_stopped(self, holder: int | None) -> bool:
        """Kill it where it is stopped and is the `holder` of a lock that we need: a stopped process
        would hold the files of an embedded store for as long as it likes. One that runs lets go
        by itself."""
        mine = self.host == socket.gethostname() and holder == self.pid != os.getpid()
        if not mine or process_state(self.pid) not in ("T", "t"):
            return False
        log.warning("process %d is stopped and holds the store's files: killing it", self.pid)
        try:
            os.kill(self.pid, signal.SIGKILL)
        except OSError as error:
            log.warning("process %d cannot be killed: %s", self.pid, error.strerror)
            return False
        return True


Waiting: TypeAlias = "Callable[[Predecessor | None], Awaitable[None]]"
"""Called with the process that holds the lease, once it has recorded itself, and again when it
changes."""


async def wait_for_lock(conn: AsyncConnection, slot: str, waiting: Waiting) -> Predecessor | None:
    """Take the lock of `slot` for the session of `conn`, if necessary from a process that died or
    stalls. Call `waiting` while another process holds it. Return the process that was in charge
    before, or None."""
    waited, told = False, None
    while not await _try_lock(conn, slot):
        holder = await _named(conn, slot)
        if not waited or holder != told:
            waited, told = True, holder
            log.info("standing by behind %s, which reads %s", holder or "another worker", slot)
            await waiting(holder)
        await _end_stalled(conn, slot)
        await asyncio.sleep(RETRY)
    await _end_reader(conn, slot)
    return await _named(conn, slot)


async def _named(conn: AsyncConnection, slot: str) -> Predecessor | None:
    """Return the process that began the latest term, or None."""
    row = await (await conn.execute(_ROW.encode(), (slot,))).fetchone()
    return Predecessor(str(row[1]), int(row[2])) if row and row[1] and row[2] else None


async def begin_term(
    conn: AsyncConnection, slot: str, owner: uuid.UUID, backends: list[int]
) -> Lease:
    """Begin a new term once no transaction of the old one is open. The caller holds the lock;
    `backends` are the server's process ids of the session's connections."""
    async with conn.transaction():
        await conn.execute("SET LOCAL lock_timeout = '5s'")
        await conn.execute(_WAIT_FOR_OTHERS.encode(), (slot,))
        given = {
            "slot": slot,
            "owner": owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "backends": backends,
        }
        row = await (await conn.execute(_BEGIN.encode(), given)).fetchone()
    assert row is not None
    return Lease(slot, int(row[0]))


async def _try_lock(conn: AsyncConnection, slot: str) -> bool:
    row = await (await conn.execute(_LOCK, (lock_key(slot),))).fetchone()
    return bool(row and row[0])


async def _end_stalled(conn: AsyncConnection, slot: str) -> None:
    """End the connections of a guard that has said nothing for too long. One whose statement runs
    is slow at canonical, not silent; one that waits for our next statement has nothing to say."""
    row = await (await conn.execute(_HOLDER.encode(), lock_halves(slot))).fetchone()
    if row is None or row[1] is None or not row[1].startswith("idle") or row[2] < STALLED:
        return
    guard, _, seconds_silent = row
    named = await (await conn.execute(_ROW.encode(), (slot,))).fetchone()
    log.warning(
        "the worker that reads %s has not given a sign of life for %.1f s: taking over",
        slot,
        seconds_silent,
    )
    given = {"guard": guard, "backends": named[3] if named else []}
    try:
        await conn.execute(_END.encode(), given)
    except psycopg.errors.InsufficientPrivilege:
        log.warning("only a superuser may end the connections of its role: still waiting")


async def _end_reader(conn: AsyncConnection, slot: str) -> None:
    """End the reader of a worker that is not in charge any more. The caller has the lock. What is
    not gone then, or is no worker's, is for who opens the slot to report."""
    for _ in range(ENDINGS):
        try:
            cursor = await conn.execute(_END_READER.encode(), (slot,))
        except psycopg.errors.InsufficientPrivilege:
            return
        if not cursor.rowcount:
            return
        await asyncio.sleep(RETRY)


async def worker_runs(conn: AsyncConnection, slot: str) -> bool:
    """Return whether a worker holds the lock now."""
    return await (await conn.execute(_HOLDER.encode(), lock_halves(slot))).fetchone() is not None


def lock_key(slot: str) -> int:
    """Return the key of the advisory lock of the worker that reads `slot`."""
    return int.from_bytes(
        sha256(f"recordgate worker {slot}".encode()).digest()[:8], "big", signed=True
    )


def lock_halves(slot: str) -> tuple[int, int]:
    """Return the advisory lock's key as pg_locks shows it."""
    key = lock_key(slot) & 0xFFFFFFFFFFFFFFFF
    return key >> 32, key & 0xFFFFFFFF
