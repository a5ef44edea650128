"""Reads of a document store: by key, and the children of parents in canonical's key order."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from stores.errors import StoreRefused
from stores.protocols import Write
from stores.query import Children, ChildrenQuery
from tests.conformance.store_backends import Place, documents, load, publish, run
from tests.conformance.store_contract import author, book, delete, document, put
from tests.conformance.test_store_scan import ODD_KEYS


def test_a_key_is_found_whatever_is_in_it(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("author") as opened:
            store = documents(opened)
            await load(store, "author", [put(k, 1, author(k, "x")) for k in ODD_KEYS])
            for key in ODD_KEYS:
                assert await store.get("author", [key]) == {key: author(key, "x")}
            found = await store.get("author", ODD_KEYS)
            assert found == {k: author(k, "x") for k in ODD_KEYS}

    run(story())


def test_keys_that_are_not_there_are_left_out(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("author") as opened:
            store = documents(opened)
            await load(store, "author", [put("a", 1), put("b", 1), put("c", 1)])
            await load(store, "author", [delete("b", 2)])
            asked = ["c", "b", "a", "zzz", "A", "a ", "' OR 1=1 --", "a", "k" * 5000]
            assert set(await store.get("author", asked)) == {"a", "c"}
            assert await store.get("author", ["zzz"]) == {}
            assert await store.get("author", ["b"]) == {}
            assert await store.get("author", []) == {}

    run(story())


def test_thousands_of_keys_are_read_at_once(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("author") as opened:
            store = documents(opened)
            keys = [f"k{n:05}" for n in range(5000)]
            await load(store, "author", [put(k, 1) for k in keys])
            assert set(await store.get("author", keys)) == set(keys)

    run(story())


def shelf(room: str, place: int, holds: Any = None) -> Write:
    body = document(room=room, place=place, book=holds)
    return Write(f"{room},{place}", 1, body)


async def ids(store: Any, query: ChildrenQuery) -> dict[tuple[object, ...], list[Any]]:
    found = await documents(store).children(query)
    return {v: [orjson.loads(d)["id"] for d in c.documents] for v, c in found.items()}


@pytest.mark.promise("children")
def test_children_come_in_the_order_of_a_number_key_up_to_the_limit(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as store:
            numbers = [1, 2, 3, 9, 10, 11, 100, -5, 2**31 - 1, 20]
            random.Random(2).shuffle(numbers)
            writes = [Write(str(n), 1, book(n, author="a1")) for n in numbers]
            writes += [Write("500", 1, book(500, author="a2")), Write("501", 1, book(501))]
            await load(store, "book", writes)
            query = ChildrenQuery("book", ("author",), [("a1",), ("a2",), ("nobody",)], 100)
            expected = {("a1",): sorted(numbers), ("a2",): [500], ("nobody",): []}
            assert await ids(store, query) == expected
            query = ChildrenQuery("book", ("author",), [("a1",)], 3)
            assert await ids(store, query) == {("a1",): sorted(numbers)[:3]}

    run(story())


@pytest.mark.promise("children")
def test_children_are_counted_where_that_is_asked(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as opened:
            store = documents(opened)
            writes = [Write(str(n), 1, book(n, author="a1")) for n in range(12)]
            await load(store, "book", [*writes, Write("99", 1, book(99, author="a2"))])
            for limit in (1, 5, 12, 50):
                query = ChildrenQuery("book", ("author",), [("a1",), ("a2",), ("x",)], limit, True)
                found = await store.children(query)
                assert {v[0]: c.total for v, c in found.items()} == {"a1": 12, "a2": 1, "x": 0}
            query = ChildrenQuery("book", ("author",), [("x",)], 5)
            assert await store.children(query) == {("x",): Children([], None)}

    run(story())


@pytest.mark.promise("children")
def test_children_of_a_composite_key_come_in_its_order(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("shelf") as opened:
            store = documents(opened)
            places = [("b", 10), ("b", 9), ("a,x", 2), ("A", 1), ("é", 1), ("b", -1), ("", 3)]
            await load(store, "shelf", [shelf(r, p, 7) for r, p in places] + [shelf("c", 1, 8)])
            found = await store.children(ChildrenQuery("shelf", ("book",), [(7,), (8,)], 50))
            read = [orjson.loads(d) for d in found[(7,)].documents]
            got = [(r["room"], r["place"]) for r in read]
            assert got == sorted(places, key=lambda p: (p[0].encode(), p[1]))
            assert len(found[(8,)].documents) == 1

    run(story())


@pytest.mark.promise("children")
def test_a_moved_or_deleted_child_is_no_child_any_more(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as store:
            await load(store, "book", [Write(str(n), 1, book(n, author="a1")) for n in (1, 2, 3)])
            moved = [Write("1", 2, book(1, author="a2")), delete("2", 2), Write("3", 2, book(3))]
            await store.write("book", 1, moved)
            await publish(store)
            query = ChildrenQuery("book", ("author",), [("a1",), ("a2",)], 10, True)
            assert await ids(store, query) == {("a1",): [], ("a2",): [1]}

    run(story())


@pytest.mark.promise("children")
def test_a_null_foreign_key_is_nobodys_child(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as store:
            await load(store, "book", [Write("1", 1, book(1))])
            assert await ids(store, ChildrenQuery("book", ("author",), [(None,)], 10)) == {
                (None,): []
            }

    run(story())


@pytest.mark.promise("children")
def test_children_by_an_unknown_property_are_refused(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as opened:
            store = documents(opened)
            for query in (
                ChildrenQuery("book", ("nothing",), [("a",)], 5),
                ChildrenQuery("nothing", ("author",), [("a",)], 5),
            ):
                with pytest.raises(StoreRefused):
                    await store.children(query)

    run(story())


@pytest.mark.promise("children")
def test_values_are_values_and_not_statements(document_place: Place) -> None:
    async def story() -> None:
        async with document_place.ready("book") as store:
            odd = ["' OR 1=1 --", '"', "$", "{}", "a\\b", "é", "", "1"]
            writes = [Write(str(n), 1, book(n, author=v)) for n, v in enumerate(odd)]
            await load(store, "book", writes)
            query = ChildrenQuery("book", ("author",), [(v,) for v in odd], 10)
            assert await ids(store, query) == {(v,): [n] for n, v in enumerate(odd)}
            # A number is not the text that looks like it.
            query = ChildrenQuery("book", ("author",), [("01",), ("1.0",)], 10)
            assert await ids(store, query) == {("01",): [], ("1.0",): []}

    run(story())
