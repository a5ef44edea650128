"""The gateway as a subgraph: entities by key with one read a type, honest about their freshness,
and an SDL that composes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import TypeDefinitionNode, build_schema, parse, print_ast

from gateway.graphql.subgraph import Subgraph
from gateway.schema import build_schema as build_served
from gateway.schema.subgraph import print_subgraph
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway
from tests.acceptance.test_extensions import module

__all__ = ["module"]

AIRPORTS = Path(__file__).parents[1] / "federation" / "airports.odcs.yaml"
ROOTS = ("Query", "Mutation", "Subscription")
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

            # The document itself may hold them, and one that is asked twice is one record.
            answer = await ask(
                rig,
                '{ _entities(representations: [{__typename: "City", id: "2996944"},'
                ' {__typename: "City", id: 2996944}]) { ... on City { name } } }',
            )
            assert answer["data"]["_entities"] == [{"name": "Lyon"}] * 2  # type: ignore[index]

            # Each type may come from another store, and says how fresh it is.
            mixed = await ask(
                rig,
                ENTITIES % "... on City { freshness { store asOf } }"
                " ... on Country { cities(first: 1) { nodes { name } } freshness { store asOf } }",
                {"r": [wanted[0], wanted[1]]},
            )
            lyon, france = mixed["data"]["_entities"]  # type: ignore[index]
            assert (lyon["freshness"]["store"], france["freshness"]["store"]) == (
                "documents",
                "canonical",
            )
            routes = mixed["extensions"]["recordgate"]["fields"]  # type: ignore[index]
            assert {k: r["store"] for k, r in routes.items()} == {
                "_entities#City": "documents",
                "_entities#Country": "canonical",
            }

            # The open door has neither.
            answer = await rig.graphql("{ _service { sdl } }")
            assert "errors" in answer

    asyncio.run(story())


OWN = """
import strawberry
from recordgate.extending import Info, extends, record

Country = record("Country")

@strawberry.type
class Query:
    @strawberry.field
    async def home(self, info: Info) -> Country | None:
        return await info.context.records.country("FR")
"""


def test_a_record_of_an_own_field_is_called_no_fresher_than_the_store_it_came_from(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(OWN)]) as rig:
            answer = await ask(rig, "{ home { name freshness { store asOf watermark } } }")
            freshness = answer["data"]["home"]["freshness"]  # type: ignore[index]
            assert freshness["store"] == "documents"
            assert freshness["asOf"]
            assert freshness["watermark"]

    asyncio.run(story())


def test_a_subgraph_that_could_not_be_made_is_made_when_it_is_asked_again() -> None:
    tries: list[int] = []

    def make() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise MemoryError
        return SimpleNamespace(schema="schema")

    async def story() -> None:
        subgraph = Subgraph(make, lambda schema: f"sdl of {schema}")
        request: Any = SimpleNamespace(
            method="GET", state=SimpleNamespace(viewer=SimpleNamespace(may_introspect=True))
        )
        with pytest.raises(MemoryError):
            await subgraph.respond(request)
        assert (await subgraph.respond(request)).body == b"sdl of schema"
        await subgraph.respond(request)
        assert len(tries) == 2

    asyncio.run(story())


def test_a_description_that_looks_like_a_type_does_not_take_its_key(tmp_path: Path) -> None:
    contract = tmp_path / "trap.odcs.yaml"
    text = re.sub(
        r"( - name: city\n( .*\n)*?    description: )[^\n]*\n",
        r"\1|\n      Towns.\n      type City {\n",
        GEONAMES.read_text(),
        count=1,
    )
    assert "      type City {" in text
    contract.write_text(text)
    loaded = load_contract(contract)
    sdl = print_subgraph(build_served(loaded, subgraph=True).graphql, loaded)
    assert 'type City implements Node @key(fields: "id") {' in sdl
    assert sdl.count('@key(fields: "id")') == len(loaded.types)


def test_what_two_products_both_have_is_shareable_and_the_same_in_each() -> None:
    """A supergraph of two products composes only so; whatever type is added to both later."""
    found: list[dict[str, str]] = []
    for path in (GEONAMES, AIRPORTS):
        contract = load_contract(path)
        sdl = print_subgraph(build_served(contract, subgraph=True).graphql, contract)
        document = parse(sdl, no_location=True)
        found.append(
            {
                d.name.value: print_ast(d)
                for d in document.definitions
                if isinstance(d, TypeDefinitionNode) and d.name.value not in ROOTS
            }
        )
    geo, air = found
    assert {"SearchSuggestion", "PageInfo", "Freshness"} <= geo.keys() & air.keys()
    for name in geo.keys() & air.keys() - {"City"}:
        assert geo[name] == air[name]
        assert not re.search(rf"^type {name}\b(?!.*@shareable)", geo[name], re.MULTILINE), name


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
