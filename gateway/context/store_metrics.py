"""Metrics of how the stores' guards stand, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.context.breakers import State
from gateway.context.services import Services

_LEVEL = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class StoreMetrics(Collector):
    def __init__(self, services: Services, registry: CollectorRegistry) -> None:
        self._services = services
        registry.register(self)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        services = self._services
        breakers = GaugeMetricFamily(
            "recordgate_store_breaker",
            "State of the breaker. 0: closed, the store is asked; 1: half-open, one call"
            " tests it; 2: open, it is not asked.",
            labels=["store"],
        )
        calls = CounterMetricFamily(
            "recordgate_store_calls",
            "Reads of a store by outcome: ok, failed, given_up (the caller no longer waited),"
            " refused (by the breaker).",
            labels=["store", "outcome"],
        )
        for guard in services.guards.values():
            breakers.add_metric([guard.role], _LEVEL[guard.state()])
            for outcome, count in guard.calls.items():
                calls.add_metric([guard.role, outcome], count)
        fallbacks = CounterMetricFamily(
            "recordgate_fallbacks",
            "Reads sent to canonical in a store's place, by outcome: taken, or refused by the"
            " bulkhead.",
            labels=["outcome"],
        )
        fallbacks.add_metric(["taken"], services.fallbacks_taken)
        fallbacks.add_metric(["refused"], services.fallbacks_refused)
        hedges = CounterMetricFamily(
            "recordgate_hedged_reads",
            "Reads also sent to canonical because the store was slow, by outcome: begun, and"
            " won by canonical.",
            labels=["outcome"],
        )
        hedges.add_metric(["begun"], services.hedges_begun)
        hedges.add_metric(["won"], services.hedges_won)
        running = GaugeMetricFamily(
            "recordgate_fallbacks_running",
            "Reads that canonical is serving now in a store's place.",
        )
        running.add_metric([], services.fallbacks.running)
        yield from (breakers, calls, fallbacks, hedges, running)
