"""Reload, rollback and verify: readers never see a partial collection, the generation before is
warm, and every difference is found, named and mended."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson

from stores.canonical.connect import connect_async
from stores.protocols import Write
from sync import requests
from sync.verify import Report, verify
from tests.sync_world import SINKS, WorkerProcess, World, fill


async def asked(world: World, action: str, type_name: str, sink: str | None = None) -> str:
    """Ask the worker, and wait; the message of a refusal, or nothing."""
    async with await connect_async(world.url) as conn:
        request = await requests.ask(conn, action, type_name, sink)
        for _ in range(1200):
            state, message, _, _ = await requests.state(conn, request)
            if state in ("done", "failed"):
                return message
            await asyncio.sleep(0.05)
    raise AssertionError(f"{action} {type_name} did not end")


async def active(world: World, sink: str, type_name: str) -> int:
    async with world.readers((sink,)) as stores:
        (number,) = [
            g.number for g in await stores[sink].generations(type_name) if g.state == "active"
        ]
        return number


async def compared(world: World, **options: Any) -> Report:
    async with world.readers() as stores:
        return await verify(world.contract, world.url, stores, **options)


def test_a_reload_under_writes_is_unseen_and_right(world: World) -> None:
    fill(world, orders=4000)

    async def main() -> None:
        async with world.running(), world.readers() as stores:
            await world.synced()
            keys = list(world.oracle()["order"])[::1999]
            counts: set[int] = set()
            done = asyncio.Event()

            async def read() -> None:
                documents = stores["documents"]
                while not done.is_set():
                    counts.add(len(await documents.get("order", keys)))  # type: ignore[attr-defined]
                    await asyncio.sleep(0.001)

            async def write() -> None:
                turn = 0
                while not done.is_set():
                    world.sql(
                        f"UPDATE public.orders SET note = '{turn}' WHERE number % 100 = {turn % 100}",
                        f"DELETE FROM public.lines WHERE id = {turn}",
                    )
                    turn += 1
                    await asyncio.sleep(0.01)

            tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
            assert await asked(world, "reload", "order") == ""
            done.set()
            await asyncio.gather(*tasks)
            assert counts == {len(keys)}
            await world.synced()
            await world.assert_equal()
            for sink in SINKS:
                assert await active(world, sink, "order") == 2
                assert await active(world, sink, "line") == 1

    asyncio.run(main())


def test_a_rollback_goes_to_a_warm_generation(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
            assert "no earlier generation of line to roll back to" in await asked(
                world, "rollback", "line"
            )
            await asked(world, "reload", "line", "documents")
            world.sql(
                "DELETE FROM public.lines WHERE id < 50", "UPDATE public.lines SET quantity = 9"
            )
            await world.synced()
            assert await active(world, "documents", "line") == 2
            assert await active(world, "search", "line") == 1
            assert await asked(world, "rollback", "line", "documents") == ""
            assert await active(world, "documents", "line") == 1
            await world.assert_equal()
            world.sql("DELETE FROM public.lines WHERE id < 70")
            await asked(world, "reload", "line", "documents")
            await asked(world, "reload", "line", "documents")
            await world.synced()
            await world.assert_equal()
            async with world.readers() as stores:
                kept = [g.number for g in await stores["documents"].generations("line")]
                assert len(kept) == 2, "the contract keeps two"

    asyncio.run(main())


def test_verify_finds_names_and_repairs_every_difference(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        assert (await compared(world)).differences == 0
        await damage(world)
        report = await compared(world, patience=0.5)
        found = report.types["product"]
        for sink in SINKS:
            assert (found[sink].missing, found[sink].extra, found[sink].different) == (1, 2, 1)
            assert found[sink].examples["missing"] == ["sku,3"]
            assert found[sink].examples["extra"] == ["alien", "zzz"]
            assert found[sink].examples["different"] == ["sku,4"]
        assert report.differences == 8

    asyncio.run(main())
    refused, value = command(world, "verify", "product", "--sink", "search")
    assert refused == 4
    assert value["differences"] == 4
    done, value = command(world, "verify", "--repair")
    assert done == 0, value
    assert value["differences"] == 0
    assert value["repaired"] == 8
    asyncio.run(world.assert_equal())


async def damage(world: World) -> None:
    """Behind the worker's back, in each store: a record gone, two too many, one changed."""
    version = world.lsn()
    for sink in SINKS:
        store = world.store(sink)
        await store.open(world.contract, write=True)
        other = b'{"sku":"x","name":"other","price":null}'
        await store.write(
            "product",
            1,
            [
                Write("sku,3", version, None),
                Write("zzz", version, other),
                Write("alien", version, other),
                Write("sku,4", version, other.replace(b'"x"', b'"sku,4"')),
            ],
        )
        await store.publish(None)
        await store.close()


def test_verify_counts_no_change_that_is_only_on_its_way(world: World) -> None:
    fill(world, orders=2000)

    async def main() -> None:
        async with world.running():
            await world.synced()
            done = asyncio.Event()

            async def write() -> None:
                turn = 0
                while not done.is_set():
                    world.sql(
                        f"UPDATE public.orders SET note = '{turn}' WHERE number % 400 = {turn % 400}",
                        f"INSERT INTO public.products VALUES ('new{turn}')",
                        f"DELETE FROM public.lines WHERE id = {turn}",
                    )
                    turn += 1
                    await asyncio.sleep(0.005)

            writing = asyncio.create_task(write())
            for _ in range(3):
                report = await compared(world)
                assert report.differences == 0, report
            done.set()
            await writing

    asyncio.run(main())


def command(world: World, *arguments: str) -> tuple[int, Any]:
    """`recordgate … --json` as a process: exit code and output."""
    done = subprocess.run(
        [sys.executable, "-m", "recordgate", *arguments, "--json"],
        env={
            **os.environ,
            "RECORDGATE_CONTRACT": str(world.folder / "shop.odcs.yaml"),
            "RECORDGATE_POSTGRES": world.url,
            "RECORDGATE_DATA_DIR": str(world.folder),
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, orjson.loads(done.stdout)


def test_the_commands_work_with_a_worker_and_without(world: World) -> None:
    fill(world)
    code, value = command(
        world, "reload", "order"
    )  # no worker: this process loads everything first
    assert (code, value["generations"]) == (0, {"search": 1, "documents": 1}) or code == 0
    with WorkerProcess(world):
        code, value = command(world, "reload", "product", "--sink", "documents")
        assert code == 0
        number = value["generations"]["documents"]
        code, value = command(world, "rollback", "product", "--sink", "documents")
        assert code == 0
        assert value["generations"]["documents"] < number
        code, value = command(world, "rollback", "product", "--sink", "documents")
        assert code == 1
        asyncio.run(world.synced())
        code, value = command(world, "status")
        assert code == 0
        assert value["worker"]["running"]
        assert value["slot"]["active"]
        for sink in SINKS:
            state = value["sinks"][sink]
            assert state["ready"]
            assert state["lagBytes"] is not None
            assert state["types"]["product"]["records"] == 12
        code, value = command(world, "verify")
        assert (code, value["differences"]) == (0, 0)
    code, value = command(world, "status")
    assert (code, value["worker"]["running"]) == (0, False)


def test_status_says_which_store_is_not_reached(world: World) -> None:
    fill(world)
    (world.folder / "documents.sqlite").write_bytes(
        b"this is not a database, but something else" * 50
    )
    code, value = command(world, "status")
    assert code == 0
    assert not value["sinks"]["documents"]["reached"]
    assert value["sinks"]["documents"]["problem"]
    assert value["sinks"]["search"]["reached"]
