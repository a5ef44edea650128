"""Pages of a search: each hit once, in an exact order, by cursors that hold."""

from __future__ import annotations

import random
from functools import cmp_to_key
from typing import Any

import orjson
import pytest

from stores.errors import InputError, LimitError, StoreRefused
from stores.protocols import Store, Write
from stores.query import And, Compare, Filter, Match, Op, Order, SearchHit, SearchQuery
from tests.conformance.filter_meaning import holds, python
from tests.conformance.search_library import fill, records
from tests.conformance.store_backends import Place, load, publish, run, searches
from tests.conformance.store_contract import BOOK, book, delete


def ordered(made: list[dict[str, Any]], sort: tuple[Order, ...]) -> list[str]:
    """Keys in the order that canonical gives: nulls last ascending, first descending; ties by
    key."""

    def value(record: dict[str, Any], step: Order) -> Any:
        for name in step.path:
            record = record.get(name) or {}
        found = record.get(step.property)
        prop = BOOK.by_name.get(step.property)
        if isinstance(found, str) and (prop is None or prop.sql_type == "text"):
            return found.encode()
        return found if found is None or prop is None else python(prop, found)

    def compare(a: dict[str, Any], b: dict[str, Any]) -> int:
        for step in sort:
            x, y = value(a, step), value(b, step)
            if x == y:
                continue
            first = step.descending if step.nulls_first is None else step.nulls_first
            if x is None or y is None:
                return -1 if (x is None) == first else 1
            return -1 if (x < y) != step.descending else 1
        return -1 if str(a["id"]).encode() < str(b["id"]).encode() else 1

    return [str(r["id"]) for r in sorted(made, key=cmp_to_key(compare))]


async def pages(store: Store, size: int, **query: Any) -> list[SearchHit]:
    """Every hit, page by page; each page's cursor through JSON and back, as a client sends it."""
    found: list[SearchHit] = []
    after: tuple[Any, ...] | None = None
    while True:
        asked = SearchQuery("book", first=size, after=after, **query)
        page = await searches(store).search(asked)
        found += page.hits
        assert len(page.hits) == size or not page.has_next
        if not page.has_next:
            assert page.total == len(found)
            return found
        after = tuple(orjson.loads(orjson.dumps(list(page.hits[-1].sort_values))))


SORTS = [
    (), (Order("title"),), (Order("title", True),), (Order("pages"),), (Order("pages", True),),
    (Order("rating"),), (Order("price", True),), (Order("printed"),), (Order("printed", True),),
    (Order("published"),), (Order("published", True, nulls_first=False),),
    (Order("title", nulls_first=True),), (Order("printed"), Order("pages", True)),
    (Order("printed", True), Order("published"), Order("title", True)),
    (Order("name", path=("writer",)),), (Order("born", True, path=("writer",)), Order("pages")),
]  # fmt: skip


@pytest.mark.parametrize("sort", SORTS, ids=lambda s: "-".join(o.property for o in s) or "key")
def test_an_order_is_canonicals_over_any_page_size(
    search_place: Place, sort: tuple[Order, ...]
) -> None:
    made = records(120)
    some = Compare("pages", Op.GTE, 0)

    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store, made)
            for size in (1, 7, 50, 200):
                if size == 1 and len(sort) < 2:
                    continue
                found = await pages(store, size, sort=sort)
                assert [h.key for h in found] == ordered(made, sort)
            few = await pages(store, 9, sort=sort, filter=some)
            expected = [r for r in made if holds(some, r, BOOK)]
            assert [h.key for h in few] == ordered(expected, sort)

    run(story())


def test_pages_by_score_give_each_hit_once(search_place: Place) -> None:
    chance = random.Random(5)
    words = ["oak", "elm", "ash"]
    titles = [" ".join(chance.choices(words, k=chance.randint(1, 4))) for _ in range(300)]

    async def story() -> None:
        async with search_place.ready("book") as store:
            writes = [Write(str(n), 1, book(n, title=t)) for n, t in enumerate(titles)]
            await load(store, "book", writes[:150])
            await load(store, "book", writes[150:])
            expected = {str(n) for n, t in enumerate(titles) if "oak" in t}
            for size in (1, 13, 500):
                found = await pages(store, size, text="oak", match=Match.EXACT)
                assert len(found) == len(expected)
                assert {h.key for h in found} == expected
                scores = [h.score or 0 for h in found]
                assert scores == sorted(scores, reverse=True)
                ties = [(-(h.score or 0), h.key) for h in found]
                assert ties == sorted(ties)

    run(story())


def test_a_cursor_of_a_sort_holds_while_the_index_changes(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await load(store, "book", [Write(str(n), 1, book(n, pages=n)) for n in range(10, 60)])
            sort = (Order("pages"),)
            page = await searches(store).search(SearchQuery("book", sort=sort, first=20))
            last = page.hits[-1]
            assert last.key == "29"
            # The last hit goes, one before it and one after it come.
            writes = [
                delete("29", 2),
                Write("5", 2, book(5, pages=5)),
                Write("99", 2, book(99, pages=30)),
            ]
            await store.write("book", 1, writes)
            await publish(store)
            query = SearchQuery("book", sort=sort, first=3, after=last.sort_values)
            assert [h.key for h in (await searches(store).search(query)).hits] == ["30", "99", "31"]

    run(story())


def test_nothing_is_asked_for_and_nothing_is_left(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await load(store, "book", [Write("1", 1, book(1, title="a"))])
            search = searches(store).search
            none = await search(SearchQuery("book", first=0))
            assert (none.hits, none.total) == ([], 1)
            nothing: Filter = And((Compare("title", Op.EQ, "a"), Compare("title", Op.EQ, "b")))
            empty = await search(SearchQuery("book", filter=nothing))
            assert (empty.hits, empty.total, empty.has_next) == ([], 0, False)

    run(story())


@pytest.mark.parametrize(
    "after",
    [
        (),
        ("x",),
        (1, 2, 3),
        (None, None),
        ("x", 1),
        ({}, "k"),
        (float("nan"), "k"),
        (2**80, "k"),
        ([1], "k"),
    ],
    ids=str,
)
def test_a_foreign_cursor_is_an_input_error(search_place: Place, after: tuple[Any, ...]) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await load(store, "book", [Write("1", 1, book(1, title="a", pages=1))])
            with pytest.raises(InputError):
                await searches(store).search(
                    SearchQuery("book", sort=(Order("pages"),), after=after)
                )

    run(story())


def test_limits_of_a_page(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await load(store, "book", [Write("1", 1, book(1, title="a"))])
            for first in (-1, 1_000_000_000):
                with pytest.raises(LimitError):
                    await searches(store).search(SearchQuery("book", first=first))
            for unsorted in ("blurb", "extra", "tags", "nothing"):
                with pytest.raises(StoreRefused):
                    await searches(store).search(SearchQuery("book", sort=(Order(unsorted),)))

    run(story())
