"""What a field of a product's own costs beside the same resolver in a bare Strawberry application,
and `_entities` beside the list that reads the same records: processor time a request, both sides by
turns in one run. Q1 to Q3 before and after Strawberry: benchmarks/instructions.py.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import strawberry
from strawberry.asgi import GraphQL

from benchmarks.results import Table
from recordgate.embedded import EmbeddedPostgres
from tests.acceptance.gateway_rig import gateway

MODULE = """
import strawberry

@strawberry.type
class Query:
    @strawberry.field
    def greeting(self, name: str) -> str:
        return f"hello {name}"

    @strawberry.field
    async def greetings(self, names: list[str]) -> list[str]:
        return [f"hello {name}" for name in names]
"""
KEYS = 1000
ROUNDS = 15
ROWS = f"""
INSERT INTO countries (iso, iso3, name, capital, continent, population, area_km2, currency, languages)
VALUES ('FR', 'FRA', 'France', 'Paris', 'EU', 64768389, 547030.00, 'EUR', '{{fr}}');
INSERT INTO cities (geonameid, name, alternate_names, country_code, admin1, latitude, longitude, population, timezone)
SELECT i, 'City ' || i, '{{}}', 'FR', '11', 48, 2, i, 'Europe/Paris' FROM generate_series(1, {KEYS}) i;
"""
Ask = Callable[[], Awaitable[bytes]]


def asking(app: Any, path: str, body: dict[str, Any]) -> Ask:
    """A POST to an ASGI application, without a network."""
    text = json.dumps(body).encode()

    async def ask() -> bytes:
        parts: list[bytes] = []
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.sleep(3600)
            sent = True
            return {"type": "http.request", "body": text}

        async def send(message: MutableMapping[str, Any]) -> None:
            parts.append(message.get("body", b""))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        }  # fmt: skip
        await app(scope, receive, send)
        return b"".join(parts)

    return ask


async def compared(one: Ask, other: Ask, times: int) -> tuple[float, float]:
    """Milliseconds of processor time a request of each, the median of ROUNDS rounds."""
    spent: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for ask, found in zip((one, other), spent, strict=True):
            began = time.process_time()
            for _ in range(times):
                await ask()
            found.append((time.process_time() - began) / times * 1000)
    return statistics.median(spent[0]), statistics.median(spent[1])


async def measure(url: str, folder: Path, table: Table) -> None:
    for name in ("bench_own", "bench_bare"):
        (folder / f"{name}.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    bare = GraphQL(strawberry.Schema(import_module("bench_bare").Query))
    async with gateway(url, folder, rows=ROWS, extensions=["bench_own"]) as rig:
        for name, query in (
            ("own field", '{ greeting(name: "x") }'),
            ("own field, async", "query ($n: [String!]!) { greetings(names: $n) }"),
        ):
            body = {"query": query, "variables": {"n": ["a", "b"]} if "$" in query else {}}
            own, plain = asking(rig.app, "/graphql", body), asking(bare, "/", body)
            assert b"hello" in await own(), await own()
            assert b"hello" in await plain(), await plain()
            ours, theirs = await compared(own, plain, 100)
            table.row(name, "bare Strawberry", ours, theirs, ours / theirs)
        fields = "name population timezone"
        entities = asking(
            rig.app,
            "/graphql/subgraph",
            {
                "query": f"query ($r: [_Any!]!) {{ _entities(representations: $r) {{ ... on City {{ {fields} }} }} }}",
                "variables": {"r": [{"__typename": "City", "id": str(i + 1)} for i in range(KEYS)]},
            },
        )
        listed = asking(
            rig.app,
            "/graphql/subgraph",
            {"query": f"{{ cities(first: {KEYS}) {{ nodes {{ {fields} }} }} }}"},
        )
        by_alias = asking(
            rig.app,
            "/graphql/subgraph",
            {
                "query": f"query ($ids: [ID!]!) {{ nodes: cities(first: {KEYS}, filter: {{geonameid: {{in: $ids}}}})"
                f" {{ nodes {{ {fields} }} }} }}".replace("[ID!]!", "[Int!]"),
                "variables": {"ids": [i + 1 for i in range(KEYS)]},
            },
        )
        for name, other in (("all of the type", listed), ("the same keys by filter", by_alias)):
            first, second = await entities(), await other()
            assert first.count(b"City ") == second.count(b"City ") == KEYS, (
                first[:300],
                second[:300],
            )
            ours, theirs = await compared(entities, other, 5)
            table.row(f"_entities of {KEYS}", f"list: {name}", ours, theirs, ours / theirs)


def run() -> None:
    table = Table(
        "strawberry",
        "Own fields and entities: processor time of the gateway",
        ["what", "beside", "ms", "ms beside", "ratio"],
    )
    folder = Path(tempfile.mkdtemp(prefix="recordgate-strawberry-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "canonical", {})
    (folder / "canonical").mkdir()
    try:
        url = server.start()
        head, _, query = url.partition("?")
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("CREATE DATABASE bench")
        (folder / "stores").mkdir()
        asyncio.run(measure(f"{head.rpartition('/')[0]}/bench?{query}", folder / "stores", table))
        table.save()
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
