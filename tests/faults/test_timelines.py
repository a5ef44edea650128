"""Canonical's time goes back: a failover to a standby that lagged, and a restore, begin a new
timeline. What the stores took of the history that was left is believed by nobody, whether a worker
runs or not; what they took of the history that is shared stays."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import psycopg
import pytest

from gateway.app import make_app
from gateway.context.services import Services
from stores.canonical.connect import connect, connect_async, lineage, make_pool
from stores.canonical.publication import slot_name
from stores.protocols import DocumentStore, SearchStore, Write
from sync.projection import Projector, connect_for_reading
from sync.timelines import read_lineage
from tests.failover import Servers, servers
from tests.sync_world import World, fill, shop

PATIENCE = 60.0
SECRET = b"a secret of these tests, long enough"
KEPT, GONE, GHOST = "sku,1", "sku,2", "ghost"


@pytest.fixture
def pair() -> Iterator[Servers]:
    with servers() as found:
        found.pair()
        yield found


@contextlib.contextmanager
def product(pair: Servers, folder: Path, *, failover_slot: bool) -> Iterator[World]:
    """The shop on the pair's primary, with rows that nothing else refers to."""
    with shop(pair.url, folder) as world:
        if failover_slot:
            world.conn.execute(
                "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, false, true)",
                (slot(world),),
            )
            pair.sync_slot("a", "b", slot(world))
        fill(world, orders=10)
        world.sql("DELETE FROM public.lines")
        yield world


def slot(world: World) -> str:
    return slot_name(world.contract, "postgres")


@contextlib.contextmanager
def connected_anew(world: World) -> Iterator[World]:
    with connect(world.url) as conn:
        yield World(world.contract, world.url, world.folder, conn)


def fail_over(pair: Servers) -> None:
    pair.kill("a")
    pair.promote("b")


LOST = (
    f"INSERT INTO public.products VALUES ('{GHOST}', 'never was')",
    f"DELETE FROM public.products WHERE sku = '{GONE}'",
    f"UPDATE public.products SET name = 'lost' WHERE sku = '{KEPT}'",
)


def generations(world: World) -> dict[str, set[int]]:
    rows = world.rows("SELECT sink, number FROM recordgate.generations WHERE state = 'active'")
    found: dict[str, set[int]] = {}
    for row in rows:
        found.setdefault(row["sink"], set()).add(int(row["number"]))
    return found


@dataclass
class Gateway:
    client: httpx.AsyncClient
    services: Services

    async def ask(self, query: str, token: str | None = None) -> dict[str, Any]:
        headers = {"Recordgate-Token": token} if token else {}
        answer = await self.client.post("/graphql", json={"query": query}, headers=headers)
        return cast("dict[str, Any]", answer.json())

    async def product(self, sku: str, token: str | None = None) -> tuple[Any, str]:
        """Its name, None where there is none; and the store that answered."""
        answer = await self.ask(f'{{ p: product(id: "{sku}") {{ name }} }}', token)
        found = answer["data"]["p"]
        return found and found["name"], answer["extensions"]["recordgate"]["fields"]["p"]["store"]

    async def search(self, token: str | None = None) -> str:
        """The code of the answer, OK for one without errors."""
        answer = await self.ask('{ searchRegions(query: "region") { totalCount } }', token)
        return str(answer["errors"][0]["extensions"]["code"]) if "errors" in answer else "OK"

    async def rename(self, sku: str, name: str) -> str:
        """The token of the write, which is tried until a pooled connection leads to who takes
        it."""
        change = f'updateProduct(id: "{sku}", input: {{name: "{name}"}}) {{ token }}'
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = await self.ask(f"mutation {{ w: {change} }}")
            if "errors" not in answer:
                return str(answer["data"]["w"]["token"])
            assert time.monotonic() < deadline, answer
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def gateway(world: World) -> AsyncIterator[Gateway]:
    """As `recordgate serve` wires it; its stores are not read by any process's leave but their
    own."""
    pool = make_pool(world.url, 2)
    await pool.open()
    async with world.readers() as stores:
        found = lineage(world.conn)
        services = Services(
            world.contract,
            pool,
            cast(DocumentStore, stores["documents"]),
            cast(SearchStore, stores["search"]),
            found.system,
            SECRET,
            timeline=found.timeline,
            first_timeline=found.first,
        )
        news = asyncio.create_task(services.listener.run(str(pool.conninfo)))
        transport = httpx.ASGITransport(app=make_app(services))
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                yield Gateway(client, services)
        finally:
            news.cancel()
            await asyncio.gather(news, return_exceptions=True)
            await pool.close()


