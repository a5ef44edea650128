"""Metrics of what the service levels came to, as all gateways together wrote them: read each
minute."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry, Gauge
from psycopg_pool import PoolTimeout

from recordgate.monitoring import deliveries
from recordgate.monitoring import objectives as levels
from recordgate.monitoring.deliveries import STATES, Standing, standing_of
from recordgate.monitoring.objectives import Level, levels_of, windows_of
from stores.canonical.connect import AsyncConnection, Pool
from stores.canonical.deliveries import read_days_async
from stores.canonical.service_minutes import read_sums_async
from stores.contract.indicators import indicators
from stores.contract.model import Contract
from stores.errors import RecordgateError

log = logging.getLogger(__name__)

EVERY = 60.0
SECONDS = 5.0


class LevelMetrics:
    """The gauges, which hold what was last read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.share = Gauge(
            "recordgate_slo_objective_ratio",
            "Share of the time or of the requests that was good over the objective's window; NaN:"
            " not known.",
            ["indicator"],
            registry=registry,
        )
        self.remaining = Gauge(
            "recordgate_slo_error_budget_remaining_ratio",
            "Share of the error budget that is left, below 0 where more was used; NaN: not known.",
            ["indicator"],
            registry=registry,
        )
        self.burn = Gauge(
            "recordgate_slo_burn_rate",
            "How many times faster than the budget allows it is used; NaN: the window has too"
            " little.",
            ["indicator", "window"],
            registry=registry,
        )

    def show(self, levels: Sequence[Level]) -> None:
        """Make the gauges what the levels are."""
        for level in levels:
            name = level.indicator.name
            share = math.nan if level.share is None else level.share / 100
            self.share.labels(name).set(share)
            left = level.remaining if level.share is not None else None
            self.remaining.labels(name).set(math.nan if left is None else left)
            for window, rate in (level.burn or {}).items():
                self.burn.labels(name, window).set(math.nan if rate is None else rate)


class DeliveryMetrics:
    """The gauges of deliveries, which hold what was last read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.state = Gauge(
            "recordgate_delivery_state",
            "1: the type's deliveries are in this state: learning, not due, due, late, missing,"
            " arrived, short, long, early.",
            ["type", "state"],
            registry=registry,
        )
        self.due = Gauge(
            "recordgate_delivery_due_timestamp_seconds",
            "When the type's next delivery is promised or usually there.",
            ["type"],
            registry=registry,
        )

    def show(self, standings: Sequence[Standing]) -> None:
        """Make the gauges what the standings are."""
        for standing in standings:
            for state in STATES:
                self.state.labels(standing.type, state).set(state == standing.state)
            due = math.nan if standing.due is None else standing.due.timestamp()
            self.due.labels(standing.type).set(due)


class Promises:
    """The levels and deliveries that were last read, for metrics and console."""

    def __init__(self, contract: Contract, registry: CollectorRegistry) -> None:
        self._contract = contract
        self._indicators = tuple({i.name: i for i in indicators(contract)}.values())
        self._level_metrics = LevelMetrics(registry)
        self._delivery_metrics = DeliveryMetrics(registry)
        self._levels: list[Level] = []
        self._deliveries: list[Standing] = []

    def state(self) -> dict[str, Any]:
        """Return what was last read as JSON has it."""
        return {
            "levels": [levels.as_value(level) for level in self._levels],
            "deliveries": [deliveries.as_value(one) for one in self._deliveries],
        }

    async def run(self, pool: Pool) -> None:
        """Read levels and deliveries each minute until cancelled. Where they cannot be read, what
        was read last stays."""
        while True:
            try:
                async with asyncio.timeout(SECONDS), pool.connection(SECONDS) as conn:
                    await self._read(conn)
            except (TimeoutError, PoolTimeout, psycopg.Error, RecordgateError) as error:
                log.debug("service levels could not be read: %s", type(error).__name__)
            await asyncio.sleep(EVERY)

    async def _read(self, conn: AsyncConnection) -> None:
        now = datetime.now(UTC)
        names = [i.name for i in self._indicators]
        sums = await read_sums_async(conn, names, windows_of(self._indicators))
        days = await read_days_async(conn, list(self._contract.types), now)
        self._levels = levels_of(self._indicators, sums, now)
        standings = (standing_of(self._contract, t, days[t], now) for t in self._contract.types)
        self._deliveries = [s for s in standings if s is not None]
        self._level_metrics.show(self._levels)
        self._delivery_metrics.show(self._deliveries)
