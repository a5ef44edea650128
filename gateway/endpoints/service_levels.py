"""A gateway's part of the service levels: every five seconds it looks whether it can answer and how
fresh the stores are, takes what was counted, and writes both to canonical."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections.abc import Mapping
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge
from psycopg_pool import PoolTimeout

from gateway.context.services import Services
from gateway.endpoints.health import Examined, Look, examine
from gateway.endpoints.readiness import answerable, holds, needs
from gateway.http.service_levels import ServiceLevels
from stores.canonical.service_minutes import (
    SLICE,
    Minute,
    roll_up,
    write_minutes,
)
from stores.contract.indicators import Indicator, indicators
from stores.errors import RecordgateError

log = logging.getLogger(__name__)

FAILED_SHARE = 0.05
"""Share of failed requests above which a slice of time is not good."""
MOST_KEPT = 24 * 60
"""Minutes of each indicator that are kept while canonical cannot be written to."""
ROLL_UP_EVERY = 3600.0
WRITE_SECONDS = 4.0


class IndicatorMetrics:
    """Metrics of what this gateway sees."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.good = Gauge(
            "recordgate_sli_good",
            "1: the last five seconds were good for the indicator as this gateway saw them; 0: they"
            " were not.",
            ["indicator"],
            registry=registry,
        )
        self.requests = Counter(
            "recordgate_sli_requests",
            "Requests that count for the indicator, by outcome: good or bad.",
            ["indicator", "outcome"],
            registry=registry,
        )


class ServiceLevelWriter:
    """Measures and writes for one gateway. `counts` is filled by its requests."""

    def __init__(
        self,
        services: Services,
        counts: ServiceLevels,
        look: Look | None,
        registry: CollectorRegistry,
    ) -> None:
        self._services, self._counts, self._look = services, counts, look
        self._indicators = tuple({i.name: i for i in indicators(services.contract)}.values())
        self._writer = uuid.uuid4()
        self._minutes: dict[tuple[str, float], Minute] = {}
        self._rolled_up = -math.inf
        self._told = False
        self._metrics = IndicatorMetrics(registry)

    async def run(self) -> None:
        """Run until cancelled; whatever goes wrong is logged once and tried again."""
        if not self._indicators:
            return
        now = self._services.listener.now
        while True:
            await asyncio.sleep(SLICE - now() % SLICE + 0.001)
            ended = math.floor(now() / SLICE) * SLICE - SLICE
            try:
                self.note(float(ended), await examine(self._services, self._look))
                await self.write()
            except Exception:
                log.exception("service levels are not measured now; trying again")

    def note(self, slice_at: float, examined: Examined) -> None:
        """Add the slice that began at `slice_at`, in canonical's seconds since the epoch."""
        taken = self._counts.take()
        minute = slice_at - slice_at % 60
        bit = 1 << int(slice_at % 60 // SLICE)
        for indicator in self._indicators:
            good, total = taken.get(indicator.name, (0, 0))
            key = (indicator.name, minute)
            known = self._minutes.get(key) or Minute(indicator.name, minute)
            if indicator.of_time:
                well = _is_good(self._services, indicator, good, total, examined)
                self._metrics.good.labels(indicator.name).set(well)
                self._minutes[key] = Minute(
                    indicator.name, minute, known.slices | (bit if well else 0)
                )
            elif total or key in self._minutes:
                self._metrics.requests.labels(indicator.name, "good").inc(good)
                self._metrics.requests.labels(indicator.name, "bad").inc(total - good)
                self._minutes[key] = Minute(
                    indicator.name, minute, 0, known.good + good, known.total + total
                )
        while len(self._minutes) > MOST_KEPT * len(self._indicators):
            del self._minutes[next(iter(self._minutes))]

    async def write(self) -> None:
        """Write what is kept, and keep what still grows. What cannot be written now is kept."""
        minutes = list(self._minutes.values())
        if not minutes:
            return
        try:
            async with (
                asyncio.timeout(WRITE_SECONDS),
                self._services.pool.connection(WRITE_SECONDS) as conn,
            ):
                await write_minutes(conn, self._writer, minutes)
                if minutes[-1].at - self._rolled_up >= ROLL_UP_EVERY:
                    await roll_up(conn)
                    self._rolled_up = minutes[-1].at
        except (TimeoutError, PoolTimeout, psycopg.Error, RecordgateError) as error:
            if not self._told:
                log.warning(
                    "service levels are kept in memory: canonical cannot be written to (%s)",
                    type(error).__name__,
                )
            self._told = True
            return
        if self._told:
            log.info("service levels are written again")
        self._told = False
        newest = max(m.at for m in minutes)
        self._minutes = {k: m for k, m in self._minutes.items() if m.at >= newest - 60}


def _is_good(
    services: Services, indicator: Indicator, good: int, total: int, examined: Examined
) -> bool:
    """Return whether a slice of time was good: requests in it were answered, and it is possible to
    answer more; or a store is as fresh as it should be. Pure."""
    contract, objective = services.contract, indicator.objective
    types = objective.types or tuple(contract.types)
    stores, standing = examined.stores, examined.standing
    if indicator.store is not None:
        view = stores[indicator.store]
        staleness = _staleness(examined.found[indicator.store])
        needed = [t for t in types if indicator.store in needs(contract.types[t])]
        return (
            view.ok
            and staleness is not None
            and staleness <= float(objective.value)
            and all(holds(view, indicator.store, t, standing) for t in needed)
        )
    if total and (total - good) / total > FAILED_SHARE:
        return False
    if not objective.types:
        return answerable(contract, canonical=examined.canonical, stores=stores, standing=standing)
    return all(
        answerable(
            contract, canonical=examined.canonical, stores=stores, standing=standing, only=(t,)
        )
        for t in types
    )


def _staleness(state: Mapping[str, Any]) -> float | None:
    found = state.get("stalenessMs")
    return None if found is None else float(found) / 1000
