"""Search over HTTP and GraphQL: the same hits, pages that hold together, and no door through which
something leaves that the viewer may not see."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.context.services import Freshness, RequestContext, Viewer
from gateway.graphql.subscription_plan import make_subscription
from gateway.schema import build_schema
from gateway.search.search import facets_of, highlights_of, run_search, run_suggest, sort_of
from gateway.shape.filters import parse_filter
from gateway.shape.orders import Direction
from gateway.shape.visibility import Visibility
from stores.errors import ForbiddenError, InputError, RecordgateError
from stores.query import Match, SearchQuery
from tests.acceptance.gateway_rig import GEONAMES, ROWS, Rig, gateway

RESTRICTED = Path(__file__).parent / "restricted.odcs.yaml"
PEOPLE = """
INSERT INTO departments (code, open, name) VALUES ('pub', true, 'Library'), ('sec', false, 'Blacksite');
INSERT INTO people (id, name, salary, diagnosis, email, department_code) VALUES
  (1, 'Ada Quill', 91000, 'insomnia', 'ada.quill@example.org', 'pub'),
  (2, 'Bob Stone', 42000, 'migraine', 'bob.stone@example.org', 'sec');
"""
SECRETS = (b"91000", b"42000", b"insomnia", b"migraine", b"quill@", b"stone@", b"Blacksite")


def test_a_search_is_the_same_by_get_by_post_and_in_graphql(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        got = await rig.client.get(
            "/search/city",
            params={
                "q": "paris",
                "filter": '{"population": {"gte": 1000}}',
                "facets": "countryCode,timezone",
                "highlight": "name",
                "sort": "-population",
                "first": "1",
            },
        )
        posted = await rig.client.post(
            "/search/cities",
            json={
                "q": "paris",
                "filter": {"population": {"gte": 1000}},
                "facets": ["countryCode", "timezone"],
                "highlight": ["name"],
                "sort": ["-population"],
                "first": 1,
            },
        )
        one, two = got.json(), posted.json()
        for answer in (one, two):
            assert answer["recordgate"].pop("stalenessMs") >= 0
        assert one == two
        assert one["total"] == 2
        assert one["hits"][0]["record"]["population"] == 2138551
        assert one["hits"][0]["record"]["country"]["name"] == "France"
        assert one["hits"][0]["highlights"] == {"name": ["<em>Paris</em>"]}
        assert one["facets"]["countryCode"] == [
            {"value": "FR", "count": 1},
            {"value": "US", "count": 1},
        ]
        assert one["recordgate"]["store"] == "search"
        assert one["recordgate"]["generation"] == 1
        assert one["pageInfo"]["hasNextPage"]
        found = await rig.graphql(
            '{ searchCities(query: "paris", filter: {population: {gte: 1000}}, facets: [countryCode], '
            "sort: [{population: DESC}], first: 1) { totalCount edges { cursor score node { id name "
            "country { name } } highlights { field fragments } } facets { field buckets { value count } } "
            "pageInfo { hasNextPage endCursor } } }"
        )
        page = found["data"]["searchCities"]
        assert page["totalCount"] == 2
        assert page["edges"][0]["node"] == {
            "id": "2988507", "name": "Paris", "country": {"name": "France"},
        }  # fmt: skip
        assert {"field": "name", "fragments": ["<em>Paris</em>"]} in page["edges"][0]["highlights"]
        assert page["facets"][0]["buckets"] == one["facets"]["countryCode"]
        assert page["pageInfo"]["endCursor"] == one["pageInfo"]["endCursor"]

    run(database, tmp_path, go)


def test_pages_hold_every_hit_once(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for sort, q in itertools.product(("", "-population", "name,-population"), ("", "paris")):
            everything = (
                await rig.client.get("/search/city", params={"q": q, "sort": sort, "first": 100})
            ).json()
            ids: list[str] = []
            params: dict[str, Any] = {"q": q, "sort": sort, "first": 1}
            while True:
                page = (await rig.client.get("/search/city", params=params)).json()
                ids += [hit["id"] for hit in page["hits"]]
                if not page["pageInfo"]["hasNextPage"]:
                    break
                params["after"] = page["pageInfo"]["endCursor"]
            assert ids == [hit["id"] for hit in everything["hits"]]
            assert len(ids) == everything["total"] == len(set(ids))
            if "after" in params:
                other = params | {"sort": "population"}
                assert (await rig.client.get("/search/city", params=other)).status_code == 400

    run(database, tmp_path, go)


def test_a_typo_is_forgiven_and_a_text_completed(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        found = (await rig.client.get("/search/city?q=pariz")).json()
        assert [h["record"]["name"] for h in found["hits"]] == ["Paris", "Paris"]
        found = (await rig.client.get("/suggest/city?q=ly&first=5")).json()
        assert found["suggestions"][0]["text"] == "Lyon"
        found = (await rig.client.get("/search/city?q=%00%22(%27*")).json()
        assert found["hits"] == []

    run(database, tmp_path, go)


def test_relations_that_no_document_holds_are_read_in_one_statement(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        found = await rig.graphql(
            '{ searchCountries(query: "") { nodes { iso cities(first: 5) { totalCount nodes { name } } } } }'
        )
        nodes = {n["iso"]: n["cities"] for n in found["data"]["searchCountries"]["nodes"]}
        assert nodes["FR"]["totalCount"] == 2
        assert nodes["US"]["nodes"] == [{"name": "Paris"}]

    run(database, tmp_path, go)


def test_a_viewer_without_a_role_gets_nothing_restricted_by_any_door(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        client = rig.client
        open_doors = [
            "/search/person?q=", "/search/person?q=quill&highlight=name", "/suggest/person?q=a",
            "/export/person", "/export/person?format=csv", "/export/department", "/search/department?q=",
            "/search/person?q=insomnia", "/search/person?q=blacksite", "/search/person?q=example",
            "/search/person?q=insomnai&suggestions=true",
        ]  # fmt: skip
        for path in open_doors:
            answer = await client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            for secret in SECRETS:
                assert secret not in answer.content, (path, answer.text)
        for word in ("insomnia", "migraine", "blacksite", "example", "91000"):
            assert (await client.get(f"/search/person?q={word}")).json()["total"] == 0, word
        assert (await client.get("/search/person?q=quill")).json()["total"] == 1
        assert (await client.get("/search/department?q=")).json()["total"] == 0
        shut_doors = [
            '/search/person?filter={"salary":{"gt":50000}}', "/search/person?facets=salary",
            "/search/person?facets=diagnosis", "/search/person?sort=salary", "/search/person?highlight=diagnosis",
            "/search/person?highlight=email", '/search/person?filter={"email":{"startsWith":"ada"}}',
            '/search/person?filter={"department":{"name":{"eq":"Blacksite"}}}', "/suggest/department?q=bl",
            '/export/person?filter={"salary":{"gt":50000}}',
            '/search/person?filter={"not":{"or":[{"diagnosis":{"isNull":true}}]}}',
        ]  # fmt: skip
        for path in shut_doors:
            answer = await client.get(path)
            assert answer.status_code == 403, (path, answer.text)
            assert answer.json()["code"] == "FORBIDDEN"
            for secret in SECRETS:
                assert secret not in answer.content
        shown = await rig.graphql(
            '{ searchPeople(query: "quill", first: 5) { suggestions edges { highlights { fragments } '
            "node { name salary diagnosis email department { name } } } } }"
        )
        assert shown["data"]["searchPeople"]["edges"][0]["node"] == {
            "name": "Ada Quill", "salary": None, "diagnosis": None, "email": None, "department": None,
        }  # fmt: skip
        for text in (
            'searchPeople(query: "", facets: [salary]) { totalCount }',
            'searchPeople(query: "", sort: [{salary: ASC}]) { totalCount }',
            'searchPeople(query: "", filter: {salary: {gt: 1}}) { totalCount }',
            "people(filter: {salary: {gt: 1}}) { totalCount }",
            "people(orderBy: [{salary: ASC}]) { totalCount }",
        ):
            answer = await rig.graphql("{ it: " + text + " }")
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN", (text, answer)
        for text in (
            'createPerson(input: {id: 3, name: "x", departmentCode: "pub", salary: 1}) { token }',
            'updatePerson(id: "1", input: {diagnosis: "none"}) { token }',
            'createDepartment(input: {code: "new", open: true, name: "x"}) { token }',
            'upsertDepartments(input: [{code: "sec", open: true, name: "x"}]) { token }',
        ):
            answer = await rig.graphql("mutation { it: " + text + " }")
            assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN", (text, answer)
        for text in (
            'deleteDepartment(id: "sec") { deleted department { name } }',
            'deleteDepartments(filter: {name: {startsWith: "B"}}, max: 5) { count }',
            'updateDepartment(id: "sec", input: {name: "x"}) { department { name } }',
        ):
            answer = await rig.graphql("mutation { it: " + text + " }")
            assert "errors" not in answer, answer
            for secret in SECRETS:
                assert secret not in orjson.dumps(answer)
        everything = await rig.graphql("{ people { totalCount } }")
        assert everything["data"]["people"]["totalCount"] == 2

    run(database, tmp_path, go, contract=RESTRICTED, rows=PEOPLE)


def test_roles_open_what_the_contract_says_and_no_more(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        services = rig.services
        person, department = (services.contract.types[n] for n in ("person", "department"))
        hr, staff = Viewer("h", frozenset({"hr"})), Viewer("s", frozenset({"staff"}))

        async def total(viewer: Viewer, text: str, name: str = "person") -> int:
            query = SearchQuery(name, text, match=Match.EXACT)
            found = await run_search(
                services, viewer, Freshness(), services.contract.types[name], query
            )
            return found.result.total

        assert await total(hr, "insomnia") == 1
        assert await total(hr, "", "department") == 2
        assert await total(staff, "insomnia") == 0
        assert await total(staff, "", "department") == 1
        assert await total(staff, "blacksite", "department") == 0
        visibility = Visibility(services.contract, staff.roles)
        with pytest.raises(ForbiddenError):
            parse_filter(person, {"salary": {"gt": 1}}, visibility)
        for query in (
            SearchQuery("person", facets=facets_of(person, ["salary"])),
            SearchQuery("person", sort=sort_of(person, [("salary", Direction.ASC)])),
            SearchQuery("person", highlight=highlights_of(person, ["email"])),
        ):
            with pytest.raises(ForbiddenError):
                await run_search(services, staff, Freshness(), person, query)
        with pytest.raises(ForbiddenError):
            await run_suggest(services, staff, Freshness(), department, "bl", 5)
        found = await run_search(
            services, staff, Freshness(), department,
            SearchQuery("department", facets=facets_of(department, ["open"])),
        )  # fmt: skip
        assert [(b.value, b.count) for b in found.result.facets["open"]] == [(True, 1)]

    run(database, tmp_path, go, contract=RESTRICTED, rows=PEOPLE)


def test_a_name_that_is_no_facet_is_refused_with_those_that_are(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        city = rig.services.contract.types["city"]
        for wrong in (
            lambda: facets_of(city, ["latitude"]),
            lambda: sort_of(city, [("admin1", True)]),
            lambda: highlights_of(city, ["population"]),
            lambda: facets_of(city, ["nothing"]),
            lambda: facets_of(city, [f"x{i}" for i in range(30)]),
        ):
            with pytest.raises(RecordgateError):
                wrong()
        with pytest.raises(InputError, match="countryCode"):
            facets_of(city, ["latitude"], told=Visibility(rig.services.contract))

    run(database, tmp_path, go)


def run(database: str, folder: Path, go: Any, **options: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder, **options) as rig:
            await go(rig)

    asyncio.run(main())


def test_suggestions_are_as_fresh_as_asked_and_say_how_fresh(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        answer = (await rig.client.get("/suggest/city?q=par")).json()
        assert answer["suggestions"]
        report = answer["recordgate"]
        assert (report["store"], report["generation"]) == ("search", 1)
        assert report["stalenessMs"] >= 0
        await asyncio.sleep(0.3)
        headers = {"Recordgate-Max-Staleness": "100ms"}
        stale = await rig.client.get("/suggest/city?q=par", headers=headers)
        assert (stale.status_code, stale.json()["code"]) == (503, "STALE")

    run(database, tmp_path, go)


def test_a_property_that_the_index_does_not_hold_yet_comes_from_canonical(
    database: str, tmp_path: Path
) -> None:
    """The contract has changed, its reload is still to come."""
    before = tmp_path / "before.odcs.yaml"
    whole = GEONAMES.read_text("utf-8")
    added = whole.index("      - name: timezone")
    end = whole.index("{facet: true}}", added) + len("{facet: true}}\n")
    before.write_text(whole[:added] + whole[end:], "utf-8")
    query = '{ searchCities(query: "lyon") { nodes { name timezone } } }'

    async def go() -> None:
        old_rows = ROWS.replace(", timezone)", ")").replace(", 'Europe/Paris')", ")")
        async with gateway(
            database, tmp_path, contract=before, rows=old_rows.replace(", 'America/Chicago')", ")")
        ):
            pass
        rows = "UPDATE cities SET timezone = 'Europe/Paris'"
        async with gateway(database, tmp_path, rows=rows, published=False) as rig:
            answer = await rig.graphql(query)
            assert answer["data"] == {
                "searchCities": {"nodes": [{"name": "Lyon", "timezone": "Europe/Paris"}]}
            }, answer

    asyncio.run(go())


def test_a_filter_that_says_nothing_is_refused_at_every_door(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        schema = build_schema(rig.services.contract)
        for filter_, path in (
            ("{}", "filter"),
            ("{or: [{name: {eq: $x}}]}", "filter.or[0].name"),
            ("{population: {gte: 1}, country: {name: {}}}", "filter.country.name"),
        ):
            declared = "($x: String)" if "$x" in filter_ else ""
            for field in (
                f"cities(filter: {filter_}) {{ totalCount }}",
                f"citiesAggregate(filter: {filter_}) {{ count }}",
                f'searchCities(query: "", filter: {filter_}) {{ totalCount }}',
            ):
                answer = await rig.graphql(f"query {declared} {{ it: {field} }}")
                (error,) = answer["errors"]
                assert error["extensions"]["code"] == "BAD_USER_INPUT", field
                assert error["message"] == f"{path} is empty"
            query = f"subscription {declared} {{ cityChanged(filter: {filter_}) {{ id }} }}"
            context = RequestContext(rig.services, Viewer("reader", frozenset()))
            with pytest.raises(InputError, match="is empty"):
                make_subscription(schema, context, query, {}, None)
        for empty in ("{}", '{"or": []}', '{"name": {}}'):
            params = {"filter": empty}
            for answer in (
                await rig.client.get("/search/city", params=params),
                await rig.client.post("/search/city", json={"filter": orjson.loads(empty)}),
                await rig.client.get("/export/city", params=params),
            ):
                problem = answer.json()
                assert (answer.status_code, problem["code"]) == (400, "BAD_USER_INPUT"), answer.url
                assert problem["detail"].endswith("is empty")
        whole = await rig.graphql("{ cities { totalCount } }")
        assert whole["data"]["cities"]["totalCount"] == 3
        assert (await rig.client.get("/export/city")).text.count("\n") == 3

    run(database, tmp_path, go)