@pytest.mark.parametrize("kept", [False, True], ids=["slot lost", "failover slot, longer log"])
def test_what_the_stores_took_of_a_history_that_is_lost_is_believed_by_nobody(
    pair: Servers, tmp_path: Path, kept: bool
) -> None:
    async def before(world: World, gate: Gateway) -> tuple[str, str]:
        async with world.running():
            early = await gate.rename(KEPT, "early")
            await world.synced()
            if kept:
                await asyncio.to_thread(pair.sync_slot, "a", "b", slot(world))
            await asyncio.to_thread(pair.caught_up, "a", "b")
            await asyncio.to_thread(pair.cut_off, "b")
            world.sql(*LOST)
            late = await gate.rename(KEPT, "lost too")
            await world.synced()
        assert await gate.product(KEPT, late) == ("lost too", "documents")
        assert await gate.product(GHOST) == ("never was", "documents")
        return early, late

    async def without_a_worker(world: World, gate: Gateway) -> None:
        """The gateway runs through the failover; its stores stand at a position that the log may
        pass again."""
        held = await gate.services.documents.position()
        assert held is not None
        if kept:
            world.sql("CREATE TABLE public.much (text text)")
            while world.lsn() < held.lsn:
                world.sql(
                    "INSERT INTO public.much SELECT md5(i::text) FROM generate_series(1, 9000) i"
                )
        token = await gate.rename(KEPT, "new")
        assert await gate.product(KEPT, token) == ("new", "canonical")
        assert await gate.search(token) == "STALE"
        deadline = time.monotonic() + PATIENCE
        while gate.services.timeline == 1:  # it is told with the next connection
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert await gate.product(GHOST) == (None, "canonical")
        assert await gate.product(GONE) == ("Product 2", "canonical")
        assert await gate.search() == "STALE"

    async def after(world: World, gate: Gateway, early: str, late: str) -> None:
        documents = world.store("documents")
        async with world.running():
            deadline = time.monotonic() + PATIENCE
            await documents.open(world.contract, write=False)
            seen = []
            while set(generations(world)["documents"]) != {2}:
                position = await documents.position()
                if position is not None:
                    seen.append((position.timeline, position.withdrawn))
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            await documents.close()
            # The old position goes before anything is loaded, and the next one comes after all is.
            assert [s for i, s in enumerate(seen) if s != (1, False)] == [(0, True)] * len(
                [s for s in seen if s != (1, False)]
            )
            await world.synced()
            await world.assert_equal()
            # Changes after the load are taken, though their positions are below those of the lost
            # history.
            token = await gate.rename(KEPT, "newer")
            await world.synced()
            await world.assert_equal()
        assert generations(world) == {"search": {2}, "documents": {2}}
        assert await gate.product(KEPT, token) == ("newer", "documents")
        assert await gate.product(KEPT, early) == ("newer", "documents")
        assert await gate.product(KEPT, late) == ("newer", "canonical")
        assert await gate.search(early) == "OK"
        assert await gate.search(late) == "STALE"

    async def story(world: World) -> None:
        async with gateway(world) as gate:
            early, late = await before(world, gate)
            world.conn.close()
            await asyncio.to_thread(fail_over, pair)
            with connected_anew(world) as anew:
                await without_a_worker(anew, gate)
                await after(anew, gate, early, late)

    with product(pair, tmp_path, failover_slot=kept) as world:
        asyncio.run(story(world))


