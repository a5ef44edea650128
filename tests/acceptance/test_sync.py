"""What canonical says reaches both stores: deletes, moved keys and parents, truncates, whatever
embeds what. The real worker, source, Tantivy and SQLite on a real Postgres; compared with an oracle
that knows no projection."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from stores.canonical.connect import connect
from tests.sync_world import SINKS, World, fill

CHANGES = {
    "rows are changed": ["UPDATE public.products SET price = price + 0.01, name = NULL WHERE sku < 'sku,2'"],
    "rows are deleted": [
        "DELETE FROM public.lines WHERE id % 4 = 0",
        "DELETE FROM public.orders o WHERE NOT EXISTS (SELECT FROM public.lines l WHERE (l.shop, l.number) = (o.shop, o.number))",
    ],
    "a parent's change reaches every child's document": ["UPDATE public.countries SET name = 'New ' || name"],
    "a change reaches documents two levels up": ["UPDATE public.regions SET name = 'Changed' WHERE code = 'r2'"],
    "a to-one foreign key moves, also to nothing": [
        "UPDATE public.cities SET iso = 'c1' WHERE id < 5",
        "UPDATE public.cities SET iso = NULL WHERE id = 6",
        "UPDATE public.countries SET region_code = 'r1' WHERE iso = 'c5'",
        "UPDATE public.countries SET region_code = NULL WHERE iso = 'c6'",
    ],
    "a child moves from one parent's list to another's": [
        "UPDATE public.lines SET shop = 'shop\\,1', number = 1 WHERE id IN (30, 31, 40)",
        "UPDATE public.lines SET shop = NULL, number = NULL WHERE id = 50",
    ],
    "a child deep in a to-many list changes": ["UPDATE public.products SET name = 'deep' WHERE sku = 'sku,3'"],
    "keys change": [
        "INSERT INTO public.regions VALUES ('r9', 'Nine')",
        "UPDATE public.cities SET parent_id = NULL",
        "UPDATE public.orders SET city_id = NULL",
        "UPDATE public.cities SET id = id + 1000 WHERE id < 10",
        "UPDATE public.lines SET id = -id - 1 WHERE id < 20",
    ],
    "a key moves to another and back, in one transaction": [
        "BEGIN; UPDATE public.lines SET id = 9001 WHERE id = 1; UPDATE public.lines SET id = 1 WHERE id = 2;"
        " UPDATE public.lines SET id = 2 WHERE id = 9001; COMMIT"
    ],
    "a row is deleted and comes back": [
        "DELETE FROM public.lines WHERE id = 3",
        "INSERT INTO public.lines VALUES (3, 'shop\\,2', 2, NULL, 7)",
    ],
    "a savepoint is rolled back": [
        "BEGIN; UPDATE public.products SET name = 'kept' WHERE sku = 'sku,1'; SAVEPOINT s;"
        " UPDATE public.products SET name = 'gone'; DELETE FROM public.lines; ROLLBACK TO s; COMMIT",
    ],
    "a transaction is rolled back": ["BEGIN; DELETE FROM public.lines; ROLLBACK"],
    "an embedded table is truncated": ["TRUNCATE public.lines"],
    "roots are truncated, and some come again": [
        "BEGIN; TRUNCATE public.orders, public.lines; INSERT INTO public.orders VALUES ('again', 1, 2, 'x'),"
        " ('shop\\,1', 1, 3, 'y'); COMMIT"
    ],
    "everything is truncated": [
        "TRUNCATE public.regions, public.countries, public.cities, public.orders, public.lines, public.products"
    ],
    "a large transaction": [
        "INSERT INTO public.products SELECT 'bulk' || i, 'p', i FROM generate_series(1, 12000) i",
        "UPDATE public.products SET name = 'q' WHERE sku LIKE 'bulk%'",
        "DELETE FROM public.products WHERE sku LIKE 'bulk1%'",
    ],
}  # fmt: skip


def test_every_kind_of_change_reaches_both_stores(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()
            for what, statements in CHANGES.items():
                world.sql(*statements)
                await world.synced()
                try:
                    await world.assert_equal()
                except AssertionError as error:
                    raise AssertionError(f"{what}: {error}") from None
                if "truncated" in what:
                    world.sql(
                        "TRUNCATE public.regions, public.countries, public.cities, public.orders,"
                        " public.lines, public.products"
                    )
                    fill(world)

    asyncio.run(main())


def test_the_first_load_takes_changes_made_meanwhile(world: World) -> None:
    fill(world, orders=3000)

    async def main() -> None:
        async with world.running():
            for i in range(60):
                world.sql(
                    f"UPDATE public.orders SET note = 'while {i}' WHERE number % 60 = {i}",
                    f"DELETE FROM public.lines WHERE id % 97 = {i}",
                    f"UPDATE public.cities SET name = 'x{i}' WHERE id = {1 + i % 40}",
                    f"INSERT INTO public.products VALUES ('meanwhile {i}', 'm', {i})",
                )
                await asyncio.sleep(0.005)
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_concurrent_writers_converge(world: World) -> None:
    """Four sessions change the same rows at random, with savepoints and rollbacks, while the worker
    follows."""
    fill(world)

    def write(seed: int) -> None:
        pick = random.Random(seed)
        with connect(world.url) as conn:
            for _ in range(120):
                statement = pick.choice(
                    (
                        f"UPDATE public.countries SET name = 'w{pick.random()}' WHERE iso = 'c{pick.randint(1, 9)}'",
                        f"UPDATE public.cities SET iso = 'c{pick.randint(1, 9)}' WHERE id = {pick.randint(1, 40)}",
                        f"UPDATE public.countries SET region_code = 'r{pick.randint(1, 4)}' WHERE iso = 'c{pick.randint(1, 9)}'",
                        f"DELETE FROM public.lines WHERE id = {pick.randint(0, 179)}",
                        f"INSERT INTO public.lines VALUES ({pick.randint(0, 179)}, 'shop\\,1', 1, 'sku,{pick.randint(1, 12)}', 1)"
                        " ON CONFLICT (id) DO UPDATE SET sku = excluded.sku, quantity = public.lines.quantity + 1",
                        f"UPDATE public.products SET price = {pick.random():.2f} WHERE sku = 'sku,{pick.randint(1, 12)}'",
                    )
                )
                with conn.transaction() as outer:
                    conn.execute(statement.encode())
                    if pick.random() < 0.2:
                        from psycopg import Rollback

                        raise Rollback(outer)

    async def main() -> None:
        async with world.running():
            await world.synced()
            threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            while any(t.is_alive() for t in threads):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_what_was_changed_while_no_worker_ran_is_caught_up(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        world.sql(
            "DELETE FROM public.lines WHERE id > 100",
            "UPDATE public.regions SET name = 'quiet'",
            "UPDATE public.cities SET iso = 'c2' WHERE id > 30",
        )
        async with world.running() as worker:
            await world.synced()
            await world.assert_equal()
            state = worker.state()
            generations = [s["generations"] for s in state["sinks"].values()]
            assert generations == [dict.fromkeys(world.contract.types, 1)] * 2, (
                "nothing was reloaded"
            )

    asyncio.run(main())


def test_too_many_dirty_keys_go_through_the_durable_backlog(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running(backlog_memory_keys=500, batch_size=100):
            await world.synced()
            world.sql(
                "INSERT INTO public.products SELECT 'many' || i, 'p', i FROM generate_series(1, 20000) i",
                "UPDATE public.products SET name = 'again' WHERE sku LIKE 'many%9'",
                "UPDATE public.countries SET name = 'fan out'",
            )
            await world.synced()
            await world.assert_equal()
            assert world.one("SELECT count(*) AS n FROM recordgate.backlog") == 0

    asyncio.run(main())


def test_a_second_worker_waits_and_takes_over(world: World) -> None:
    fill(world)

    async def main() -> None:
        second = world.worker()
        async with world.running():
            await world.synced()
            term = world.one("SELECT epoch FROM recordgate.workers")
            task = asyncio.create_task(second.run())
            await asyncio.sleep(1.0)
            assert second.state()["sinks"] == {}
        world.sql("UPDATE public.regions SET name = 'second'")
        try:
            await world.synced()
            await world.assert_equal()
            assert world.one("SELECT epoch FROM recordgate.workers") > term
        finally:
            await second.stop()
            await task

    asyncio.run(main())


def test_positions_say_never_more_than_a_reader_sees(world: World) -> None:
    """Each write of a counter is committed, then the position looked at: where it has passed the
    commit, the store must show that count or a later one."""
    fill(world)

    async def main() -> None:
        async with world.running(), world.readers() as stores:
            await world.synced()
            documents = stores["documents"]
            seen = 0
            for count in range(150):
                world.sql(f"UPDATE public.products SET name = '{count}' WHERE sku = 'sku,1'")
                committed = world.lsn()
                for _ in range(200):
                    position = await documents.position()
                    assert position is not None
                    held = (await documents.get("product", ["sku,1"]))["sku,1"]  # type: ignore[attr-defined]
                    if position.lsn >= committed:
                        assert f'"name":"{count}"'.encode() in held
                        seen += 1
                        break
                    await asyncio.sleep(0.005)
            assert seen > 100

    asyncio.run(main())


def test_a_quiet_database_stays_quiet(world: World) -> None:
    """The worker's own records are WAL too: they must not keep it, and the disk, busy for ever."""
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
            grown: list[int] = []
            for _ in range(4):  # the server's own checkpoint makes one of them larger
                before = world.lsn()
                await asyncio.sleep(3)
                grown.append(world.lsn() - before)
            assert min(grown) < 10_000, grown

    asyncio.run(main())


@pytest.mark.parametrize("sink", SINKS)
def test_one_sink_alone_is_enough(world: World, sink: str) -> None:
    fill(world)

    async def main() -> None:
        async with world.running(sinks=(sink,)):
            await world.synced((sink,))
            world.sql("DELETE FROM public.lines WHERE id < 50")
            await world.synced((sink,))
            await world.assert_equal((sink,))

    asyncio.run(main())
