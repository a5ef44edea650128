"""Sends documents to a store and sees to every verdict: stale is read once more, retry is sent
again, reject becomes a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stores.crash_points import crash_point
from stores.errors import StoreUnavailable
from stores.protocols import Outcome, Store, Write
from sync.dead_letters import DeadLetters
from sync.metrics import SyncMetrics
from sync.pace import Backoff
from sync.projection import Projector
from sync.session import SinkConnections
from sync.units import Unit

RESENDS = 5
"""Times a write is sent again on the verdict `retry` before the sink counts as failing."""


class Delivery:
    """Delivery of writes to one sink."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        projector: Projector,
        dead_letters: DeadLetters,
        connections: SinkConnections,
        metrics: SyncMetrics,
    ) -> None:
        self._name = name
        self._store = store
        self._projector = projector
        self._dead_letters = dead_letters
        self._bookkeeping = connections.bookkeeping
        self._metrics = metrics
        self._base = connections.lineage.base

    async def write(self, unit: Unit, targets: Sequence[int]) -> None:
        """Write the unit's documents to each generation, with every verdict seen to."""
        writes = [Write(key, self._base + unit.version, doc) for key, doc in unit.documents.items()]
        refused = {key: ("UNREADABLE", why) for key, why in unit.unreadable.items()}
        for number in targets:
            stale = await self._send(unit.type_name, number, writes, refused)
            if stale and unit.load is None:
                # Somebody wrote a newer version: perhaps of an older state. Once more; then the
                # newer reading has won.
                async with self._projector.lock:
                    again = await self._projector.read(unit.type_name, stale)
                newer = [
                    Write(k, self._base + again.version, d) for k, d in again.documents.items()
                ]
                await self._send(unit.type_name, number, newer, refused)
        if refused:
            async with self._bookkeeping.changing():
                await self._dead_letters.set_aside(unit.type_name, unit.version, refused)
            for key in refused:
                unit.documents.pop(key, None)

    async def _send(
        self,
        type_name: str,
        number: int,
        writes: list[Write],
        refused: dict[str, tuple[str, str]],
    ) -> list[str]:
        """Send until nothing says `retry`; adds to `refused`, gives the keys that are stale."""
        stale: list[str] = []
        backoff = Backoff(first=0.05, most=2.0)
        for _ in range(RESENDS):
            if not writes:
                return stale
            await self._bookkeeping.assure()
            crash_point("sending")
            verdicts = await self._store.write(type_name, number, writes)
            again: list[Write] = []
            counts: dict[Outcome, int] = {}
            for write, verdict in zip(writes, verdicts, strict=True):
                outcome = verdict.outcome
                counts[outcome] = counts.get(outcome, 0) + 1
                if outcome is Outcome.APPLIED:
                    continue
                if outcome is Outcome.STALE:
                    stale.append(write.key)
                elif outcome is Outcome.RETRY:
                    again.append(write)
                else:
                    refused[write.key] = ("STORE_REFUSED", verdict.reason)
            for outcome, count in counts.items():
                self._metrics.documents.labels(self._name, type_name, outcome.value).inc(count)
            writes = again
            if writes:
                await asyncio.sleep(backoff.next())
        if writes:
            raise StoreUnavailable(
                f"{self._name} asks to retry {len(writes)} records of {type_name} later",
                store=self._store.kind,
            )
        return stale
