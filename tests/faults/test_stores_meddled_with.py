"""What people do by hand to what the stores hold, while the worker runs: it is noticed, also where
nothing is written, and healed by one load of what is gone; the other types are not loaded, and
nothing goes round in circles."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from stores.errors import StoreUnavailable
from tests.sync_world import World, fill

PATIENCE = 60.0


def newest(world: World, sink: str) -> dict[str, int]:
    """Type → its generation, where it was loaded more than once."""
    rows = world.rows(
        "SELECT type, max(number) AS n FROM recordgate.generations"
        f" WHERE sink = '{sink}' AND state = 'active' GROUP BY type"
    )
    return {r["type"]: int(r["n"]) for r in rows if r["n"] > 1}


async def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


class Cluster:
    def __init__(self, url: str) -> None:
        self.prefix = f"m{uuid.uuid4().hex[:8]}"
        self.store = f"{url}/{self.prefix}"
        self.url = f"http{url.removeprefix('elasticsearch')}"

    def ask(self, method: str, name: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/{self.prefix}-shop{name and '-'}{name}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())


MEDDLED = {"city", "product", "region"}


def test_indexes_that_somebody_meddles_with_are_loaded_once(
    world: World, elasticsearch_url: str
) -> None:
    """One is deleted, one closed, of one the alias is taken away: while nothing is written, and
    just before a write."""
    cluster = Cluster(elasticsearch_url)
    world.stores = {"search": cluster.store}
    fill(world, orders=10)

    def meddle(number: int) -> None:
        cluster.ask("DELETE", f"city-{number}")
        cluster.ask("POST", f"product-{number}/_close")
        cluster.ask("DELETE", f"region-{number}/_alias/{cluster.prefix}-shop-region")

    async def story() -> None:
        async with world.running(sinks=("search",)):
            await world.synced(("search",))
            for number, writes in ((1, ()), (2, WRITES)):
                await asyncio.to_thread(meddle, number)
                world.sql(*writes)
                wanted = dict.fromkeys(MEDDLED, number + 1)
                await until(
                    lambda wanted=wanted: newest(world, "search") == wanted,  # type: ignore[misc]
                    f"not loaded anew: {newest(world, 'search')}",
                )
                await world.synced(("search",))
                await world.assert_equal(("search",))
            world.sql("UPDATE public.cities SET name = 'later' WHERE id % 3 = 0")
            await world.synced(("search",))
            await world.assert_equal(("search",))

    asyncio.run(story())
    assert newest(world, "search") == dict.fromkeys(MEDDLED, 3)


WRITES = (
    "UPDATE public.cities SET name = 'after' WHERE id % 2 = 0",
    "UPDATE public.products SET name = 'after'",
    "UPDATE public.regions SET name = 'after'",
)


def test_a_stray_write_to_a_name_of_ours_holds_up_that_type_alone_and_is_named(
    world: World, elasticsearch_url: str
) -> None:
    """An index of the alias' name, and one of the next generation's, are left alone until somebody
    deletes them."""
    cluster = Cluster(elasticsearch_url)
    world.stores = {"search": cluster.store}
    fill(world, orders=10)

    def meddle() -> None:
        cluster.ask("DELETE", "city-1")
        cluster.ask("PUT", "city/_doc/1", {"stray": True})
        cluster.ask("DELETE", "product-1")
        cluster.ask("PUT", "product-1/_doc/1", {"stray": True})

    def taken() -> set[str]:
        rows = world.rows("SELECT type FROM recordgate.conditions WHERE code = 'place-taken'")
        return {r["type"] for r in rows}

    async def story() -> None:
        async with world.running(sinks=("search",)):
            await world.synced(("search",))
            await asyncio.to_thread(meddle)
            world.sql("UPDATE public.cities SET name = 'after' WHERE id % 2 = 0")
            await until(lambda: taken() == {"city", "product"}, "it is not named")
            world.sql("UPDATE public.regions SET name = 'others go on'")
            region: Any = None
            while region is None or region["name"] != "others go on":
                region = (await world.held("search", "region"))["r1"]
            assert cluster.ask("GET", "city/_doc/1")["_source"] == {"stray": True}
            await asyncio.to_thread(cluster.ask, "DELETE", "city")
            await asyncio.to_thread(cluster.ask, "DELETE", "product-1")
            await until(lambda: not taken(), "it is not over")
            await world.synced(("search",))
            await world.assert_equal(("search",))
            assert newest(world, "search") == {"city": 2, "product": 2}
            # Without its books nobody knows any more what the store holds.
            await asyncio.to_thread(cluster.ask, "DELETE", "")
            await until(lambda: len(newest(world, "search")) == 6, "not loaded anew")
            await world.synced(("search",))
            await world.assert_equal(("search",))

    asyncio.run(story())
    assert newest(world, "search") == dict.fromkeys(world.contract.types, 2) | {
        "city": 3,
        "product": 3,
    }


def test_a_collection_that_somebody_renames_is_loaded_once(world: World, mongodb_url: str) -> None:
    name = f"m{uuid.uuid4().hex[:8]}"
    world.stores = {"documents": f"{mongodb_url}/{name}"}
    fill(world, orders=10)

    async def story() -> None:
        async with world.running(sinks=("documents",)):
            await world.synced(("documents",))
            client[name]["shop.city.g1"].rename("kept_by_hand")
            await until(lambda: bool(newest(world, "documents")), "it is not loaded anew")
            world.sql("UPDATE public.cities SET name = 'later' WHERE id % 3 = 0")
            await world.synced(("documents",))
            await world.assert_equal(("documents",))

    with MongoClient[dict[str, Any]](mongodb_url) as client:
        try:
            asyncio.run(story())
            assert newest(world, "documents") == {"city": 2}
            assert client[name]["kept_by_hand"].estimated_document_count() > 0
        finally:
            client.drop_database(name)


def test_the_folder_of_an_index_that_somebody_removes_is_loaded_once(world: World) -> None:
    fill(world, orders=10)

    async def story() -> None:
        async with world.running(sinks=("search",)):
            await world.synced(("search",))
            shutil.rmtree(world.folder / "search" / "city" / "1")
            await until(lambda: bool(newest(world, "search")), "it is not loaded anew")
            await world.synced(("search",))
            await world.assert_equal(("search",))
            # And where a change comes before anybody looks.
            shutil.rmtree(world.folder / "search" / "city" / "2")
            world.sql("UPDATE public.cities SET name = 'later' WHERE id % 3 = 0")
            await until(lambda: newest(world, "search") == {"city": 3}, "it is not loaded anew")
            await world.synced(("search",))
            await world.assert_equal(("search",))

    asyncio.run(story())
    assert newest(world, "search") == {"city": 3}


@pytest.mark.parametrize("sink", ["search", "documents"])
@pytest.mark.parametrize("done", ["removed", "replaced"])
def test_files_that_somebody_removes_or_replaces_are_made_anew(
    world: World, sink: str, done: str
) -> None:
    """Nobody else would ever see what goes on to be written into files that are gone. Readers that
    are open follow; the other sink is not disturbed."""
    fill(world, orders=10)
    path = world.folder / ("search" if sink == "search" else "documents.sqlite")

    def meddle() -> None:
        copy = world.folder / "copy"
        copy.mkdir()
        if done == "replaced":
            for file in _files(path):
                target = copy / file.relative_to(world.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        for file in _files(path):
            file.unlink()
        if done == "replaced":
            for file in _files(copy):
                os.replace(file, world.folder / file.relative_to(copy))

    async def story() -> None:
        async with world.running(), world.readers() as readers:
            await world.synced()
            await asyncio.to_thread(meddle)
            world.sql("UPDATE public.cities SET name = 'after' WHERE id % 2 = 0")
            target = world.lsn()
            await until(lambda: len(newest(world, sink)) == 6 or done == "removed", "not loaded")
            await world.synced()
            await world.assert_equal()
            position = None
            deadline = time.monotonic() + PATIENCE
            while position is None or position.lsn < target:
                assert time.monotonic() < deadline
                try:
                    position = await readers[sink].position()
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
            if sink == "documents":
                found = await readers[sink].get("city", ["2"])  # type: ignore[attr-defined]
                assert json.loads(found["2"])["name"] == "after"

    asyncio.run(story())
    other = "documents" if sink == "search" else "search"
    assert newest(world, other) == {}


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return [p for p in path.rglob("*") if p.is_file()]
    return sorted(path.parent.glob(path.name + "*"))
