"""One caller's share is bounded, what a query costs is known, documents are named by id, and pages
of other sites ask only where they may."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app import make_app
from gateway.context.services import Limits
from gateway.graphql.trusted import TrustedDocuments
from gateway.security.access import Access
from gateway.security.authenticate import Anonymous, Authenticator, Rules
from gateway.security.callers import Callers
from gateway.security.key_file import KeyFile
from recordgate.access import trusted_documents
from stores.contract.model import Contract
from stores.errors import SetupError
from tests.acceptance.access_rig import bearer, keys_for, run, settings
from tests.acceptance.gateway_rig import GEONAMES, ROWS, Rig

# How much --------------------------------------------------------------------------------------


def test_a_caller_beyond_its_rate_is_told_when_to_come_again_and_others_are_not_touched(
    database: str, tmp_path: Path
) -> None:
    path, (one, two) = keys_for(tmp_path, ("hr",), ("hr",))

    def access(contract: Contract) -> Access:
        known = Authenticator(contract, Rules(Anonymous.NO), keys=KeyFile(path))
        return Access(known, Callers(rate=0.001, burst=5, most=100))

    async def go(rig: Rig) -> None:
        for _ in range(5):
            assert (
                await rig.client.get("/suggest/person?q=a", headers=bearer(one))
            ).status_code == 200
        for door in (
            "/suggest/person?q=a",
            "/graphql?query={__typename}",
            "/export/person",
            "/metrics",
        ):
            answer = await rig.client.get(door, headers=bearer(one))
            assert answer.status_code == 429
            assert answer.json()["code"] == "RATE_LIMITED"
            assert int(answer.headers["Retry-After"]) > 1
        guesses = [await rig.client.get("/metrics", headers=bearer(f"rgk_{i}")) for i in range(7)]
        assert [g.status_code for g in guesses] == [401] * 5 + [429] * 2
        assert (await rig.client.get("/health/ready")).status_code == 200
        assert (await rig.client.get("/metrics", headers=bearer(two))).status_code == 200
        text = (await rig.client.get("/metrics", headers=bearer(two))).text
        assert (
            'recordgate_requests_total{code="RATE_LIMITED",operation="http",store="none"} 6.0'
            in text
        )

    run(database, tmp_path, go, access)


def test_a_query_tells_what_it_may_cost_and_one_that_costs_too_much_is_refused(
    database: str, tmp_path: Path
) -> None:
    access = lambda contract: Access(Authenticator(contract))  # noqa: E731

    async def go(rig: Rig) -> None:
        async def cost(query: str, variables: Any = None) -> Any:
            answer = await rig.graphql(query, variables)
            if "errors" in answer:
                return answer["errors"][0]["extensions"]["code"]
            return answer["extensions"]["recordgate"]["cost"]

        assert await cost("{ __typename }") == 0
        assert await cost('{ city(id: "1") { name country { name } } }') == 2
        assert await cost("{ cities(first: 10) { nodes { name } } }") == 11
        assert await cost("{ cities { nodes { name country { name } } } }") == 1 + 20 * 2
        page = "query ($n: Int, $m: Int = 7) { countries(first: $n) { edges { node { cities(last: $m) { nodes { name } } } } } }"
        assert await cost(page, {"n": 3}) == 1 + 3 * (1 + 1 + (1 + 7))
        assert await cost(page, {"n": 3, "m": 1}) == 1 + 3 * (1 + 1 + (1 + 1))
        assert await cost('{ searchCities(query: "x", first: 4) { nodes { name } } }') == 1 + 10 + 4
        assert await cost("{ citiesAggregate { count } }") == 51
        twice = '{ a: city(id: "1") { ...C } b: city(id: "2") { ...C } } fragment C on City { country { name } }'
        assert await cost(twice) == 4
        assert await cost("{ cities(first: 50) { nodes { name } } }") == 51
        assert (
            await cost("{ cities(first: 60) { nodes { name country { name } } } }")
            == "LIMIT_EXCEEDED"
        )
        assert await cost(page, {"n": 60}) == "LIMIT_EXCEEDED"
        rows = ", ".join(
            f'{{iso: "{chr(65 + i)}Z", iso3: "{chr(65 + i)}ZZ", name: "x", continent: "EU"}}'
            for i in range(11)
        )
        assert (
            await cost(f"mutation {{ upsertCountries(input: [{rows}]) {{ token }} }}")
            == "LIMIT_EXCEEDED"
        )
        assert (await rig.graphql("{ countries { totalCount } }"))["data"]["countries"][
            "totalCount"
        ] == 2

    run(
        database,
        tmp_path,
        go,
        access,
        contract=GEONAMES,
        rows=ROWS,
        limits=Limits(max_cost=100),
    )


# Documents, batches, other origins -------------------------------------------------------------


def test_trusted_documents_are_named_by_id_or_hash_and_can_be_all_that_is_answered(
    database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    (folder / "deep").mkdir(parents=True)
    text = "query One($id: ID!) { person(id: $id) { name } }\n"
    (folder / "one.graphql").write_text(text)
    (folder / "deep" / "two.gql").write_text("{ departments { totalCount } }")
    hash_ = hashlib.sha256(text.encode()).hexdigest()
    manifest = tmp_path / "manifest.json"
    manifest.write_text(
        json.dumps({"format": "apollo-persisted-query-manifest", "version": 1,
                    "operations": [{"id": "m1", "name": "One", "type": "query", "body": text}]})
    )  # fmt: skip
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": hash_}}
    access = lambda contract: Access(Authenticator(contract))  # noqa: E731

    async def go(rig: Rig) -> None:
        async def ask(documents: TrustedDocuments, method: str = "POST", **body: Any) -> Any:
            rig.client._transport.app = make_app(rig.services, documents=documents)  # type: ignore[attr-defined]
            if method == "GET":
                given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in body.items()}
                answer = await rig.client.get("/graphql", params=given)
            else:
                answer = await rig.client.post("/graphql", json=body)
            found = answer.json()
            if "errors" in found:
                return found["errors"][0]["extensions"]["code"]
            return found.get("code") or next(iter(found["data"].values()))

        ada = {"name": "Ada Quill"}
        variables = {"id": "1"}
        for only in (True, False):
            documents = TrustedDocuments(
                trusted_documents(settings(tmp_path, trusted_documents=folder))._trusted, only=only
            )
            for method in ("GET", "POST"):
                for identity in ("one", f"sha256:{hash_}", hash_):
                    assert (
                        await ask(documents, method, documentId=identity, variables=variables)
                        == ada
                    )
                assert (
                    await ask(documents, method, extensions=persisted, variables=variables) == ada
                )
                assert await ask(documents, method, query=text, variables=variables) == ada
            assert await ask(documents, documentId="deep/two") == {"totalCount": 0}
            assert await ask(documents, documentId="unknown") == "PERSISTED_QUERY_NOT_FOUND"
            expected = "FORBIDDEN" if only else {"totalCount": 1}
            assert await ask(documents, query="{ people { totalCount } }") == expected
            by_federation = await rig.client.post(
                "/graphql/subgraph", json={"query": "{ people { totalCount } }"}
            )
            assert ("only trusted documents" in by_federation.text) == only
            wrong = {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}
            assert (
                await ask(documents, query=text, extensions=wrong, variables=variables)
                == "BAD_USER_INPUT"
            )
            assert await ask(documents, query=text, documentId="one") == "BAD_USER_INPUT"
        learning = TrustedDocuments()
        assert (
            await ask(learning, extensions=persisted, variables=variables)
            == "PERSISTED_QUERY_NOT_FOUND"
        )
        assert await ask(learning, query=text, extensions=persisted, variables=variables) == ada
        assert await ask(learning, extensions=persisted, variables=variables) == ada
        by_manifest = trusted_documents(settings(tmp_path, trusted_documents=manifest))
        assert await ask(by_manifest, documentId="m1", variables=variables) == ada
        # What only a federated gateway asks is trusted for its door.
        entities = (
            '{ _entities(representations: [{__typename: "Person", id: "1"}]) { __typename } }'
        )
        federated = TrustedDocuments({"f": entities}, only=True)
        assert await ask(federated, documentId="f") == "BAD_USER_INPUT"
        answer = await rig.client.post("/graphql/subgraph", json={"query": entities})
        assert answer.json()["data"] == {"_entities": [{"__typename": "Person"}]}
        (folder / "wrong.graphql").write_text("{ people { nothing } }")
        with pytest.raises(SetupError, match="wrong"):
            make_app(
                rig.services,
                documents=trusted_documents(settings(tmp_path, trusted_documents=folder)),
            )

    run(database, tmp_path, go, access)


def test_a_batch_is_answered_only_where_the_setting_says_so(database: str, tmp_path: Path) -> None:
    access = lambda contract: Access(Authenticator(contract))  # noqa: E731
    two = [{"query": "{ people { totalCount } }"}, {"query": "{ nothing }"}]

    async def go(rig: Rig) -> None:
        answer = await rig.client.post("/graphql", json=two)
        assert [a.get("data") for a in answer.json()] == [{"people": {"totalCount": 1}}, None]
        # None is run where one is refused: what it wrote would be told to nobody.
        gone = {"query": 'mutation { deletePerson(id: "1") { id } }'}
        for wrong in ({"query": 7}, {"query": "{ a }", "variables": 1}):
            answer = await rig.client.post("/graphql", json=[gone, wrong])
            assert answer.status_code == 400
        answer = await rig.client.post("/graphql", json=two[0])
        assert answer.json()["data"] == {"people": {"totalCount": 1}}
        for batch in (two * 2, [], [1]):
            assert (await rig.client.post("/graphql", json=batch)).status_code == 400

    run(database, tmp_path, go, access, limits=Limits(max_batch=3))


def test_pages_of_other_sites_may_ask_only_where_the_setting_names_them(
    database: str, tmp_path: Path
) -> None:
    path, (key,) = keys_for(tmp_path, ("hr",))

    def access(contract: Contract) -> Access:
        known = Authenticator(contract, Rules(Anonymous.NO), keys=KeyFile(path))
        return Access(known, origins=("https://app.example",))

    async def go(rig: Rig) -> None:
        async def preflight(origin: str) -> Any:
            return await rig.client.options(
                "/graphql",
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization,content-type",
                },
            )

        allowed = await preflight("https://app.example")
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Access-Control-Allow-Credentials" not in allowed.headers
        refused = await preflight("https://evil.example")
        assert refused.status_code == 400
        assert "Access-Control-Allow-Origin" not in refused.headers
        body = {"query": "{ __typename }"}
        for headers in ({}, bearer(key)):
            answer = await rig.client.post(
                "/graphql", json=body, headers={"Origin": "https://app.example", **headers}
            )
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"

    run(database, tmp_path, go, access)
