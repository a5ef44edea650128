"""What is missing is noticed while the worker runs, named, and answered by a load: the slot
dropped, made anew or invalidated; canonical put back from an older copy; a store put back from an
older copy or emptied."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pymongo import MongoClient

from recordgate.embedded import EmbeddedPostgres
from stores.canonical.apply import apply_plan
from stores.canonical.connect import database_of
from stores.canonical.plan import make_plan
from stores.canonical.publication import slot_name
from stores.contract.load import load_contract
from sync import building
from tests.sync_world import CONTRACT, SINKS, WorkerProcess, World, fill, shop

PATIENCE = 60.0


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        fill(found)
        yield found


def slot(world: World) -> str:
    return slot_name(world.contract, database_of(world.url))


def cut_the_stream(world: World) -> None:
    """And drop the slot at once, before the worker has come back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            world.sql(
                "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
                f" WHERE slot_name = '{slot(world)}'",
                f"SELECT pg_drop_replication_slot('{slot(world)}')",
            )
        except psycopg.errors.ObjectInUse:
            assert time.monotonic() < deadline
        else:
            return


def numbers(world: World, type_name: str = "line") -> dict[str, int]:
    rows = world.rows(
        "SELECT sink, number FROM recordgate.generations WHERE state = 'active'"
        f" AND type = '{type_name}'"
    )
    return {row["sink"]: int(row["number"]) for row in rows}


UNSEEN = ("DELETE FROM public.lines WHERE id < 100", "UPDATE public.regions SET name = 'unseen'")


@pytest.mark.parametrize("made_anew", [False, True], ids=["dropped", "made anew"])
def test_a_slot_that_is_lost_while_the_worker_runs(world: World, made_anew: bool) -> None:
    async def main() -> None:
        async with world.running():
            await world.synced()
            # What is committed in the gap is in no slot: no change will ever say so.
            with psycopg.connect(world.url) as gap:
                gap.execute("LOCK TABLE recordgate.watermarks IN EXCLUSIVE MODE")
                await asyncio.to_thread(cut_the_stream, world)
                world.sql(*UNSEEN)
                if made_anew:
                    world.sql(
                        f"SELECT pg_create_logical_replication_slot('{slot(world)}', 'pgoutput')"
                    )
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())
    assert numbers(world) == {"search": 2, "documents": 2}


def test_a_slot_that_canonical_gave_up_to_save_its_disk(
    own_server: Callable[..., str], tmp_path: Path
) -> None:
    """The worker is stopped while more is written than `max_slot_wal_keep_size` lets the slot
    keep."""
    url = own_server(
        max_slot_wal_keep_size="16MB", wal_keep_size="0", max_wal_size="32MB", fsync="off"
    )
    with shop(url, tmp_path) as world:
        fill(world)
        with WorkerProcess(world) as worker:
            asyncio.run(world.synced())
            os.kill(worker.process.pid, signal.SIGSTOP)
            world.sql(*UNSEEN, "CREATE TABLE public.much (text text)")
            deadline = time.monotonic() + PATIENCE
            lost = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot(world)}'"
            while world.one(lost) != "lost":
                assert time.monotonic() < deadline
                world.sql(
                    "INSERT INTO public.much SELECT repeat(md5(i::text), 100) FROM generate_series(1, 9000) i",
                    "SELECT pg_switch_wal()",
                    "CHECKPOINT",
                )
            os.kill(worker.process.pid, signal.SIGCONT)
            asyncio.run(world.synced())
            asyncio.run(world.assert_equal())
        assert numbers(world) == {"search": 2, "documents": 2}
        log = (tmp_path / "worker.log").read_text()
        assert "changes are missing: replication slot" in log
        assert "invalidated" in log


