"""What people ask of the worker: an answer always comes, and nothing that is asked stops a sink."""

from __future__ import annotations

import asyncio

import pytest

from stores.canonical.connect import connect_async
from stores.errors import StoreUnavailable
from sync import building, requests
from tests.sync_world import SINKS, World, fill

PATIENCE = 30.0


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
                assert "contract has no type 'voucher'" in message
                assert "restart the worker" in message
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


def test_a_running_reload_that_nobody_builds_any_more_is_begun_again(world: World) -> None:
    """As a worker leaves it that dies between giving one generation up and beginning the next."""
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        request = await ask(world, "reload", "line")
        world.sql(
            "UPDATE recordgate.sync_requests SET state = 'running',"
            ' targets = \'{"search": 1, "documents": 2}\''
        )
        async with world.running():
            assert await ended(world, request) == ("done", "")
            await world.synced()
            await world.assert_equal()
        assert built(world) == [("documents", 2, "active"), ("search", 1, "active")]

    asyncio.run(main())


def built(world: World) -> list[tuple[str, int, str]]:
    """The newest generation of the lines in each sink, by the books."""
    rows = world.rows(
        "SELECT DISTINCT ON (sink) sink, number, state FROM recordgate.generations"
        " WHERE type = 'line' ORDER BY sink, number DESC"
    )
    return [(r["sink"], r["number"], r["state"]) for r in rows]


@pytest.mark.parametrize("sink", SINKS)
def test_a_generation_that_is_given_up_stays_until_the_next_is_begun(
    world: World, monkeypatch: pytest.MonkeyPatch, sink: str
) -> None:
    """The store is away at the very moment."""
    monkeypatch.setattr(building, "PATIENCE", 1)
    fill(world)

    async def main() -> None:
        worker = world.worker((sink,))
        store = worker._sinks[sink]
        create, drop = store.create_generation, store.drop_generation
        calls: list[str] = []

        async def wrong(*_: object) -> str:
            """The generation before its activation, until the next one is begun."""
            return "one record differs" if len(calls) < 3 else ""

        async def begin(type_name: str, number: int) -> None:
            calls.append(f"create {number}")
            if calls[-2:] == ["create 2", "create 3"]:
                raise StoreUnavailable("it is away", store=sink)
            await create(type_name, number)

        async def end(type_name: str, number: int) -> None:
            calls.append(f"drop {number}")
            await drop(type_name, number)

        async with world.running(worker):
            await world.synced((sink,))
            monkeypatch.setattr(building, "problem", wrong)
            monkeypatch.setattr(store, "create_generation", begin)
            monkeypatch.setattr(store, "drop_generation", end)
            assert await ended(world, await ask(world, "reload", "line")) == ("done", "")
            world.sql("UPDATE public.lines SET quantity = 5")
            await world.synced((sink,))
            await world.assert_equal((sink,))
        assert calls == ["create 2", "create 3", "create 3", "drop 2"]

    asyncio.run(main())
