"""One process of recordgate: canonical, and the parts that work by the contract, opened in order,
run until a signal comes, and closed in reverse.

The contract is read again on SIGHUP, or where `recordgate reload-config` asks: parts of the new one
are opened beside those that run, and take their place. A contract or a keys file that is wrong is
refused with its reason, and what runs goes on.
"""

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
from typing import Any, BinaryIO

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from gateway.export.spool import Spool
from gateway.http.access_log import AccessLog
from gateway.security.authenticate import Authenticator
from gateway.security.callers import Callers
from recordgate.canonical_access import open_canonical
from recordgate.garbage import GarbagePauses, set_apart_when_warm, take_back
from recordgate.gateway_part import RETRY, Credentials, Door, GatewayPart, Shared, ended
from recordgate.http_protocol import HeadLimits
from recordgate.http_server import bind, serve
from recordgate.last_canonical import LastCanonical, recall, remember
from recordgate.overview import Overview, single
from recordgate.presence import Presence
from recordgate.private_data import close_data, open_access_log
from recordgate.readiness import make_ready
from recordgate.reloading import Terminal, require_files, require_same_product
from recordgate.secrets_file import token_secret
from recordgate.settings import Settings
from recordgate.worker_part import WorkerPart
from stores.canonical.connect import database_of
from stores.canonical.processes import Reloaded
from stores.canonical.publication import slot_name
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import RecordgateError, SetupError, StoreUnavailable
from stores.private_files import UMASK
from sync.sources.left import source_kind

