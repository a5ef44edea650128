"""Honest freshness: what is published is visible to every reader, and a position never says more
than a reader sees."""

from __future__ import annotations

import json

import pytest

from stores.errors import StoreRefused
from stores.protocols import Outcome, Position, Withheld
from tests.conformance.store_backends import Place, held, load, outcomes, publish, run
from tests.conformance.store_contract import author, delete, put
from tests.conformance.store_processes import reader


def test_a_new_store_has_no_position(place: Place) -> None:
    async def story() -> None:
        async with place.open() as store:
            assert await store.position() is None
            await store.publish(None)
            assert await store.position() is None

    run(story())


def test_the_position_is_what_was_published_last(place: Place) -> None:
    async def story() -> None:
        position = Position("7412/16384", 2**62, 1700000000.123456, (), 3, ((1, 2**40), (2, 2**41)))
        async with place.ready("author") as store:
            await store.publish(position)
            assert await store.position() == position
            await store.write("author", 1, [put("a", 1)])
            assert await store.position() == position
            await store.publish(None)
            assert await store.position() == position
        async with place.open(write=False) as store:
            assert await store.position() == position

    run(story())


def test_a_position_says_which_types_stay_behind_it(place: Place) -> None:
    """A type's name is data of the position, whatever it is."""

    async def story() -> None:
        withheld = (Withheld("_id", 0, 0.0), Withheld("author", 2**61, 1700000000.25))
        position = Position("7412/16384", 2**62, 1700000000.5, withheld)
        async with place.ready("author") as store:
            await store.publish(position)
            assert await store.position() == position
            found = await store.position()
            assert found is not None
            assert found.of(["author", "book"]) == Position("7412/16384", 2**61, 1700000000.25)
            assert found.of(["book"]).lsn == 2**62
        async with place.open(write=False) as store:
            assert await store.position() == position
        async with place.open() as store:
            whole = Position("7412/16384", 2**62, 1700000001.5)
            await store.publish(whole)
            assert await store.position() == whole

    run(story())


def test_what_is_published_is_there_after_reopening(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1), put("b", 2)])
            await load(store, "author", [delete("a", 3)])
        async with place.open() as store:
            assert await held(store) == {"b": 2}
            assert await store.count("author", 1) == 1

    run(story())


def test_what_was_not_published_is_written_again_after_reopening(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            await store.write("author", 1, [put("a", 5), put("b", 5)])
        async with place.open() as store:
            position = await store.position()
            assert position
            assert position.lsn == 1
            # The writer reads once more what it had not published, so with a higher version.
            assert await outcomes(store, [put("a", 6), put("b", 6)]) == [Outcome.APPLIED] * 2
            await publish(store, 2)
            assert await held(store) == {"a": 6, "b": 6}
            assert await store.count("author", 1) == 2

    run(story())


def test_another_process_sees_what_is_published(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            with reader(place) as peer:
                assert peer.ask("held", type="author") == {"a": 1}
                for version in range(2, 12):
                    key = f"k{version}"
                    await store.write("author", 1, [put("a", version), put(key, version)])
                    await store.write("author", 1, [delete(f"k{version - 1}", version)])
                    await publish(store, version)
                    assert peer.ask("position") == version
                    assert peer.ask("held", type="author") == {"a": version, key: version}

    run(story())


def test_another_process_sees_a_swap_of_generations(place: Place) -> None:
    ask = {
        "documents": lambda peer: [*peer.ask("get", type="author", keys=["a"]).values()],
        "search": lambda peer: peer.ask("search", type="author", text=""),
    }[place.backend.role]

    def name(found: list[str]) -> str:
        (one,) = found
        return str(json.loads(one)["name"])

    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1, author("a", "one"))])
            with reader(place) as peer:
                assert name(ask(peer)) == "one"
                await store.create_generation("author", 2)
                await store.write("author", 2, [put("a", 2, author("a", "two"))])
                await publish(store, 2)
                assert name(ask(peer)) == "one"
                await store.activate("author", 2)
                assert name(ask(peer)) == "two"
                await store.drop_generation("author", 1)
                assert name(ask(peer)) == "two"

    run(story())


def test_a_reader_cannot_write(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
        async with place.open(write=False) as store:
            with pytest.raises(StoreRefused):
                await store.write("author", 1, [put("b", 1)])
            with pytest.raises(StoreRefused):
                await publish(store)
            with pytest.raises(StoreRefused):
                await store.create_generation("author", 2)
            assert await held(store) == {"a": 1}

    run(story())


def test_several_types_are_published_together(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author", "book", "shelf") as store:
            for name in ("author", "book", "shelf"):
                body = b'{"id":"1"}' if name == "author" else b'{"id":1,"room":"r","place":1}'
                await store.write(name, 1, [put("1", 4, body)])
            await publish(store, 4)
        async with place.open() as store:
            for name in ("author", "book", "shelf"):
                assert await held(store, name) == {"1": 4}

    run(story())
