"""The gateway as a subgraph: entities by key with one read a type, honest about their freshness, and an SDL that
composes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from graphql import build_schema, parse

from tests.acceptance.gateway_rig import Rig, gateway

ENTITIES = "query ($r: [_Any!]!) { _entities(representations: $r) { __typename %s } }"


async def ask(rig: Rig, query: str, variables: object = None) -> dict[str, object]:
    answer = await rig.client.post(
        "/graphql/subgraph", json={"query": query, "variables": variables or {}}
    )
    found: dict[str, object] = answer.json()
    return found


def test_entities_come_in_order_and_one_that_is_missing_is_null(
    database: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path) as rig:
            query = ENTITIES % (
                "... on City { id name country { name } freshness { store asOf watermark } }"
                " ... on Country { iso cities(first: 1) { nodes { name } } }"
            )
            wanted = [
                {"__typename": "City", "id": "2996944"},
                {"__typename": "Country", "id": "FR"},
                {"__typename": "City", "id": "7"},
                {"__typename": "City", "id": 2988507},
                {"__typename": "City", "id": "2996944"},
                {"__typename": "City", "id": "not a key"},
            ]
            answer = await ask(rig, query, {"r": wanted})
            assert "errors" not in answer, answer
            lyon, france, gone, paris, again, malformed = answer["data"]["_entities"]  # type: ignore[index]
            assert (lyon["name"], paris["name"], again) == ("Lyon", "Paris", lyon)
            assert lyon["country"] == {"name": "France"}
            assert lyon["freshness"]["store"] == "documents"
            assert lyon["freshness"]["asOf"].endswith("Z")
            assert france["iso"] == "FR"
            assert gone is None
            assert malformed is None

            for bad in (
                [{"id": "1"}],
                ["x"],
                [{"__typename": "Town", "id": "1"}],
                [{"__typename": "City"}],
                [{"__typename": "City", "id": {"a": 1}}],
            ):
                answer = await ask(rig, query, {"r": bad})
                (error,) = answer["errors"]  # type: ignore[misc]
                assert error["extensions"]["code"] == "BAD_USER_INPUT", answer
            answer = await ask(rig, query, {"r": [{"__typename": "City", "id": "1"}] * 1_001})
            assert answer["code"] == "LIMIT_EXCEEDED"

            # The open door has neither.
            answer = await rig.graphql("{ _service { sdl } }")
            assert "errors" in answer

    asyncio.run(story())


def test_the_sdl_says_keys_and_what_is_shared_and_leaves_node_out(
    database: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, published=False) as rig:
            sdl = (await rig.client.get("/graphql/subgraph")).text
            answer = await ask(rig, "{ _service { sdl } }")
            assert answer["data"]["_service"]["sdl"] == sdl  # type: ignore[index]
            assert 'type City implements Node @key(fields: "id") {' in sdl
            assert "type PageInfo @shareable {" in sdl
            assert "node(" not in sdl
            assert "_entities" not in sdl
            parse(sdl)
            head, rest = sdl.split("\n\n", 1)
            assert "federation" in head
            build_schema(
                "directive @key(fields: String!) on OBJECT\ndirective @shareable on OBJECT\n" + rest
            )

    asyncio.run(story())
