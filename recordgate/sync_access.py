"""The access that the commands about sync share: canonical, the stores open for reading, and a
worker where none runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass

import psycopg
from pydantic import SecretStr

from gateway.compiler.verdicts import followed_types
from recordgate.canonical_access import open_canonical
from recordgate.settings import Settings
from stores.canonical.connect import AsyncConnection, connect_async
from stores.canonical.driver_errors import translate
from stores.canonical.publication import slot_name
from stores.contract.model import Contract
from stores.errors import InputError, RecordgateError
from stores.protocols import Store
from stores.registry import open_store
from stores.roles import StoreRole
from sync.lease import worker_runs
from sync.sources.registry import open_source
from sync.sweep import SweepPace
from sync.worker import Worker

SINKS = tuple(sorted(StoreRole, reverse=True))
"""The sinks that commands are about, in the order in which they list them."""


@dataclass
class SyncAccess:
    """`stores`: sink → store, open for reading. `problems`: sink → why it is not among them."""

    url: str
    conn: AsyncConnection
    stores: dict[str, Store]
    problems: dict[str, RecordgateError]


@contextlib.asynccontextmanager
async def sync_access(
    settings: Settings, contract: Contract, sinks: tuple[str, ...] = SINKS
) -> AsyncIterator[SyncAccess]:
    """Raises StoreUnavailable and SetupError where canonical is not reached. What the driver raises
    inside the block leaves it as an error of ours: a table that is missing before `apply`, a
    connection that is lost."""
    async with contextlib.AsyncExitStack() as exits:
        access = await asyncio.to_thread(open_canonical, settings)
        exits.push_async_callback(asyncio.to_thread, access.release)
        conn = await connect_async(access.url, application_name="recordgate command")
        exits.push_async_callback(conn.close)
        found = SyncAccess(access.url, conn, {}, {})
        for name in sinks:
            try:
                store = make_store(settings, name)
                await store.open(contract, write=False)
            except RecordgateError as error:
                found.problems[name] = error
            else:
                exits.push_async_callback(store.close)
                found.stores[name] = store
        try:
            yield found
        except psycopg.Error as error:
            raise translate(error, contract) from None


def make_store(settings: Settings, sink: str) -> Store:
    """The sink's store, not open."""
    url: SecretStr = getattr(settings, sink)
    return open_store(url.get_secret_value(), settings.data_dir, role=StoreRole(sink))


def chosen_sinks(sink: str | None) -> tuple[str, ...]:
    """The sinks that `--sink` means. Raises InputError."""
    if sink is None:
        return SINKS
    if sink not in SINKS:
        raise InputError(f"there is no sink {sink!r}", hint=f"one of {', '.join(SINKS)}")
    return (sink,)


def chosen_types(contract: Contract, name: str | None) -> list[str]:
    """The types that TYPE means. Raises InputError."""
    if name is None:
        return list(contract.types)
    found = contract.type(name)
    if found is None:
        raise InputError(
            f"the contract has no type {name!r}", hint=f"one of {', '.join(contract.types)}"
        )
    return [found.name]


Assure = Callable[[], None]
"""Raises what the worker of this process has died of, or cannot mend by waiting."""


@contextlib.asynccontextmanager
async def with_worker(
    settings: Settings,
    contract: Contract,
    access: SyncAccess,
    sinks: tuple[str, ...] = SINKS,
    types: Collection[str] = (),
) -> AsyncIterator[Assure]:
    """A worker runs inside the block: the one that runs already, else one of this process. Whoever
    waits for what it does for `types` in `sinks` calls what this gives at every look, for it may
    never come."""
    if await worker_runs(access.conn, slot_name(contract, access.conn.info.dbname)):
        yield lambda: None
        return
    changes = settings.changes.get_secret_value()
    worker = Worker(
        contract=contract,
        canonical_url=access.url,
        source=lambda: open_source(changes, contract, access.url),
        sinks={name: make_store(settings, name) for name in SINKS},
        batch_size=settings.batch_size,
        backlog_memory_keys=settings.backlog_memory_keys,
        sweep=SweepPace(rate=0),
        followed=followed_types(contract),
    )
    task = asyncio.create_task(worker.run())

    def assure() -> None:
        if task.done():
            error = task.exception()
            raise RecordgateError(
                f"the worker of this command has ended: {type(error).__name__}", hint="see the log"
            ) from error
        if (stuck := worker.stuck(sinks, types)) is not None:
            raise stuck

    try:
        yield assure
    finally:
        await worker.stop()
        await asyncio.wait({task})
    await task
