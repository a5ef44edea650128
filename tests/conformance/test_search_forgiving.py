"""Misspelled words: when they are forgiven, how they rank, and what the answer says of it; alike in
every search store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stores.contract.model import BoostBy
from stores.errors import InputError
from stores.protocols import Capability, SearchStore, Write
from stores.query import Compare, Facet, Match, Op, SearchQuery, SearchResult
from tests.conformance.store_backends import Place, load, run, searches
from tests.conformance.store_contract import BOOK, CONTRACT, book
from tests.conformance.test_search_text import HOSTILE

PACKAGES = {
    "git": "fast, scalable, distributed revision control system",
    "gitk": "revision tree visualizer for git",
    "gist": "command line client of pastebins",
    "gif2png": "converts gif images",
    "postgresql": "object-relational database",
    "postgresql-client": "front-end programs for postgresql",
    "pgadmin": "administration of postgresql databases",
    "postgresqm": "a name two letters away",
    "sqlite": "a light database, it is not postgres",
    "cafe-au-lait": "the language of coffee",
    "libgit2": "a library of its own",
}


@asynccontextmanager
async def shelf(place: Place, **search: Any) -> AsyncIterator[SearchStore]:
    """The packages; `search` changes what the contract says of the title."""
    title = BOOK.by_name["title"]
    changed = replace(title, search=replace(title.search, **search))
    properties = tuple(changed if p is title else p for p in BOOK.properties)
    types = {**CONTRACT.types, "book": replace(BOOK, properties=properties)}
    async with place.open(contract=replace(CONTRACT, types=types)) as store:
        if Capability.FUZZY not in store.capabilities:
            pytest.skip("no fuzzy search")
        await store.create_generation("book", 1)
        await store.activate("book", 1)
        writes = [
            Write(name, 1, book(n, title=name, aliases=[text], language=name[0]))
            for n, (name, text) in enumerate(PACKAGES.items())
        ]
        await load(store, "book", writes)
        yield searches(store)


async def ask(store: SearchStore, text: str, **more: Any) -> SearchResult:
    return await store.search(SearchQuery("book", text, **more))


def names(result: SearchResult) -> list[str]:
    return [hit.key for hit in result.hits]


def test_a_word_that_is_known_finds_only_what_has_it(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            found = await ask(store, "git", facets=(Facet("language"),))
            assert set(names(found)) == {"git", "gitk"}
            assert (found.total, found.forgiven, found.corrected) == (2, (), "")
            assert [(b.value, b.count) for b in found.facets["language"]] == [("g", 2)]
            few = await ask(store, "", facets=(Facet("language", 2),))
            assert [(b.value, b.count) for b in few.facets["language"]] == [("g", 4), ("p", 4)]
            assert few.others == {"language": 3}
            assert found.others == {"language": 0}
            forgiving = await ask(store, "git", match=Match.FORGIVING)
            assert names(forgiving)[:2] == names(found)
            assert "gist" in names(forgiving)

    run(story())


def test_a_word_that_no_record_has_is_forgiven_and_the_answer_says_so(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            found = await ask(store, "postgersql")
            assert names(found)[0] == "postgresql"
            assert found.corrected == "postgresql"
            assert [(f.word, f.near[0]) for f in found.forgiven] == [("postgersql", "postgresql")]
            assert (await ask(store, "postgersql", match=Match.EXACT)).total == 0
            more = await ask(store, "postgersql client")
            assert names(more) == ["postgresql-client"]
            assert more.corrected == "postgresql client"

    run(story())


def test_every_word_is_forgiven_where_nothing_is_found(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            # Each word is known, and no record has both.
            found = await ask(store, "gist revision")
            assert "git" in names(found)
            assert [f.word for f in found.forgiven] == ["gist", "revision"]
            only = Compare("title", Op.EQ, "git")
            assert names(await ask(store, "gist", filter=only)) == ["git"]
            assert (await ask(store, "gist", filter=only, match=Match.EXACT)).total == 0

    run(story())


def test_a_forgiven_match_ranks_by_its_distance(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            found = names(await ask(store, "postgresqk", match=Match.FORGIVING))
            assert found.index("postgresql") < found.index("pgadmin")
            scores = {
                h.key: h.score or 0
                for h in (await ask(store, "postgresql", match=Match.FORGIVING)).hits
            }
            assert scores["postgresql"] == max(scores.values())
            # A forgiven match in the best property ranks below an exact one in any.
            assert scores["pgadmin"] > scores["postgresqm"] > 0

    run(story())


@pytest.mark.parametrize("match", list(Match))
def test_what_is_in_quotes_is_never_forgiven(search_place: Place, match: Match) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            assert (await ask(store, '"postgersql"', match=match)).total == 0
            assert set(names(await ask(store, '"git"', match=match))) == {"git", "gitk"}

    run(story())


def test_a_property_may_forgive_nothing(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place, forgive=False) as store:
            assert names(await ask(store, "gitkk", match=Match.FORGIVING)) == []
            assert names(await ask(store, "sqlitte")) == []
            # The other properties forgive, as they did.
            assert "pgadmin" in names(await ask(store, "postgersql"))

    run(story())


def test_a_property_may_forgive_only_long_words(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place, forgive_from=6) as store:
            assert names(await ask(store, "gitkk")) == []
            assert names(await ask(store, "sqlitte")) == ["sqlite"]

    run(story())


def test_the_last_word_may_be_a_beginning_where_that_is_asked(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            assert names(await ask(store, "postgresql cli", match=Match.EXACT)) == []
            found = await ask(store, "postgresql cli", prefix=True)
            assert names(found) == ["postgresql-client"]
            assert found.forgiven == ()
            assert set(names(await ask(store, "git", prefix=True))) == {"git", "gitk"}
            # What stands behind the last word ends it.
            assert names(await ask(store, "postgresql cli ", prefix=True, match=Match.EXACT)) == []
            marked = await ask(store, "CLI", prefix=True, highlight=("title",))
            assert marked.hits[0].highlights["title"] == ["postgresql-<em>client</em>"]

    run(story())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("title:postgresql", {"postgresql", "postgresql-client"}),
        ("postgresql -title:client -pgadmin", {"postgresql"}),
        ("-postgresql database", {"sqlite"}),
        ('title:"postgresql client"', {"postgresql-client"}),
        ('postgresql -"front-end programs"', {"postgresql", "pgadmin"}),
        ("aliases:git", {"gitk"}),
        ("title:cafe-au", {"cafe-au-lait"}),
    ],
)  # fmt: skip
def test_operators_say_where_a_word_is_and_is_not(
    search_place: Place, text: str, found: set[str]
) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            result = await ask(store, text, operators=True, match=Match.EXACT, first=100)
            assert set(names(result)) == found

    run(story())


def test_operators_are_words_unless_they_are_asked_for(search_place: Place) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            assert names(await ask(store, "git -revision", match=Match.EXACT)) == ["git", "gitk"]
            every = await ask(store, "-git", operators=True, first=100)
            assert every.total == len(PACKAGES) - 2
            for text in ("nosuch:git", "pages:git"):
                with pytest.raises(InputError, match="title"):
                    await ask(store, text, operators=True)
            for text in ("-", ":", '-"', "title:", '"', "--git", "-:-", 'title:""'):
                await ask(store, text, operators=True)

    run(story())


@asynccontextmanager
async def boosted(place: Place, by: BoostBy) -> AsyncIterator[SearchStore]:
    types = {**CONTRACT.types, "book": replace(BOOK, boost_by=by)}
    async with place.open(contract=replace(CONTRACT, types=types)) as store:
        await store.create_generation("book", 1)
        await store.activate("book", 1)
        # Springfeld has the most pages, and is only near.
        pages = {"a": 100, "b": 1_000_000, "c": None, "d": 0, "e": -5}
        today = datetime.now(UTC).date()
        days = {"a": 1000, "b": 2, "c": 10_000, "d": -3, "e": 60}
        writes = [
            Write(
                key,
                1,
                book(
                    n,
                    title="Springfield",
                    pages=pages[key],
                    published=f"{today - timedelta(days[key])}",
                ),
            )
            for n, key in enumerate(pages)
        ]
        writes.append(Write("f", 1, book(9, title="Springfeld", pages=10**9, published=f"{today}")))
        await load(store, "book", writes)
        yield searches(store)


def test_hits_rank_by_what_the_contract_says_they_are_boosted_by(search_place: Place) -> None:
    async def story() -> None:
        async with boosted(search_place, BoostBy("pages", 3.0)) as store:
            assert names(await ask(store, "springfield")) == ["b", "a", "c", "d", "e"]
            assert names(await ask(store, "springfield", boosted=False)) == list("abcde")
            # No boost lifts a forgiven match over an exact one.
            forgiving = await ask(store, "springfield", match=Match.FORGIVING)
            assert names(forgiving) == ["b", "a", "c", "d", "e", "f"]
            plain = {
                h.key: h.score or 0 for h in (await ask(store, "springfield", boosted=False)).hits
            }
            more = {h.key: h.score or 0 for h in (await ask(store, "springfield")).hits}
            added = {key: round(more[key] - plain[key], 3) for key in plain}
            # 1,000,000 reaches 13 of the 20 bounds, 100 five.
            assert added == {"b": 1.95, "a": 0.75, "c": 0, "d": 0, "e": 0}

    run(story())


def test_later_days_rank_first_where_the_contract_says_so(search_place: Place) -> None:
    async def story() -> None:
        async with boosted(search_place, BoostBy("published", 2.0)) as store:
            assert names(await ask(store, "springfield")) == ["d", "b", "e", "a", "c"]

    run(story())


def test_a_hit_says_why_it_was_found(search_place: Place) -> None:
    async def story() -> None:
        writes = [
            Write("1", 1, book(1, title="Café Noir", blurb="The dogs were running")),
            Write("2", 1, book(2, title="cafe postgresql", pages=100)),
        ]
        types = {**CONTRACT.types, "book": replace(BOOK, boost_by=BoostBy("pages", 2.0))}
        async with search_place.open(contract=replace(CONTRACT, types=types)) as opened:
            await opened.create_generation("book", 1)
            await opened.activate("book", 1)
            await load(opened, "book", writes)
            store = searches(opened)

            async def told(text: str, **more: Any) -> dict[str, list[tuple[Any, ...]]]:
                result = await ask(store, text, explain=True, **more)
                return {
                    h.key: [
                        (m["field"], m["found"], m["word"], m["how"], m.get("distance"))
                        for m in (h.explanation or {})["matches"]
                    ]
                    for h in result.hits
                }

            assert await told("CAFÉ") == {
                "1": [("title", "Café", "CAFÉ", "EXACT", None)],
                "2": [("title", "cafe", "CAFÉ", "FOLDED", None)],
            }
            assert await told("postgersql") == {
                "2": [("title", "postgresql", "postgersql", "FORGIVEN", 1)]
            }
            assert await told("postg", prefix=True) == {
                "2": [("title", "postgresql", "postg", "BEGINNING", None)]
            }
            assert await told("run") == {"1": [("blurb", "running", "run", "STEMMED", None)]}
            (hit,) = (await ask(store, "cafe postgresql", explain=True)).hits
            assert hit.explanation is not None
            assert hit.explanation["whole"] == ["title"]
            assert hit.explanation["boost"] == 0.5
            (plain,) = (await ask(store, "postgresql")).hits
            assert plain.explanation is None

    run(story())


@pytest.mark.parametrize("match", list(Match))
def test_no_text_is_a_syntax_error_with_operators_and_beginnings(
    search_place: Place, match: Match
) -> None:
    async def story() -> None:
        async with shelf(search_place) as store:
            for text in [
                *HOSTILE,
                "title:" + "y" * 900,
                "-" + "z" * 900,
                "\u212a" * 80,
                "title:(" * 30,
            ]:
                result = await ask(
                    store,
                    text,
                    match=match,
                    operators=":" not in text or text.startswith("title:y"),
                    prefix=True,
                    explain=True,
                    highlight=("title",),
                )
                assert result.total <= len(PACKAGES)

    run(story())
