"""The watermarks in canonical's table recordgate.watermarks: the position of each sink, from which
a restart goes on.

`durable`: every change up to there is in the sink, or in its durable backlog. It is written before
the source is told, so the source never stands beyond it. `published`: the sink's own position after
its last publish, 0 for none; a store that comes back with less has lost data. `required`: types
that must be loaded before the sink's position may be believed (first load, gap, lost store).
`timeline` and `suspect`: see `stores.lineage`. The column `lsn` shows `published`; where there is
none, the position at which the loads began.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection
from stores.canonical.notices import POSITIONS


@dataclass(slots=True)
class Watermark:
    system: str
    durable: int
    as_of: float
    """Time of `published`, or of the start of the loads if nothing is published."""
    published: int = 0
    required: set[str] = field(default_factory=set)
    reason: str = ""
    """The reason for a required load, for people."""
    recorded: float | None = None
    """The moment at which the session before last wrote it, until the store has been checked
    against it."""
    types: frozenset[str] | None = None
    """Types whose changes were followed; None if that was not recorded."""
    timeline: int = 0
    """Timeline of its positions; 0 if that was not recorded."""
    suspect: int | None = None
    """Records with a greater version may show what canonical has lost in a failover: they are to be
    looked for and read again before anything is written to the store."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """Is held while the watermark is written, so that the later of two writers has the later
    state."""


_READ = """
SELECT sink, system, (lsn - '0/0'::pg_lsn)::bigint, extract(epoch FROM as_of)::float8, detail,
  extract(epoch FROM updated_at)::float8
FROM recordgate.watermarks
"""
_WRITE = """
INSERT INTO recordgate.watermarks (sink, system, lsn, as_of, updated_at, detail)
VALUES (%s, %s, '0/0'::pg_lsn + %s::numeric, to_timestamp(%s), now(), %s)
ON CONFLICT (sink) DO UPDATE SET system = excluded.system, lsn = excluded.lsn,
  as_of = excluded.as_of, updated_at = excluded.updated_at, detail = excluded.detail
"""


_TELL = f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{POSITIONS}', %s)"
"""Notifies readers. The notification is committed without waiting for the disk, because it only
says that a look is worthwhile."""


class Teller:
    """Wakes those who wait for a change to show in a sink (`gateway.context.listener`), beside the
    sink's own work: what it tells while it still tells is told once, afterwards. `lock` keeps
    the connection's statements whole."""

    def __init__(self, sink: str, conn: AsyncConnection, lock: asyncio.Lock) -> None:
        self._sink, self._conn, self._lock = sink, conn, lock
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def tell(self) -> None:
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._again:
            self._again = False
            with suppress(psycopg.Error):  # who lost canonical hears it elsewhere
                async with self._lock:
                    await self._conn.execute(_TELL, (self._sink,))


async def read(conn: AsyncConnection) -> dict[str, Watermark]:
    """Sink → watermark."""
    found = {}
    for sink, system, lsn, as_of, detail, updated_at in await (
        await conn.execute(_READ)
    ).fetchall():
        found[sink] = Watermark(
            system,
            int(detail.get("durable", lsn)),
            as_of,
            int(detail.get("published", 0)),
            set(detail.get("required", ())),
            str(detail.get("reason", "")),
            float(detail.get("recorded", updated_at)),
            frozenset(detail["types"]) if "types" in detail else None,
            int(detail.get("timeline", 0)),
            detail.get("suspect"),
        )
    return found


async def write(conn: AsyncConnection, sink: str, mark: Watermark) -> None:
    """Record a watermark. The caller holds its lock, until the transaction it may be in has
    ended."""
    detail: dict[str, object] = {
        "durable": mark.durable,
        "published": mark.published,
        "required": sorted(mark.required),
        "reason": mark.reason,
        "timeline": mark.timeline,
    }
    if mark.suspect is not None:
        detail["suspect"] = mark.suspect
    if mark.types is not None:
        detail["types"] = sorted(mark.types)
    if mark.recorded is not None:
        detail["recorded"] = mark.recorded
    await conn.execute(
        _WRITE, (sink, mark.system, mark.published or mark.durable, mark.as_of, Jsonb(detail))
    )
