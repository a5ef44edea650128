"""Dirty keys on their way to the durable backlog: none is acknowledged before it is committed
there."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from stores.canonical.connect import connect_async, database_of
from stores.canonical.publication import slot_name
from stores.errors import StoreUnavailable
from sync import durable_backlog, relief
from sync.metrics import SyncMetrics
from sync.session import open_session
from sync.watermarks import Watermark
from sync.writer import SinkWriter
from tests.sync_world import World, fill


@asynccontextmanager
async def sink_writer(world: World, *, memory_keys: int) -> AsyncIterator[SinkWriter]:
    """Of the documents, in a session of its own; its loop does not run, as where the store
    hangs."""

    async def waiting(_: object) -> None:
        raise AssertionError("nobody else works on this database")

    slot = slot_name(world.contract, database_of(world.url))
    session = await open_session(world.url, slot, ["documents"], uuid.uuid4(), waiting)
    try:
        mark = Watermark(session.lineage.system, 0, time.time(), 0, set(), "")
        yield SinkWriter(
            "documents",
            world.store("documents"),
            contract=world.contract,
            watermark=mark,
            connections=session.sinks["documents"],
            metrics=SyncMetrics(),
            conditions=session.conditions,
            batch_size=10,
            memory_keys=memory_keys,
        )
    finally:
        await session.close()


def spilled(world: World) -> set[str]:
    return {row["key"] for row in world.rows("SELECT key FROM recordgate.backlog")}


@pytest.mark.anyio
async def test_two_spills_at_once_acknowledge_nothing_before_it_is_committed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is of keys under way only; while it waits for canonical, more keys are marked than
    memory may hold. The second waits for a row that somebody else has under way."""
    monkeypatch.setattr(relief, "SPILL_FAILING", -1.0)
    fill(world)

    async with sink_writer(world, memory_keys=1) as sink:
        sink.mark("product", ["sku,1"])
        sink.boundary(100, 1.0)
        await sink._reader.read_live()
        sink.note_failure(StoreUnavailable("it hangs", store="sqlite"))
        with psycopg.connect(world.url) as other:
            other.execute(
                "INSERT INTO recordgate.backlog (sink, type, key, lsn)"
                " VALUES ('documents', 'product', 'sku,2', '0/1')"
            )
            first = asyncio.create_task(sink.relieve(100))
            await asyncio.sleep(0)  # it is in its transaction
            sink.mark("product", ["sku,2", "sku,3"])
            sink.boundary(200, 2.0)
            second = asyncio.create_task(sink.relieve(200))
            await first
            assert spilled(world) == {"sku,1"}
            assert not second.done()
            reached = sink.durable()
            assert reached is not None
            assert reached.lsn == 100, "of the later keys nothing is committed"
            other.rollback()
        await second
        assert spilled(world) == {"sku,1", "sku,2", "sku,3"}
        reached = sink.durable()
        assert reached is not None
        assert reached.lsn == 200
        assert sink.backlog_size == 0


@pytest.mark.anyio
async def test_keys_of_a_type_that_the_worker_does_not_know_wait_for_one_that_does(
    world: World,
) -> None:
    """As a worker of a newer contract leaves them to one of an older: they stay, and hold up
    nothing."""
    fill(world)

    async with await connect_async(world.url) as conn, world.running():
        await world.synced()
        await durable_backlog.add(conn, "documents", "voucher", ["v1"], 0)
        await durable_backlog.add(conn, "documents", durable_backlog.SWEEP, ["voucher"], 0)
        await durable_backlog.add(conn, "documents", "line", ["1"], 0)
        await durable_backlog.add(conn, "documents", durable_backlog.SWEEP, ["product"], 0)
        async with asyncio.timeout(30):
            types = world.contract.types
            while await durable_backlog.count(conn, "documents", types):  # noqa: ASYNC110 - it is elsewhere
                await asyncio.sleep(0.05)
        world.sql("UPDATE public.lines SET quantity = 5")
        await world.synced()
        await world.assert_equal()
        left = world.rows("SELECT type, key FROM recordgate.backlog")
        assert {(r["type"], r["key"]) for r in left} == {("voucher", "v1"), ("~all", "voucher")}
