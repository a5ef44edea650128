"""What the MongoDB store mends: what a process that died between two steps has left, and
collections that somebody has dropped. A worker that was replaced mends nothing."""

from __future__ import annotations

import pytest

from stores.documents.mongodb import mending as mongodb_mending
from stores.documents.mongodb import store as mongodb_store
from stores.errors import FencedError, StoreUnavailable
from tests.conformance.store_backends import held, outcomes, publish, run
from tests.conformance.store_contract import CONTRACT, author, book, put
from tests.mongodb_server import Server, loaded, opened

pytestmark = pytest.mark.servers


# A process that died between two steps ------------------------------------------------------------


def test_the_next_writer_finishes_what_a_dead_one_left(server: Server) -> None:
    """A swap whose markers were not set, a generation that was struck off and not dropped, one
    whose collection was made and not entered."""

    async def story() -> None:
        store = await opened(server)
        await loaded(store)
        await store.write("author", 1, [put("a", 1)])
        await store.create_generation("author", 2)
        await store.write("author", 2, [put("a", 2)])
        await publish(store, 2)
        with server.client() as client:
            db = client["records"]
            books = db["recordgate.meta"].find_one({"_id": "recordgate"})
            assert books
            for row in books["generations"]:
                row["state"] = "active" if row["number"] == 2 else "retired"
            db["recordgate.meta"].replace_one({"_id": "recordgate"}, books)
            marker = {"_id": 0, "incarnation": books["incarnation"], "active": False}
            db["conformance.author.g3"].insert_one(marker)
            db["conformance.book.g1"].insert_many([marker, {"_id": "old", "v": 9}])
        # Without closing: the dead one never did.
        again = await opened(server)
        await again.take_charge(1)
        reader = await opened(server, write=False)
        assert await reader.get("author", ["a"]) == {"a": author("a", "v2")}
        with server.client() as client:
            names = client["records"].list_collection_names()
            assert "conformance.author.g3" not in names
            assert "conformance.book.g1" not in names
        await again.create_generation("book", 1)
        assert await again.count("book", 1) == 0
        for one in (store, again, reader):
            await one.close()

    run(story())


