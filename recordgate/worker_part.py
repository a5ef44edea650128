"""The part of a process that follows canonical, by one contract: the sync worker, the schedule of
quality rules, and where the contract says so the collecting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from prometheus_client import CollectorRegistry

from recordgate.gateway_part import ended
from recordgate.settings import Settings
from recordgate.sync_access import SINKS, make_store
from stores.contract.model import Contract


class WorkerPart:
    """`run` it until its process ends or another takes over (`give_up`)."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        url: str,
        registry: CollectorRegistry,
        *,
        collects: bool,
    ) -> None:
        """`collects`: sources of the contract are asked by this process."""
        from gateway.compiler.verdicts import followed_types
        from recordgate.monitoring.schedule import QualityMetrics, QualitySchedule
        from sync.metrics import SyncMetrics
        from sync.sources.registry import open_source
        from sync.sweep import SweepPace
        from sync.worker import Worker

        self._settings, self._contract, self._url = settings, contract, url
        self._collects = collects and bool(contract.collected)
        self._stop = asyncio.Event()
        changes = settings.changes.get_secret_value()
        self.worker = Worker(
            contract=contract,
            canonical_url=url,
            source=lambda: open_source(changes, contract, url),
            sinks={name: make_store(settings, name) for name in SINKS},
            batch_size=settings.batch_size,
            backlog_memory_keys=settings.backlog_memory_keys,
            sweep=SweepPace(settings.sweep_rate, settings.sweep_interval),
            metrics=SyncMetrics(registry),
            followed=followed_types(contract),
        )
        self._quality = QualitySchedule(
            contract,
            url,
            QualityMetrics(registry),
            interval=settings.quality_interval,
            timeout=settings.quality_timeout,
        )

    def give_up(self) -> None:
        """Let `run` return once everything written is published."""
        self._stop.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` or `give_up`; what it has written is published before it ends."""
        parts: list[Awaitable[None]] = [self._work()]
        if self._collects:
            parts.append(self._collect())
        tasks = [asyncio.ensure_future(part) for part in parts]
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await asyncio.gather(*tasks)
        finally:
            stopped.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self) -> None:
        work = asyncio.ensure_future(self.worker.run())
        quality = asyncio.ensure_future(self._quality.run())
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            await self.worker.stop()
            await work
        finally:
            await ended(quality)

    async def _collect(self) -> None:
        """Collecting, in threads of its own."""
        from recordgate.collect_access import surroundings
        from recordgate.collecting.collector import Collector

        collector = Collector(surroundings(self._settings, self._url, self._contract))
        running = asyncio.ensure_future(asyncio.to_thread(collector.run))
        await self._stop.wait()
        collector.stop()
        await running
