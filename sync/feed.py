"""The feed: which records changed, written to canonical for the gateways' subscriptions while one
of them wants it.

A change is in the feed before the source is told that it is done, so a crash repeats rows and loses
none. Rows say only which record changed and when; readers see the record as it is then. See
docs/decisions/subscriptions.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from stores.canonical.connect import AsyncConnection
from stores.canonical.notices import FEED
from stores.contract.model import Contract
from sync.changes import Change, ChangeOp, Row
from sync.impact import key_reader
from sync.session import Bookkeeping

MOST_KEYS = 2_000
"""Keys of a type in one write; more are one row that says so."""
KEPT_ROWS = 200_000
KEPT_SECONDS = 3600
LOOK = 1.0
PRUNE = 30.0

_STATE = "SELECT wanted_until > now(), since IS NOT NULL FROM recordgate.feed_state"
_BEGIN = (
    "UPDATE recordgate.feed_state SET since = '0/0'::pg_lsn + %(lsn)s::numeric,"
    " horizon = '0/0'::pg_lsn + %(lsn)s::numeric"
)
_END = "UPDATE recordgate.feed_state SET since = NULL, horizon = NULL"
_INSERT = """
INSERT INTO recordgate.feed (lsn, type, key, kind)
SELECT '0/0'::pg_lsn + %s::numeric, * FROM unnest(%s::text[], %s::text[], %s::text[])
"""
_TELL = f"SELECT pg_notify('{FEED}', '')"
_PRUNE = """
WITH gone AS (
  DELETE FROM recordgate.feed
  WHERE id <= (SELECT max(id) FROM recordgate.feed) - %s OR at < now() - make_interval(secs => %s)
  RETURNING lsn)
UPDATE recordgate.feed_state SET horizon = greatest(horizon, (SELECT max(lsn) FROM gone) + 1)
WHERE EXISTS (SELECT FROM gone)
"""


class Feed:
    """Used by one task that sees every change; only `look` may run beside it."""

    def __init__(self, contract: Contract) -> None:
        self._keys: dict[tuple[str, str], tuple[str, Callable[[Row], str | None]]] = {
            (t.schema, t.table): (t.name, key_reader(t.key)) for t in contract.types.values()
        }
        self._types = list(contract.types)
        self.active = False
        self._wanted = False
        self._rows: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._many: set[str] = set()
        self._looked = self._pruned = 0.0

    # Whether one is wanted ------------------------------------------------------------------------

    async def open(self, conn: AsyncConnection, start: int, *, broken: bool) -> None:
        """Open the feed at the start of a session, which sees all changes after `start`. With
        `broken`, changes before that were missed, and readers are told so."""
        self._rows, self._counts, self._many = {}, {}, set()
        row = await (await conn.execute(_STATE)).fetchone()
        self._wanted, self.active = (bool(row[0]), bool(row[1])) if row else (False, False)
        if self.active and broken:
            await conn.execute("DELETE FROM recordgate.feed")
            await conn.execute(_BEGIN, {"lsn": start})
            self._many = set(self._types)
            await self._insert(conn, start)

    async def look(self, bookkeeping: Bookkeeping) -> None:
        """See whether a feed is wanted; remove what is old."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        async with bookkeeping.lock:
            row = await (await bookkeeping.conn.execute(_STATE)).fetchone()
        self._wanted = bool(row and row[0])
        if self.active and now - self._pruned > PRUNE:
            self._pruned = now
            async with bookkeeping.changing() as conn:
                await conn.execute(_PRUNE, (KEPT_ROWS, KEPT_SECONDS))

    async def turn(self, bookkeeping: Bookkeeping, lsn: int) -> None:
        """Begin or end, between two batches of changes: all up to `lsn` are behind."""
        if self._wanted == self.active:
            return
        async with bookkeeping.changing() as conn:
            if self._wanted:
                await conn.execute(_BEGIN, {"lsn": lsn})
                await conn.execute(_TELL)
            else:
                await conn.execute(_END)
                await conn.execute("DELETE FROM recordgate.feed")
        self.active = self._wanted

    # What changed ---------------------------------------------------------------------------------

    def note(self, changes: Iterable[Change]) -> None:
        """Note what happened to the records themselves, in the order of the changes."""
        for change in changes:
            known = self._keys.get((change.schema, change.table))
            if known is None or change.op is ChangeOp.TRUNCATE:
                continue
            name, key_of = known
            new = key_of(change.new) if change.new else None
            old = key_of(change.old) if change.old else None
            if old is not None and old != new:
                self._put(name, old, "deleted")
            if new is not None:
                fresh = change.op is ChangeOp.INSERT or (old is not None and old != new)
                self._put(name, new, "created" if fresh else "updated")

    def touch(self, type_name: str, keys: Iterable[str]) -> None:
        """Records whose documents changed, by whatever."""
        for key in keys:
            if (type_name, key) not in self._rows:
                self._put(type_name, key, "updated")

    def touch_all(self, type_name: str) -> None:
        self._many.add(type_name)

    def _put(self, name: str, key: str, kind: str) -> None:
        if name in self._many:
            return
        before = self._rows.get((name, key))
        if before is None:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            if count > MOST_KEYS:
                self._many.add(name)
                return
        elif kind == "updated" and before == "created":
            kind = "created"
        elif kind == "created" and before == "deleted":
            kind = "updated"
        self._rows[name, key] = kind

    def noted(self) -> dict[tuple[str, str | None], str]:
        """Return the kind of each (type, key) to be written; key None stands for many keys."""
        found: dict[tuple[str, str | None], str] = {
            place: kind for place, kind in self._rows.items() if place[0] not in self._many
        }
        return found | {(name, None): "refresh" for name in sorted(self._many)}

    async def write(self, bookkeeping: Bookkeeping, lsn: int) -> None:
        """Record what was noted, as of `lsn`; committed when this returns."""
        if self._rows or self._many:
            async with bookkeeping.changing() as conn:
                await self._insert(conn, lsn)

    async def _insert(self, conn: AsyncConnection, lsn: int) -> None:
        rows = [(name, key, kind) for (name, key), kind in self.noted().items()]
        types, keys, kinds = zip(*rows, strict=True)
        await conn.execute(_INSERT, (lsn, list(types), list(keys), list(kinds)))
        await conn.execute(_TELL)
        self._rows, self._counts, self._many = {}, {}, set()
