"""This process among those that are alive: it says so in canonical while it runs, with what its
contract needs, and looks whether the other gateways sign tokens with the same secret."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import metadata

import psycopg

from stores.canonical.connect import AsyncConnection, connect_async
from stores.canonical.live_needs import needs_of
from stores.canonical.processes import BEAT, Process, Reloaded, read_alive, remove, say_alive
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import RecordgateError
from sync.process_state import process_state

log = logging.getLogger("recordgate")

OTHER_SECRET = "give all gateways the same secret: setting token_secret_file"


class Presence:
    """Records this process in canonical from its start to its end. If canonical is away, nothing
    is recorded and the process goes on."""

    def __init__(
        self,
        url: str,
        contract: Contract,
        role: str,
        *,
        secret: bytes | None = None,
        changes: str = "",
        beat: float = BEAT,
        asked: Callable[[], None] | None = None,
    ) -> None:
        """`secret`: what a gateway signs tokens with. `changes`: the change source of a worker
        (source_kind). `asked` is called where somebody asks the process to read its contract
        again; without it, the process says that it cannot."""
        self._url, self._beat, self._call = url, beat, asked
        self._asked = 0
        self._task: asyncio.Task[None] | None = None
        self._told: set[str] = set()
        detail: dict[str, object] = {"needs": needs_of(contract)}
        if secret is not None:
            detail["tokens"] = mark_of_secret(secret)
        if changes:
            detail["changes"] = changes
        if asked is not None:
            detail["reload"] = Reloaded().as_json()
        self.process = Process(
            uuid.uuid4(),
            role,
            socket.gethostname(),
            os.getpid(),
            metadata.version("recordgate"),
            contract.version,
            contract_digest(contract),
            detail,
            time.time(),
        )

    async def enter(self) -> None:
        await self._say()
        self._task = asyncio.create_task(self._go_on(), name="presence")

    async def asked(self) -> int:
        """Return how often the process was asked to read its contract again, as canonical has it
        now; as was last known where canonical is away."""
        await self._say()
        return self._asked

    async def became(self, contract: Contract, outcome: Reloaded) -> None:
        """Say which contract the process has now, and what came of reading it again."""
        detail = {**self.process.detail, "needs": needs_of(contract), "reload": outcome.as_json()}
        self.process = replace(
            self.process,
            contract_version=contract.version,
            contract_digest=contract_digest(contract),
            detail=detail,
        )
        await self._say()

    async def leave(self) -> None:
        """Safe at any time; never raises for canonical being away."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with suppress(psycopg.Error, RecordgateError, TimeoutError):
            async with asyncio.timeout(2.0), await self._connect() as conn:
                await remove(conn, self.process)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._beat)
            await self._say()

    async def _say(self) -> None:
        try:
            async with asyncio.timeout(self._beat), await self._connect() as conn:
                self._asked = await say_alive(conn, self.process)
                others = await read_alive(conn)
        except (psycopg.Error, RecordgateError, TimeoutError) as error:
            log.debug("this process could not record its heartbeat in canonical: %s", error)
            return
        answered = Reloaded.of(self.process)
        if self._call is not None and answered is not None and self._asked > answered.asked:
            self._call()
        for other in others:
            text = (
                f"{other.name} signs tokens with another secret than this gateway: {OTHER_SECRET}"
            )
            if other_secret(self.process, other) and text not in self._told:
                self._told.add(text)
                log.warning(text)

    async def _connect(self) -> AsyncConnection:
        return await connect_async(self._url, application_name="recordgate presence")


def mark_of_secret(secret: bytes) -> str:
    """Tells two secrets apart, and nothing of them."""
    return hmac.new(secret, b"which secret is it", hashlib.sha256).hexdigest()[:8]


def other_secret(one: Process, other: Process) -> bool:
    """Return whether both are gateways, and neither takes the other's tokens."""
    marks = one.detail.get("tokens"), other.detail.get("tokens")
    return None not in marks and marks[0] != marks[1]


def is_gone(process: Process) -> bool:
    """Return whether the process is known to have ended before its silence shows it: it ran on this
    machine."""
    here = process.host == socket.gethostname() and os.path.isdir("/proc/self")
    return here and process_state(process.pid) in (None, "Z")
