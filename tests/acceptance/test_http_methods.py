"""Only a POST writes, whatever the path: each path of the route table is asked by every method,
with a mutation in its parameters and its body. A HEAD is answered as the GET, without a body."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
from starlette.routing import Route

from recordgate.worker_http import worker_app
from tests.acceptance.gateway_rig import Rig, gateway

METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "head")
WRITE = "mutation { deleteCities(filter: {population: {gte: 0}}, max: 100) { count } }"
READ = '{ city(id: "2988507") { name } }'
ACCEPTS = ("*/*", "text/event-stream", "text/html", "application/graphql-response+json")
PLACES = {"{type}": "cities", "{key:path}": "2988507", "{name:path}": "recordgate.css"}
"""What stands in a path for its parameter: each leads to something that is there."""
OVERRIDES = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST", "X-HTTP-Method": "POST"}


def paths(rig: Rig) -> list[str]:
    """Every path that the application answers."""
    found = {
        re.sub(r"{[^}]*}", lambda place: PLACES[place[0]], r.path)
        for r in rig.app.routes
        if isinstance(r, Route)
    }
    assert {"/graphql", "/search/cities", "/export/cities", "/console/state"} <= found
    assert {"/", "/browse/cities", "/browse/cities/2988507", "/assets/recordgate.css"} <= found
    return sorted(found)


def rows(rig: Rig) -> int:
    with psycopg.connect(rig.url) as conn:
        found = conn.execute("SELECT count(*) FROM cities").fetchone()
    assert found is not None
    return int(found[0])


async def asked(
    rig: Rig, method: str, path: str, accept: str, query: str, name: str = "query"
) -> httpx.Response:
    return await rig.client.request(
        method,
        f"{path}?{name}={quote(query)}" if query else path,
        content=json.dumps({"query": query}).encode() if method != "GET" else None,
        headers={"Accept": accept, "Content-Type": "application/json", **OVERRIDES},
    )


def test_no_method_but_post_writes_at_any_path(database: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            before = rows(rig)
            for path in paths(rig):
                for method in METHODS:
                    for accept in ACCEPTS if path.startswith("/graphql") else ACCEPTS[:1]:
                        answer = await asked(rig, method, path, accept, WRITE)
                        assert answer.status_code < 500, (method, path, accept, answer.text)
                        assert rows(rig) == before, (method, path, accept)
                if path not in ("/graphql", "/graphql/subgraph"):
                    await asked(rig, "POST", path, "*/*", WRITE)
                    assert rows(rig) == before, path
            answer = await asked(rig, "HEAD", "/graphql", "*/*", WRITE)
            assert answer.status_code == 405
            assert answer.headers["allow"] == "POST"
            # The same text does write by POST, so that nothing above was refused for another
            # reason.
            answer = await asked(rig, "POST", "/graphql", "*/*", WRITE)
            assert answer.json()["data"] == {"deleteCities": {"count": before}}, answer.text
            assert rows(rig) == 0

    asyncio.run(go())


def test_a_head_is_answered_as_the_get_without_a_body(database: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            await rig.publish()
            for path in paths(rig):
                for accept in ACCEPTS if path.startswith("/graphql") else ACCEPTS[:1]:
                    for query in (READ, WRITE, "{ nothing }", "", "{"):
                        name = "query" if path == "/graphql" else "q"
                        got = await asked(rig, "GET", path, accept, query, name)
                        head = await asked(rig, "HEAD", path, accept, query, name)
                        shown = (path, accept, query, got.text[:200])
                        assert head.status_code == got.status_code, shown
                        assert head.content == b"", shown
                        same = ["content-type", "allow", "cache-control"]
                        same += ["etag"] if not path.startswith("/export") else []
                        for header in same:
                            assert head.headers.get(header) == got.headers.get(header), (
                                shown,
                                header,
                            )

    asyncio.run(go())


def test_a_head_begins_no_subscription(database: str, tmp_path: Path) -> None:
    """Nobody would read its events, and it would stay open."""

    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            answer = await asyncio.wait_for(
                asked(rig, "HEAD", "/graphql", "text/event-stream", "subscription { cityChanged { id } }"),
                5,
            )  # fmt: skip
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")

    asyncio.run(go())


def test_the_workers_own_server_takes_reads_only() -> None:
    from prometheus_client import CollectorRegistry

    app = worker_app(None, CollectorRegistry(), None)  # type: ignore[arg-type]
    for route in app.routes:
        assert isinstance(route, Route)
        assert route.methods == {"GET", "HEAD"}
