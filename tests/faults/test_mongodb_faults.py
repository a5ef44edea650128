"""The MongoDB store when its server dies, hangs, comes back empty, or holds what is not ours."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest

from stores.documents.mongodb import store as mongodb_store
from stores.documents.mongodb.store import MongodbStore
from stores.errors import RecordgateError, StoreLost, StoreRefused, StoreUnavailable
from stores.protocols import Outcome, Position, Write
from stores.query import ChildrenQuery
from tests.conformance.store_backends import held, outcomes, publish, run
from tests.conformance.store_contract import CONTRACT, OTHER_CONTRACT, author, book, delete, put
from tests.mongodb_server import Server, loaded, opened

pytestmark = pytest.mark.servers

IMPATIENT = "?socketTimeoutMS=1000&serverSelectionTimeoutMS=1000&connectTimeoutMS=1000"


# A server that dies ------------------------------------------------------------------------------


def test_a_server_that_comes_back_empty_is_lost_once_and_then_loaded_anew(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        reader = await opened(server, write=False)
        await loaded(store)
        await store.write("author", 1, [put("a", 5)])
        await publish(store, 5)
        assert await reader.get("author", ["a"])
        server.kill()
        for call in (
            store.write("author", 1, [put("a", 6)]),
            store.position(),
            reader.get("author", ["a"]),
        ):
            with pytest.raises(StoreUnavailable):
                await call
        assert not (await store.health()).ok
        server.start_again()
        health = await store.health()
        assert not health.ok
        assert "lost" in health.problem
        assert not (await reader.health()).ok
        assert await reader.position() is None
        with pytest.raises(StoreUnavailable):
            await reader.get("author", ["a"])
        with pytest.raises(StoreLost) as lost:
            await store.write("author", 1, [put("a", 7)])
        assert lost.value.hint
        # What the worker does then.
        assert await store.position() is None
        assert await store.generations("author") == []
        await store.create_generation("author", 2)
        assert await outcomes_of(store, 2, [put("a", 8)]) == [Outcome.APPLIED]
        await store.activate("author", 2)
        await publish(store, 9)
        assert await reader.get("author", ["a"]) == {"a": author("a", "v8")}
        assert (await store.health()).ok
        assert (await reader.health()).ok, "what was lost has been loaded anew"
        await store.close()
        await reader.close()

    run(story())


async def outcomes_of(store: MongodbStore, generation: int, writes: list[Write]) -> list[Outcome]:
    return [v.outcome for v in await store.write("author", generation, writes)]


def test_a_position_is_never_published_for_writes_that_a_restart_has_lost(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        await store.write("author", 1, [put("a", 5)])
        server.kill()
        server.start_again()
        with pytest.raises((StoreLost, StoreUnavailable)) as told:
            await publish(store, 5)  # on a connection that has gone with the server
        if not isinstance(told.value, StoreLost):
            with pytest.raises(StoreLost):
                await publish(store, 5)
        assert await store.position() is None
        await store.close()

    run(story())


@pytest.mark.parametrize("restarted", [False, True], ids=["stays away", "comes back"])
def test_a_kill_in_the_middle_of_a_bulk_is_told_and_nothing_is_promised(
    server: Server, restarted: bool
) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        writes = [put(f"{n:06}", 1, author(f"{n:06}", "x" * 300)) for n in range(20_000)]
        writing = asyncio.create_task(store.write("author", 1, writes))
        await asyncio.to_thread(until_something_is_there, server)
        server.kill()
        if restarted:
            server.start_again()
        with pytest.raises((StoreUnavailable, StoreLost)):
            await writing
        with pytest.raises((StoreUnavailable, StoreLost)):
            await publish(store, 1)
        if restarted:
            assert await store.position() is None
            # A write that was under way may have left a collection in the empty database.
            with suppress(StoreLost):  # said once, by whichever call sees it first
                await store.create_generation("author", 1)
            await loaded(store)
            assert set(await outcomes(store, writes[:100])) == {Outcome.APPLIED}
            await publish(store, 2)
            assert len(await held(store)) == 100
        await store.close()

    run(story())


def until_something_is_there(server: Server) -> None:
    with server.client() as client:
        collection = client["records"]["conformance.author.g1"]
        while collection.estimated_document_count() < 100:
            time.sleep(0.002)


def test_a_collection_that_a_late_write_left_behind_takes_no_name_away(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        with server.client() as client:
            client["records"]["conformance.author.g1"].insert_one({"_id": "late", "v": 1})
        await loaded(store)
        assert await held(store) == {}
        assert await outcomes(store, [put("a", 1)]) == [Outcome.APPLIED]
        assert await held(store) == {"a": 1}
        await store.drop_generation("author", 2)
        await store.close()
        with server.client() as client:
            found = list(client["records"]["conformance.author.g1"].find())
        assert found == [{"_id": "late", "v": 1}]

    run(story())


# A server that hangs, or is not there ------------------------------------------------------------


def test_a_server_that_hangs_is_unavailable_in_time_and_goes_on_after(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongodb_store, "READ_SECONDS", 1.0)

    async def story() -> None:
        store = MongodbStore(f"{server.url}/records{IMPATIENT}")
        await store.open(CONTRACT, write=True)
        await loaded(store)
        await store.write("author", 1, [put("a", 1)])
        await publish(store, 1)
        server.process.signal(signal.SIGSTOP)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.write("author", 1, [put("a", 2)]),
            lambda: store.publish(None),
            store.position,
            lambda: store.get("author", ["a"]),
            lambda: store.count("author", 1),
        ]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await call()
            assert time.monotonic() - began < 4
        began = time.monotonic()
        health = await store.health()
        assert time.monotonic() - began < 2.5
        assert not health.ok
        server.process.signal(signal.SIGCONT)
        # Sent again, whatever became of the first: taken now, or stale because it was taken then.
        assert set(await outcomes(store, [put("a", 2)])) <= {Outcome.APPLIED, Outcome.STALE}
        await publish(store, 2)
        assert await held(store) == {"a": 2}
        await store.close()

    run(story())


def test_a_store_that_could_not_be_opened_can_be_opened_later(server: Server) -> None:
    async def story() -> None:
        server.kill()
        store = server.store
        with pytest.raises(StoreUnavailable):
            await store.open(CONTRACT, write=True)
        server.start_again()
        await store.open(CONTRACT, write=True)
        await loaded(store)
        await store.close()

    run(story())


# What is not ours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        ("recordgate.meta", {"_id": "mine"}),
        ("recordgate.meta", {"_id": "recordgate"}),
        ("recordgate.meta", {"_id": "recordgate", "format": 99}),
        ("recordgate.meta", {"_id": "recordgate", "format": 1, "generations": "x"}),
        ("conformance.author.g7", {"_id": "a", "v": 1, "doc": {}}),
    ],
    ids=["other documents", "no books", "another format", "damaged", "collections without books"],
)
def test_a_database_with_something_else_is_refused_and_not_touched(
    server: Server, collection: str, document: dict[str, Any]
) -> None:
    async def story() -> None:
        with server.client() as client:
            client["records"][collection].insert_one(document)
            client["records"]["other"].insert_one({"_id": 1})
        for write in (True, False):
            with pytest.raises(StoreLost) as lost:
                await server.store.open(CONTRACT, write=write)
            assert lost.value.hint
        with server.client() as client:
            assert sorted(client["records"].list_collection_names()) == sorted(
                [collection, "other"]
            )
            assert list(client["records"][collection].find()) == [document]

    run(story())


def test_another_contracts_books_are_left_alone(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        with pytest.raises(StoreLost):
            await server.store.open(OTHER_CONTRACT, write=True)
        with server.client() as client:
            # While it runs: somebody restores another contract's backup over it.
            meta = client["records"]["recordgate.meta"]
            meta.update_one({"_id": "recordgate"}, {"$set": {"contract": "z", "incarnation": "z"}})
        for _ in range(2):
            with pytest.raises(StoreLost):
                await store.write("author", 1, [put("a", 1)])
        with server.client() as client:
            meta = client["records"]["recordgate.meta"]
            assert meta.find_one({"_id": "recordgate"}, {"contract": 1}) == {
                "_id": "recordgate",
                "contract": "z",
            }
        await store.close()

    run(story())


def test_collections_of_others_in_the_database_stay(server: Server) -> None:
    async def story() -> None:
        with server.client() as client:
            for name in ("users", "conformance", "conformance.notes", "recordgate"):
                client["records"][name].insert_one({"_id": 1})
        store = await opened(server)
        await loaded(store)
        await store.create_generation("author", 2)
        await store.activate("author", 2)
        await store.drop_generation("author", 1)
        await store.close()
        await (await opened(server)).close()
        with server.client() as client:
            names = set(client["records"].list_collection_names())
            assert {"users", "conformance", "conformance.notes", "recordgate"} <= names
            assert "conformance.author.g1" not in names

    run(story())


# Swaps -------------------------------------------------------------------------------------------


def test_a_reader_with_an_old_pointer_never_reads_a_retired_or_a_dropped_generation(
    server: Server,
) -> None:
    async def story() -> None:
        store = await opened(server)
        reader = await opened(server, write=False)
        await loaded(store)
        stop = asyncio.Event()
        seen: list[int] = []

        async def read() -> None:
            while not stop.is_set():
                found = await reader.get("author", ["a", "b"])
                versions = {orjson.loads(d)["name"] for d in found.values()}
                assert len(found) in (0, 2)
                assert len(versions) <= 1, "a mix of generations"
                seen.extend(int(v) for v in versions)

        async def swap() -> None:
            for number in range(2, 25):
                await store.create_generation("author", number)
                body = [put(k, 1, author(k, str(number))) for k in "ab"]
                await store.write("author", number, body)
                await store.activate("author", number)
                found = await reader.get("author", ["a"])
                assert orjson.loads(found["a"])["name"] == str(number)
                await store.drop_generation("author", number - 1)

        async def both() -> None:
            readers = [asyncio.create_task(read()) for _ in range(3)]
            try:
                await swap()
            finally:
                stop.set()
                await asyncio.gather(*readers)

        await both()
        assert max(seen) >= 20
        await store.close()
        await reader.close()

    run(story())


# Writes ------------------------------------------------------------------------------------------


def test_two_writers_at_once_leave_the_newest_version_of_every_key(server: Server) -> None:
    async def story() -> None:
        stores = [await opened(server) for _ in range(3)]
        await loaded(stores[0])

        async def writer(number: int, store: MongodbStore) -> None:
            for turn in range(10):
                version = turn * 3 + number + 1
                one = delete if version % 4 == 0 else put
                await store.write("author", 1, [one(f"k{k}", version) for k in range(40)])

        await asyncio.gather(*(writer(n, s) for n, s in enumerate(stores)))
        assert await held(stores[0]) == {f"k{k}": 30 for k in range(40)}
        for store in stores:
            await store.close()

    run(story())


def test_a_batch_beyond_every_limit_of_a_message_is_split(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        large = [put(f"l{n}", 1, author(f"l{n}", "x" * 15_000_000)) for n in range(4)]
        small = [put(f"s{n}", 1) for n in range(2500)]
        found = await store.write("author", 1, [*large, *small])
        assert {v.outcome for v in found} == {Outcome.APPLIED}
        assert await store.count("author", 1) == 2504
        assert len((await store.get("author", ["l3"]))["l3"]) > 15_000_000
        await store.close()

    run(story())


def test_a_document_of_twenty_megabytes_is_refused_alone(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        batch = [put("a", 1), put("big", 1, author("big", "x" * 20_000_000)), put("b", 1)]
        assert await outcomes(store, batch) == [Outcome.APPLIED, Outcome.REJECT, Outcome.APPLIED]
        assert await held(store) == {"a": 1, "b": 1}
        await store.close()

    run(story())


def test_a_property_that_no_index_can_name_is_refused(server: Server) -> None:
    from stores.contract.model import Contract
    from tests.conformance.store_contract import prop, record_type

    odd = Contract("odd", "odd", "1", {"x": record_type("x", (prop("a.b"),), ("a.b",))})

    async def story() -> None:
        store = server.store
        await store.open(odd, write=True)
        with pytest.raises(StoreRefused, match=r"a\.b"):
            await store.create_generation("x", 1)
        await store.close()

    run(story())


@pytest.mark.parametrize("name", ["$x", "system.users", "a b", "é", "x" * 300, "a.b", "a\0b"])
def test_a_hostile_type_name_gets_a_collection(server: Server, name: str) -> None:
    from stores.contract.model import Contract
    from tests.conformance.store_contract import AUTHOR

    hostile = Contract("hostile", "hostile", "1", {name: AUTHOR})

    async def story() -> None:
        store = server.store
        await store.open(hostile, write=True)
        await store.create_generation(name, 1)
        await store.write(name, 1, [put("a", 1)])
        await store.activate(name, 1)
        await store.publish(Position("s", 1, 1.0))
        assert await store.get(name, ["a"]) == {"a": author("a", "v1")}
        await store.close()

    run(story())


# Reads -------------------------------------------------------------------------------------------


def test_both_ways_of_reading_children_give_the_same(server: Server) -> None:
    """This server plans no queries and is asked for one pass; the way of those that do works here
    too."""

    async def story() -> None:
        store = await opened(server)
        await loaded(store, "book", "shelf")
        writes = [Write(str(n), 1, book(n, author=f"a{n % 5}")) for n in range(60)]
        await store.write("book", 1, [*writes, delete("9", 2), delete("14", 2)])
        query = ChildrenQuery(
            "book", ("author",), [(f"a{n}",) for n in range(7)] + [(None,)], 4, True
        )
        assert not store._uses_indexes
        passed = await store.children(query)
        store._uses_indexes = True
        looked_up = await store.children(query)
        assert passed == looked_up
        assert [orjson.loads(d)["id"] for d in passed[("a4",)].documents] == [4, 19, 24, 29]
        assert passed[("a4",)].total == 10
        assert passed[("a6",)].documents == []
        await store.activate("book", 1)
        await store.create_generation("book", 2)
        await store.activate("book", 2)
        assert (await store.children(query))[("a4",)].documents == []
        await store.close()

    run(story())


def test_users_query_the_documents_by_their_own_tools(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await loaded(store, "book")
        for number, price in enumerate(("9.50", "10.00", "100.25")):
            body = book(number, price=price, tags=["new"], extra={"a": {"b": number}})
            await store.write("book", 1, [Write(str(number), 1, body)])
        await store.close()
        with server.client() as client:
            (row,) = client["records"]["recordgate.meta"].find_one({"_id": "recordgate"})[
                "generations"
            ]  # type: ignore[index]
            books = client["records"][row["collection"]]
            from bson.decimal128 import Decimal128

            dear = {"doc.price": {"$gte": Decimal128("10")}, "doc.tags": "new"}
            assert [d["_id"] for d in books.find(dear, sort=[("_id", 1)])] == ["1", "2"]
            assert [d["_id"] for d in books.find({"doc.extra.a.b": 2})] == ["2"]

    run(story())


def test_no_error_shows_the_password(server: Server) -> None:
    """This server knows no accounts; a real one refuses with a code
    (tests/unit/test_mongodb_errors)."""

    async def story() -> None:
        host = server.url.removeprefix("mongodb://")
        store = MongodbStore(f"mongodb://u:s3cret@{host}/records{IMPATIENT}")
        with pytest.raises(RecordgateError) as refused:
            await store.open(CONTRACT, write=True)
        assert "s3cret" not in str(refused.value)

    run(story())
