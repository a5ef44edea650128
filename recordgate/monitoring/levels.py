"""Metrics of what the service levels came to, as all gateways together wrote them: read each
minute."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg
from prometheus_client import CollectorRegistry, Gauge
from psycopg_pool import PoolTimeout

from recordgate.monitoring.deliveries import STATES, Standing, standing_of
from recordgate.monitoring.objectives import Level, levels_of, windows_of
from stores.canonical.connect import Pool
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


async def show_levels(
    contract: Contract, pool: Pool, metrics: LevelMetrics, deliveries: DeliveryMetrics
) -> None:
    """Read levels and deliveries and show them, each minute until cancelled. Where they cannot be
    read the gauges keep what was read last."""
    found = tuple({i.name: i for i in indicators(contract)}.values())
    while True:
        try:
            async with asyncio.timeout(SECONDS), pool.connection(SECONDS) as conn:
                sums = await read_sums_async(conn, [i.name for i in found], windows_of(found))
                now = datetime.now(UTC)
                days = await read_days_async(conn, list(contract.types), now)
            metrics.show(levels_of(found, sums, now))
            standings = (standing_of(contract, t, days[t], now) for t in contract.types)
            deliveries.show([s for s in standings if s is not None])
        except (TimeoutError, PoolTimeout, psycopg.Error, RecordgateError) as error:
            log.debug("service levels could not be read: %s", type(error).__name__)
        await asyncio.sleep(EVERY)
