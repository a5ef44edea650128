"""A store that is down, locked, lost or put back; canonical's connections cut; a slot that is gone;
a document that is refused: each mends itself, or is set aside, and holds up nothing else."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from contextlib import closing, suppress

import psycopg
import pytest

from stores.canonical.connect import database_of
from stores.canonical.publication import slot_name
from stores.protocols import Position
from sync import relief
from tests.sync_world import WorkerProcess, World, fill


def confirmed(world: World) -> int:
    return int(
        world.one(
            "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint AS n FROM pg_replication_slots"
            f" WHERE slot_name = '{slot_name(world.contract, database_of(world.url))}'"
        )
    )


async def until(condition: object, patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def generation(world: World, sink: str, type_name: str) -> int:
    return int(
        world.one(
            "SELECT number FROM recordgate.generations WHERE state = 'active'"
            f" AND sink = '{sink}' AND type = '{type_name}'"
        )
    )


def test_a_sink_that_is_down_holds_neither_the_other_nor_the_wal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document store's file is locked by somebody else, as a backup tool would."""
    monkeypatch.setattr(relief, "SPILL_FAILING", 0.5)
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
            with closing(sqlite3.connect(world.folder / "documents.sqlite")) as other:
                other.isolation_level = None
                other.execute("BEGIN IMMEDIATE")
                world.sql(
                    "UPDATE public.products SET name = 'while down'",
                    "DELETE FROM public.lines WHERE id < 30",
                )
                target = world.lsn()
                await world.synced(("search",))
                await world.assert_equal(("search",))
                # The changes are acknowledged though one sink has not taken them: they are in its
                # backlog.
                await until(lambda: confirmed(world) >= target)
                assert world.one(
                    "SELECT count(*) AS n FROM recordgate.backlog WHERE sink = 'documents'"
                )
                assert not world.one(
                    "SELECT count(*) AS n FROM recordgate.backlog WHERE sink = 'search'"
                )
                world.sql("TRUNCATE public.lines", "INSERT INTO public.products VALUES ('new')")
                await world.synced(("search",))
                other.execute("ROLLBACK")
            await world.synced()
            await world.assert_equal()
            assert world.one("SELECT count(*) AS n FROM recordgate.backlog") == 0

    asyncio.run(main())


