"""The slow sweep: while the worker runs, every store is compared with canonical, a few hundred
records a second.

It walks through a store in its own order, so it keeps no snapshot of canonical open and sorts
nothing; canonical is asked for the records of a page by their keys. That finds what is extra or
different. A record that is missing shows in the counts; then, and whenever something was found,
`verify` compares the type as a whole and names each key. Where it is goes into recordgate.sweeps,
so that a sweep of days survives the worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from stores.canonical.connect import AsyncConnection
from stores.contract.model import Contract
from stores.errors import NotReadable, RecordgateError
from stores.protocols import Store
from sync.metrics import SyncMetrics
from sync.projection import Projector, connect_for_documents
from sync.session import Bookkeeping
from sync.verify import Differences, Suspects, active_generation, compare, look_again, verify
from sync.writer import SinkWriter

log = logging.getLogger(__name__)

PAGE = 200
PATIENCE = 15.0
"""Seconds for which a sink's position may stand still before the sweep of it is put off: it is not
wrong, but late."""
COUNTS = 5
"""Looks at the counts, a moment apart, before they count as different."""
SETTLE = 1.0
NOT_NOW = 30.0
"""Seconds until a sink that could not be compared is tried again."""

_READ = """
SELECT sink, type, resume_key, found, compared, differences,
  extract(epoch FROM began_at)::float8, ended_at IS NOT NULL FROM recordgate.sweeps
"""
_NOTE = """
INSERT INTO recordgate.sweeps (sink, type, resume_key, found, compared)
VALUES (%(sink)s, %(type)s, %(key)s, %(found)s, %(compared)s)
ON CONFLICT (sink, type) DO UPDATE SET resume_key = excluded.resume_key, found = excluded.found,
  compared = excluded.compared,
  began_at = CASE WHEN sweeps.resume_key IS NULL THEN now() ELSE sweeps.began_at END
"""
_END = """
UPDATE recordgate.sweeps SET resume_key = NULL, differences = %(differences)s,
  records = %(records)s,
  examples = %(examples)s, ended_at = now() WHERE sink = %(sink)s AND type = %(type)s
