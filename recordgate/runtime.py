"""One process of recordgate: canonical, the stores, the sync worker and the gateway, opened in
order, run until a signal comes, and closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.app import make_app
from gateway.context.services import Limits, Services
from gateway.endpoints.health import readiness
from gateway.endpoints.service_levels import ServiceLevelWriter
from gateway.export.spool import Spool
from gateway.http.access_log import AccessLog
from gateway.http.metrics import Metrics
from gateway.http.service_levels import ServiceLevels
from gateway.schema.extensions import load
from gateway.security.access import Access
from gateway.security.authenticate import Authenticator
from gateway.security.callers import Callers
from recordgate.access import authenticator, trusted_documents
from recordgate.canonical_access import open_canonical
from recordgate.garbage import GarbagePauses, set_apart_when_warm
from recordgate.http_protocol import HeadLimits
from recordgate.http_server import bind, serve
from recordgate.last_canonical import LastCanonical, recall, remember
from recordgate.monitoring.levels import DeliveryMetrics, LevelMetrics, show_levels
from recordgate.overview import Overview, pooled, single
from recordgate.presence import Presence
from recordgate.private_data import close_data, open_access_log
from recordgate.readiness import make_ready
from recordgate.secrets_file import mask_secret, token_secret
from recordgate.settings import Settings
from recordgate.sync_access import SINKS, make_store
from recordgate.sync_state import sync_state
from stores.canonical.connect import database_of, make_pool
from stores.canonical.publication import slot_name
from stores.contract.indicators import indicators
from stores.contract.model import Contract
from stores.errors import SetupError, StoreUnavailable
from stores.lineage import Lineage
from stores.private_files import UMASK
from stores.protocols import DocumentStore, SearchStore, Store
from stores.roles import StoreRole
from sync.sources.left import source_kind

log = logging.getLogger("recordgate")

RETRY = 2.0
"""Seconds between two tries to reach a store that was down at the start."""


class Role(StrEnum):
    UP = "up"
    SERVE = "serve"
    SYNC = "sync"
    ASK = "ask"
    """A gateway that listens nowhere and answers one command; no other process is told of it."""


class Runtime:
    """`async with Runtime(settings, contract, role) as runtime: await runtime.run()`."""

    def __init__(
        self,
        settings: Settings,
        contract: Contract,
        role: Role,
        *,
        authenticator: Authenticator | None = None,
    ) -> None:
        """`authenticator`: who may ask, where the settings do not say it."""
        self.settings, self.contract, self.role = settings, contract, role
        self._given = authenticator
        self._exits = contextlib.AsyncExitStack()
        self._registry = CollectorRegistry()
        self._stop = asyncio.Event()

    async def __aenter__(self) -> Runtime:
        try:
            await self._open()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()

    # Opening -----------------------------------------------------------------------------------

    async def _open(self) -> None:
        settings = self.settings
        if self.role is not Role.SYNC:
            self._authenticator = self._given or authenticator(settings, self.contract)
            self._documents = trusted_documents(settings)
        # Bound before anything else starts: a port in use is the commonest mistake.
        self._socket = None
        port = settings.worker_port if self.role is Role.SYNC else settings.port
        if port is not None and self.role is not Role.ASK:
            self._socket = bind(settings.host, port)
            self._exits.callback(self._socket.close)
        access = await asyncio.to_thread(open_canonical, settings)
        self._exits.push_async_callback(asyncio.to_thread, access.release)
        self.url = access.url
        self._exits.callback(os.umask, os.umask(UMASK))
        await asyncio.to_thread(close_data, settings.data_dir)
        seen, reached = await self._canonical()
        changes = settings.changes.get_secret_value()
        if self.role is Role.UP and changes.startswith("kafka:"):
            await asyncio.to_thread(self._register_connector, changes)
        if self.role in (Role.UP, Role.SYNC):
            self._open_worker()
        if self.role is Role.SYNC:
            self._answer_for_worker()
        else:
            await self._open_gateway(seen.lineage, seen.bytewise)
        if not reached:
            self._exits.push_async_callback(_ended, asyncio.ensure_future(self._look_again()))
        if self.role is Role.ASK:
            return
        presence = Presence(
            self.url,
            self.contract,
            self.role.value,
            secret=None if self.role is Role.SYNC else token_secret(settings),
            changes="" if self.role is Role.SERVE else source_kind(changes),
        )
        self._exits.push_async_callback(presence.leave)
        await presence.enter()

    async def _canonical(self) -> tuple[LastCanonical, bool]:
        """Return what canonical is, and whether it was reached: where it is away, a gateway takes
        what it last was. Raises SetupError where it lacks what the contract needs,
        StoreUnavailable where nothing is known of it."""
        try:
            return await self._seen_now(), True
        except StoreUnavailable as error:
            kept = None
            if self.role in (Role.SERVE, Role.ASK):
                kept = recall(self.settings.data_dir, self.contract, self.url)
            if kept is None:
                raise
            log.warning(
                "canonical is not reachable, retrying: %s; until then the stores answer what"
                " they can",
                error,
            )
            return kept, False

    async def _seen_now(self) -> LastCanonical:
        may_apply = self.role is Role.UP
        found = await asyncio.to_thread(make_ready, self.url, self.contract, may_apply=may_apply)
        seen = LastCanonical(*found)
        if self.role is not Role.SYNC:
            await asyncio.to_thread(remember, self.settings.data_dir, self.contract, self.url, seen)
        return seen

    async def _look_again(self) -> None:
        """Retry until canonical is reachable and matches the contract. The gateway's listening
        connection is told as well; it reports every later change of lineage."""
        told = ""
        while True:
            await asyncio.sleep(RETRY)
            try:
                seen = await self._seen_now()
            except StoreUnavailable:
                continue
            except SetupError as error:
                if error.message != told:
                    log.error("canonical is reached, but: %s (%s)", error.message, error.hint)
                told = error.message
            else:
                self.services.follow(seen.lineage)
                log.info("canonical is reached")
                return

    async def _store(self, sink: str) -> Store:
        """The gateway's view of a store, open for reading; one that is down is tried again in the
        background. The worker has its own, for it may have to leave the store to another worker."""
        store = make_store(self.settings, sink)
        try:
            await store.open(self.contract, write=False)
        except StoreUnavailable as error:
            log.warning("the %s store is not reachable, retrying: %s", sink, error)
            task = asyncio.ensure_future(self._reopen(store))
            self._exits.push_async_callback(_ended, task)
        self._exits.push_async_callback(store.close)
        return store

    async def _reopen(self, store: Store) -> None:
        while True:
            await asyncio.sleep(RETRY)
            with contextlib.suppress(StoreUnavailable):
                await store.open(self.contract, write=False)
                log.info("the %s store is reached", store.kind)
                return

    def _register_connector(self, changes: str) -> None:
        """Register the connector as `recordgate apply` does. If Kafka Connect is down, the stores
        are served meanwhile."""
        from sync.sources.debezium import apply_connector

        try:
            apply_connector(changes, self.contract, self.url)
        except StoreUnavailable as error:
            log.warning("Debezium's connector is not registered: %s", error)

    def _open_worker(self) -> None:
        from sync.metrics import SyncMetrics
        from sync.sources.registry import open_source
        from sync.sweep import SweepPace
        from sync.worker import Worker

        settings = self.settings
        changes = settings.changes.get_secret_value()
        self.worker = Worker(
            contract=self.contract,
            canonical_url=self.url,
            source=lambda: open_source(changes, self.contract, self.url),
            sinks={name: make_store(settings, name) for name in SINKS},
            batch_size=settings.batch_size,
            backlog_memory_keys=settings.backlog_memory_keys,
            sweep=SweepPace(settings.sweep_rate, settings.sweep_interval),
            metrics=SyncMetrics(self._registry),
        )

        from recordgate.monitoring.schedule import QualityMetrics, QualitySchedule

        self.quality = QualitySchedule(
            self.contract,
            self.url,
            QualityMetrics(self._registry),
            interval=settings.quality_interval,
            timeout=settings.quality_timeout,
        )

    def _answer_for_worker(self) -> None:
        from recordgate.worker_http import worker_app

        slot = slot_name(self.contract, database_of(self.url))
        overview = Overview(self.contract, slot, single(self.url), self._registry)
        self.app: ASGIApp = worker_app(self.worker, self._registry, overview)

    async def _open_gateway(self, lineage: Lineage, bytewise: bool) -> None:
        settings = self.settings
        self.documents = cast(DocumentStore, await self._store(StoreRole.DOCUMENTS))
        self.search = cast(SearchStore, await self._store(StoreRole.SEARCH))
        milliseconds = round(settings.statement_timeout * 1000)
        pool = make_pool(
            self.url,
            settings.pool_size,
            options=f"-c statement_timeout={milliseconds}",
            application_name="recordgate gateway",
        )
        await pool.open()
        self._exits.push_async_callback(pool.close)
        self.services = Services(
            self.contract,
            pool,
            self.documents,
            self.search,
            lineage.system,
            token_secret(settings),
            Limits(
                settings.statement_timeout,
                settings.max_body_bytes,
                settings.max_depth,
                settings.max_aliases,
                settings.max_tokens,
                settings.document_timeout,
                settings.search_timeout,
                settings.fallback_reads,
                max_cost=settings.max_cost,
                max_batch=settings.max_batch,
            ),
            bytewise,
            mask_secret(settings),
            lineage.timeline,
            lineage.first,
        )
        callers = Callers(
            settings.rate_limit,
            settings.rate_burst,
            settings.concurrent_requests,
            settings.concurrent_streams,
        )
        access = Access(self._authenticator, callers, settings.cors_origins)
        spool = Spool(
            settings.data_dir / "exports", room=settings.export_room, age=settings.export_age
        )
        self._exits.push_async_callback(spool.close)
        news = asyncio.ensure_future(self.services.listener.run(str(pool.conninfo)))
        self._exits.push_async_callback(_ended, news)
        slot = slot_name(self.contract, database_of(self.url))
        overview = Overview(self.contract, slot, pooled(pool), self._registry)
        levels = ServiceLevels(indicators(self.contract))
        self.levels = ServiceLevelWriter(self.services, levels, overview.look, self._registry)
        self.look = overview.look
        self.app = make_app(
            self.services,
            Metrics(self._registry),
            access=access,
            documents=self._documents,
            more_state=lambda: sync_state(pool, slot),
            look=overview.look,
            spool=spool,
            log=self._access_log(),
            extensions=load(self.settings.extensions, self.contract),
            levels=levels,
            pages=self.settings.pages,
        )

    def _access_log(self) -> AccessLog | None:
        named = self.settings.access_log
        if not named:
            return None
        out: BinaryIO = sys.stderr.buffer
        if named != "-":
            out = self._exits.enter_context(open_access_log(Path(named).expanduser()))
        log = AccessLog(out)
        self._exits.callback(log.flush)
        return log

    # Running -----------------------------------------------------------------------------------

    async def readiness(self) -> dict[str, Any]:
        """Return how the stores and the types in them stand, as `/health/ready` shows operators."""
        return await readiness(self.services, self.look)

    async def run(
        self,
        announce: Callable[[str], None],
        beside: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run until SIGINT or SIGTERM; a second one ends at once, without draining. `announce` gets
        the gateway's URL when it answers. `beside` runs beside it, and ends when it likes."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        parts: list[Awaitable[None]] = []
        levels = asyncio.ensure_future(self._measure_levels())
        if self._socket is not None:
            parts.append(self._serve(announce))
        if self.role is not Role.SERVE:
            parts.append(self._work())
        if self.role is Role.UP and self.contract.collected:
            parts.append(self._collect())
        tasks = [asyncio.ensure_future(part) for part in parts]
        pauses = GarbagePauses(self._registry)
        warm = asyncio.ensure_future(set_apart_when_warm())
        aside = asyncio.ensure_future(beside()) if beside else warm
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await asyncio.gather(*tasks)
        finally:
            pauses.close()
            for task in (warm, aside, levels, *tasks):
                task.cancel()
            await asyncio.gather(warm, aside, levels, *tasks, return_exceptions=True)

    async def _measure_levels(self) -> None:
        """Write and show service levels, in a process that is a gateway."""
        if self.role is not Role.SYNC:
            shown = show_levels(
                self.contract,
                self.services.pool,
                LevelMetrics(self._registry),
                DeliveryMetrics(self._registry),
            )
            await asyncio.gather(self.levels.run(), shown)

    async def _serve(self, announce: Callable[[str], None]) -> None:
        assert self._socket is not None
        await serve(
            self.app,
            self._socket,
            self._stop,
            announce,
            drain=getattr(getattr(self.app, "state", None), "drain", None),
            drain_delay=self.settings.drain_delay,
            head=HeadLimits(self.settings.max_head_bytes, self.settings.head_timeout),
        )

    async def _work(self) -> None:
        """The worker, until `stop`; what it has written is published before it ends."""
        work = asyncio.ensure_future(self.worker.run())
        quality = asyncio.ensure_future(self.quality.run())
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            await self.worker.stop()
            await work
        finally:
            await _ended(quality)

    async def _collect(self) -> None:
        """Collecting, in threads of its own, until `stop`. A contract without sources does not come
        here."""
        from recordgate.collect_access import surroundings
        from recordgate.collecting.collector import Collector

        collector = Collector(surroundings(self.settings, self.url, self.contract))
        running = asyncio.ensure_future(asyncio.to_thread(collector.run))
        await self._stop.wait()
        collector.stop()
        await running

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():
            log.warning("second signal received: exiting immediately")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        log.info("stopping")
        self._stop.set()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
