"""Synonyms and stop words of the contract mean the same in every search store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from stores.contract.model import Vocabulary
from stores.protocols import SearchStore, Write
from stores.query import Match, SearchQuery
from tests.conformance.store_backends import Place, load, run, searches
from tests.conformance.store_contract import BOOK, CONTRACT, book

VOCABULARY = Vocabulary(
    synonyms=(("NYC", "New York", "the big apple"), ("Sankt", "Saint", "st")),
    stop_words=("of", "The"),
)
TITLES = (
    "New York", "york the new", "Nyc guide", "The Big Apple", "Big red apple", "Saint Étienne", "St Gallen",
    "Sankt Pölten", "Isle of Man", "Man", "The Isle", "Of", "guide of new york",
)  # fmt: skip


@asynccontextmanager
async def shelf(place: Place) -> AsyncIterator[SearchStore]:
    types = {**CONTRACT.types, "book": replace(BOOK, vocabulary=VOCABULARY)}
    async with place.open(contract=replace(CONTRACT, types=types)) as store:
        await store.create_generation("book", 1)
        await store.activate("book", 1)
        await load(store, "book", [Write(t, 1, book(n, title=t)) for n, t in enumerate(TITLES)])
        yield searches(store)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nyc", {"New York", "Nyc guide", "The Big Apple", "guide of new york"}),
        ("New York", {"New York", "york the new", "Nyc guide", "The Big Apple", "guide of new york"}),
        ('"new york"', {"New York", "Nyc guide", "The Big Apple", "guide of new york"}),
        ("big apple", {"The Big Apple", "Big red apple"}),
        ("saint", {"Saint Étienne", "St Gallen", "Sankt Pölten"}),
        ("ST gallen", {"St Gallen"}),
        ("guide nyc", {"Nyc guide", "guide of new york"}),
        ("isle of man", {"Isle of Man"}),
        ("isle of", {"Isle of Man", "The Isle"}),
        ("of", {"Isle of Man", "Of", "guide of new york"}),
    ],
)  # fmt: skip
def test_a_text_finds_what_the_contract_says_it_means(
    search_place: Place, text: str, found: set[str]
) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            hits = (await store.search(SearchQuery("book", text, match=Match.EXACT))).hits
            assert {h.key for h in hits} == found

    run(story())


def test_a_synonym_is_highlighted_and_not_corrected(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            asked = SearchQuery("book", "nyc", highlight=("title",), suggestions=True)
            result = await store.search(asked)
            marked = {h.key: h.highlights["title"] for h in result.hits}
            # A phrase may be marked as one or word by word.
            assert marked["New York"][0].replace("</em> <em>", " ") == "<em>New York</em>"
            assert marked["Nyc guide"] == ["<em>Nyc</em> guide"]
            assert result.suggestions == []

    run(story())
