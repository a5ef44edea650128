"""Reload unseen: generations are built aside, swapped in one step, kept for a rollback, and
dropped."""

from __future__ import annotations

import pytest

from stores.contract.shape import document_shape, search_shape
from stores.errors import StoreRefused, StoreUnavailable
from stores.protocols import Generation, Store
from stores.query import SearchQuery
from tests.conformance.store_backends import Place, documents, held, load, publish, run, searches
from tests.conformance.store_contract import CONTRACT, author, put


def shape(place: Place) -> str:
    of = {"documents": document_shape, "search": search_shape}[place.backend.role]
    return of(CONTRACT, "author")


async def seen(place: Place, store: Store) -> list[bytes]:
    """What a reader of the active generation sees of the record "a"."""
    if place.backend.role == "documents":
        return list((await documents(store).get("author", ["a"])).values())
    return [h.document for h in (await searches(store).search(SearchQuery("author"))).hits]


def test_a_generation_is_built_then_active_then_retired(place: Place) -> None:
    async def story() -> None:
        async with place.open() as store:
            mine = shape(place)
            assert await store.generations("author") == []
            await store.create_generation("author", 1)
            assert await store.generations("author") == [Generation(1, "building", mine)]
            await store.activate("author", 1)
            await store.create_generation("author", 2)
            await store.activate("author", 2)
            expected = [Generation(1, "retired", mine), Generation(2, "active", mine)]
            assert await store.generations("author") == expected
            assert await store.generations("book") == []
        async with place.open(write=False) as store:
            assert await store.generations("author") == expected

    run(story())


def test_writes_into_a_generation_that_is_built_are_not_seen(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1, author("a", "one"))])
            await store.create_generation("author", 2)
            await store.write("author", 2, [put("a", 2, author("a", "two")), put("b", 2)])
            await publish(store)
            assert await seen(place, store) == [author("a", "one")]
            assert (await store.count("author", 1), await store.count("author", 2)) == (1, 2)
            assert await held(store, generation=2) == {"a": 2, "b": 2}

    run(story())


def test_a_swap_and_a_rollback_change_what_is_seen(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1, author("a", "one"))])
            await store.create_generation("author", 2)
            await store.write("author", 2, [put("a", 2, author("a", "two"))])
            await publish(store)
            await store.activate("author", 2)
            assert await seen(place, store) == [author("a", "two")]
            await store.activate("author", 1)
            assert await seen(place, store) == [author("a", "one")]
            states = {g.number: g.state for g in await store.generations("author")}
            assert states == {1: "active", 2: "retired"}

    run(story())


def test_a_retired_generation_still_takes_writes(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            await store.create_generation("author", 2)
            await store.activate("author", 2)
            await load(store, "author", [put("a", 3)])
            assert await held(store, generation=1) == {"a": 3}

    run(story())


def test_calls_can_be_made_twice(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            await store.create_generation("author", 1)
            assert await held(store) == {"a": 1}
            await store.activate("author", 1)
            await store.create_generation("author", 2)
            await store.drop_generation("author", 2)
            await store.drop_generation("author", 2)
            await store.drop_generation("author", 77)
            assert [g.number for g in await store.generations("author")] == [1]
            assert await held(store) == {"a": 1}

    run(story())


def test_a_dropped_generation_takes_its_data_and_versions_along(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await store.create_generation("author", 2)
            await store.write("author", 2, [put("a", 9)])
            await publish(store)
            await store.drop_generation("author", 2)
            with pytest.raises(StoreRefused):
                await store.count("author", 2)
            await store.create_generation("author", 2)
            assert await store.count("author", 2) == 0
            await store.write("author", 2, [put("a", 3)])
            await publish(store)
            assert await held(store, generation=2) == {"a": 3}

    run(story())


def test_the_active_generation_cannot_be_dropped(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            with pytest.raises(StoreRefused):
                await store.drop_generation("author", 1)
            assert await held(store) == {"a": 1}

    run(story())


def test_what_is_not_there_is_refused(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            for call in (
                store.activate("author", 9),
                store.write("author", 9, [put("a", 1)]),
                store.scan("author", 9, None, 10),
                store.count("author", 9),
                store.create_generation("no such type", 1),
                store.write("no such type", 1, [put("a", 1)]),
            ):
                with pytest.raises(StoreRefused):
                    await call
            assert [g.number for g in await store.generations("author")] == [1]

    run(story())


def test_a_type_that_is_not_loaded_is_unavailable(place: Place) -> None:
    """Then another store answers; refusing would say that none ever can."""

    async def story() -> None:
        async with place.open() as store:
            await store.create_generation("author", 1)
            with pytest.raises(StoreUnavailable):
                await seen(place, store)

    run(story())


def test_dropping_after_a_swap_leaves_readers_alone(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1, author("a", "1"))])
            for number in range(2, 8):
                await store.create_generation("author", number)
                body = author("a", str(number))
                await store.write("author", number, [put("a", number, body)])
                await publish(store)
                await store.activate("author", number)
                await store.drop_generation("author", number - 1)
                assert await seen(place, store) == [body]
            assert [g.number for g in await store.generations("author")] == [7]

    run(story())
