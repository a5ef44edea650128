"""What people type finds what they mean: words, phrases, accents, typos; and no text is an error
but one that is too long."""

from __future__ import annotations

import random

import pytest

from stores.errors import LimitError
from stores.protocols import Capability, Store, Write
from stores.query import Compare, Match, Op, SearchHit, SearchQuery
from tests.conformance.store_backends import Place, load, run, searches
from tests.conformance.store_contract import book

CITIES = [
    book(1, title="Paris", aliases=["Lutetia", "Pariz", "Parigi"], pages=2_100_000),
    book(2, title="Pariz", pages=100),
    book(3, title="Paris Crossing", pages=5),
    book(4, title="München", aliases=["Munich", "Monaco di Baviera"]),
    book(5, title="New York City", aliases=["New York", "NYC"]),
    book(6, title="York"),
    book(7, title="New Haven"),
    book(8, title="Saint-Denis", blurb="The dogs were running through the streets"),
    book(9, title="東京", aliases=["Tokyo"], blurb="A running joke"),
    book(10, title="O'Higgins", isbn="978-3 16.a"),
    book(11, title="Constantinople"),
    book(12, title=None, aliases=None, blurb=None),
    book(13, title="Cafe\u0301 Müller"),
]


async def fill(store: Store) -> None:
    await load(store, "book", [Write(str(n), n, c) for n, c in enumerate(CITIES, 1)])


async def find(store: Store, text: str, **options: object) -> list[SearchHit]:
    query = SearchQuery("book", text, **options)  # type: ignore[arg-type]
    return (await searches(store).search(query)).hits


async def keys(store: Store, text: str, **options: object) -> list[str]:
    return [h.key for h in await find(store, text, **options)]


