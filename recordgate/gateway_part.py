"""The part of a process that answers callers, by one contract: the stores open for reading, a pool
on canonical, the application. A process that takes a new contract opens another one beside it,
passes the door on, and lets this one end what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway.app import make_app
from gateway.context.services import Limits, Services
from gateway.endpoints.health import readiness
from gateway.endpoints.service_levels import ServiceLevelWriter
from gateway.export.spool import Spool
from gateway.graphql.trusted import TrustedDocuments
from gateway.http.access_log import AccessLog
from gateway.http.draining import Drain
from gateway.http.metrics import Metrics
from gateway.http.service_levels import ServiceLevels
from gateway.schema.extensions import load
from gateway.security.access import Access
from gateway.security.authenticate import Authenticator
from gateway.security.callers import Callers
from recordgate.access import authenticator, trusted_documents
from recordgate.last_canonical import LastCanonical
from recordgate.monitoring.levels import Promises
from recordgate.overview import Overview, pooled
from recordgate.secrets_file import mask_secret, token_secret
from recordgate.settings import Settings
from recordgate.sync_access import make_store
from recordgate.sync_state import sync_state
from stores.canonical.connect import database_of, make_pool
from stores.canonical.publication import slot_name
from stores.contract.indicators import indicators
from stores.contract.model import Contract
from stores.errors import StoreUnavailable
from stores.protocols import DocumentStore, SearchStore, Store
from stores.roles import StoreRole

log = logging.getLogger("recordgate")

RETRY = 2.0
"""Seconds between two tries to reach a store that was down at the start."""
OUTLIVES = 60.0
"""Seconds that a gateway has for the requests it has begun, after another took its place."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The callers and documents that are let in: read of files first, so that a wrong file is known
    before anything is opened."""

    authenticator: Authenticator
    documents: TrustedDocuments

    @classmethod
    def read(
        cls, settings: Settings, contract: Contract, given: Authenticator | None = None
    ) -> Credentials:
        """`given`: who may ask, where the settings do not say it. Raises SetupError."""
        return cls(given or authenticator(settings, contract), trusted_documents(settings))

    def say_as(self, other: Credentials) -> bool:
        """Return whether both let in the same, but for the keys of a file, which is looked at all
        the time."""
        mine, its = self.authenticator, other.authenticator
        return (
            mine.rules == its.rules
            and (mine.keys is None) == (its.keys is None)
            and self.documents.says_as(other.documents)
        )


@dataclass(frozen=True, slots=True)
class Shared:
    """Everything that all gateways of a process have in common, whatever their contract."""

    settings: Settings
    url: str
    callers: Callers
    spool: Spool
    log: AccessLog | None


class GatewayPart:
    """`open` it, then `app` answers; `end` or `close` it."""

    def __init__(self, shared: Shared, contract: Contract, registry: CollectorRegistry) -> None:
        self._shared, self.contract, self._registry = shared, contract, registry
        self._exits = contextlib.AsyncExitStack()
        self.services: Services
        self.app: Starlette
        self.credentials: Credentials

    async def open(self, seen: LastCanonical, credentials: Credentials) -> None:
        """Raises SetupError, and what a store's opening raises but StoreUnavailable; then nothing
        stays open."""
        try:
            await self._open(seen, credentials)
        except BaseException:
            await self._exits.aclose()
            raise

    @property
    def drain(self) -> Drain:
        found: Drain = self.app.state.drain
        return found

    async def readiness(self) -> dict[str, Any]:
        """Return how the stores and the types in them stand, as `/health/ready` shows operators."""
        return await readiness(self.services, self._look)

    def measure(self) -> None:
        """Write and show service levels from now on, until it is closed."""
        self._exits.push_async_callback(ended, asyncio.ensure_future(self._measure()))

    async def _measure(self) -> None:
        shown = self._promises.run(self.services.pool)
        await asyncio.gather(self._levels.run(), shown)

    async def end(self) -> None:
        """Let what is running end, break streams off so that their clients go on elsewhere, and
        close."""
        if not await self.drain.emptied(OUTLIVES):
            log.warning("requests of the contract before took too long, and are broken off")
        await self.close()

    async def close(self) -> None:
        await self._exits.aclose()

    async def _open(self, seen: LastCanonical, credentials: Credentials) -> None:
        settings, url = self._shared.settings, self._shared.url
        self.credentials = credentials
        extensions = load(settings.extensions, self.contract)
        documents = cast(DocumentStore, await self._store(StoreRole.DOCUMENTS))
        search = cast(SearchStore, await self._store(StoreRole.SEARCH))
        milliseconds = round(settings.statement_timeout * 1000)
        pool = make_pool(
            url,
            settings.pool_size,
            options=f"-c statement_timeout={milliseconds}",
            application_name="recordgate gateway",
        )
        await pool.open()
        self._exits.push_async_callback(pool.close)
        lineage = seen.lineage
        self.services = Services(
            self.contract,
            pool,
            documents,
            search,
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
            seen.bytewise,
            mask_secret(settings),
            lineage.timeline,
            lineage.first,
        )
        slot = slot_name(self.contract, database_of(url))
        overview = Overview(self.contract, slot, pooled(pool), self._registry)
        levels = ServiceLevels(indicators(self.contract))
        self._levels = ServiceLevelWriter(self.services, levels, overview.look, self._registry)
        self._promises = Promises(self.contract, self._registry)
        self._look = overview.look

        async def more_state() -> dict[str, Any]:
            return {**await sync_state(pool, slot), **self._promises.state()}

        # Making the schema of a large contract takes a while: not on the loop that answers.
        self.app = await asyncio.to_thread(
            make_app,
            self.services,
            Metrics(self._registry),
            access=Access(credentials.authenticator, self._shared.callers, settings.cors_origins),
            documents=credentials.documents,
            more_state=more_state,
            look=overview.look,
            spool=self._shared.spool,
            log=self._shared.log,
            extensions=extensions,
            levels=levels,
            pages=settings.pages,
        )
        news = asyncio.ensure_future(self.services.listener.run(str(pool.conninfo)))
        self._exits.push_async_callback(ended, news)

    async def _store(self, sink: str) -> Store:
        """The gateway's view of a store, open for reading; one that is down is tried again in the
        background. The worker has its own, for it may have to leave the store to another worker."""
        store = make_store(self._shared.settings, sink)
        try:
            await store.open(self.contract, write=False)
        except StoreUnavailable as error:
            log.warning("the %s store is not reachable, retrying: %s", sink, error)
            task = asyncio.ensure_future(self._reopen(store))
            self._exits.push_async_callback(ended, task)
        self._exits.push_async_callback(store.close)
        return store

    async def _reopen(self, store: Store) -> None:
        while True:
            await asyncio.sleep(RETRY)
            with contextlib.suppress(StoreUnavailable):
                await store.open(self.contract, write=False)
                log.info("the %s store is reached", store.kind)
                return


class Door:
    """The application that the server is given once. What answers behind it may change: a request
    is that of the application which stood behind the door when it came."""

    def __init__(self) -> None:
        self.app: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)

    async def run(self, *, delay: float, most: float) -> bool:
        """Drain the application, and return whether everything has ended."""
        drain = None if self.app is None else getattr(self.app.state, "drain", None)
        return True if drain is None else bool(await drain.run(delay=delay, most=most))


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
