"""The worker's gauges, refreshed all its life: also while it stands by, opens its source, or tries
again.

They are read from recordgate's tables in canonical, on a connection of their own, and the session's
own state is laid over them where there is one. What nobody can tell is NaN: a gauge that stands
still keeps every alert silent.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from stores.canonical.connect import AsyncConnection, connect_async
from stores.errors import RecordgateError
from sync.changes import ChangeSource
from sync.metrics import IMPORT_ROWS, IMPORT_VERDICTS, SyncMetrics
from sync.writer import SinkWriter

log = logging.getLogger(__name__)

SECONDS = 5.0
"""Seconds in which canonical has to answer."""

_SINKS = """
SELECT w.sink, (pg_current_wal_lsn() - w.lsn)::bigint,
  extract(epoch FROM clock_timestamp() - w.as_of)::float8,
  (SELECT count(*) FROM recordgate.backlog AS b WHERE b.sink = w.sink)
FROM recordgate.watermarks AS w
"""
_HERE = """
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint,
  extract(epoch FROM clock_timestamp())::float8,
  (SELECT greatest(0, pg_current_wal_lsn() - s.restart_lsn)::bigint FROM pg_replication_slots AS s
   WHERE s.slot_name = %s AND s.database = current_database())
"""
_DEAD_LETTERS = """
SELECT sink, type, count(*) FROM recordgate.dead_letters WHERE kind = 'sink' GROUP BY sink, type
"""


@dataclass
class Gauges:
    """`slot`: the worker's own, which there is none of where changes come by Kafka."""

    url: str
    slot: str
    sinks: Collection[str]
    types: Collection[str]
    metrics: SyncMetrics
    conn: AsyncConnection | None = None

    async def refresh(self, writers: Mapping[str, SinkWriter], source: ChangeSource | None) -> None:
        """Set every gauge to what is known now; never raises."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._refresh(writers, source)
        except (TimeoutError, psycopg.Error, RecordgateError) as error:
            log.debug("the gauges cannot be read: %s", error)
            self._unknown()
            await self.close()

    async def _refresh(
        self, writers: Mapping[str, SinkWriter], source: ChangeSource | None
    ) -> None:
        if self.conn is None:
            self.conn = await connect_async(self.url, application_name="recordgate gauges")
        conn, metrics = self.conn, self.metrics

        async def rows(query: str, *given: object) -> list[Any]:
            return await (await conn.execute(query.encode(), given or None)).fetchall()

        for type_name, *counts in await rows(IMPORT_ROWS):
            for verdict, count in zip(IMPORT_VERDICTS, counts, strict=True):
                metrics.import_rows.totals[type_name, verdict] = count
        lsn, now, retained = (await rows(_HERE, self.slot))[0]
        if source is not None:
            with suppress(RecordgateError):
                retained = await source.lag_bytes()
        metrics.slot_retained_bytes.set(math.nan if retained is None else retained)
        recorded = {sink: told for sink, *told in await rows(_SINKS)}
        dead_letters = {(sink, name): count for sink, name, count in await rows(_DEAD_LETTERS)}
        for name in self.sinks:
            behind, age, waiting = recorded.get(name, (math.nan, math.nan, 0))
            writer = writers.get(name)
            if writer is not None:
                waiting += writer.backlog_size
                if writer.position is not None:
                    behind, age = lsn - writer.position.lsn, now - writer.position.as_of
            # Not max(): that keeps no NaN.
            metrics.lag_bytes.labels(name).set(0 if behind < 0 else behind)
            metrics.lag_seconds.labels(name).set(0.0 if age < 0 else age)
            metrics.backlog_keys.labels(name).set(waiting)
            for type_name in self.types:
                metrics.dead_letters.labels(name, type_name).set(
                    dead_letters.get((name, type_name), 0)
                )

    def _unknown(self) -> None:
        self.metrics.slot_retained_bytes.set(math.nan)
        for name in self.sinks:
            for gauge in (
                self.metrics.lag_bytes, self.metrics.lag_seconds, self.metrics.backlog_keys
            ):  # fmt: skip
                gauge.labels(name).set(math.nan)
            for type_name in self.types:
                self.metrics.dead_letters.labels(name, type_name).set(math.nan)

    async def close(self) -> None:
        conn, self.conn = self.conn, None
        if conn is not None:
            with suppress(psycopg.Error):
                await conn.close()
