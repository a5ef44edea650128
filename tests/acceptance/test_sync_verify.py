"""Verify: every difference is found and named, equal ranges are not read as documents, nothing on
its way is a difference; and the worker does it by itself, slowly, all the time."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from stores.canonical.connect import connect_async
from stores.errors import StoreUnavailable
from stores.protocols import Write
from sync import durable_backlog
from sync.ranges import RANGE
from sync.sweep import SweepPace
from sync.verify import Differences, verify
from sync.worker import Worker
from tests.sync_world import SINKS, World, fill

FAST = SweepPace(rate=20_000, interval=1.0)


async def compared(world: World, type_name: str, **options: Any) -> dict[str, Differences]:
    async with world.readers() as stores:
        report = await verify(world.contract, world.url, stores, types=[type_name], **options)
    return report.types[type_name]


async def loaded(world: World) -> None:
    async with world.running():
        await world.synced()


def behind_the_back(world: World, *statements: str) -> None:
    """In the file of the document store itself; `{t}` is the table of the lines' active
    generation."""
    with closing(sqlite3.connect(world.folder / "documents.sqlite", timeout=30)) as conn, conn:
        (row,) = conn.execute(
            "SELECT id FROM generations WHERE type = 'line' AND state = 'active'"
        ).fetchall()
        for statement in statements:
            assert conn.execute(statement.format(t=f"records_{row[0]}")).rowcount > 0


DAMAGE = (
    "DELETE FROM {t} WHERE key = '17'",
    "INSERT INTO {t} SELECT '17000', version, document FROM {t} WHERE key = '18'",
    "INSERT INTO {t} SELECT 'zzz', version, document FROM {t} WHERE key = '18'",
    # One byte of one field, with the version that is right.
    "UPDATE {t} SET document = replace(document, '\"quantity\":19', '\"quantity\":10') WHERE key = '19'",
    # The record as it was before its last change.
    'UPDATE {t} SET version = 1, document = \'{{"id":20,"shop":null,"number":null,"sku":null,'
    "\"quantity\":20}}' WHERE key = '20'",
)
NAMED = {"missing": ["17"], "extra": ["17000", "zzz"], "different": ["19", "20"]}


def test_a_change_of_the_files_themselves_is_seen_and_named(world: World) -> None:
    fill(world, orders=2000)
    asyncio.run(loaded(world))
    behind_the_back(world, *DAMAGE)
    found = asyncio.run(compared(world, "line", patience=0.5))
    assert found["search"].total == 0
    assert found["documents"].examples == NAMED
    assert found["documents"].total == 5
    assert sorted(found["documents"].keys) == ["17", "17000", "19", "20", "zzz"]


def test_equal_ranges_are_not_read_as_documents(world: World) -> None:
    fill(world, orders=4000)
    asyncio.run(loaded(world))
    for differences in asyncio.run(compared(world, "line")).values():
        assert differences.canonical == 12000
        assert differences.documents == 0
    behind_the_back(world, DAMAGE[3])
    found = asyncio.run(compared(world, "line", patience=0.5))
    assert found["documents"].documents <= RANGE
    assert found["search"].documents == 0
    assert found["documents"].examples == {"different": ["19"]}


def test_readers_on_another_generation_than_the_books_say_are_found(world: World) -> None:
    fill(world)
    asyncio.run(loaded(world))

    async def main() -> None:
        store = world.store("documents")
        await store.open(world.contract, write=True)
        await store.create_generation("line", 7)
        await store.write("line", 7, [Write("1", world.lsn(), b'{"id":1}')])
        await store.activate("line", 7)
        await store.publish(None)
        await store.close()
        found = await compared(world, "line", patience=0.5)
        assert (found["documents"].generation, found["documents"].expected) == (7, 1)
        assert found["documents"].missing == 179
        assert found["documents"].total == 181
        assert found["search"].total == 0

    asyncio.run(main())


def test_a_generation_that_goes_while_it_is_compared_is_no_error(world: World) -> None:
    """A load swaps and drops it in the middle: the type is compared again, as readers see it
    now."""
    fill(world, orders=4000)
    asyncio.run(loaded(world))

    async def main() -> None:
        store = world.store("documents")
        await store.open(world.contract, write=True)
        swaps: list[asyncio.Task[None]] = []

        async def swap() -> None:
            await store.create_generation("line", 2)
            await store.activate("line", 2)
            await store.drop_generation("line", 1)

        def progress(name: str, done: int, total: int | None) -> None:
            if not swaps:
                swaps.append(asyncio.create_task(swap()))

        async with world.readers(("documents",)) as stores:
            report = await verify(
                world.contract, world.url, stores, types=["line"], patience=0.5, progress=progress
            )
        await store.close()
        found = report.types["line"]["documents"]
        assert found.generation == 2
        assert found.missing == found.canonical

    asyncio.run(main())


def test_a_store_that_fails_in_the_middle_is_asked_again(world: World) -> None:
    fill(world, orders=4000)
    asyncio.run(loaded(world))
    behind_the_back(world, DAMAGE[3])

    async def main() -> None:
        async with world.readers() as stores:
            documents, restarts = stores["documents"], list[asyncio.Task[None]]()

            async def restart() -> None:
                await documents.close()
                await asyncio.sleep(0.5)
                await documents.open(world.contract, write=False)

            def progress(name: str, done: int, total: int | None) -> None:
                if not restarts:
                    restarts.append(asyncio.create_task(restart()))

            report = await verify(
                world.contract, world.url, stores, types=["line"], patience=0.5, progress=progress
            )
            assert restarts[0].done()
            assert report.types["line"]["documents"].examples == {"different": ["19"]}
            assert report.types["line"]["search"].total == 0

    asyncio.run(main())


def test_a_store_that_stays_away_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.verify.STORE_SECONDS", 1.0)
    fill(world)
    asyncio.run(loaded(world))

    async def main() -> None:
        async with world.readers() as stores:
            await stores["documents"].close()
            with pytest.raises(StoreUnavailable):
                await verify(world.contract, world.url, stores, types=["line"], patience=0.5)

    asyncio.run(main())


async def until(condition: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def told(worker: Worker, sink: str) -> float | None:
    """What the metric says of the lines."""
    return worker.metrics.registry.get_sample_value(
        "recordgate_verify_differences", {"sink": sink, "type": "line"}
    )


def test_the_worker_finds_what_differs_and_sees_that_it_is_mended(world: World) -> None:
    fill(world, orders=300)

    async def main() -> None:
        async with world.running(sweep=FAST) as worker:
            await world.synced()
            await until(lambda: all(told(worker, sink) == 0 for sink in SINKS))
            behind_the_back(world, *DAMAGE)
            await until(lambda: told(worker, "documents") == 5)
            assert told(worker, "search") == 0
            row = world.rows("SELECT differences, examples FROM recordgate.sweeps"
                             " WHERE sink = 'documents' AND type = 'line'")[0]  # fmt: skip
            assert row == {"differences": 5, "examples": NAMED}
            async with await connect_async(world.url) as conn:
                keys = [key for keys in NAMED.values() for key in keys]
                await durable_backlog.add(conn, "documents", "line", keys, 0)
            await until(lambda: told(worker, "documents") == 0)
            await world.assert_equal()

    asyncio.run(main())


def test_a_record_that_is_only_missing_is_found_by_the_counts(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running(sweep=FAST) as worker:
            await world.synced()
            await until(lambda: told(worker, "documents") == 0)
            behind_the_back(world, DAMAGE[0])
            await until(lambda: told(worker, "documents") == 1)

    asyncio.run(main())


def test_the_sweep_goes_on_where_a_worker_was_stopped_and_raises_no_false_alarm(
    world: World,
) -> None:
    fill(world, orders=600)

    async def write(done: asyncio.Event) -> None:
        turn = 0
        while not done.is_set():
            world.sql(
                f"UPDATE public.lines SET quantity = {turn} WHERE id % 100 = {turn % 100}",
                f"DELETE FROM public.lines WHERE id = {1799 - turn}",
                f"INSERT INTO public.lines VALUES ({9000 + turn}, NULL, NULL, NULL, {turn})",
            )
            turn += 1
            await asyncio.sleep(0.01)

    def under_way() -> bool:
        return bool(
            world.rows(
                "SELECT FROM recordgate.sweeps WHERE type = 'line' AND compared > 200"
                " AND resume_key IS NOT NULL"
            )
        )

    async def main() -> None:
        done = asyncio.Event()
        writing = asyncio.create_task(write(done))
        async with world.running(sweep=SweepPace(rate=2000, interval=1.0)):
            await until(under_way)
        compared = world.one("SELECT max(compared) AS n FROM recordgate.sweeps WHERE type = 'line'")
        async with world.running(sweep=FAST) as worker:
            await until(lambda: all(told(worker, sink) is not None for sink in SINKS))
            whole = "SELECT min(records) AS n FROM recordgate.sweeps WHERE type = 'line'"
            await until(lambda: (world.one(whole) or 0) > compared)
            done.set()
            await writing
            assert [told(worker, sink) for sink in SINKS] == [0, 0]

    asyncio.run(main())
