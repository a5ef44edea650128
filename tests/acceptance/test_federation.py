"""Two recordgates in one federation: composed by @theguild/federation-composition, asked through
Hive's gateway."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from compose.local.node_packages import installed
from recordgate.http_server import bind, serve, url_of
from tests.acceptance.gateway_rig import gateway
from tests.conftest import drop_database
from tests.conftest import url_of as database_url
from tests.servers import unless_it_cannot_be_had

FEDERATION = Path(__file__).parents[1] / "federation"
AIRPORTS = """
INSERT INTO airport (code, name, city_id) VALUES
  ('CDG', 'Charles de Gaulle', 2988507), ('LYS', 'Saint-Exupery', 2996944),
  ('XXX', 'Nowhere', 7), ('YYY', 'Unknown', NULL);
"""


@pytest.fixture(scope="module")
def packages() -> Path:
    with unless_it_cannot_be_had():
        return installed(FEDERATION)
    raise AssertionError  # skipped or failed above


@pytest.fixture
def second_database(postgres: str) -> Any:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield database_url(postgres, name)
    drop_database(postgres, name)


class Served:
    """A gateway over HTTP, which can be ended in the middle."""

    def __init__(self, url: str, stop: asyncio.Event, task: asyncio.Future[Any]) -> None:
        self.url, self._stop, self._task = url, stop, task

    async def end(self) -> None:
        self._stop.set()
        await self._task


class Slow:
    """A gateway that answers `seconds` later."""

    def __init__(self, app: Any) -> None:
        self.app, self.seconds = app, 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(self.seconds)
        await self.app(scope, receive, send)


async def served(app: Any) -> Served:
    sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(serve(app, sock, stop, lambda _: up.set()))
    await up.wait()
    return Served(url_of(sock), stop, task)


@asynccontextmanager
async def supergraph(packages: Path, **products: str) -> AsyncIterator[dict[str, Any]]:
    arguments = [f"{name}={url}/graphql/subgraph" for name, url in products.items()]
    process = await asyncio.create_subprocess_exec(
        "node",
        "gateway.mjs",
        *arguments,
        cwd=packages,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        if not line:
            _, error = await process.communicate()
            raise AssertionError(error.decode()[-2000:])
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def naming(contract: Path, upstream: str, folder: Path) -> str:
    """The contract with the address of the other product."""
    there = folder / "airports.odcs.yaml"
    there.write_text(contract.read_text("utf-8").replace("https://geo.example", upstream), "utf-8")
    return str(there)


async def verify_foreign(database: str, contract: Path, upstream: str, folder: Path) -> Any:
    """What `verify --foreign --json` prints where the other product is at `upstream`."""
    there = naming(contract, upstream, folder)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "recordgate", "verify", "--foreign", "--json",
        env={**os.environ, "RECORDGATE_CONTRACT": there, "RECORDGATE_POSTGRES": database},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 4
    return json.loads(out)


QUERY = """{ airports(orderBy: [{code: ASC}]) { nodes {
  code name freshness { store } city { id name country { name } freshness { store asOf } } } } }"""


async def one_is_stale_then_slow(client: httpx.AsyncClient, url: str, slow: Slow) -> None:
    """A product's stores are behind: its records say so, and a token makes them fresh without the
    other's help. It is slow: who asks for its fields waits, nobody else."""
    crossing = '{ airport(id: "LYS") { code city { name freshness { store asOf } } } }'

    async def ask(query: str, **headers: str) -> tuple[Any, str]:
        answer = await client.post(url, json={"query": query}, headers=headers)
        assert "errors" not in answer.json(), answer.text
        return answer.json()["data"], answer.headers.get("recordgate-token", "")

    rename = 'mutation { updateCity(id: "2996944", input: {name: "Lugdunum"}) { token } }'
    written, token = await ask(rename)
    assert token == written["updateCity"]["token"]
    (behind, _), (fresh, _) = (
        await ask(crossing),
        await ask(crossing, **{"Recordgate-Token": token}),
    )
    assert behind["airport"]["city"]["name"] == "Lyon"
    assert behind["airport"]["city"]["freshness"]["store"] == "documents"
    assert behind["airport"]["city"]["freshness"]["asOf"]
    city = fresh["airport"]["city"]
    assert (city["name"], city["freshness"]["store"]) == ("Lugdunum", "canonical")

    slow.seconds = 1.0
    waiting = asyncio.ensure_future(ask(crossing))
    await ask('{ airport(id: "LYS") { code } }')
    assert not waiting.done()
    answer, _ = await waiting
    assert answer["airport"]["city"]["name"] == "Lyon"
    slow.seconds = 0.0


def test_a_query_crosses_two_products_and_one_that_is_down_takes_only_its_own_fields(
    packages: Path, database: str, second_database: str, tmp_path: Path
) -> None:
    async def story() -> None:
        geo_folder, air_folder = tmp_path / "geo", tmp_path / "air"
        geo_folder.mkdir()
        air_folder.mkdir()
        contract = FEDERATION / "airports.odcs.yaml"
        async with (
            gateway(database, geo_folder) as geo,
            gateway(second_database, air_folder, contract=contract, rows=AIRPORTS) as air,
        ):
            slow = Slow(geo.app)
            geo_served, air_served = await served(slow), await served(air.app)
            try:
                async with (
                    supergraph(packages, geo=geo_served.url, air=air_served.url) as graph,
                    httpx.AsyncClient(timeout=30) as client,
                ):
                    assert "errors" not in graph, graph

                    async def ask(query: str) -> dict[str, Any]:
                        answer = await client.post(graph["url"], json={"query": query})
                        found: dict[str, Any] = answer.json()
                        return found

                    answer = await ask(QUERY)
                    # The third airport names a city that is not there: Hive says so of its field
                    # that is never null.
                    assert {tuple(e["path"][:4]) for e in answer["errors"]} == {
                        ("airports", "nodes", 2, "city")
                    }, answer["errors"]
                    cdg, lys, nowhere, unknown = answer["data"]["airports"]["nodes"]
                    assert cdg["city"]["name"] == "Paris"
                    assert cdg["city"]["country"] == {"name": "France"}
                    assert cdg["city"]["freshness"]["store"] == "documents"
                    assert cdg["freshness"]["store"] == "canonical"
                    assert lys["city"]["name"] == "Lyon"
                    assert unknown["city"] is None
                    assert (nowhere["name"], nowhere["city"]) == ("Nowhere", None)

                    told = await verify_foreign(second_database, contract, geo_served.url, tmp_path)
                    assert told == {"dangling": 1, "relations": [{
                        "type": "airport", "relation": "city", "records": 3, "missing": 1,
                        "there": f"{geo_served.url}/contract#city.geonameid", "examples": ["7"],
                    }]}  # fmt: skip

                    await one_is_stale_then_slow(client, graph["url"], slow)

                    await geo_served.end()
                    answer = await ask("{ airports { nodes { code name } } }")
                    assert len(answer["data"]["airports"]["nodes"]) == 4
                    answer = await ask('{ airport(id: "CDG") { code city { name } } }')
                    assert answer["data"]["airport"]["code"] == "CDG"
                    assert answer["errors"]
            finally:
                await geo_served.end()
                await air_served.end()

    asyncio.run(story())
