"""What HTTP promises: media types and status codes of GraphQL over HTTP, problems with a code,
limits, headers, and a process that hostile requests do not harm."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.context.services import Limits
from gateway.graphql.protocol import accepted
from gateway.http.draining import Drain
from gateway.http.guard import Guard, Recent
from gateway.http.metrics import Metrics
from tests.acceptance.gateway_rig import Rig, gateway

NEWER = "application/graphql-response+json"
JSON = "application/json"


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        (NEWER, NEWER),
        (f"{NEWER}, {JSON};q=0.9", NEWER),
        (f"{NEWER}; charset=utf-8, {JSON}; charset=utf-8", NEWER),
        (f"{JSON}, {NEWER};q=0.5", JSON),
        (f"{NEWER};q=0, {JSON}", JSON),
        ("text/html", None),
        (f"{JSON};q=0", None),
        ("application/json; charset=utf-16", None),
        (f"{NEWER};q=broken", None),
    ],
)
def test_the_media_type_is_negotiated(header: str, answer: str | None) -> None:
    assert accepted(header) == answer


def test_statuses_and_bodies_are_those_of_graphql_over_http(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        client = rig.client

        async def post(body: Any, accept: str = JSON, **headers: str) -> httpx.Response:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await client.post(
                "/graphql",
                content=content,
                headers={"content-type": JSON, "accept": accept} | headers,
            )

        good = {"query": "{ __typename }"}
        for accept in (JSON, NEWER, "*/*"):
            answer = await post(good, accept)
            assert answer.status_code == 200
            assert answer.json()["data"] == {"__typename": "Query"}
        assert (await post(good, NEWER)).headers["content-type"] == f"{NEWER}; charset=utf-8"
        assert (await post(good, "*/*")).headers["content-type"] == f"{JSON}; charset=utf-8"
        # What does not parse, validate or coerce: 200 in plain JSON, 400 in the newer type, no
        # data.
        for query, variables in (
            ("{", {}),
            ("{ nope }", {}),
            ("query($id: ID!) { city(id: $id) { name } }", {}),
        ):
            for accept, status in ((JSON, 200), (NEWER, 400)):
                answer = await post({"query": query, "variables": variables}, accept)
                assert answer.status_code == status, (query, accept)
                assert "data" not in answer.json()
                assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        # An error while executing leaves data, and 200.
        answer = await post({"query": "{ cities(first: -1) { totalCount } }"}, NEWER)
        assert answer.status_code == 200
        assert answer.json()["data"] == {"cities": None}
        for wrong in (
            {}, {"query": 1}, {"query": ["x"]}, {"query": ""}, {"query": "{a}", "operationName": 1},
            {"query": "{a}", "variables": [1]}, {"query": "{a}", "variables": "x"},
            {"query": "{a}", "extensions": [1]}, [good], "x", 1, None, b"", b"{", b"\xff\xfe",
        ):  # fmt: skip
            answer = await post(wrong)
            assert answer.status_code == 400, wrong
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] == "BAD_USER_INPUT"
        nulls = good | {"variables": None, "operationName": None, "extensions": None}
        assert (await post(nulls)).status_code == 200
        assert (await post(good, "text/html")).status_code == 406
        # By GET: queries, never mutations.
        answer = await client.get("/graphql", params=good)
        assert answer.json()["data"] == {"__typename": "Query"}
        answer = await client.get(
            "/graphql",
            params={
                "query": "query($i: ID!) { city(id: $i) { name } }",
                "variables": '{"i": "2996944"}',
                "operationName": "",
            },
        )
        assert answer.json()["data"] == {"city": {"name": "Lyon"}}
        assert (await client.get("/graphql", params=good | {"variables": "{"})).status_code == 400
        write = 'mutation { deleteCity(id: "2996944") { deleted } }'
        answer = await client.get("/graphql", params={"query": write})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"
        assert "deleteCity" not in answer.text
        left = await rig.graphql('{ city(id: "2996944") { name } }')
        assert left["data"]["city"] == {"name": "Lyon"}

    run(database, tmp_path, go)


def test_what_a_browser_sends_across_sites_is_refused(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        body = json.dumps({"query": "{ __typename }"})
        for kind in (
            "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
            "", "text/plain; application/json", "application/json; charset=utf-16",
        ):  # fmt: skip
            for path in ("/graphql", "/search/city"):
                headers = {"content-type": kind} if kind else {}
                answer = await rig.client.post(path, content=body, headers=headers)
                assert answer.status_code == 415, kind
                assert answer.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"
        assert (await rig.client.put("/graphql", content=body)).status_code == 405
        assert (await rig.client.delete("/search/city")).status_code == 405
        assert (await rig.client.get("/nothing")).json()["code"] == "NOT_FOUND"

    run(database, tmp_path, go)


def test_a_body_is_refused_while_it_streams_in(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 100_000_000:
                sent += 10_000
                yield b" " * 10_000

        headers = {"content-type": JSON}
        answer = await rig.client.post("/graphql", content=endless(), headers=headers)
        assert answer.status_code == 413
        assert answer.json()["code"] == "BODY_TOO_LARGE"
        packed = headers | {"content-encoding": "gzip"}
        bomb = gzip.compress(b" " * 50_000_000)
        answer = await rig.client.post("/graphql", content=bomb, headers=packed)
        assert answer.status_code == 413
        small = gzip.compress(b'{"query": "{ __typename }"}')
        answer = await rig.client.post("/graphql", content=small, headers=packed)
        assert answer.json()["data"] == {"__typename": "Query"}
        for broken in (small[:20], b"nothing packed"):
            answer = await rig.client.post("/graphql", content=broken, headers=packed)
            assert answer.status_code == 400

    run(database, tmp_path, go, limits=Limits(max_body_bytes=100_000))


HOSTILE = {
    "negative first": ("{ cities(first: -1) { totalCount } }", "BAD_USER_INPUT"),
    "huge first": ("{ cities(first: 2000000000) { totalCount } }", "LIMIT_EXCEEDED"),
    "first beyond an integer": ("{ cities(first: 9999999999) { totalCount } }", "BAD_USER_INPUT"),
    "a cursor of nobody": ('{ cities(after: "abc") { totalCount } }', "BAD_USER_INPUT"),
    "a cursor that is SQL": ("{ cities(after: \"' OR 1=1 --\") { totalCount } }", "BAD_USER_INPUT"),
    "a search cursor of nobody": ('{ searchCities(query: "x", after: "AAAA") { totalCount } }', "BAD_USER_INPUT"),
    "a null operand": ("{ cities(filter: {name: {eq: null}}) { totalCount } }", "BAD_USER_INPUT"),
    "a null filter": ("{ cities(filter: {country: null}) { totalCount } }", "BAD_USER_INPUT"),
    "a NUL": ('{ cities(filter: {name: {eq: "\\u0000"}}) { totalCount } }', "BAD_USER_INPUT"),
    "10,000 aliases": ("{" + " ".join(f"a{i}: __typename" for i in range(10_000)) + "}", "LIMIT_EXCEEDED"),
    "depth 100": ("{a" * 100 + "}" * 100, "LIMIT_EXCEEDED"),
    "a forged token": ('query @freshness(after: "forged") { city(id: "1") { name } }', "BAD_USER_INPUT"),
    "a token in a mutation": ('mutation @freshness(after: "x") { deleteCity(id: "1") { id } }', "BAD_USER_INPUT"),
    "a duration that is none": ('query @freshness(maxStaleness: "soon") { city(id: "1") { name } }', "BAD_USER_INPUT"),
    "a key that is none": ('{ city(id: "1; DROP TABLE cities") { name } }', "BAD_USER_INPUT"),
    "a cycle of fragments": ("{ ...f } fragment f on Query { ...f }", "BAD_USER_INPUT"),
    "half a surrogate": ('{ cities(filter: {name: {eq: "\\ud800"}}) { totalCount } }', "BAD_USER_INPUT"),
}  # fmt: skip


def test_hostile_queries_get_a_code_and_leak_nothing(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        for name, (query, code) in HOSTILE.items():
            started = time.process_time()
            answer = await rig.client.post("/graphql", json={"query": query})
            assert time.process_time() - started < 0.5, name
            assert answer.status_code == 200, name
            errors = answer.json()["errors"]
            assert errors[0]["extensions"]["code"] == code, (name, errors)
            for leak in ("SELECT", "Traceback", "psycopg", 'geonameid"', ".py"):
                assert leak not in answer.text, (name, answer.text)
        assert (await rig.graphql('{ city(id: "2996944") { name } }'))["data"]["city"]
        for path in (
            "/search/city?first=-1", "/search/city?first=x", "/search/city?filter={", "/search/city?nope=1",
            '/search/city?filter={"name":{"eq":null}}', "/search/city?after=AAAA", "/search/city?sort=latitude",
            "/search/city?facets=name", "/search/city?filter=null", "/suggest/city?first=1000000",
            "/export/city?format=xml", "/export/city?fields=nope", '/export/city?filter={"x":1}', "/export/city?after=x",
        ):  # fmt: skip
            answer = await rig.client.get(path)
            assert answer.status_code == 400, (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        for path in ("/search/nope", "/suggest/nope", "/export/nope", "/search/", "/graphql/"):
            assert (await rig.client.get(path)).status_code == 404, path
        for headers in ({"Recordgate-Token": "x"}, {"Recordgate-Max-Staleness": "soon"}):
            answer = await rig.client.get("/search/city?q=x", headers=headers)
            assert answer.json()["code"] == "BAD_USER_INPUT"

    run(database, tmp_path, go)


def test_every_answer_has_the_headers_of_security_and_a_request_id(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        for path in ("/health/live", "/nothing", "/console", "/search/nope", "/graphql?query={a}"):
            answer = await rig.client.get(path, headers={"X-Request-Id": "my-id.1"})
            assert answer.headers["x-request-id"] == "my-id.1"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
        answer = await rig.client.get("/health/live", headers={"X-Request-Id": "a b\tc"})
        assert answer.headers["x-request-id"] != "a b\tc"

    run(database, tmp_path, go)


def test_pages_stand_alone_and_run_no_script_but_their_own(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        console = await rig.client.get("/console")
        assert "http://" not in console.text
        assert "https://" not in console.text
        assert "'unsafe" not in console.headers["content-security-policy"]
        page = await rig.client.get("/graphql", headers={"accept": "text/html,*/*"})
        assert page.headers["content-type"].startswith("text/html")
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "://" not in page.text
        samples = (await rig.client.get("/graphiql/samples")).json()
        for sample in samples:
            assert "errors" not in await rig.graphql(sample["query"]), sample
        state = (await rig.client.get("/console/state")).json()
        assert "country ──> country, embedded" in state["contract"]["drawing"]
        assert state["stores"]["search"]["generations"] == {"country": 1, "city": 1}
        assert state["requests"][0]["status"] == 200

    run(database, tmp_path, go)


def test_the_gateway_describes_itself(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        schema = (await rig.client.get("/schema.graphql")).text
        assert "searchCities(" in schema
        assert "directive @freshness" in schema
        openapi = (await rig.client.get("/openapi.json")).json()
        assert {"/search/city", "/suggest/city", "/export/city"} <= set(openapi["paths"])
        assert (await rig.client.get("/health/live")).json() == {"status": "live"}
        await rig.graphql('{ city(id: "2996944") { name } }')
        await rig.graphql("{ nope }")
        metrics = (await rig.client.get("/metrics")).text
        assert (
            'recordgate_requests_total{code="OK",operation="query",store="documents"} 1.0'
            in metrics
        )
        assert 'code="BAD_USER_INPUT",operation="graphql",store="none"} 1.0' in metrics
        assert "recordgate_request_seconds_bucket" in metrics

    run(database, tmp_path, go)


def test_without_canonical_the_gateway_is_ready_for_what_the_stores_hold(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        await rig.services.pool.close()
        answer = await rig.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        found = await rig.graphql('{ city(id: "2996944") { name } }')
        assert found["data"] == {"city": {"name": "Lyon"}}

    run(database, tmp_path, go)


def test_the_gateway_says_that_nothing_is_loaded(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig) -> None:
        answer = await rig.client.get("/health/ready")
        assert (answer.status_code, answer.json()["status"]) == (200, "loading")
        city = answer.json()["types"]["city"]
        assert {city[sink]["state"] for sink in ("search", "documents")} == {"not loaded"}
        await rig.publish()
        # What a store holds is asked for at most every 100 ms.
        await asyncio.sleep(0.15)
        answer = await rig.client.get("/health/ready")
        assert answer.json()["status"] == "ready"

    run(database, tmp_path, go, published=False)


def test_a_store_that_is_down_leaves_the_gateway_ready_and_the_rest_answered(
    database: str, tmp_path: Path
) -> None:
    async def go(rig: Rig) -> None:
        assert (await rig.client.get("/health/ready")).json()["status"] == "ready"
        await rig.services.search.close()
        answer = await rig.client.get("/health/ready")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert not answer.json()["stores"]["search"]["ok"]
        found = await rig.graphql(
            '{ city(id: "2996944") { name } searchCities(query: "lyon") { totalCount } }'
        )
        assert found["data"] == {"city": {"name": "Lyon"}, "searchCities": None}
        assert found["errors"][0]["path"] == ["searchCities"]
        assert found["errors"][0]["extensions"]["code"] == "STORE_UNAVAILABLE"
        answer = await rig.client.get("/search/city?q=lyon")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        await rig.services.documents.close()
        found = await rig.graphql('{ city(id: "2996944") { name } }')
        assert found["data"] == {"city": {"name": "Lyon"}}
        assert found["extensions"]["recordgate"]["fields"]["city"]["store"] == "canonical"
        await rig.services.pool.close()
        assert (await rig.client.get("/health/ready")).status_code == 503
        assert (await rig.client.get("/health/live")).status_code == 200
        found = await rig.graphql('{ city(id: "2996944") { name } }')
        assert found["errors"][0]["extensions"]["code"] == "STORE_UNAVAILABLE"

    run(database, tmp_path, go)


def test_a_request_that_takes_too_long_or_loses_its_client_is_ended() -> None:
    ended: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(scope["path"])

    async def go() -> None:
        guard = Guard(slow, metrics=Metrics(), recent=Recent(), drain=Drain(), seconds=0.2, most=2)
        transport = httpx.ASGITransport(app=guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://g") as client:
            answer = await client.get("/slow")
            assert answer.status_code == 504
            assert answer.json()["code"] == "TIMEOUT"
            answers = await asyncio.gather(*(client.get("/many") for _ in range(4)))
            assert sorted(a.status_code for a in answers) == [503, 503, 504, 504]
            assert (await client.get("/again")).status_code == 504
        guard.seconds = 30
        messages = iter(({"type": "http.request", "body": b""}, {"type": "http.disconnect"}))

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            raise AssertionError(message)

        scope = {"type": "http", "method": "GET", "path": "/gone", "headers": []}
        await asyncio.wait_for(guard(scope, receive, send), 2)
        assert ended[-1] == "/gone"

    asyncio.run(go())


def run(database: str, folder: Path, go: Any, **options: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder, **options) as rig:
            await go(rig)

    asyncio.run(main())
