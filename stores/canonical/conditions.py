"""Faults that stand now, in canonical's table recordgate.conditions: what keeps a sink or a type
from being loaded, current or asked, why, and what to do about it.

The worker writes them; `status`, `doctor`, readiness, metrics, log and console read them, so that
all of them name a fault in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stores.canonical.connect import AsyncConnection


@dataclass(frozen=True, slots=True)
class Condition:
    """`sink` or `type` empty: all of them. `code`: stable, lower case with dashes. `since`: seconds
    since the epoch; 0 for one that is not recorded yet."""

    code: str
    message: str
    hint: str = ""
    sink: str = ""
    type: str = ""
    since: float = 0.0

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.sink, self.type, self.code


def place(condition: Condition) -> str:
    """Return what a condition affects, for people: `search: works: unreadable`, the same wherever
    it is shown."""
    return ": ".join(part for part in (condition.sink, condition.type, condition.code) if part)


def words(condition: Condition) -> str:
    """A condition in one line, as the log and `status` show it."""
    return f"{place(condition)}: {condition.message}" + (
        f" ({condition.hint})" if condition.hint else ""
    )


COLLECT = "collect"
"""The `sink` of conditions of sources, which collectors record and end."""

_READ = """
SELECT code, message, hint, sink, type, extract(epoch FROM since)::float8
FROM recordgate.conditions ORDER BY since, sink, type, code
"""
RECORD = """
INSERT INTO recordgate.conditions (sink, type, code, message, hint) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (sink, type, code) DO UPDATE
SET message = excluded.message, hint = excluded.hint, seen_at = now()
"""
_CLEAR = "DELETE FROM recordgate.conditions WHERE (sink, type, code) = (%s, %s, %s)"


async def read(conn: AsyncConnection) -> list[Condition]:
    """Every condition that stands, the oldest first."""
    return [Condition(*row) for row in await (await conn.execute(_READ.encode())).fetchall()]


async def record(conn: AsyncConnection, conditions: Iterable[Condition]) -> None:
    """Record conditions; one that stands already keeps its `since`."""
    for c in conditions:
        await conn.execute(RECORD.encode(), (c.sink, c.type, c.code, c.message, c.hint))


async def clear(conn: AsyncConnection, conditions: Iterable[Condition]) -> None:
    """Remove conditions that are over."""
    for c in conditions:
        await conn.execute(_CLEAR.encode(), c.identity)
