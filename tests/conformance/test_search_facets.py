"""Facets count the hits, highlights mark them, suggestions complete what is typed."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from stores.errors import InputError, LimitError
from stores.protocols import Capability, Write
from stores.query import And, Compare, Facet, FacetBucket, Filter, Not, Op, SearchQuery
from tests.conformance.filter_meaning import holds
from tests.conformance.search_library import fill, records
from tests.conformance.store_backends import Place, load, publish, run, searches
from tests.conformance.store_contract import BOOK, book, delete


def counted(made: list[dict[str, Any]], name: str) -> Counter[Any]:
    values: list[Any] = []
    for record in made:
        value = record[name]
        if isinstance(value, list):
            values += {v for v in value if v is not None}
        elif value is not None:
            values.append(value)
    return Counter(values)


@pytest.mark.parametrize("name", ["language", "tags", "pages", "printed"])
def test_a_facet_counts_the_hits_of_the_query(search_place: Place, name: str) -> None:
    made = records(150)
    filter = Compare("rating", Op.GT, 0)

    async def story() -> None:
        async with search_place.ready("book") as store:
            if Capability.FACETS not in store.capabilities:
                pytest.skip("no facets")
            await fill(store, made)
            for asked, expected in (
                (SearchQuery("book", facets=(Facet(name, 100),)), made),
                (
                    SearchQuery("book", facets=(Facet(name, 100),), filter=filter, first=0),
                    [r for r in made if holds(filter, r, BOOK)],
                ),
            ):
                found = await searches(store).search(asked)
                buckets = found.facets[name]
                assert {b.value: b.count for b in buckets} == counted(expected, name)
                assert all(type(b.value) is type(next(iter(counted(made, name)))) for b in buckets)

    run(story())


def test_a_facet_counts_outside_its_own_filter(search_place: Place) -> None:
    """What is chosen of a facet narrows the hits and the other facets, not the facet itself; what
    may not be seen is counted by none."""
    made = records(150)
    english = Compare("language", Op.IN, ["en"])
    red = Compare("tags", Op.CONTAINS, "red")
    rated = Compare("rating", Op.GT, 0)
    seen = Compare("language", Op.NEQ, "fr")

    def counts(name: str, *filters: Filter) -> Counter[Any]:
        return counted([r for r in made if all(holds(f, r, BOOK) for f in filters)], name)

    async def story() -> None:
        async with search_place.ready("book") as store:
            if Capability.FACETS not in store.capabilities:
                pytest.skip("no facets")
            await fill(store, made)
            found = await searches(store).search(
                SearchQuery(
                    "book",
                    filter=And((english, And((rated, Not(Not(red)))))),
                    facets=(Facet("language", 100), Facet("tags", 100), Facet("pages", 100)),
                    rows=seen,
                )
            )
            buckets = {n: {b.value: b.count for b in f} for n, f in found.facets.items()}
            assert found.total == sum(counts("language", english, rated, red).values())
            assert buckets["language"] == counts("language", rated, red, seen)
            assert buckets["tags"] == counts("tags", english, rated)
            assert buckets["pages"] == counts("pages", english, rated, red)
            assert len(buckets["language"]) > 1

    run(story())


@pytest.mark.parametrize("name", ["published", "rating"])
def test_a_facets_values_are_as_documents_have_them(search_place: Place, name: str) -> None:
    made = records(150)

    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store, made)
            found = await searches(store).search(SearchQuery("book", facets=(Facet(name, 100),)))
            assert {b.value: b.count for b in found.facets[name]} == counted(made, name)

    run(story())


def test_the_most_frequent_values_come_first_then_by_value(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            if Capability.FACETS not in store.capabilities:
                pytest.skip("no facets")
            languages = ["fr"] * 3 + ["de"] * 3 + ["en"] * 5 + ["it"]
            await load(
                store,
                "book",
                [Write(str(n), 1, book(n, language=v)) for n, v in enumerate(languages)],
            )
            await store.write("book", 1, [delete("13", 2)])
            await publish(store)
            found = await searches(store).search(
                SearchQuery("book", facets=(Facet("language", 2),))
            )
            expected = [FacetBucket("en", 5), FacetBucket("de", 3)]
            assert found.facets == {"language": expected}

    run(story())


def test_what_is_no_facet_is_refused(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await load(store, "book", [Write("1", 1, book(1))])
            for name in ("title", "nothing", "extra"):
                with pytest.raises(InputError):
                    await searches(store).search(SearchQuery("book", facets=(Facet(name),)))
            for facets in (
                (Facet("language", 10**9),),
                (Facet("language", 0),),
                (Facet("language"),) * 100,
            ):
                with pytest.raises(LimitError):
                    await searches(store).search(SearchQuery("book", facets=facets))

    run(story())


async def marked(place: Place, text: str, **values: Any) -> dict[str, list[str]]:
    async with place.ready("book") as store:
        if Capability.HIGHLIGHTS not in store.capabilities:
            pytest.skip("no highlights")
        await load(store, "book", [Write("1", 1, book(1, **values))])
        asked = SearchQuery("book", text, highlight=("title", "aliases", "blurb"))
        (hit,) = (await searches(store).search(asked)).hits
        return hit.highlights


def test_highlights_mark_the_matches(search_place: Place) -> None:
    found = run(marked(search_place, "münchen", title="Greetings from Munchen", blurb="no match"))
    assert found == {"title": ["Greetings from <em>Munchen</em>"]}


def test_highlights_of_a_list_are_of_the_elements_that_match(search_place: Place) -> None:
    found = run(
        marked(search_place, "paris", title="Lutetia", aliases=["Old", "Paris", "New Paris"])
    )
    assert sorted(found["aliases"]) == ["<em>Paris</em>", "New <em>Paris</em>"]


def test_highlights_escape_everything_else(search_place: Place) -> None:
    text = 'x <script>alert("1")</script> & <em>paris</em>'
    found = run(marked(search_place, "paris", title=text))
    (fragment,) = found["title"]
    assert re.sub(r"</?em>", "", fragment).count("<") == 0
    assert "<em>paris</em>" in fragment
    assert "&lt;script&gt;" in fragment
    assert "&amp;" in fragment


def test_highlights_of_a_long_text_are_short_fragments(search_place: Place) -> None:
    filler = "lorem ipsum dolor sit amet " * 40
    found = run(marked(search_place, "paris", title="Paris", blurb=filler + "Paris here " + filler))
    (fragment,) = found["blurb"]
    assert "<em>Paris</em>" in fragment
    assert len(re.sub(r"</?em>", "", fragment)) <= 200


def test_suggestions_complete_what_is_typed(search_place: Place) -> None:
    titles = ["Paris", "PARIS", "Parma", "Páros", "Lyon", "Saint-Paris", "Par", None, ""]

    async def story() -> None:
        async with search_place.ready("book", "author") as store:
            if Capability.SUGGEST not in store.capabilities:
                pytest.skip("no suggestions")
            search = searches(store)
            await load(
                store, "book", [Write(str(n), 1, book(n, title=t)) for n, t in enumerate(titles)]
            )
            found = await search.suggest("book", "pAr", 10)
            assert [s.text.lower() for s in found] == ["paris", "par", "parma", "páros"]
            assert (await search.suggest("book", "pá", 2))[0].text.lower() == "paris"
            assert (await search.suggest("book", "saint-p", 5))[0].text == "Saint-Paris"
            assert await search.suggest("book", "zz", 5) == []
            assert await search.suggest("book", "", 5) == []
            assert await search.suggest("book", "par", 0) == []
            assert await search.suggest("author", "par", 5) == []
            for hostile in (".*", "par*", "\\", "[", "p.r", "\x00", "(?i)par"):
                assert await search.suggest("book", hostile, 5) == []
            with pytest.raises(LimitError):
                await search.suggest("book", "p", 10**6)
            with pytest.raises(InputError):
                await search.suggest("book", "p", 5, ("blurb",))
            await store.write("book", 1, [delete("2", 2)])
            await publish(store)
            assert [s.text for s in await search.suggest("book", "parm", 5)] == []

    run(story())
