"""The sync worker's Prometheus metrics; names as in INTERFACE.md."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

IMPORT_VERDICTS = ("inserted", "updated", "unchanged", "deleted", "rejected")
IMPORT_ROWS = """
SELECT type, sum(inserted)::bigint, sum(updated)::bigint, sum(unchanged)::bigint,
  sum(deleted)::bigint, sum(rejected)::bigint
FROM recordgate.import_batches WHERE state = 'done' GROUP BY type
"""


class ImportRows(Collector):
    """Rows of finished imports, as recordgate's tables in canonical say: imports are commands of
    their own and are gone before anybody could ask them. `totals`: (type, verdict) → rows."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, str], int] = {}

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "recordgate_import_rows",
            "Rows of finished imports, by verdict.",
            labels=["type", "verdict"],
        )
        for labels, rows in sorted(self.totals.items()):
            family.add_metric(labels, rows)
        yield family


class SyncMetrics:
    """Registered in the registry given, so that gateway and worker of one process can share one."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.import_rows = ImportRows()
        self.registry.register(self.import_rows)
        self.lag_seconds = Gauge(
            "recordgate_sink_lag_seconds",
            "Age of the data that readers of the sink see, in seconds.",
            ["sink"],
            registry=self.registry,
        )
        self.lag_bytes = Gauge(
            "recordgate_sink_lag_bytes",
            "WAL bytes between the sink's position and canonical's.",
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
            "Dirty keys waiting for the sink, in memory and in its durable backlog.",
            ["sink"],
            registry=self.registry,
        )
        self.dead_letters = Gauge(
            "recordgate_dead_letters",
            "Dead letters of the sink.",
            ["sink", "type"],
            registry=self.registry,
        )
        self.slot_retained_bytes = Gauge(
            "recordgate_slot_retained_bytes",
            "WAL bytes that canonical retains for the worker's slot.",
            registry=self.registry,
        )
        self.verify_differences = Gauge(
            "recordgate_verify_differences",
            "Records that differed from canonical in the last round of the sweep.",
            ["sink", "type"],
            registry=self.registry,
        )