def test_a_swap_whose_end_was_not_seen_is_finished_by_the_next_call(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        store = await opened(server)
        reader = await opened(server, write=False)
        await loaded(store)
        await store.write("author", 1, [put("a", 1)])
        assert await reader.get("author", ["a"]) == {"a": author("a", "v1")}
        await store.create_generation("author", 2)
        await store.write("author", 2, [put("a", 2)])
        with monkeypatch.context() as patch:

            async def cut(*_: object) -> None:
                raise StoreUnavailable("the connection is gone", store="mongodb")

            patch.setattr(mongodb_mending, "mark_all", cut)
            with pytest.raises(StoreUnavailable):
                await store.activate("author", 2)
        await publish(store, 2)
        assert await reader.get("author", ["a"]) == {"a": author("a", "v2")}
        await store.close()
        await reader.close()

    run(story())


# A collection that was dropped --------------------------------------------------------------------


def test_a_collection_that_was_dropped_is_noticed_by_the_next_publish(server: Server) -> None:
    """Also where a write has made it anew, with nothing else in it."""

    async def story() -> None:
        store = await opened(server)
        await store.take_charge(1)
        await loaded(store, "author", "book")
        await store.write("author", 1, [put("a", 1), put("b", 1)])
        await publish(store, 1)
        with server.client() as client:
            client["records"]["conformance.author.g1"].drop()
        await store.write("author", 1, [put("a", 2)])
        with pytest.raises(StoreUnavailable, match=r"conformance\.author\.g1 was dropped") as told:
            await publish(store, 2)
        assert told.value.hint
        assert await store.generations("author") == []
        assert [g.state for g in await store.generations("book")] == ["active"]
        position = await store.position()
        assert position
        assert position.lsn == 1
        with server.client() as client:
            assert "conformance.author.g1" not in client["records"].list_collection_names()
        # What the worker does then.
        await store.create_generation("author", 2)
        await store.write("author", 2, [put("a", 2), put("b", 1)])
        await store.activate("author", 2)
        await publish(store, 2)
        assert await store.get("author", ["b"]) == {"b": author("b", "v1")}
        await store.close()

    run(story())


def test_a_collection_that_was_dropped_is_noticed_where_nothing_is_written(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mongodb_store, "CHECK_SECONDS", 0.0)

    async def story() -> None:
        store = await opened(server)
        await store.take_charge(1)
        await loaded(store, "author", "book")
        await publish(store, 1)
        with server.client() as client:
            client["records"]["conformance.book.g1"].drop()
        with pytest.raises(StoreUnavailable, match="dropped"):
            await publish(store, 2)
        assert await store.generations("book") == []
        await publish(store, 2)
        await store.close()

    run(story())


def test_a_collection_that_was_dropped_while_nobody_wrote_is_noticed_by_the_next_writer(
    server: Server,
) -> None:
    async def story() -> None:
        store = await opened(server)
        await store.take_charge(1)
        await loaded(store, "author", "book")
        await store.write("book", 1, [put("k", 1, book("k"))])
        await publish(store, 1)
        await store.close()
        with server.client() as client:
            client["records"]["conformance.author.g1"].drop()
        again = await opened(server)
        await again.take_charge(2)
        assert await again.generations("author") == []
        assert await held(again, "book") == {"k": 1}
        await again.close()

    run(story())


def test_a_dropped_collection_in_whose_place_somebody_put_something_is_left_alone(
    server: Server,
) -> None:
    async def story() -> None:
        store = await opened(server)
        await store.take_charge(1)
        await loaded(store)
        with server.client() as client:
            client["records"]["conformance.author.g1"].drop()
            client["records"]["conformance.author.g1"].insert_one({"_id": "theirs"})
        await store.write("author", 1, [put("a", 2)])
        with pytest.raises(StoreUnavailable, match="dropped"):
            await publish(store, 2)
        with server.client() as client:
            assert client["records"]["conformance.author.g1"].find_one({"_id": "theirs"})
        await store.close()

    run(story())


def test_a_swap_to_a_collection_that_was_dropped_does_not_happen(server: Server) -> None:
    async def story() -> None:
        store = await opened(server)
        await store.take_charge(1)
        await loaded(store)
        assert await outcomes(store, [put("a", 1)])
        await store.create_generation("author", 2)
        with server.client() as client:
            client["records"]["conformance.author.g2"].drop()
        with pytest.raises(StoreUnavailable, match="dropped"):
            await store.activate("author", 2)
        assert [(g.number, g.state) for g in await store.generations("author")] == [(1, "active")]
        assert await store.get("author", ["a"]) == {"a": author("a", "v1")}
        await store.close()

    run(story())


# A worker that was replaced -----------------------------------------------------------------------


def test_a_worker_that_slept_in_the_middle_of_mending_harms_nothing_of_its_successor(
    server: Server,
) -> None:
    async def story() -> None:
        old = await opened(server)
        await old.take_charge(1)
        empty = await old._metadata()
        await loaded(old)
        before = await old._metadata()
        new = await opened(server)
        await new.take_charge(2)
        await new.create_generation("author", 2)
        await new.write("author", 2, [put("a", 2)])
        await new.activate("author", 2)
        await new.create_generation("book", 1)
        reader = await opened(server, write=False)
        # With what it read before: the rows of the old generation only, then none at all.
        with pytest.raises(FencedError):
            await mongodb_mending.mend(old._charge, CONTRACT, before)
        await mongodb_mending.mend(old._charge, CONTRACT, empty)
        assert await reader.get("author", ["a"]) == {"a": author("a", "v2")}
        assert await new.count("book", 1) == 0
        with server.client() as client:
            markers = {
                name: client["records"][name].find_one({"_id": 0}, {"active": 1, "_id": 0})
                for name in client["records"].list_collection_names()
                if name.startswith("conformance.")
            }
        assert markers == {
            "conformance.author.g1": {"active": False},
            "conformance.author.g2": {"active": True},
            "conformance.book.g1": {"active": False},
        }
        for one in (old, new, reader):
            await one.close()

    run(story())
