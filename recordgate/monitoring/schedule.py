"""The worker's part: rules are measured when they are due, at a bounded share of the time, and
their newest results are metrics."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from contextlib import suppress

import psycopg
from prometheus_client import CollectorRegistry, Counter, Gauge

from recordgate.monitoring.quality import Last, last_results, run_due
from stores.canonical.connect import Connection, connect
from stores.canonical.driver_errors import translate
from stores.canonical.rule_results import BROKEN, PASSED
from stores.contract.model import Contract, RecordType
from stores.errors import ConflictError, RecordgateError

log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds between two looks at what is due."""
SHARE = 0.05
"""The share of the time that measuring may take: after each run it rests for as long as that
asks."""


class QualityMetrics:
    """The newest results, whoever measured them. A rule that is not known has no value."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.bad_ratio = Gauge(
            "recordgate_quality_bad_ratio",
            "Share of the type's rows that are bad by the rule.",
            ["type", "rule"],
            registry=registry,
        )
        self.value = Gauge(
            "recordgate_quality_value",
            "What the rule came to, in its unit.",
            ["type", "rule"],
            registry=registry,
        )
        self.passed = Gauge(
            "recordgate_quality_passed",
            "1 where the rule holds, 0 where it is broken or could not be measured.",
            ["type", "rule", "severity"],
            registry=registry,
        )
        self.last_run = Gauge(
            "recordgate_monitor_last_run_timestamp_seconds",
            "When rules of the type were last measured.",
            ["type"],
            registry=registry,
        )
        self.seconds = Counter(
            "recordgate_monitor_seconds",
            "Time that measuring took.",
            registry=registry,
        )

    def show(self, record: RecordType, results: list[Last]) -> None:
        """Make the gauges of a type what its newest results are."""
        shown = {found.rule.id for found in results if found.state in (PASSED, BROKEN)}
        for rule in record.rules:
            if rule.id not in shown:
                for gauge in (self.bad_ratio, self.value):
                    with suppress(KeyError):
                        gauge.remove(record.name, rule.id)
        for found in results:
            labels = (record.name, found.rule.id)
            self.passed.labels(*labels, found.rule.severity).set(found.state == PASSED)
            if found.rule.id in shown:
                self.value.labels(*labels).set(float(found.value))
                if found.rule.metric not in ("sql", "rowCount") and found.total:
                    self.bad_ratio.labels(*labels).set(float(found.bad) / found.total)
        if results:
            self.last_run.labels(record.name).set(max(f.at.timestamp() for f in results))


class QualitySchedule:
    """One process's. Several may run: each type is measured by one at a time, and is not due for
    the others then."""

    def __init__(
        self,
        contract: Contract,
        url: str,
        metrics: QualityMetrics,
        *,
        interval: float,
        timeout: float,
        look: float = LOOK,
    ) -> None:
        self._contract, self._url, self._metrics = contract, url, metrics
        self._interval, self._timeout, self._look = interval, timeout, look
        self._records = [r for r in contract.types.values() if r.rules]
        self._stopping = threading.Event()
        self._conn: Connection | None = None
        self._told = ""

    async def run(self) -> None:
        """Run until cancelled; a failure is logged once and tried again."""
        if not self._records:
            return
        work = asyncio.get_running_loop().run_in_executor(None, self._loop)
        try:
            await asyncio.shield(work)
        finally:
            self._stopping.set()
            conn = self._conn
            if conn is not None and not conn.closed:
                with suppress(psycopg.Error):
                    await asyncio.to_thread(conn.cancel_safe, timeout=2.0)
            await asyncio.wait([work], timeout=5.0)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                with connect(self._url, application_name="recordgate quality") as conn:
                    self._conn = conn
                    while not self._stopping.wait(self._look):
                        self._all(conn)
            except psycopg.Error as error:
                self._tell(translate(error))
            except RecordgateError as error:
                self._tell(error)
            except Exception:
                log.exception("quality rules are not measured now; trying again")
            self._conn = None
            self._stopping.wait(self._look)

    def _all(self, conn: Connection) -> None:
        for record in self._records:
            if self._stopping.is_set():
                return
            self.one(conn, record)
        self._told = ""

    def one(self, conn: Connection, record: RecordType) -> None:
        """Measure the rules of a type that are due, then rest as long as the share asks."""
        began, run = time.monotonic(), None
        with suppress(ConflictError):
            run = run_due(
                conn,
                self._contract,
                record,
                interval=self._interval,
                timeout=self._timeout,
                given_up=self._stopping.is_set,
            )
        spent = time.monotonic() - began
        self._metrics.show(record, last_results(conn, record))
        if run is not None:
            self._metrics.seconds.inc(spent)
            self._stopping.wait(spent * (1 / SHARE - 1))

    def _tell(self, error: RecordgateError) -> None:
        if not self._stopping.is_set() and error.message != self._told:
            log.warning("quality rules are not measured now: %s; trying again", error.message)
        self._told = error.message