def test_a_store_that_is_not_beyond_the_fork_is_not_loaded_anew(
    pair: Servers, tmp_path: Path
) -> None:
    """But what it holds of readings from beyond the fork is read again, whatever their versions
    are."""

    async def before(world: World) -> None:
        async with world.running():
            await world.synced()
            await asyncio.to_thread(pair.sync_slot, "a", "b", slot(world))
        await asyncio.to_thread(pair.caught_up, "a", "b")
        await asyncio.to_thread(pair.cut_off, "b")
        world.sql(*LOST)
        # The history that is lost comes further than the next one will for a while.
        world.sql("SELECT pg_logical_emit_message(false, 'much', repeat('x', 16000000))")
        # Read and sent, and not published when canonical went, nor told by any change that comes
        # again.
        reading = await connect_for_reading(world.url, "test")
        for sink in ("search", "documents"):
            store = world.store(sink)
            await store.open(world.contract, write=True)
            found = await Projector(reading, world.contract).read("product", [KEPT, GONE, GHOST])
            writes = [Write(k, found.version, d) for k, d in found.documents.items()]
            await store.write("product", 1, writes)
            await store.publish(None)
            await store.close()
        await reading.close()

    async def after(world: World) -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()
            world.sql(
                f"UPDATE public.products SET name = 'new' WHERE sku IN ('{KEPT}', '{GONE}')",
                f"INSERT INTO public.products VALUES ('{GHOST}', 'is now')",
            )
            await world.synced()
            await world.assert_equal()
            async with world.readers() as stores:
                for store in stores.values():
                    position = await store.position()
                    assert position is not None
                    assert position.timeline == 2
                    assert [timeline for timeline, _ in position.forks] == [1]

    with product(pair, tmp_path, failover_slot=True) as world:
        asyncio.run(before(world))
        world.conn.close()
        fail_over(pair)
        with connected_anew(world) as anew:
            asyncio.run(after(anew))
            assert generations(anew) == {"search": {1}, "documents": {1}}


def test_a_worker_runs_through_a_failover_and_a_restore_of_an_older_backup(
    pair: Servers, tmp_path: Path
) -> None:
    """Twice another timeline, and twice the stores are what canonical is."""

    async def equal(world: World, timeline: int) -> None:
        deadline = time.monotonic() + PATIENCE
        async with world.readers() as stores:
            for store in stores.values():
                while (p := await store.position()) is None or p.timeline != timeline:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
        await world.synced()
        await world.assert_equal()

    def restore() -> None:
        pair.kill("b")
        pair.sign("old", "recovery.signal")
        pair.start("old", restore_command="false", recovery_target_action="promote")
        with psycopg.connect(pair.url_of("old"), autocommit=True) as conn:
            deadline = time.monotonic() + PATIENCE
            while conn.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    async def story(world: World) -> None:
        worker = world.worker()
        async with world.running(worker):
            await world.synced()
            await asyncio.to_thread(pair.caught_up, "a", "b")
            await asyncio.to_thread(pair.cut_off, "b")
            world.sql(*LOST)
            await world.synced()
            world.conn.close()
            await asyncio.to_thread(fail_over, pair)
            with connected_anew(world) as second:
                second.sql(f"UPDATE public.products SET name = 'second' WHERE sku = '{KEPT}'")
                await equal(second, 2)
                await asyncio.to_thread(pair.copy, "b", "old")
                second.sql(*LOST)
                await second.synced()
            await asyncio.to_thread(restore)
            third_world = World(world.contract, pair.url_of("old"), world.folder, world.conn)
            with connected_anew(third_world) as third:
                third.sql(f"UPDATE public.products SET name = 'third' WHERE sku = '{KEPT}'")
                await equal(third, 3)

    pair._ports["old"] = pair._ports["a"]  # the address of the one that is gone
    with product(pair, tmp_path, failover_slot=False) as world:
        asyncio.run(story(world))


def test_a_role_that_may_replicate_reads_where_timelines_began(
    pair: Servers, tmp_path: Path
) -> None:
    with product(pair, tmp_path, failover_slot=False) as world:
        world.sql(
            "CREATE ROLE follower LOGIN REPLICATION",
            "CREATE ROLE reader LOGIN",
            "GRANT USAGE ON SCHEMA recordgate TO follower, reader",
            "GRANT SELECT ON recordgate.lineage TO follower, reader",
        )
        pair.caught_up("a", "b")
        before = world.lsn()
        world.conn.close()
    fail_over(pair)

    async def seen(role: str) -> Any:
        url = pair.url_of("b").replace("recordgate@", f"{role}@")
        conn = await connect_async(url)
        try:
            return await read_lineage(conn, url)
        finally:
            await conn.close()

    by_follower, by_reader = asyncio.run(seen("follower")), asyncio.run(seen("reader"))
    assert (by_follower.timeline, by_follower.first) == (2, 1)
    ((timeline, end),) = by_follower.forks
    assert timeline == 1
    assert by_follower.holds(1, before)
    assert by_follower.holds(0, end)
    assert not by_follower.holds(1, end + 1)
    # Who cannot know where it began believes nothing of before.
    assert by_reader.timeline == 2
    assert not by_reader.holds(1, 1)
