"""One process's view of how everything stands: asked of canonical when somebody wants to know,
shared by readiness, metrics and console, and told in the log where it is nobody's to record."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import psycopg
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg_pool import PoolTimeout

from stores.canonical.conditions import words
from stores.canonical.connect import AsyncConnection, Pool, connect_async
from stores.canonical.standing import Standing, read_standing
from stores.contract.model import Contract
from stores.errors import RecordgateError
from sync.lease import lock_halves

log = logging.getLogger(__name__)

FRESH = 2.0
"""Seconds for which a result is shared by all readers."""
SECONDS = 2.0
"""Seconds in which canonical has to answer."""

_SOURCES = (
    b"SELECT name, extract(epoch FROM as_of)::float8, state FROM recordgate.sources ORDER BY name"
)

Connected = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class Overview(Collector):
    """`connected` gives a connection to canonical for a moment. As a collector it shows what was
    seen last: who serves metrics calls `look` before."""

    def __init__(
        self,
        contract: Contract,
        slot: str,
        connected: Connected,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._slot, self._connected = slot, connected
        self._tables = {t.name: (t.schema, t.table) for t in contract.types.values()}
        self._collected = bool(contract.collected)
        self._sources: list[tuple[str, float | None, str]] = []
        self.last = Standing()
        self._at = -math.inf
        self._looking: asyncio.Task[Standing] | None = None
        self._told: dict[tuple[str, str, str], str] = {}
        if registry is not None:
            registry.register(self)

    async def look(self) -> Standing:
        """Return the standing, at most `FRESH` seconds old; never raises. Callers at the same time
        share one look."""
        if time.monotonic() - self._at < FRESH:
            return self.last
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> Standing:
        try:
            async with asyncio.timeout(SECONDS), self._connected() as conn:
                halves = lock_halves(self._slot)
                self.last = await read_standing(conn, self._slot, halves, self._tables)
                if self._collected:
                    self._sources = await (await conn.execute(_SOURCES)).fetchall()
        except (TimeoutError, PoolTimeout, psycopg.Error, RecordgateError):
            self.last = self.last.without_canonical()
        self._at = time.monotonic()
        self._tell()
        return self.last

    def _tell(self) -> None:
        """Log what came and went of that which no worker records, and therefore logs."""
        seen = {c.identity: words(c) for c in self.last.conditions if not c.since}
        for identity in seen.keys() - self._told.keys():
            log.warning("%s", seen[identity])
        for identity in self._told.keys() - seen.keys():
            log.info("%s: over", ": ".join(part for part in identity if part))
        self._told = seen

    # Metrics --------------------------------------------------------------------------------------

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        conditions = GaugeMetricFamily(
            "recordgate_condition",
            "1: the condition keeps a sink or a type from being loaded, current or queried.",
            labels=["sink", "type", "code"],
        )
        for c in self.last.conditions:
            conditions.add_metric([c.sink, c.type, c.code], 1)
        yield conditions
        worker = GaugeMetricFamily(
            "recordgate_worker_up",
            "1: a worker follows canonical's changes; 0: none does; NaN: canonical is not"
            " reachable.",
        )
        up = float(self.last.worker.running) if self.last.known else math.nan
        worker.add_metric([], up)
        yield worker
        age = GaugeMetricFamily(
            "recordgate_source_age_seconds",
            "Seconds since a source was last read whole; NaN: it never was.",
            labels=["source"],
        )
        answers = GaugeMetricFamily(
            "recordgate_source_up",
            "1: the source answered when it was last asked; 0: it fails, is late, frozen or"
            " paused.",
            labels=["source"],
        )
        for name, as_of, state in self._sources:
            age.add_metric([name], math.nan if as_of is None else max(0.0, time.time() - as_of))
            answers.add_metric([name], float(state in ("ok", "new")))
        yield age
        yield answers


def pooled(pool: Pool) -> Connected:
    """Connections of the gateway's pool."""
    return lambda: pool.connection(SECONDS)


def single(url: str) -> Connected:
    """A connection of its own for each look, for a process without a pool."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[AsyncConnection]:
        conn = await connect_async(url, application_name="recordgate overview", connect_timeout=2)
        try:
            yield conn
        finally:
            await conn.close()

    return connected