log = logging.getLogger("recordgate")


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
        self._given = authenticator
        self.settings, self.contract, self.role = settings, contract, role
        self._exits = contextlib.AsyncExitStack()
        self._stop = asyncio.Event()
        self._wanted = asyncio.Event()
        """The contract is to be read again."""
        self._door = Door()
        self._gateway: GatewayPart | None = None
        self._worker: WorkerPart | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        """Gateways of contracts before, which end what they have begun."""
        self._terminal = Terminal()

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
        if self.role is not Role.ASK:
            # From the first moment on: unhandled, the signal would end the process.
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, self._hung_up)
            self._exits.callback(loop.remove_signal_handler, signal.SIGHUP)
        credentials = None
        if self.role is not Role.SYNC:
            credentials = Credentials.read(settings, self.contract, self._given)
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
        if self.role is not Role.ASK:
            await self._enter()
        seen, reached = await self._canonical()
        if self.role is not Role.SYNC:
            await self._share()
        self._pauses = GarbagePauses()
        self._exits.callback(self._pauses.close)
        registry = self._new_registry()
        if self.role is Role.UP:
            await self._register_connector(self.contract)
        if self.role in (Role.UP, Role.SYNC):
            self._worker = self._new_worker(self.contract, registry)
        if credentials is None:
            self._answer_for_worker(registry)
        else:
            self._exits.push_async_callback(self._close_gateways)
            await self._open_gateway(self.contract, seen, credentials, registry)
        if not reached:
            self._exits.push_async_callback(ended, asyncio.ensure_future(self._look_again()))
        if self.role is not Role.ASK:
            # Again: at the first start of all, the table was not there yet.
            await self._presence.asked()

    async def _enter(self) -> None:
        """Be among the processes that are alive before canonical is looked at: whoever takes
        something from it either sees this process, or has done so when it looks."""
        changes = self.settings.changes.get_secret_value()
        self._presence = Presence(
            self.url,
            self.contract,
            self.role.value,
            secret=None if self.role is Role.SYNC else token_secret(self.settings),
            changes="" if self.role is Role.SERVE else source_kind(changes),
            asked=self._wanted.set,
        )
        self._exits.push_async_callback(self._presence.leave)
        await self._presence.enter()

    async def _share(self) -> None:
        """Open everything that all gateways of the process share."""
        settings = self.settings
        callers = Callers(
            settings.rate_limit,
            settings.rate_burst,
            settings.concurrent_requests,
            settings.concurrent_streams,
        )
        spool = Spool(
            settings.data_dir / "exports", room=settings.export_room, age=settings.export_age
        )
        self._exits.push_async_callback(spool.close)
        self._shared = Shared(settings, self.url, callers, spool, self._access_log())

    def _new_registry(self) -> CollectorRegistry:
        """The metrics of the parts of one contract: their counts begin anew with it."""
        registry = CollectorRegistry()
        registry.register(self._pauses)
        return registry

    async def _canonical(self) -> tuple[LastCanonical, bool]:
        """Return what canonical is, and whether it was reached: where it is away, a gateway takes
        what it last was. Raises SetupError where it lacks what the contract needs,
        StoreUnavailable where nothing is known of it."""
        try:
            return await self._seen_now(self.contract, may_apply=self.role is Role.UP), True
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

    async def _seen_now(self, contract: Contract, *, may_apply: bool) -> LastCanonical:
        found = await asyncio.to_thread(make_ready, self.url, contract, may_apply=may_apply)
        seen = LastCanonical(*found)
        if self.role is not Role.SYNC:
            await asyncio.to_thread(remember, self.settings.data_dir, contract, self.url, seen)
        return seen

    async def _look_again(self) -> None:
        """Retry until canonical is reachable and matches the contract. The gateway's listening
        connection is told as well; it reports every later change of lineage."""
        told = ""
        while True:
            await asyncio.sleep(RETRY)
            try:
                seen = await self._seen_now(self.contract, may_apply=False)
            except StoreUnavailable:
                continue
            except SetupError as error:
                if error.message != told:
                    log.error("canonical is reached, but: %s (%s)", error.message, error.hint)
                told = error.message
            else:
                assert self._gateway is not None
                self._gateway.services.follow(seen.lineage)
                log.info("canonical is reached")
                return

    async def _register_connector(self, contract: Contract) -> None:
        """Register the connector as `recordgate apply` does, where changes come from Kafka. If
        Kafka Connect is down, the stores are served meanwhile."""
        changes = self.settings.changes.get_secret_value()
        if not changes.startswith("kafka:"):
            return
        from sync.sources.debezium import apply_connector

        try:
            await asyncio.to_thread(apply_connector, changes, contract, self.url)
        except StoreUnavailable as error:
            log.warning("Debezium's connector is not registered: %s", error)

    def _new_worker(self, contract: Contract, registry: CollectorRegistry) -> WorkerPart:
        return WorkerPart(
            self.settings, contract, self.url, registry, collects=self.role is Role.UP
        )

    def _answer_for_worker(self, registry: CollectorRegistry) -> None:
        from recordgate.worker_http import worker_app

        assert self._worker is not None
        slot = slot_name(self.contract, database_of(self.url))
        overview = Overview(self.contract, slot, single(self.url), registry)
        self._door.app = worker_app(self._worker.worker, registry, overview)

    async def _open_gateway(
        self,
        contract: Contract,
        seen: LastCanonical,
        credentials: Credentials,
        registry: CollectorRegistry,
    ) -> None:
        """Open a gateway, and let it answer from now on. Where it cannot be opened, the one before
        goes on."""
        before, gateway = self._gateway, GatewayPart(self._shared, contract, registry)
        await gateway.open(seen, credentials)
        self._gateway, self._door.app = gateway, gateway.app
        if before is not None:
            gateway.measure()
            leaving = asyncio.ensure_future(before.end())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _close_gateways(self) -> None:
        for leaving in list(self._leaving):
            await ended(leaving)
        if self._gateway is not None:
            await self._gateway.close()

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

    @property
    def app(self) -> ASGIApp:
        """The application that answers, whatever contract it has."""
        return self._door

    async def readiness(self) -> dict[str, Any]:
        """Return how the stores and the types in them stand, as `/health/ready` shows operators."""
        assert self._gateway is not None
        return await self._gateway.readiness()

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
        if self._socket is not None:
            parts.append(self._serve(announce))
        if self._worker is not None:
            parts.append(self._work())
        tasks = [asyncio.ensure_future(part) for part in parts]
        reloads = asyncio.ensure_future(self._reloads())
        self._warm = asyncio.ensure_future(set_apart_when_warm())
        aside = asyncio.ensure_future(beside()) if beside else reloads
        if self._gateway is not None:
            self._gateway.measure()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._stop.set()
            await ended(reloads)
            await asyncio.gather(*tasks)
        finally:
            for task in (reloads, self._warm, aside, *tasks):
                task.cancel()
            await asyncio.gather(reloads, self._warm, aside, *tasks, return_exceptions=True)

    async def _serve(self, announce: Callable[[str], None]) -> None:
        assert self._socket is not None
        await serve(
            self._door,
            self._socket,
            self._stop,
            announce,
            drain=self._door,
            drain_delay=self.settings.drain_delay,
            head=HeadLimits(self.settings.max_head_bytes, self.settings.head_timeout),
        )

    async def _work(self) -> None:
        """The worker of the contract of now, one after another: a sink has one writer."""
        part = None
        while part is not self._worker and not self._stop.is_set():
            part = self._worker
            assert part is not None
            await part.run(self._stop)

    # Another contract --------------------------------------------------------------------------

    async def _reloads(self) -> None:
        while True:
            await self._wanted.wait()
            asked = await self._presence.asked()
            self._wanted.clear()
            try:
                outcome = Reloaded(asked, True, await self._take())
                log.info("read again: %s", outcome.said)
            except RecordgateError as error:
                hint = f" ({error.hint})" if error.hint else ""
                outcome = Reloaded(asked, False, f"{error.message}{hint}")
                log.error(
                    "refused, and contract %s goes on: %s", self.contract.version, outcome.said
                )
            except Exception as error:
                log.exception("refused, and contract %s goes on", self.contract.version)
                outcome = Reloaded(asked, False, f"unexpected: {type(error).__name__}; see its log")
            await self._presence.became(self.contract, outcome)

    async def _take(self) -> str:
        """Read contract, keys and trusted documents again, and work by them; what was done. Raises
        RecordgateError where one of them is wrong; then nothing has changed."""
        settings = self.settings
        assert settings.contract is not None
        require_files(settings.contract)
        contract = await asyncio.to_thread(load_contract, settings.contract)
        credentials = None
        if self.role is not Role.SYNC:
            credentials = await asyncio.to_thread(Credentials.read, settings, contract)
        same = contract_digest(contract) == contract_digest(self.contract)
        if self._gateway is not None and credentials is not None:
            await self._gateway.credentials.authenticator.look_again()
            same = same and self._gateway.credentials.say_as(credentials)
        if same:
            return f"contract {contract.version}, which it has already"
        require_same_product(self.contract, contract)
        seen = await self._seen_now(contract, may_apply=False)
        registry = self._new_registry()
        if self.role is Role.UP:
            await self._register_connector(contract)
        worker, before = None, self._worker
        if before is not None:
            worker = self._new_worker(contract, registry)
        if credentials is not None:
            await self._open_gateway(contract, seen, credentials, registry)
        self.contract = contract
        if worker is not None and before is not None:
            self._worker = worker
            before.give_up()
            if self.role is Role.SYNC:
                self._answer_for_worker(registry)
        take_back()
        self._warm.cancel()
        self._warm = asyncio.ensure_future(set_apart_when_warm())
        return f"contract {contract.version}"

    def _hung_up(self) -> None:
        """SIGHUP: the contract is to be read again; or the terminal of the process is gone."""
        if self._terminal.is_gone():
            self._signalled(signal.SIGHUP)
        else:
            self._wanted.set()

    def _signalled(self, number: int) -> None:
        if self._stop.is_set():
            log.warning("second signal received: exiting immediately")
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            return
        log.info("stopping")
        self._stop.set()