@pytest.mark.parametrize("grown", [False, True], ids=["shorter log", "longer log"])
def test_canonical_put_back_from_an_older_copy(
    tmp_path: Path, grown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the stores took after the copy was made never was. The restored log may have grown past
    the stores' positions before the worker is back; then only the times tell."""
    monkeypatch.setattr(building, "RECORDED", 1.0)
    folder = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
    folder.chmod(0o711)
    settings = {"fsync": "off"}
    server = EmbeddedPostgres(folder / "server", settings)

    def restarted(change: Callable[[], None]) -> str:
        nonlocal server
        server.release()
        assert server.wait_stopped()
        change()
        server = EmbeddedPostgres(folder / "server", settings)
        return server.start()

    def copy() -> None:
        shutil.copytree(folder / "server", folder / "copy", symlinks=True)
        _same_owner(folder / "server", folder / "copy")

    def restore() -> None:
        shutil.rmtree(folder / "server")
        (folder / "copy").rename(folder / "server")

    async def story(base: World) -> None:
        async with base.running():
            await base.synced()
        base.conn.close()
        url = await asyncio.to_thread(restarted, copy)
        with psycopg.connect(url, autocommit=True) as conn:
            world = World(base.contract, url, tmp_path, conn)
            async with world.running():
                await asyncio.sleep(2.0)
                world.sql(
                    "INSERT INTO public.products VALUES ('never', 'was')",
                    "DELETE FROM public.lines WHERE id < 30",
                )
                await world.synced()
        url = await asyncio.to_thread(restarted, restore)
        with psycopg.connect(url, autocommit=True) as conn:
            world = World(base.contract, url, tmp_path, conn)
            if grown:
                world.sql(
                    "CREATE TABLE public.much AS SELECT md5(i::text) FROM generate_series(1, 90000) i"
                )
            async with world.running():
                # The stores' old positions say more than canonical has: they tell nothing yet.
                deadline = time.monotonic() + PATIENCE
                while numbers(world) != {"search": 2, "documents": 2}:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
                await world.synced()
                await world.assert_equal()

    try:
        with shop(server.start(), tmp_path) as base:
            fill(base)
            asyncio.run(story(base))
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def _same_owner(model: Path, copy: Path) -> None:
    for path in [model, *model.rglob("*")]:
        twin = copy / path.relative_to(model)
        if not path.is_symlink() and twin.exists():
            stat = path.stat()
            os.chown(twin, stat.st_uid, stat.st_gid)


@pytest.mark.servers
def test_a_database_of_documents_put_back_from_a_dump_while_the_worker_runs(
    world: World, mongodb_url: str
) -> None:
    """A dump has the books as they were: the same life of the database, only older."""
    name = f"t{secrets.token_hex(8)}"
    world.stores = {"documents": f"{mongodb_url}/{name}"}
    sinks = ("documents",)

    async def main() -> None:
        with MongoClient[dict[str, Any]](mongodb_url) as client:
            database = client[name]
            async with world.running(sinks=sinks):
                await world.synced(sinks)
                dump = {c: list(database[c].find()) for c in database.list_collection_names()}
                world.sql("DELETE FROM public.lines WHERE id < 30", *UNSEEN[1:])
                await world.synced(sinks)
                for collection, documents in dump.items():
                    database[collection].delete_many({})
                    if documents:
                        database[collection].insert_many(documents)
                world.sql("UPDATE public.products SET name = 'after'")
                await world.synced(sinks)
                await world.assert_equal(sinks)
            assert numbers(world) == {"documents": 2}

    asyncio.run(main())


NOTE = """
  - name: note
    physicalName: notes
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: text, logicalType: string}
"""


def test_changes_that_a_worker_with_an_older_contract_has_read_are_not_missing(
    world: World,
) -> None:
    """It follows its own types only, but takes every change from the slot."""
    file = world.folder / "newer.odcs.yaml"
    file.write_text(CONTRACT + NOTE, "utf-8")
    newer = replace(world, contract=load_contract(file))
    apply_plan(world.conn, newer.contract, make_plan(world.conn, newer.contract))
    world.sql("INSERT INTO public.notes SELECT i, 'note ' || i FROM generate_series(1, 50) i")

    async def ran(one: World, *statements: str) -> None:
        async with one.running():
            await one.synced()
            one.sql(*statements)
            await one.synced()
            await world.assert_equal()

    asyncio.run(ran(newer, "UPDATE public.notes SET text = 'first' WHERE id < 20"))
    asyncio.run(
        ran(
            world,
            "UPDATE public.notes SET text = 'unseen' WHERE id < 30",
            "DELETE FROM public.notes WHERE id > 40",
            "UPDATE public.lines SET quantity = 7",
        )
    )
    before = numbers(world, "line")
    asyncio.run(ran(newer))
    assert set(numbers(world, "note").values()) == {2}
    wanted = {str(r["id"]): r for r in world.rows("SELECT id, text FROM public.notes")}
    assert len(wanted) == 40
    for sink in SINKS:
        assert asyncio.run(newer.held(sink, "note")) == wanted
    assert numbers(world, "line") == before
