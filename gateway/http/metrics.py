"""The gateway's Prometheus metrics, in a registry that other parts of the process share."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The gateway's metrics. `registry` is shared: the sync worker's collectors join it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.requests = Counter(
            "recordgate_requests_total",
            "Answered operations: a GraphQL root field, or an HTTP endpoint, with the store that"
            " answered and the error code (OK: no error).",
            ("operation", "store", "code"),
            registry=self.registry,
        )
        self._counters: dict[tuple[str, str, str], Counter] = {}
        self.seconds = Histogram(
            "recordgate_request_seconds",
            "Seconds from the request's arrival to the end of its answer.",
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.running = Gauge(
            "recordgate_requests_running",
            "Requests being answered now.",
            registry=self.registry,
        )

        self.subscriptions = Gauge(
            "recordgate_subscriptions",
            "Open subscriptions.",
            registry=self.registry,
        )

    def count(self, operation: str, stores: Iterable[str], code: str) -> None:
        """One operation: under each store that took part, or under "none"."""
        for store in set(stores) or {"none"}:
            key = (operation, store, code)
            counter = self._counters.get(key)
            if counter is None:
                counter = self._counters[key] = self.requests.labels(*key)
            counter.inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text of `/metrics` and its media type, as `accept` prefers."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type
