"""The worker on a MongoDB server that is killed, with changes under way, and comes back with
nothing, or that somebody drops a collection from: what is gone is loaded anew by itself and the
store equals canonical again."""

from __future__ import annotations

import asyncio

import pytest

from tests.mongodb_server import Server
from tests.sync_world import World, fill

pytestmark = pytest.mark.servers
SINKS = ("documents",)


def test_a_killed_server_that_lost_everything_is_loaded_anew(world: World, server: Server) -> None:
    world.stores = {"documents": f"{server.url}/records?serverSelectionTimeoutMS=1000"}
    fill(world)

    async def story() -> None:
        async with world.running(sinks=SINKS):
            await world.synced(SINKS)
            await world.assert_equal(SINKS)
            for turn in range(10):
                world.sql(
                    f"UPDATE public.countries SET name = 'turn {turn} ' || iso",
                    f"UPDATE public.orders SET note = 'turn {turn}'",
                    f"DELETE FROM public.lines WHERE id = {turn}",
                )
                if turn == 5:
                    await asyncio.to_thread(server.kill)
            world.sql(
                "DELETE FROM public.cities WHERE id NOT IN (SELECT city_id FROM public.orders"
                " WHERE city_id IS NOT NULL) AND parent_id IS NULL AND id NOT IN"
                " (SELECT parent_id FROM public.cities WHERE parent_id IS NOT NULL)"
            )
            await asyncio.to_thread(server.start_again)
            await world.synced(SINKS, patience=90)
            await world.assert_equal(SINKS)

    asyncio.run(story())


def test_a_collection_that_somebody_drops_is_loaded_anew(world: World, server: Server) -> None:
    """While the worker runs, and while none does."""
    world.stores = {"documents": f"{server.url}/records"}
    fill(world)

    def drop(number: int) -> None:
        with server.client() as client:
            client["records"][f"shop.city.g{number}"].drop()

    async def story() -> None:
        async with world.running(sinks=SINKS):
            await world.synced(SINKS)
            await asyncio.to_thread(drop, 1)
            world.sql("UPDATE public.cities SET name = 'after the drop' WHERE id % 2 = 0")
            await world.synced(SINKS)
            await world.assert_equal(SINKS)
        await asyncio.to_thread(drop, 2)
        world.sql("UPDATE public.cities SET name = 'after both' WHERE id % 3 = 0")
        async with world.running(sinks=SINKS):
            await world.synced(SINKS)
            await world.assert_equal(SINKS)

    asyncio.run(story())
    newest = "SELECT type, max(number) AS n FROM recordgate.generations GROUP BY type"
    assert {r["type"]: r["n"] for r in world.rows(newest) if r["n"] > 1} == {"city": 3}
