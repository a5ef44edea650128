"""A filter means in every search store what it means in canonical, or the store says that it
cannot."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from stores.errors import StoreRefused
from stores.patterns import IGNORING_CASE
from stores.query import And, Compare, Filter, Not, Op, Or, Related, SearchQuery
from tests.conformance.filter_meaning import holds
from tests.conformance.search_library import fill, random_filter, records
from tests.conformance.store_backends import Place, run, searches
from tests.conformance.store_contract import BOOK

FILTERS = 600


def expected(filter: Filter, made: list[dict[str, Any]]) -> set[str]:
    return {str(r["id"]) for r in made if holds(filter, r, BOOK)}


def test_random_filters_mean_what_canonical_says(search_place: Place) -> None:
    made = records(150)
    chance = random.Random(11)
    answered: Counter[str] = Counter()

    async def story() -> None:
        async with search_place.ready("book") as opened:
            store = searches(opened)
            await fill(store, made)
            for _ in range(FILTERS):
                filter = random_filter(chance)
                query = SearchQuery("book", filter=filter, first=200)
                reason = store.can_filter("book", filter)
                if reason:
                    answered["refused"] += 1
                    with pytest.raises(StoreRefused):
                        await store.search(query)
                    continue
                found = await store.search(query)
                keys = {h.key for h in found.hits}
                assert keys == expected(filter, made), filter
                assert found.total == len(keys)
                answered["some" if keys else "none"] += 1

    run(story())
    assert answered["some"] > FILTERS * 0.5, answered


EACH = [
    Compare("title", Op.EQ, "ant"), Compare("title", Op.CONTAINS, "a.b"),
    Compare("title", Op.CONTAINS, "*"), Compare("title", Op.STARTS_WITH, "É"),
    Compare("title", Op.STARTS_WITH, ""), Compare("language", Op.GT, "en"),
    Compare("language", Op.LTE, "en"), Compare("language", Op.EQ, ""),
    Compare("title", Op.ENDS_WITH, "Bee"), Compare("title", Op.ENDS_WITH, "*"),
    Compare("title", Op.EQ_IGNORE_CASE, "ANT"), Compare("title", Op.CONTAINS_IGNORE_CASE, "É"),
    Compare("title", Op.STARTS_WITH_IGNORE_CASE, "e"), Compare("title", Op.ENDS_WITH_IGNORE_CASE,
    "BÉE"),
    Compare("title", Op.CONTAINS_IGNORE_CASE, ""), Compare("title", Op.MATCHES,
    "^[a-c].*(e{2}|t)$"),
    Compare("title", Op.MATCHES, r"a\.b|\*"), Compare("title", Op.MATCHES_IGNORE_CASE,
    "^(ant|be+)"),
    Compare("title", Op.MATCHES, r"[^\w ]"), Compare("title", Op.MATCHES, ""),
    Compare("pages", Op.GTE, 1), Compare("rating", Op.LT, 1.5), Compare("price", Op.EQ, Decimal("10.1")),
    Compare("printed", Op.NEQ, True), Compare("lent", Op.EQ, False),
    Compare("published", Op.LT, date(1970, 1, 1)), Compare("tags", Op.CONTAINS, "red"),
    Compare("extra", Op.IS_NULL, False), Compare("writer_missing", Op.IS_NULL, True),
    Related("writer", Compare("name", Op.IS_NULL, True)), Related("writer", And(())),
    Not(Related("writer", And(()))), Or(()), And(()),
]  # fmt: skip


@pytest.mark.parametrize("negated", [False, True], ids=["plain", "not"])
def test_each_comparison_alone(search_place: Place, negated: bool) -> None:
    made = records(150)

    async def story() -> None:
        async with search_place.ready("book") as opened:
            store = searches(opened)
            await fill(store, made)
            for filter in EACH:
                if isinstance(filter, Compare) and filter.property not in BOOK.by_name:
                    assert store.can_filter("book", filter)
                    continue
                asked: Filter = Not(filter) if negated else filter
                assert store.can_filter("book", asked) == "", asked
                found = await store.search(SearchQuery("book", filter=asked, first=200))
                assert {h.key for h in found.hits} == expected(asked, made), asked

    run(story())


@pytest.mark.parametrize(
    "filter",
    [
        Compare("weight", Op.EQ, Decimal("1.0")),
        Compare("price", Op.GT, Decimal("1.00000000000000000001")),
        Compare("title", Op.GT, "x" * 5000),
        Compare("title", Op.CONTAINS, "x" * 5000),
        Compare("marks", Op.EQ, [1]),
        Compare("title", Op.CONTAINS_IGNORE_CASE, "x" * 150),
        Compare("title", Op.MATCHES, ".{90}"),
        Compare("title", Op.MATCHES, "(a|b)*a(a|b){20}"),
        Compare("pages", Op.IN, []),
        Compare("pages", Op.IN, list(range(100_000))),
        Compare("nothing", Op.EQ, 1),
        Related("nobody", And(())),
    ],
    ids=lambda f: f"{getattr(f, 'property', 'related')}",
)
def test_what_cannot_be_kept_is_refused_with_a_reason(search_place: Place, filter: Filter) -> None:
    """Or it is kept: a store may be able to do more, but none may do it wrong."""
    made = records(50)

    async def story() -> None:
        async with search_place.ready("book") as opened:
            store = searches(opened)
            await fill(store, made)
            query = SearchQuery("book", filter=filter, first=200)
            if store.can_filter("book", filter):
                with pytest.raises(StoreRefused):
                    await store.search(query)
            else:
                found = await store.search(query)
                assert {h.key for h in found.hits} == expected(filter, made)

    run(story())


def test_a_hostile_value_is_only_a_value(search_place: Place) -> None:
    made = records(50)
    hostile = [
        ".*",
        "(?s:.*)",
        "[",
        "\\",
        "a|b",
        "*",
        "' OR 1=1 --",
        '"}',
        "\x00",
        "\x01",
        "title\x00ant",
        "(" * 90,
    ]

    async def story() -> None:
        async with search_place.ready("book") as opened:
            store = searches(opened)
            await fill(store, made)
            for text in hostile:
                for op in (Op.EQ, Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH, Op.GT, *IGNORING_CASE):
                    filter = Compare("title", op, text)
                    if store.can_filter("book", filter):
                        continue
                    found = await store.search(SearchQuery("book", filter=filter, first=200))
                    assert {h.key for h in found.hits} == expected(filter, made), filter

    run(story())
