"""What others' audits say of the gateway: GraphQL over HTTP by `graphql-http`, Relay's rules by
`graphql-schema-linter` (`make audits` prints each). Needs Node, whose packages are in
tests/audits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, print_schema

from compose.local.node_packages import installed
from gateway.schema import build_schema as schema_of
from recordgate.http_server import bind, serve, url_of
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES, gateway
from tests.servers import unless_it_cannot_be_had

AUDITS = Path(__file__).parents[1] / "audits"


@pytest.fixture(scope="module")
def audits() -> Path:
    with unless_it_cannot_be_had():
        return installed(AUDITS)
    raise AssertionError  # skipped or failed above


async def run_node(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """The lines that a script of `folder` prints."""
    process = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.splitlines()]


def test_every_audit_of_graphql_over_http_is_ok(
    audits: Path, database: str, tmp_path: Path
) -> None:
    async def go() -> list[dict[str, Any]]:
        async with gateway(database, tmp_path, published=False) as rig:
            sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
            served = asyncio.ensure_future(serve(rig.app, sock, stop, lambda _: up.set()))
            await up.wait()
            try:
                return await run_node(audits, "graphql_http.mjs", f"{url_of(sock)}/graphql")
            finally:
                stop.set()
                await served

    found = asyncio.run(go())
    for audit in found:
        print(f"{audit['status']:6} {audit['id']} {audit['name']}")
    assert len(found) == 61
    assert [a for a in found if a["status"] != "ok"] == []


def lint(audits: Path, folder: Path, schema: str) -> list[dict[str, Any]]:
    file = folder / "schema.graphql"
    file.write_text(schema)
    *findings, last = asyncio.run(run_node(audits, "relay.mjs", str(file)))
    assert last == {"checked": 4}
    return findings


def test_the_schema_keeps_relays_rules(audits: Path, tmp_path: Path) -> None:
    text = print_schema(schema_of(load_contract(GEONAMES)).graphql)
    assert lint(audits, tmp_path, text) == []
    # The same rules do find what breaks them.
    for rule, broken in (
        ("relay-connection-types-spec", text.replace("  edges: [CityEdge!]!\n", "")),
        ("relay-connection-arguments-spec", text.replace("first: Int", "first: String")),
        ("relay-page-info-spec", text.replace("hasNextPage: Boolean!", "hasNextPage: Int")),
        ("relay-node", text.replace("type City implements Node", "type City")),
    ):
        build_schema(broken)
        assert rule in {f["rule"] for f in lint(audits, tmp_path, broken)}
