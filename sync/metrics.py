"""The sync worker's Prometheus metrics; names as in INTERFACE.md."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class SyncMetrics:
    """Registered in the registry given, so that gateway and worker of one process can share one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.lag_seconds = Gauge(
            "recordgate_sink_lag_seconds",
            "Age of what readers of the sink see.",
            ["sink"],
            registry=self.registry,
        )
        self.lag_bytes = Gauge(
            "recordgate_sink_lag_bytes",
            "WAL between the sink's position and canonical's.",
            ["sink"],
            registry=self.registry,
        )
        self.documents = Counter(
            "recordgate_sink_documents",
            "Verdicts on documents and deletes sent to the sink.",
            ["sink", "type", "verdict"],
            registry=self.registry,
        )
        self.backlog_keys = Gauge(
            "recordgate_backlog_keys",
            "Dirty keys that wait for the sink, in memory and in canonical.",
            ["sink"],
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "recordgate_dead_letters",
            "Documents set aside.",
            ["sink", "type"],
            registry=self.registry,
        )
        self.slot_retained_bytes = Gauge(
            "recordgate_slot_retained_bytes",
            "WAL that canonical keeps for the worker.",
            registry=self.registry,
        )
        self.verify_differences = Gauge(
            "recordgate_verify_differences",
            "Records that differed from canonical at the last verify.",
            ["sink", "type"],
            registry=self.registry,
        )
