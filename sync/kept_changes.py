"""The changes of types that are followed from outside, kept in canonical.

Of each record that may have changed, what it is now is compared with what was kept of it; where it
differs, what was kept goes to `recordgate.change_log`. So a repetition keeps nothing twice, and a
gap loses nothing: then all records are compared. It is done before the source is told that the
change is done. See docs/decisions/changes.md.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Mapping

import psycopg
from psycopg import errors, sql

from stores.canonical.conditions import Condition
from stores.canonical.connect import AsyncConnection
from stores.canonical.kept_changes import Followed, compare_all, compare_keys, fill
from stores.canonical.notices import CHANGES
from stores.contract.model import Contract, KeptChanges
from stores.crash_points import crash_point
from stores.lineage import Lineage
from stores.lsn import format_lsn
from sync.conditions import Conditions
from sync.failures import ends_the_session
from sync.projection import LOCK_PAUSE
from sync.session import Bookkeeping, Session

log = logging.getLogger(__name__)

NOT_KEPT = "changes-not-kept"
SINK = "changes"
HINT = "followers are answered 503 until all records of the type could be compared"
AT_ONCE = 5_000
"""Keys that one statement compares."""
MOST_KEYS = 50_000
"""Keys of a type that are noted one by one; more, and all its records are compared."""
TRIES = 30
"""The number of tries at a table that another session has locked."""
AGAIN = 5.0
"""Seconds until a type that could not be compared is tried again."""
PRUNE = 30.0
PRUNED_AT_ONCE = 10_000
_STATES = """
SELECT type, shape, timeline, (lsn - '0/0'::pg_lsn)::bigint FROM recordgate.change_state
"""
_FORGET = (
    "DELETE FROM recordgate.change_log WHERE type = %s",
    "DELETE FROM recordgate.change_images WHERE type = %s",
    "DELETE FROM recordgate.change_state WHERE type = %s",
)
_BEGIN = """
INSERT INTO recordgate.change_state (type, epoch, shape, horizon, horizon_at, timeline, lsn)
VALUES (%s, %s, %s, 0, clock_timestamp(), %s, %s)
"""
_MOVE = "UPDATE recordgate.change_state SET lsn = greatest(lsn, %s::pg_lsn) WHERE type = ANY(%s)"
_SPOIL = "UPDATE recordgate.change_state SET shape = '' WHERE type = %s"
_MEND = "UPDATE recordgate.change_state SET shape = %s WHERE type = %s"
_OLD = """
WITH old AS (
  SELECT id, at FROM recordgate.change_log
  WHERE type = %(type)s AND (at < now() - make_interval(secs => %(keep)s)
    OR id <= (SELECT id FROM recordgate.change_log WHERE type = %(type)s
      ORDER BY id DESC OFFSET %(most)s LIMIT 1))
  ORDER BY id LIMIT %(limit)s
), gone AS (
  DELETE FROM recordgate.change_log USING old WHERE change_log.id = old.id
), last AS (SELECT id, at FROM old ORDER BY id DESC LIMIT 1), moved AS (
  UPDATE recordgate.change_state SET horizon = last.id, horizon_at = last.at FROM last
  WHERE type = %(type)s
)
SELECT count(*) FROM old
"""


class ChangeKeeper:
    """Used by the task that sees every change; `tick` may run beside it. Methods raise
    psycopg.Error where the session cannot go on, and FencedError. Without `books` there is nothing
    to keep."""

    def __init__(self, contract: Contract, followed: Mapping[str, Followed]) -> None:
        """Raise ValueError where a type of the contract is left out: its changes would be lost."""
        if contract.followed.keys() != followed.keys():
            raise ValueError("the types that are followed are others than the contract's")
        self._followed = dict(followed)
        self._keys: dict[str, dict[str, None]] = {}
        self._whole: set[str] = set()
        self._broken: dict[str, float] = {}
        """Type → when it is tried again."""
        self._lock = asyncio.Lock()
        self._conditions: Conditions | None = None
        self._pruned = 0.0

    @property
    def active(self) -> bool:
        return bool(self._followed)

    async def open(self, session: Session, start: int, *, broken: bool) -> None:
        """Begin a session that sees all changes after `start`. With `broken`, changes before that
        were missed. A position of another timeline, or of other columns, is of no use any more."""
        self._keys, self._whole, self._broken = {}, set(), {}
        self._conditions = session.conditions
        books, lineage = session.keeping, session.lineage
        if books is None:
            return
        async with books.lock:
            rows = await (await books.conn.execute(_STATES.encode())).fetchall()
        known = {name: (shape, timeline, lsn) for name, shape, timeline, lsn in rows}
        for name in known.keys() - self._followed.keys():
            async with books.changing() as conn:
                await self._forget(conn, name)
        for name, followed in self._followed.items():
            shape, timeline, lsn = known.get(name, ("", 0, 0))
            if (shape, timeline) == (followed.shape, lineage.timeline):
                # A worker that kept nothing, of an earlier version perhaps, may have gone further.
                if broken or lsn < start:
                    self._whole.add(name)
                continue
            try:
                await self._begin(books, followed, lineage, start)
            except psycopg.Error as error:
                await self._failed(books, name, error)
        await self.write(books, start)

    async def _begin(
        self, books: Bookkeeping, followed: Followed, lineage: Lineage, start: int
    ) -> None:
        name = followed.type.name
        log.info("changes of %s are kept from here on", name)
        async with books.changing() as conn:
            await self._forget(conn, name)
            await conn.execute(fill(followed))
            epoch = secrets.randbits(62)
            given = (name, epoch, followed.shape, lineage.timeline, format_lsn(start))
            await conn.execute(_BEGIN.encode(), given)
            crash_point("changes-begun")
        async with books.changing() as conn:
            await conn.execute(b"ANALYZE recordgate.change_images")

    async def _forget(self, conn: AsyncConnection, name: str) -> None:
        for statement in _FORGET:
            await conn.execute(statement.encode(), (name,))

    # What changed --------------------------------------------------------------------------------

    def touch(self, type_name: str, keys: Iterable[str]) -> None:
        """These records may have changed."""
        if type_name not in self._followed or type_name in self._whole:
            return
        noted = self._keys.setdefault(type_name, {})
        noted.update(dict.fromkeys(keys))
        if len(noted) > MOST_KEYS:
            self.touch_all(type_name)

    def touch_all(self, type_name: str) -> None:
        if type_name in self._followed:
            self._whole.add(type_name)
            self._keys.pop(type_name, None)

    async def write(self, books: Bookkeeping | None, lsn: int) -> None:
        """Keep what was noted; committed when this returns. All up to `lsn` is in it then."""
        if books is None or not (self._keys or self._whole):
            return
        async with self._lock:
            noted, self._keys = self._keys, {}
            whole, self._whole = self._whole, set()
            for name in sorted(whole | noted.keys()):
                if name in self._broken:
                    continue
                try:
                    changed = await self._compare(
                        books, name, None if name in whole else noted[name]
                    )
                except psycopg.Error as error:
                    await self._failed(books, name, error)
                    continue
                if changed:
                    crash_point("changes-kept")
                    async with books.lock:
                        await books.conn.execute("SELECT pg_notify(%s, %s)", (CHANGES, name))
            await self._move(books, lsn)

    async def _compare(self, books: Bookkeeping, name: str, keys: Iterable[str] | None) -> int:
        followed = self._followed[name]
        if keys is None:
            return await self._run(books, compare_all(followed))
        several, changed = list(keys), 0
        for i in range(0, len(several), AT_ONCE):
            changed += await self._run(books, compare_keys(followed, several[i : i + AT_ONCE]))
        return changed

    async def _run(self, books: Bookkeeping, statement: sql.Composed) -> int:
        """Give way to who has locked the table, as every reading does."""
        for attempt in range(TRIES):
            try:
                async with books.changing() as conn:
                    row = await (await conn.execute(statement)).fetchone()
                    crash_point("changes-keeping")
                return int(row[0]) if row else 0
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(LOCK_PAUSE)
        raise AssertionError("unreachable")

    async def _move(self, books: Bookkeeping, lsn: int) -> None:
        names = [n for n in self._followed if n not in self._broken]
        async with books.changing() as conn:
            await conn.execute(_MOVE.encode(), (format_lsn(lsn), names))

    # What cannot be compared ----------------------------------------------------------------------

    async def _failed(self, books: Bookkeeping, name: str, error: psycopg.Error) -> None:
        """The changes of this type are not known until all of it could be compared; others go
        on."""
        if books.conn.closed or ends_the_session(error):
            raise error
        if self._conditions is not None:
            message = f"changes cannot be kept for who follows them: SQLSTATE {error.sqlstate}"
            await self._conditions.raise_(Condition(NOT_KEPT, message, HINT, SINK, name))
        self._broken[name] = time.monotonic() + AGAIN
        async with books.changing() as conn:
            await conn.execute(_SPOIL.encode(), (name,))

    async def _mend(self, books: Bookkeeping, lineage: Lineage, lsn: int) -> None:
        for name in [n for n, at in self._broken.items() if time.monotonic() >= at]:
            followed = self._followed[name]
            try:
                async with books.lock:
                    cursor = await books.conn.execute(
                        "SELECT FROM recordgate.change_state WHERE type = %s", (name,)
                    )
                if not cursor.rowcount:
                    await self._begin(books, followed, lineage, lsn)
                else:
                    await self._compare(books, name, None)
                    async with books.changing() as conn:
                        await conn.execute(_MEND.encode(), (followed.shape, name))
            except psycopg.Error as error:
                await self._failed(books, name, error)
                continue
            del self._broken[name]
            self.touch_all(name)  # what was passed over while it was compared
            if self._conditions is not None:
                await self._conditions.over(code=NOT_KEPT, sink=SINK, type=name)

    # Beside it ------------------------------------------------------------------------------------

    async def tick(self, books: Bookkeeping | None, lineage: Lineage, lsn: int) -> None:
        """Now and then: try again, and remove what is old. All up to `lsn` was handed over."""
        if books is None:
            return
        async with self._lock:
            await self._mend(books, lineage, lsn)
            now = time.monotonic()
            if now - self._pruned > PRUNE:
                self._pruned = now
                for name, followed in self._followed.items():
                    assert followed.type.changes is not None
                    await self._prune(books, name, followed.type.changes)
        await self.write(books, lsn)

    async def record(self, books: Bookkeeping | None, lsn: int) -> None:
        """Record how far it is, before the watermarks say so: all up to `lsn` is kept."""
        if books is None or self._whole:
            return
        async with self._lock:
            await self._move(books, lsn)

    async def _prune(self, books: Bookkeeping, name: str, kept: KeptChanges) -> None:
        given = {"type": name, "keep": kept.keep, "most": kept.most, "limit": PRUNED_AT_ONCE}
        for _ in range(50):
            async with books.changing() as conn:
                row = await (await conn.execute(_OLD.encode(), given)).fetchone()
            if not row or row[0] < PRUNED_AT_ONCE:
                return