"""


@dataclass(frozen=True, slots=True)
class SweepPace:
    """`rate`: records a second, of each sink; 0: no sweep. `interval`: seconds between two
    beginnings of a round of the same type."""

    rate: int = 500
    interval: float = 3600.0


@dataclass(slots=True)
class Round:
    """A round over one type in one sink: the current key, the results up to there, and its start
    in seconds since the epoch."""

    after: str | None = None
    found: int = 0
    compared: int = 0
    began: float = 0.0


class Sweep:
    """The sweep of one session."""

    def __init__(
        self,
        *,
        contract: Contract,
        canonical_url: str,
        guard: Bookkeeping,
        writers: Mapping[str, SinkWriter],
        metrics: SyncMetrics,
        pace: SweepPace,
    ) -> None:
        self._contract = contract
        self._url = canonical_url
        self._guard = guard
        self._writers = writers
        self._metrics = metrics
        self._pace = pace
        self._rounds: dict[tuple[str, str], Round] = {}
        self._put_off: dict[str, float] = {}

    async def run(self) -> None:
        """Sweep until cancelled. Raise psycopg.Error if canonical is lost."""
        await self._load()
        if self._pace.rate <= 0:
            await asyncio.Event().wait()
        async with await connect_for_documents(self._url, "recordgate sweep") as conn:
            while True:
                due = self._next()
                if due is None:
                    await asyncio.sleep(SETTLE)
                    continue
                sink, type_name = due
                try:
                    await self._sweep(conn, sink, type_name)
                except NotReadable as error:
                    log.debug("%s: sweep postponed: %s", sink, error)
                    began = time.time() - self._pace.interval + NOT_NOW
                    self._rounds[sink, type_name] = Round(began=began)
                except RecordgateError as error:
                    log.debug("%s: sweep postponed: %s", sink, error)
                    self._put_off[sink] = time.monotonic() + NOT_NOW

    async def _load(self) -> None:
        async with self._guard.lock:
            rows = await (await self._guard.conn.execute(_READ.encode())).fetchall()
        for sink, type_name, key, found, compared, differences, began, ended in rows:
            if sink not in self._writers or type_name not in self._contract.types:
                continue
            self._rounds[sink, type_name] = (
                Round(key, found, compared, began) if key else Round(began=began)
            )
            if ended:
                self._metrics.verify_differences.labels(sink, type_name).set(differences)

    def _next(self) -> tuple[str, str] | None:
        """Return the (type, sink) under way, else the one started longest ago, among the sinks
        that can be compared now."""
        now, clock = time.time(), time.monotonic()
        due = [
            (round_.after is None, round_.began, sink, name)
            for sink, writer in self._writers.items()
            if writer.at_ease and self._put_off.get(sink, 0.0) <= clock
            for name in self._contract.types
            if name not in writer.set_aside
            for round_ in [self._rounds.setdefault((sink, name), Round())]
            if round_.after is not None or round_.began + self._pace.interval <= now
        ]
        return min(due)[2:] if due else None

    async def _sweep(self, conn: AsyncConnection, sink: str, type_name: str) -> None:
        """A round of a type, from where it stands to its end."""
        store, round_ = self._writers[sink].store, self._rounds[sink, type_name]
        projector = Projector(conn, self._contract)
        if round_.after is None:
            round_.found = round_.compared = 0
            round_.began = time.time()
        while True:
            began = time.monotonic()
            held = await self._page(store, type_name, round_.after)
            if held is None:
                return  # loaded anew in the meantime
            found = await self._compare(store, projector, type_name, held)
            if found.behind:
                self._put_off[sink] = time.monotonic() + NOT_NOW
                return
            round_.found += found.total
            round_.compared += len(held)
            if len(held) < PAGE:
                break
            round_.after = next(reversed(held))
            await self._note(sink, type_name, round_)
            await asyncio.sleep(max(0.0, began + PAGE / self._pace.rate - time.monotonic()))
        round_.after = None
        await self._note(sink, type_name, round_)
        if round_.found or not await self._counts_agree(store, projector, type_name):
            await self._whole(sink, store, type_name)
        else:
            await self._end(sink, type_name, Differences(canonical=round_.compared))

    async def _page(
        self, store: Store, type_name: str, after: str | None
    ) -> dict[str, bytes] | None:
        active = await active_generation(store, type_name)
        if active is None:
            return None
        return {s.key: s.document for s in await store.scan(type_name, active, after, PAGE)}

    async def _compare(
        self, store: Store, projector: Projector, type_name: str, held: Mapping[str, bytes]
    ) -> Differences:
        found, suspects = Differences(), Suspects()
        if held:
            reading = await projector.read(type_name, list(held))
            compare(found, suspects, reading, (), held)
        if suspects:
            await look_again(store, projector, type_name, found, suspects, PATIENCE)
        return found

    async def _counts_agree(self, store: Store, projector: Projector, type_name: str) -> bool:
        for _ in range(COUNTS):
            active = await active_generation(store, type_name)
            if active is None:
                return True
            before = await projector.count(type_name)
            held = await store.count(type_name, active)
            after = await projector.count(type_name)
            if min(before, after) <= held <= max(before, after):
                return True
            await asyncio.sleep(SETTLE)
        return False

    async def _whole(self, sink: str, store: Store, type_name: str) -> None:
        report = await verify(
            self._contract, self._url, {sink: store}, types=[type_name], patience=PATIENCE
        )
        found = report.types[type_name][sink]
        if found.behind or found.unreadable:
            self._put_off[sink] = time.monotonic() + NOT_NOW
            return
        if found.total:
            log.warning(
                "%s: %d records of %s differ from canonical; `recordgate verify %s --repair` "
                "mends them",
                sink, found.total, type_name, type_name,
            )  # fmt: skip
        await self._end(sink, type_name, found)

    async def _note(self, sink: str, type_name: str, round_: Round) -> None:
        async with self._guard.changing() as conn:
            await conn.execute(
                _NOTE.encode(),
                {
                    "sink": sink,
                    "type": type_name,
                    "key": round_.after,
                    "found": round_.found,
                    "compared": round_.compared,
                },
            )

    async def _end(self, sink: str, type_name: str, found: Differences) -> None:
        async with self._guard.changing() as conn:
            await conn.execute(
                _END.encode(),
                {
                    "sink": sink,
                    "type": type_name,
                    "differences": found.total,
                    "records": found.canonical,
                    "examples": Jsonb(found.examples),
                },
            )
        self._metrics.verify_differences.labels(sink, type_name).set(found.total)
