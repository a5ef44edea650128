"""Dead letters of sinks: documents that a store, or canonical, would not give or take, with the
reason."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection

_SET_ASIDE = """
INSERT INTO recordgate.dead_letters (kind, type, sink, key, code, reasons, version)
VALUES ('sink', %s, %s, %s, %s, %s, %s)
ON CONFLICT (sink, type, key) WHERE kind = 'sink' DO UPDATE SET code = excluded.code,
  reasons = excluded.reasons, version = excluded.version,
  attempts = dead_letters.attempts + 1, updated_at = now()
"""
_HELD = "SELECT type, key FROM recordgate.dead_letters WHERE kind = 'sink' AND sink = %s LIMIT %s"
_TAKE_BACK = """
DELETE FROM recordgate.dead_letters
WHERE kind = 'sink' AND sink = %s AND type = %s AND key = ANY(%s)
"""
KNOWN = 100_000
"""Beyond so many letters every applied batch is checked against the table."""


class DeadLetters:
    """One sink's dead letters. It remembers which keys have one, so that a batch without any costs
    nothing."""

    def __init__(self, conn: AsyncConnection, sink: str) -> None:
        self._conn = conn
        self._sink = sink
        self._known: set[tuple[str, str]] = set()
        self._overflow = False

    async def load(self) -> None:
        rows = await (await self._conn.execute(_HELD, (self._sink, KNOWN + 1))).fetchall()
        self._overflow = len(rows) > KNOWN
        self._known = {(type_name, key) for type_name, key in rows}

    @property
    def any(self) -> bool:
        """Return whether there may be a dead letter."""
        return bool(self._known) or self._overflow

    def count(self, type_name: str) -> int:
        """Return how many dead letters of the type are known."""
        return sum(1 for name, _ in self._known if name == type_name)

    async def set_aside(
        self, type_name: str, version: int, reasons: Mapping[str, tuple[str, str]]
    ) -> None:
        """`reasons`: key → (code, reason)."""
        async with self._conn.transaction():
            for key, (code, reason) in reasons.items():
                await self._conn.execute(
                    _SET_ASIDE, (type_name, self._sink, key, code, Jsonb([reason]), version)
                )
        self._known.update((type_name, key) for key in reasons)

    async def applied(self, type_name: str, keys: Mapping[str, object]) -> None:
        """These keys have been taken, or are gone: their letters are answered."""
        if not self.any:
            return
        answered = [key for key in keys if self._overflow or (type_name, key) in self._known]
        if answered:
            await self._conn.execute(_TAKE_BACK, (self._sink, type_name, answered))
            self._known.difference_update((type_name, key) for key in answered)
