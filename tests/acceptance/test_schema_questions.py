"""Questions about the schema: the usual one is answered, one that multiplies it is refused, and
neither holds up what others ask meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from graphql import ExecutionResult, execute, get_introspection_query, parse

from gateway.query.introspection import SchemaExecutor, most_fields
from gateway.schema import build_schema
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway

STANDARD = get_introspection_query(input_value_deprecation=True, schema_description=True)
FRAGMENTS = "fragment FullType" + STANDARD.split("fragment FullType", 1)[1]
MANY = {
    "all types by nine aliases": "{"
    + " ".join(f"a{i}: __schema {{ types {{ ...FullType }} }}" for i in range(9))
    + "}"
    + FRAGMENTS,
    "a small part of it by 49 aliases": "{"
    + " ".join(f"a{i}: __schema {{ ...s }}" for i in range(49))
    + "} fragment s on __Schema { types { name fields { name args { name description } } } }",
    "one question with 90 aliases below": "{ __schema { types { "
    + " ".join(f"a{i}: fields {{ name args {{ ...v }} }}" for i in range(90))
    + " } } } fragment v on __InputValue { name description type { name ofType { name inputFields { name } } } }",
    "the schema beside a record": '{ city(id: "2988507") { name } '
    + " ".join(f"a{i}: __schema {{ ...s }}" for i in range(48))
    + "} fragment s on __Schema { types { name fields { name args { name description } } } }",
}


def test_the_standard_question_is_answered_and_its_multiples_are_refused(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            answer = await rig.graphql(STANDARD)
            assert "errors" not in answer
            assert len(answer["data"]["__schema"]["types"]) > 30
            for name, query in MANY.items():
                refused = await rig.graphql(query)
                assert "data" not in refused, name
                codes = [e["extensions"]["code"] for e in refused["errors"]]
                assert codes == ["LIMIT_EXCEEDED"], name
            both = await rig.graphql(
                '{ __type(name: "City") { name } city(id: "2988507") { name } }'
            )
            assert both["data"] == {"__type": {"name": "City"}, "city": {"name": "Paris"}}

    asyncio.run(go())


def test_others_are_answered_while_the_schema_is_read(database: str, tmp_path: Path) -> None:
    async def longest_wait(asked: asyncio.Task[object]) -> float:
        longest, last = 0.0, time.perf_counter()
        while not asked.done():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        return longest

    async def go(rig: Rig) -> None:
        await rig.graphql(STANDARD)  # parsed and validated once
        start = time.perf_counter()
        asked: asyncio.Task[object] = asyncio.ensure_future(rig.graphql(STANDARD))
        waited = await longest_wait(asked)
        taken = time.perf_counter() - start
        assert waited < taken / 2

    async def run() -> None:
        async with gateway(database, tmp_path) as rig:
            await go(rig)

    asyncio.run(run())


@pytest.mark.parametrize("name", MANY)
def test_what_is_too_much_is_left_off_near_its_bound(name: str) -> None:
    class Context:
        introspects = True
        schema_fields = 0

    async def go() -> float:
        context = Context()
        schema = build_schema(load_contract(GEONAMES)).graphql
        document = parse(MANY[name].replace('city(id: "2988507") { name }', ""))
        found = execute(schema, document, context_value=context, executor_class=SchemaExecutor)
        assert not isinstance(found, ExecutionResult)
        await found
        return context.schema_fields / most_fields(schema)

    # Lists that are open are gone through, with nothing answered below.
    assert 1 < asyncio.run(go()) < 2
