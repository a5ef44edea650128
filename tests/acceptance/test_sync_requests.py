"""What people ask of the worker: an answer always comes, and nothing that is asked stops a sink."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stores.canonical.connect import connect_async
from sync import requests
from tests.sync_world import World, fill, shop

PATIENCE = 30.0


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        yield found


async def ask(world: World, action: str, type_name: str, sink: str | None = None) -> int:
    async with await connect_async(world.url) as conn:
        return await requests.ask(conn, action, type_name, sink)


async def ended(world: World, request: int) -> tuple[str, str]:
    """State and message of the request, once it has ended."""
    async with await connect_async(world.url) as conn, asyncio.timeout(PATIENCE):
        while True:
            state, message, _, _ = await requests.state(conn, request)
            if state in ("done", "failed"):
                return state, message
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("action", ["reload", "rollback"])
def test_a_type_that_the_worker_does_not_know_is_refused_and_stops_nothing(
    world: World, action: str
) -> None:
    fill(world)

    async def main() -> None:
        before = await ask(world, action, "voucher")
        async with world.running():
            await world.synced()
            for request in (before, await ask(world, action, "voucher")):
                state, message = await ended(world, request)
                assert state == "failed"
                assert "contract that has no type 'voucher'" in message
                assert "restart it" in message
            world.sql("UPDATE public.products SET name = 'afterwards'")
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_fault_of_an_adapter_in_a_reload_is_answered_and_stops_nothing(world: World) -> None:
    fill(world)

    async def main() -> None:
        worker = world.worker()
        store = worker._sinks["documents"]

        async def broken(type_name: str, number: int) -> None:
            raise ZeroDivisionError("a fault of the adapter")

        async with world.running(worker):
            await world.synced()
            store.create_generation = broken  # type: ignore[method-assign]
            state, message = await ended(world, await ask(world, "reload", "line"))
            assert (state, "ZeroDivisionError" in message) == ("failed", True)
            assert "a fault of the adapter" not in message
            world.sql("UPDATE public.lines SET quantity = 5")
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())
