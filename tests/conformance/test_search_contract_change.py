"""A generation that an earlier contract has made, read and written by a newer one until the reload
is done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from stores.contract.model import (
    Contract,
    Embed,
    Property,
    RecordType,
    Relation,
    Scalar,
    SearchOptions,
)
from stores.errors import NotLoaded
from stores.protocols import Outcome, SearchStore, Write
from stores.query import And, Compare, Facet, Filter, Match, Not, Op, Order, Related, SearchQuery
from tests.conformance.store_backends import Place, load, publish, run, searches
from tests.conformance.store_contract import document, prop, record_type

TEXT = SearchOptions(text=True)
MAKER = record_type("maker", (prop("id"), prop("name")), ("id",))
RELATION = Relation("maker", "maker", "maker", ("made",), ("id",), False, True, "things")
BEFORE = record_type(
    "thing",
    (
        prop("id"),
        prop("name", search=SearchOptions(text=True, analyzer="english", suggest=True)),
        prop("label", search=SearchOptions(text=True, analyzer="keyword")),
        prop("made"),
        prop("color"),
        prop("grade", search=SearchOptions(facet=True, sort=True)),
        prop("size"),
        prop("day", Scalar.DATE),
        prop("words", array=True, search=TEXT),
    ),
    ("id",),
    relations=(RELATION,),
)


def changed(**props: Property) -> RecordType:
    """BEFORE with properties in the place of those of their names, and new ones."""
    kept = [props.pop(p.name, p) for p in BEFORE.properties]
    return replace(BEFORE, properties=(*kept, *props.values()))


AFTER = replace(
    changed(
        name=prop("name", search=SearchOptions(text=True, boost=2, sort=True, suggest=True)),
        label=prop("label", search=TEXT),
        color=prop("color", search=SearchOptions(facet=True)),
        grade=prop("grade"),
        size=prop("size", Scalar.INT),
        day=prop("day", Scalar.TIMESTAMP),
        words=prop("words", array=True, search=SearchOptions(text=True, facet=True)),
        area=prop("area", search=SearchOptions(text=True, facet=True, sort=True, suggest=True)),
    ),
    embeds=(Embed("maker"),),
)
"""Other analyzers, new facets, one less, other types, a property and a relation in the document
more."""


def contract(of: RecordType) -> Contract:
    return Contract("change", "Change", "1", {"thing": of, "maker": MAKER})


def thing(key: str, **values: Any) -> bytes:
    return document(**({p.name: None for p in BEFORE.properties} | {"id": key} | values))


@asynccontextmanager
async def in_between(place: Place, after: RecordType = AFTER) -> AsyncIterator[SearchStore]:
    """A generation by BEFORE with one record, open with a newer contract, which has written
    another."""
    old = thing(
        "old", name="running dogs", label="A b", color="red", grade="g", size="9", day="2024-01-01",
        words=["deep"], made="m",
    )  # fmt: skip
    async with place.open(contract=contract(BEFORE)) as store:
        await store.create_generation("thing", 1)
        await store.activate("thing", 1)
        await load(store, "thing", [Write("old", 1, old)])
    new = thing(
        "new", name="running cats", label="A b", color="red", grade="g", size=9,
        day="2024-01-01T00:00:00+00:00", words=["deep"], area="north", made="m",
        maker={"id": "m", "name": "Max"},
    )  # fmt: skip
    async with place.open(contract=contract(after)) as store:
        (verdict,) = await store.write("thing", 1, [Write("new", 2, new)])
        assert verdict.outcome is Outcome.APPLIED
        await publish(store, 2)
        yield searches(store)


async def found(store: SearchStore, text: str = "", **more: Any) -> list[str]:
    return sorted(h.key for h in (await store.search(SearchQuery("thing", text, **more))).hits)


def test_what_the_generation_has_is_searched_as_it_has_it(search_place: Place) -> None:
    async def story() -> None:
        async with in_between(search_place) as store:
            # By the analyzer that the texts were indexed with, also what is written meanwhile.
            assert await found(store, "run", match=Match.EXACT) == ["new", "old"]
            assert await found(store, "dog", match=Match.EXACT, properties=("name",)) == ["old"]
            assert await found(store, "A b", match=Match.EXACT) == ["new", "old"]
            assert await found(store, "deep", match=Match.EXACT) == ["new", "old"]
            assert await found(store, "north", match=Match.EXACT) == []
            for kept in (
                Compare("color", Op.EQ, "red"),
                Compare("color", Op.STARTS_WITH, "r"),
                Compare("grade", Op.IN, ("g", "h")),
                Compare("grade", Op.GTE, "g"),
                Not(Compare("color", Op.NEQ, "red")),
                Compare("day", Op.IS_NULL, False),
                Compare("words", Op.IS_NULL, False),
            ):
                assert await found(store, filter=kept) == ["new", "old"], kept
            asked = SearchQuery("thing", "dogs", highlight=("name", "area"), match=Match.EXACT)
            (hit,) = (await store.search(asked)).hits
            assert hit.highlights == {"name": ["running <em>dogs</em>"]}
            suggested = await store.suggest("thing", "runn", 5)
            assert [s.text for s in suggested] == ["running cats", "running dogs"]

    run(story())


LACKING: dict[str, SearchQuery] = {
    "text": SearchQuery("thing", "north", properties=("area",)),
    "sort": SearchQuery("thing", sort=(Order("area"),)),
    "sort of a text": SearchQuery("thing", sort=(Order("name"),)),
    "facet": SearchQuery("thing", facets=(Facet("area"),)),
    "facet of a value": SearchQuery("thing", facets=(Facet("color"),)),
    "facet of a list": SearchQuery("thing", facets=(Facet("words"),)),
}
FILTERS: dict[str, Filter] = {
    "new property": Compare("area", Op.EQ, "north"),
    "new property is null": Compare("area", Op.IS_NULL, True),
    "another type": Compare("size", Op.GT, 1),
    "a moment, of days": Compare("day", Op.GT, "2020-01-01T00:00:00+00:00"),
    "list": Compare("words", Op.CONTAINS, "deep"),
    "relation": Related("maker", Compare("name", Op.EQ, "Max")),
    "relation is not there": Not(Related("maker", And(()))),
}
LACKING |= {f"filter: {name}": SearchQuery("thing", filter=f) for name, f in FILTERS.items()}
LACKING |= {f"rows: {name}": SearchQuery("thing", rows=f) for name, f in FILTERS.items()}


def test_what_only_the_newer_contract_has_is_being_loaded_where_it_is_asked_by_name(
    search_place: Place,
) -> None:
    async def story() -> None:
        async with in_between(search_place) as store:
            for name, query in LACKING.items():
                with pytest.raises(NotLoaded, match="being loaded"):
                    pytest.fail(f"{name}: {await store.search(query)}")
            with pytest.raises(NotLoaded, match="area of thing is being loaded"):
                await store.suggest("thing", "n", 5, ("area",))
        only = changed(
            name=prop("name"),
            label=prop("label"),
            words=prop("words", array=True),
            area=AFTER.by_name["area"],
        )
        async with search_place.open(contract=contract(only)) as opened:
            store = searches(opened)
            with pytest.raises(NotLoaded, match="area of thing is being loaded"):
                await store.search(SearchQuery("thing", "north"))
            with pytest.raises(NotLoaded, match="area of thing is being loaded"):
                await store.suggest("thing", "n", 5)
            assert await found(store) == ["new", "old"]

    run(story())


def test_a_type_that_is_new_is_not_loaded_and_the_others_are_searched(search_place: Place) -> None:
    async def story() -> None:
        async with in_between(search_place) as store:
            with pytest.raises(NotLoaded, match="maker is not loaded yet"):
                await store.search(SearchQuery("maker"))
            assert await found(store) == ["new", "old"]

    run(story())


def test_the_next_generation_has_all_of_it(search_place: Place) -> None:
    async def story() -> None:
        async with in_between(search_place) as store:
            values = thing("x", name="running", color="red", area="north", size=3, maker=None)
            await store.create_generation("thing", 2)
            await store.write("thing", 2, [Write("x", 3, values)])
            await publish(store, 3)
            await store.activate("thing", 2)
            asked = SearchQuery("thing", "north", facets=(Facet("area"), Facet("color")))
            result = await store.search(replace(asked, filter=Compare("size", Op.EQ, 3)))
            assert [h.key for h in result.hits] == ["x"]
            assert result.facets.keys() == {"area", "color"}
            assert await found(store, "run", match=Match.EXACT) == []

    run(story())
