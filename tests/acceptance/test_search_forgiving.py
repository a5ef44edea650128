"""Whether misspelled words are forgiven is asked at every door, and the answer says what was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.context.services import Freshness, Viewer
from gateway.search.search import ranges_of, run_search
from stores.errors import ForbiddenError
from stores.query import SearchQuery
from tests.acceptance.gateway_rig import Rig
from tests.acceptance.test_search_endpoint import PEOPLE, RESTRICTED, run


def test_forgiveness_is_asked_for_and_told_at_each_door(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        async def got(**params: str) -> dict[str, object]:
            answer = await rig.client.get("/search/city", params=params)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            return {n: found[n] for n in ("total", "corrected", "forgiven")}

        told = {
            "total": 1,
            "corrected": "lyon",
            "forgiven": [{"word": "lyom", "near": ["lyon"]}],
        }
        assert await got(q="lyom") == told
        assert await got(q="lyom", match="FORGIVING") == told
        nothing = {"total": 0, "corrected": None, "forgiven": []}
        assert await got(q="lyom", match="EXACT") == nothing
        assert await got(q='"lyom"') == nothing
        assert (await got(q="lyo", prefix="1"))["total"] == 1
        assert (await got(q="paris -name:paris", operators="true"))["total"] == 0
        why = {
            "matches": [
                {"field": "name", "found": "Lyon", "word": "lyom", "how": "FORGIVEN", "distance": 1}
            ],
            "whole": [],
            "boost": 0.0,
        }
        hits = (await rig.client.get("/search/city?q=lyom&explain=1")).json()["hits"]
        assert [hit["explanation"] for hit in hits] == [why]
        shown = await rig.graphql('{ searchCities(query: "lyom") { edges { explanation } } }')
        assert shown["data"]["searchCities"]["edges"] == [{"explanation": why}]
        query = (
            'query($m: SearchMatch) { searchCities(query: "lyom", match: $m, prefix: false)'
            " { totalCount corrected forgiven { word near } } }"
        )
        for match, expected in ((None, told), ("AUTO", told), ("EXACT", nothing)):
            answer = await rig.graphql(query, {"m": match})
            found = answer["data"]["searchCities"]
            assert found.pop("totalCount") == expected["total"]
            assert found == {n: expected[n] for n in ("corrected", "forgiven")}

    run(database, tmp_path, go)


def test_a_way_to_match_that_is_none_is_refused(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for wrong in ("LOOSE", "auto", ""):
            answer = await rig.client.get("/search/city", params={"q": "lyon", "match": wrong})
            assert answer.status_code == 400, answer.text
            assert "EXACT, FORGIVING, AUTO" in answer.json()["detail"]
        for body in ({"match": ["EXACT"]}, {"match": 1}, {"prefix": "yes"}, {"operators": 2}):
            answer = await rig.client.post("/search/city", json={"q": "lyon", **body})
            assert answer.status_code == 400, answer.text
        params = {"q": "population:5", "operators": "1"}
        answer = await rig.client.get("/search/city", params=params)
        assert answer.status_code == 400
        assert "population is not" in answer.json()["detail"]

    run(database, tmp_path, go)


def test_no_word_of_what_is_hidden_is_told_by_what_is_forgiven(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        for text in ("insomnai", "migrain", "exampel", "quill insomnai", "quil"):
            answer = await rig.client.get(
                "/search/person", params={"q": text, "suggestions": "1", "match": "FORGIVING"}
            )
            assert answer.status_code == 200
            for secret in (b'"insomnia', b'"migraine', b'"example'):
                assert secret not in answer.content, answer.text
        # A property that is searched plainly corrects, whatever else is hidden.
        answer = await rig.client.get("/search/person?q=quilll&suggestions=1")
        assert answer.json()["suggestions"] == ["quill"]
        assert answer.json()["corrected"] == "quill"
        for text in ("diagnosis:insomnia", "-diagnosis:insomnia", "email:example"):
            params = {"q": text, "operators": "1"}
            answer = await rig.client.get("/search/person", params=params)
            assert answer.status_code == 400, answer.text
        # Where rows are hidden, neither the words near one nor which are known are told.
        services, department = rig.services, rig.services.contract.types["department"]
        staff = Viewer("s", frozenset({"staff"}))
        found = await run_search(
            services, staff, Freshness(), department, SearchQuery("department", "blacksiet")
        )
        assert found.result.total == 0
        assert found.result.corrected == ""
        assert all(not f.near for f in found.result.forgiven)

    run(database, tmp_path, go, contract=RESTRICTED, rows=PEOPLE)


def test_completions_and_facets_are_in_graphql_as_over_http(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        over_http = (await rig.client.get("/suggest/city?q=ly&first=5")).json()["suggestions"]
        answer = await rig.graphql(
            '{ found: suggestCities(query: "ly", first: 5) { t: text id count } }'
        )
        told = [{"t": s["text"], "id": s["id"], "count": s["score"]} for s in over_http]
        assert answer["data"]["found"] == told
        assert told[0]["t"] == "Lyon"
        assert answer["extensions"]["recordgate"]["fields"]["found"]["store"] == "search"
        for first in (51, -1):
            asked = 'query($n: Int) { suggestCities(query: "ly", first: $n) { text } }'
            assert "errors" in await rig.graphql(asked, {"n": first})

        asked = '{ searchCities(query: "", facets: [countryCode], facetFirst: %d) { totalCount facets { buckets { count } others } } }'
        found = (await rig.graphql(asked % 1))["data"]["searchCities"]
        (facet,) = found["facets"]
        assert len(facet["buckets"]) == 1
        assert facet["buckets"][0]["count"] + facet["others"] == found["totalCount"]
        got = await rig.client.get("/search/city?facets=countryCode&facetFirst=1")
        assert got.json()["facetOthers"] == {"countryCode": facet["others"]}
        for size in (0, 10_000, -1):
            assert (await rig.graphql(asked % size))["errors"][0]["extensions"][
                "code"
            ] == "LIMIT_EXCEEDED"
            params = {"facets": "countryCode", "facetFirst": str(size)}
            assert (await rig.client.get("/search/city", params=params)).status_code == 400

    run(database, tmp_path, go)


def test_ranges_are_counted_at_each_door_alike(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        asked = (
            'query ($of: [CityFacetRanges!]) { searchCities(query: "", facetRanges: $of)'
            " { totalCount facetRanges { field ranges { low high count } } } }"
        )

        async def ranged(field: str, bounds: Any) -> Any:
            return await rig.graphql(asked, {"of": [{"field": field, "bounds": bounds}]})

        found = (await ranged("population", [100_000, 1_000_000]))["data"]["searchCities"]
        (counted,) = found["facetRanges"]
        assert counted["field"] == "population"
        edges = [(r["low"], r["high"]) for r in counted["ranges"]]
        assert edges == [(None, 100_000), (100_000, 1_000_000), (1_000_000, None)]
        assert 0 < sum(r["count"] for r in counted["ranges"]) <= found["totalCount"]
        params = {"facetRanges": '{"population": [100000, 1000000]}'}
        got = (await rig.client.get("/search/city", params=params)).json()["facetRanges"]
        again = [(r["from"], r["to"], r["count"]) for r in got["population"]]
        assert again == [(r["low"], r["high"], r["count"]) for r in counted["ranges"]]
        posted = await rig.client.post(
            "/search/city", json={"facetRanges": {"population": [100_000, 1_000_000]}}
        )
        assert posted.json()["facetRanges"] == got
        texts = (await ranged("population", ["100000", "1000000"]))["data"]["searchCities"]
        assert texts["facetRanges"] == found["facetRanges"]

        for field, bounds in (
            ("population", []),
            ("population", [2, 1]),
            ("population", [1, 1]),
            ("population", ["x"]),
            ("population", [1.5]),
            ("countryCode", ["A"]),
            ("name", ["A"]),
            ("population", list(range(51))),
        ):
            answer = await ranged(field, bounds)
            codes = {e.get("extensions", {}).get("code") for e in answer["errors"]}
            assert codes <= {"BAD_USER_INPUT", "LIMIT_EXCEEDED"}, (field, bounds, answer)
        for wrong in ("[]", "1", "{", '{"population": null}', '{"population": 5}', '{"nope": [1]}'):
            refused = await rig.client.get("/search/city", params={"facetRanges": wrong})
            assert refused.status_code == 400, (wrong, refused.text)

    run(database, tmp_path, go)


def test_a_viewer_who_may_not_see_a_property_gets_no_completions_of_it(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        answer = await rig.graphql('{ suggestDepartments(query: "bl") { text } }')
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        answer = await rig.graphql('{ suggestPeople(query: "in") { text } }')
        assert answer["data"]["suggestPeople"] == []

    run(database, tmp_path, go, contract=RESTRICTED, rows=PEOPLE)


def test_what_a_viewer_may_not_see_is_not_counted_by_ranges(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        person = rig.services.contract.types["person"]
        query = SearchQuery("person", ranges=ranges_of(person, [("salary", [1, 1000])]))
        for role, sees in (("hr", True), ("staff", False)):
            viewer = Viewer(roles=frozenset((role,)))
            if sees:
                found = await run_search(rig.services, viewer, Freshness(), person, query)
                assert len(found.result.ranges["salary"]) == 3
                continue
            with pytest.raises(ForbiddenError):
                await run_search(rig.services, viewer, Freshness(), person, query)

    run(database, tmp_path, go, contract=RESTRICTED, rows=PEOPLE)