def test_words_are_found_without_case_and_accents(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            for text in ("münchen", "MUNCHEN", "Mu\u0308nchen", "  münchen!! "):
                assert await keys(store, text, match=Match.EXACT) == ["4"], text
            assert await keys(store, "東京", match=Match.EXACT) == ["9"]
            assert await keys(store, "café", match=Match.EXACT) == ["13"]
            assert await keys(store, "cafe muller", match=Match.EXACT) == ["13"]
            assert (await keys(store, "denis", match=Match.EXACT)) == ["8"]
            assert (await keys(store, "saint-denis", match=Match.EXACT)) == ["8"]

    run(story())


def test_an_exact_match_ranks_before_a_forgiven_one(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            if Capability.FUZZY not in store.capabilities:
                pytest.skip("no fuzzy search")
            await fill(store)
            found = await keys(store, "pariz", match=Match.FORGIVING)
            assert found[:2] == ["2", "1"]
            assert "3" in found
            assert await keys(store, "pariz", match=Match.EXACT) == ["2", "1"]
            # The name itself before a longer one that holds it, and before a name that is near.
            forgiving = await keys(store, "paris", match=Match.FORGIVING)
            assert forgiving[:2] == ["1", "3"]

    run(story())


def test_typos_are_forgiven_one_in_a_word_two_in_a_long_one(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            if Capability.FUZZY not in store.capabilities:
                pytest.skip("no fuzzy search")
            await fill(store)
            assert await keys(store, "mucnhen") == ["4"]
            assert await keys(store, "constantinpole") == ["11"]
            assert await keys(store, "konstantinopels") == []
            assert await keys(store, "constantinoppel") == ["11"]
            assert set(await keys(store, "yrk")) == {"5", "6"}
            assert await keys(store, "xyrk") == []

    run(story())


def test_two_words_must_both_match_and_of_four_three(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            assert set(await keys(store, "new york", match=Match.EXACT)) == {"5"}
            assert await keys(store, "new zzzzzz", match=Match.EXACT) == []
            assert await keys(store, "new york city zzzzzz", match=Match.EXACT) == ["5"]
            assert await keys(store, "new york zzzzzz yyyyyy", match=Match.EXACT) == []

    run(story())


def test_a_phrase_is_words_in_a_row(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            assert await keys(store, '"new york"') == ["5"]
            assert await keys(store, '"york new"') == []
            assert await keys(store, '"york city" new') == ["5"]
            # A quote that is not closed is none.
            assert await keys(store, 'new "york', match=Match.EXACT) == ["5"]

    run(story())


def test_a_language_knows_its_word_forms_and_stop_words(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            assert set(await keys(store, "run", match=Match.EXACT)) == {"8", "9"}
            assert await keys(store, "dog street", match=Match.EXACT) == ["8"]
            assert await keys(store, "the dog", match=Match.EXACT) == ["8"]

    run(story())


def test_a_keyword_is_found_by_its_whole_value_only(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            options = {"properties": ("isbn",), "match": Match.EXACT}
            assert await keys(store, "978-3 16.a", **options) == ["10"]
            assert await keys(store, "978-3", **options) == []

    run(story())


def test_only_the_asked_properties_are_searched(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            assert await keys(store, "tokyo", properties=("aliases",)) == ["9"]
            assert await keys(store, "tokyo", properties=("title",)) == []

    run(story())


def test_text_and_filter_both_hold_and_the_filter_does_not_score(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            asked = {"match": Match.FORGIVING}
            plain = {h.key: h.score for h in await find(store, "paris", **asked)}
            some = await find(store, "paris", filter=Compare("pages", Op.GTE, 100), **asked)
            assert {h.key for h in some} == {"1", "2"}
            assert all(h.score == pytest.approx(plain[h.key]) for h in some)

    run(story())


def test_an_empty_text_finds_everything_in_key_order(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            for text in ("", "   "):
                found = await find(store, text, first=100)
                assert [h.key for h in found] == sorted(str(n) for n in range(1, 14))
                assert {h.score for h in found} == {None}
            assert await keys(store, "?!.,") == []

    run(story())


def test_equal_scores_are_in_key_order(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            numbers = list(range(1, 61))
            random.Random(3).shuffle(numbers)
            writes = [Write(str(n), 1, book(n, title="Springfield")) for n in numbers]
            await load(store, "book", writes[:30])
            await load(store, "book", writes[30:])
            found = await keys(store, "springfield", first=40)
            assert found == sorted(map(str, numbers))[:40]

    run(story())


HOSTILE = [
    'a:b AND (OR "x', "[* TO *]", "/.*.*.*.*.*/", "title:paris", "paris~10", "paris^1000", "+-&&||!(){}^~*?:\\",
    "' OR '1'='1", "\\", '"', '""', '"""', "*", "?", "NOT paris", "{\"query\":{}}", "\x00\x01", "\ud7ff\U0010ffff",
    "a" * 900, "<script>alert(1)</script>", "%_", "_exists_:title", "id:1", "\u200f\u202e", "e\u0301" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_a_syntax_error(search_place: Place, text: str) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            found = await find(store, text, highlight=("title",), first=100)
            assert len(found) < len(CITIES), "the text was taken for more than words"

    run(story())


def test_a_field_syntax_in_the_text_is_only_words(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            assert await keys(store, "title:york", match=Match.EXACT) == []
            assert await keys(store, "par*", match=Match.EXACT) == []
            assert await keys(store, "/par.s/", match=Match.EXACT) == []

    run(story())


@pytest.mark.parametrize("text", ["word " * 10_000, "x" * 100_000, '"a b" ' * 150, "a " * 40])
def test_a_text_that_is_too_long_is_a_limit_error(search_place: Place, text: str) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            with pytest.raises(LimitError):
                await find(store, text)

    run(story())


def test_an_unknown_word_is_corrected_where_that_is_asked(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as store:
            await fill(store)
            search = searches(store).search
            asked = SearchQuery("book", "new yrok", suggestions=True)
            assert (await search(asked)).suggestions == ["new york"]
            assert (await search(SearchQuery("book", "york", suggestions=True))).suggestions == []
            assert (await search(SearchQuery("book", "new yrok"))).suggestions == []

    run(story())