def test_a_backlog_survives_the_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relief, "SPILL_FAILING", 0.2)
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        with closing(sqlite3.connect(world.folder / "documents.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            world.sql("DELETE FROM public.lines WHERE id < 30", "TRUNCATE public.lines")
            target = world.lsn()
            async with world.running():
                await until(lambda: confirmed(world) >= target, 40)
            assert world.one("SELECT count(*) AS n FROM recordgate.backlog")
        async with world.running():
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


@pytest.mark.parametrize("sink", ["search", "documents"])
def test_a_store_that_lost_its_data_is_loaded_anew(world: World, sink: str) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        before = set(world.folder.iterdir())
        for path in before:
            if path.name.startswith("documents" if sink == "documents" else "search"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert set(world.folder.iterdir()) != before
        world.sql("DELETE FROM public.lines WHERE id < 30")
        async with world.running():
            await world.synced()
            await world.assert_equal()
        assert generation(world, sink, "line") == 2
        other = "search" if sink == "documents" else "documents"
        assert generation(world, other, "line") == 1

    asyncio.run(main())


def test_a_store_put_back_from_an_old_copy_is_loaded_anew(world: World) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        copy = world.folder / "copy.sqlite"
        shutil.copy(world.folder / "documents.sqlite", copy)
        async with world.running():
            world.sql("DELETE FROM public.lines WHERE id < 30")
            await world.synced()
        for path in world.folder.glob("documents.sqlite*"):
            path.unlink()
        shutil.copy(copy, world.folder / "documents.sqlite")
        async with world.running():
            await world.synced()
            await world.assert_equal()
        assert generation(world, "documents", "line") == 2

    asyncio.run(main())


def test_a_gap_is_answered_by_a_reload(world: World) -> None:
    """The slot is dropped while no worker runs, and rows are deleted: no change will ever say
    so."""
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        world.sql(
            f"SELECT pg_drop_replication_slot('{slot_name(world.contract, database_of(world.url))}')",
            "DELETE FROM public.lines WHERE id < 100",
            "UPDATE public.regions SET name = 'unseen'",
        )
        async with world.running():
            await world.synced()
            await world.assert_equal()
            # The old generation missed changes: nobody may go back to it.
            async with world.readers() as stores:
                for store in stores.values():
                    assert [g.number for g in await store.generations("line")] == [2]

    asyncio.run(main())


def test_cut_connections_to_canonical_are_made_again(world: World, postgres: str) -> None:
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
            for turn in range(3):
                with psycopg.connect(postgres, autocommit=True) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                        " %s AND application_name LIKE 'recordgate%%' AND pid <> %s",
                        (world.conn.info.dbname, world.conn.info.backend_pid),
                    )
                world.sql(f"UPDATE public.products SET name = 'cut {turn}'")
                await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_document_that_is_refused_is_set_aside_and_comes_back(world: World) -> None:
    """A key longer than any store takes. The rest goes on; once the row is right, the letter is
    gone."""
    fill(world)
    long = "k" * 600

    async def main() -> None:
        async with world.running():
            await world.synced()
            world.sql(
                f"INSERT INTO public.products VALUES ('{long}', 'too long'), ('good', 'fine')",
                "INSERT INTO public.lines VALUES (7000, NULL, NULL, 'good', 1)",
            )
            await world.synced()
            assert "good" in await world.held("documents", "product")
            letters = world.rows(
                "SELECT sink, key, code, reasons, attempts FROM recordgate.dead_letters ORDER BY sink"
            )
            assert [(r["sink"], r["key"], r["code"]) for r in letters] == [
                ("documents", long, "STORE_REFUSED"),
                ("search", long, "STORE_REFUSED"),
            ]
            assert "600 bytes" in letters[0]["reasons"][0]
            world.sql(f"UPDATE public.products SET sku = 'short' WHERE sku = '{long}'")
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_record_that_canonical_cannot_print_stops_no_other(world: World) -> None:
    """A column that raises when it is read stands for a row that is too large for JSON."""
    fill(world)
    world.sql(
        "ALTER TABLE public.products RENAME COLUMN name TO plain",
        "ALTER TABLE public.products ADD COLUMN name text"
        " GENERATED ALWAYS AS ((100 / (length(plain) - 3))::text) VIRTUAL",
        "UPDATE public.products SET plain = 'bad' WHERE sku = 'sku,5'",
    )

    async def main() -> None:
        async with world.running():
            await world.synced()
            held = await world.held("documents", "product")
            assert len(held) == 11
            assert "sku,5" not in held
            letters = world.rows("SELECT DISTINCT key, code FROM recordgate.dead_letters")
            assert {"key": "sku,5", "code": "UNREADABLE"} in letters
            world.sql("UPDATE public.products SET plain = 'mended' WHERE sku = 'sku,5'")
            await world.synced()
            await world.assert_equal()
            assert world.one("SELECT count(*) AS n FROM recordgate.dead_letters") == 0

    asyncio.run(main())


def test_a_stopped_worker_process_lets_another_take_over(world: World) -> None:
    """SIGKILL leaves locks of the operating system and of canonical to be freed by themselves."""
    fill(world)
    with WorkerProcess(world) as first:
        asyncio.run(world.synced())
        first.kill()
    world.sql("DELETE FROM public.lines WHERE id < 9")
    with WorkerProcess(world):
        asyncio.run(world.synced())
        asyncio.run(world.assert_equal())


def test_a_sink_that_was_away_for_long_is_the_only_one_loaded_anew(world: World) -> None:
    """It was taken out of the settings, and comes back when the changes that it missed are gone."""
    fill(world)

    async def main() -> None:
        async with world.running():
            await world.synced()
        async with world.running(sinks=("search",)):
            world.sql("DELETE FROM public.lines WHERE id < 30")
            target = world.lsn()
            await until(lambda: confirmed(world) >= target)
        async with world.running():
            await world.synced()
            await world.assert_equal()
        assert generation(world, "documents", "line") == 2
        assert generation(world, "search", "line") == 1

    asyncio.run(main())


def test_a_first_start_without_a_gap_reads_a_slot_that_is_there(world: World) -> None:
    """The worker died between making the slot and its first record."""
    fill(world)
    name = slot_name(world.contract, database_of(world.url))
    world.sql(
        f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')",
        "DELETE FROM public.lines WHERE id < 30",
    )

    async def main() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_worker_stops_also_where_a_driver_swallows_that_it_is_told_to(world: World) -> None:
    """`asyncio.wait_for` does, before Python 3.12, when the answer comes at the same moment."""
    fill(world)

    async def story() -> None:
        worker = world.worker()
        store = worker._sinks["documents"]
        publish, waits = store.publish, asyncio.Event()

        async def swallowing(position: Position | None) -> None:
            waits.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)
            await publish(position)

        task = asyncio.create_task(worker.run())
        await world.synced()
        store.publish = swallowing  # type: ignore[method-assign]
        world.sql("UPDATE public.products SET name = 'the last'")
        await waits.wait()
        began = time.monotonic()
        await worker.stop()
        async with asyncio.timeout(30):
            await task
        assert time.monotonic() - began < 5

    asyncio.run(story())
