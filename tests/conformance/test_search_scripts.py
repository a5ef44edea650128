"""Words of scripts without blanks, and of those whose marks people leave out; alike in every search
store."""

from __future__ import annotations

from typing import Any

import pytest

from stores.contract.shape import document_shape, search_shape
from stores.protocols import Write
from stores.query import Match, SearchQuery
from tests.conformance.store_backends import Place, load, run, searches
from tests.conformance.store_contract import CONTRACT, book

TITLES = {
    "tocho": "新宿の東京都庁舎",
    "kyoto": "京都の都",
    "tower": "東京タワー AI展",
    "apart": "東の京",
    "korean": "한국어를 배우다",
    "thai": "ภาษาไทยง่ายมาก",
    "greek": "Ο Σίσυφος και ο ΟΔΥΣΣΕΎΣ",
    "hebrew": "שָׁלוֹם עֲלֵיכֶם",
    "arabic": "مُحَمَّد وأحمد",
    "latin": "git tools",
}
QUERIES: list[tuple[str, set[str]]] = [
    ("東京", {"tocho", "tower"}),
    ("京都", {"tocho", "kyoto"}),
    ("東京都庁", {"tocho"}),
    ("都", {"tocho", "kyoto"}),
    ('"東京タワー"', {"tower"}),
    ("タワー", {"tower"}),
    ("AI展", {"tower"}),
    ("東京 展", {"tower"}),
    ("京東", set()),
    ("한국어", {"korean"}),
    ("배우", {"korean"}),
    ("ภาษา", {"thai"}),
    ("ไทย", {"thai"}),
    ("งายมาก", {"thai"}),
    ("σισυφος", {"greek"}),
    ("ΣΊΣΥΦΟΣ", {"greek"}),
    ("Οδυσσεύς", {"greek"}),
    ("שלום", {"hebrew"}),
    ("עֲלֵיכֶם", {"hebrew"}),
    ("محمد", {"arabic"}),
    ("مُحَمَّد", {"arabic"}),
    ("git", {"latin"}),
]


def titled(found: Any) -> dict[str, list[str]]:
    return {h.key: h.highlights.get("title", []) for h in found.hits}


@pytest.mark.parametrize("match", [Match.EXACT, Match.AUTO])
def test_any_part_of_a_run_is_found_and_nothing_else(search_place: Place, match: Match) -> None:
    async def story() -> None:
        async with search_place.ready("book") as opened:
            writes = [
                Write(key, 1, book(n, title=title)) for n, (key, title) in enumerate(TITLES.items())
            ]
            await load(opened, "book", writes)
            store = searches(opened)
            for text, expected in QUERIES:
                found = await store.search(SearchQuery("book", text, match=match, explain=True))
                assert {h.key for h in found.hits} == expected, text
                assert not found.forgiven, text
                assert found.total == len(expected)
                for hit in found.hits:
                    assert hit.explanation, text
                    ways = {m["how"] for m in hit.explanation["matches"]}
                    assert ways <= {"EXACT", "FOLDED"}, (text, hit.explanation)

    run(story())


def test_what_is_marked_is_the_text_as_it_stands(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as opened:
            writes = [
                Write(key, 1, book(n, title=title)) for n, (key, title) in enumerate(TITLES.items())
            ]
            await load(opened, "book", writes)
            store = searches(opened)
            for text, key, marked in (
                ("東京", "tocho", "新宿の<em>東京</em>都庁舎"),
                ("タワー ai", "tower", "東京<em>タワー</em> <em>AI</em>展"),
                ("한국어", "korean", "<em>한국어</em>를 배우다"),
                ("σίσυφοσ", "greek", "Ο <em>Σίσυφος</em> και ο ΟΔΥΣΣΕΎΣ"),
                ("שלום", "hebrew", "<em>שָׁלוֹם</em> עֲלֵיכֶם"),
                ("محمد", "arabic", "<em>مُحَمَّد</em> وأحمد"),
            ):
                found = await store.search(SearchQuery("book", text, highlight=("title",)))
                assert titled(found)[key] == [marked], text

    run(story())


def test_a_long_text_without_blanks_is_one_word_and_not_too_many(search_place: Place) -> None:
    async def story() -> None:
        async with search_place.ready("book") as opened:
            await load(opened, "book", [Write("a", 1, book(1, title="吾輩は猫である" * 20))])
            found = await searches(opened).search(SearchQuery("book", "吾輩は猫である" * 10))
            assert [h.key for h in found.hits] == ["a"]

    run(story())


def test_an_index_of_an_earlier_version_finds_its_runs_until_it_is_loaded_anew(
    search_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a run is one word, or each Chinese sign is."""
    for store in ("tantivy", "elasticsearch"):
        monkeypatch.setattr(f"stores.search.{store}.documents.spread", lambda text: text)

    async def story() -> None:
        async with search_place.ready("book") as opened:
            titles = {"han": "東京 tower", "hangul": "한국어 책", "latin": "git tools"}
            writes = [Write(k, 1, book(n, title=t)) for n, (k, t) in enumerate(titles.items())]
            await load(opened, "book", writes)
            for text, key in (("東京", "han"), ("한국어", "hangul"), ("tools", "latin")):
                found = await searches(opened).search(SearchQuery("book", text))
                assert [h.key for h in found.hits] == [key], text

    run(story())


def test_how_words_are_cut_is_part_of_what_an_index_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search, document = search_shape(CONTRACT, "book"), document_shape(CONTRACT, "book")
    monkeypatch.setattr("stores.contract.shape.WORDS", 99)
    assert search_shape(CONTRACT, "book") != search
    assert document_shape(CONTRACT, "book") == document
