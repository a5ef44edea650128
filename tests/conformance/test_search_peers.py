"""What users of other search engines have reported, tried on ours."""

from __future__ import annotations

from typing import Any

from stores.protocols import SearchStore, Write
from stores.query import Compare, Facet, Match, Op, SearchQuery
from tests.conformance.store_backends import Place, load, run, searches
from tests.conformance.store_contract import book


async def keys(store: SearchStore, text: str = "", **more: Any) -> set[str]:
    found = await store.search(SearchQuery("book", text, first=500, **more))
    assert found.total == len(found.hits)
    return {h.key for h in found.hits}


def test_what_is_wrong_elsewhere_is_right_here(search_place: Place) -> None:
    titles = {
        "2001": "2001: A Space Odyssey",
        "dracula": "Dracula 2000",
        "woman": "Wonder Woman",
        "moana": "Moana",
        "diabetes": "Diabète insipide",
        "oceans": "Óceánok",
        "ngo": "Ngô Đức",
        "gokce": "Gökçe İrmak",
        "zinchenko": "Олександр Зінченко",
        "pipe": "variant of 餘|余[yu2]/",
        "korean": "상황판 오후",
    }
    lengths = {"a": "25 m", "b": "2.5 m", "c": "25 m"}

    async def story() -> None:
        async with search_place.ready("book") as opened:
            writes = [
                Write(key, 1, book(n, title=title, language="en"))
                for n, (key, title) in enumerate(titles.items())
            ]
            writes += [
                Write(key, 1, book(n, title="wire", language=length))
                for n, (key, length) in enumerate(lengths.items(), 100)
            ]
            writes += [
                Write(f"s{n}", 1, book(n, title="f x" if n % 3 == 0 else "m x"))
                for n in range(200, 394)
            ]
            await load(opened, "book", writes)
            store = searches(opened)

            # meilisearch 3999: numbers are not misspelled. 2004: woman is no moana.
            assert await keys(store, "2001") == {"2001"}
            assert await keys(store, "2002") == set()
            assert await keys(store, "2001", match=Match.FORGIVING) == {"2001"}
            assert await keys(store, "woman") == {"woman"}
            assert await keys(store, "wonan") == {"woman"}

            # typesense 741, 838: what is marked of a word with accents loses no character.
            for text, marked in (
                ("diabè", "<em>Diabète</em> insipide"),
                ("diab", "<em>Diabète</em> insipide"),
                ("ocean", "<em>Óceánok</em>"),
            ):
                found = await store.search(
                    SearchQuery("book", text, prefix=True, highlight=("title",))
                )
                assert [h.highlights["title"] for h in found.hits] == [[marked]], text

            # typesense 975: values that differ by a sign are two. 1477: | divides words.
            faceted = await store.search(SearchQuery("book", "wire", facets=(Facet("language"),)))
            buckets = {b.value: b.count for b in faceted.facets["language"]}
            assert buckets == {"25 m": 2, "2.5 m": 1}
            assert await keys(store, "余") == {"pipe"}
            assert await keys(store, "상황") == {"korean"}

            # elasticsearch 95120, opensearch 470: case counts for nothing in any alphabet.
            for operand, key in (
                ("NGÔ ĐỨC", "ngo"), ("ngo duc", "ngo"), ("gökçe irmak", "gokce"),
                ("ОЛЕКСАНДР ЗІНЧЕНКО", "zinchenko"),
            ):  # fmt: skip
                alike = Compare("title", Op.EQ_IGNORE_CASE, operand)
                assert store.can_filter("book", alike) == "", operand
                assert await keys(store, filter=alike) == {key}, operand

            # paradedb 1910: ^ begins a pattern.
            begun = Compare("title", Op.MATCHES, "^Drac")
            assert store.can_filter("book", begun) or await keys(store, filter=begun) == {"dracula"}

            # tantivy 457: -m +f panicked with 194 records. paradedb 6308: a beginning of nothing.
            assert len(await keys(store, "-m f", operators=True)) == sum(
                n % 3 == 0 for n in range(200, 394)
            )
            for text in ('"" ', "-", '""x', "the", "- - -", '"', ":", "title:", "a:b:c"):
                await store.search(SearchQuery("book", text, prefix=True))

    run(story())
