"""Modules of a product that block, fail, recurse, return what the schema does not have, or read
without measure: the fault is the field's own, is named, and tells nobody what they may not see."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.context.services import Limits
from gateway.schema import blocking
from gateway.schema.blocking import LoopWatch
from tests.acceptance.gateway_rig import Rig, gateway
from tests.acceptance.test_extensions import module

__all__ = ["module"]

BAD = """
import asyncio, time
from collections.abc import AsyncGenerator
import strawberry
from recordgate.extending import Info, extends, record

Country = record("Country")

@extends("City", needs=("id", "name"))
class City:
    @strawberry.field
    async def again(self, info: Info) -> "City | None":
        return await info.context.records.city(self.id)

    @strawberry.field
    def for_ever(self, info: Info) -> str:
        return self.for_ever(info)

    @strawberry.field
    def number(self) -> int:
        return self.name

    @strawberry.field
    def nothing(self) -> str:
        return None

@strawberry.type
class Query:
    @strawberry.field
    async def sleepy(self) -> int:
        await asyncio.sleep(0)
        time.sleep(0.15)
        await asyncio.sleep(0)
        return 1

    @strawberry.field
    def endless(self) -> int:
        time.sleep(0.6)
        return 1

    @strawberry.field
    async def late(self) -> int:
        await asyncio.sleep(60)
        return 1

    @strawberry.field
    async def mistaken(self, info: Info) -> Country | None:
        return await info.context.records.city("2988507")

    @strawberry.field
    async def one_by_one(self, info: Info, times: int) -> int:
        found = [await info.context.records.city(str(i)) for i in range(times)]
        return len(found)

    @strawberry.field
    async def together(self, info: Info, times: int) -> int:
        found = await asyncio.gather(*(info.context.records.city(str(i)) for i in range(times)))
        return len(found)

    @strawberry.field
    async def odd(self, info: Info, name: str) -> str:
        return str(await getattr(info.context.records, name)())

@strawberry.type
class Mutation:
    @strawberry.mutation
    async def twice(self, info: Info, id: strawberry.ID, name: str) -> list[str]:
        records = info.context.records
        before = await records.city(id)
        await records.write("updateCity", id=id, input={"name": name})
        after = await records.city(id)
        return [before.name, after.name]

    @strawberry.mutation
    async def often(self, info: Info, id: strawberry.ID, times: int) -> str:
        for i in range(times):
            await info.context.records.write("updateCity", id=id, input={"name": f"n{i}"})
        return (await info.context.records.city(id)).name

    @strawberry.mutation
    async def half(self, info: Info, id: strawberry.ID) -> int:
        await info.context.records.write("updateCity", id=id, input={"name": "half"})
        raise RuntimeError("password=hunter2")

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def names(self, info: Info, times: int) -> AsyncGenerator[str, None]:
        for _ in range(times):
            for _ in range(300):
                city = await info.context.records.city("2988507")
            yield city.name

    @strawberry.subscription
    async def silent(self) -> AsyncGenerator[int, None]:
        await asyncio.sleep(60)
        yield 1
"""


def story(
    database: str,
    folder: Path,
    module: Any,
    tell: Callable[[Rig], Awaitable[None]],
    **options: Any,
) -> None:
    async def main() -> None:
        async with gateway(database, folder, extensions=[module(BAD)], **options) as rig:
            await tell(rig)

    asyncio.run(main())


async def refused(rig: Rig, query: str, code: str) -> dict[str, Any]:
    answer = await rig.graphql(query)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == code, answer
    assert "hunter2" not in str(answer)
    found: dict[str, Any] = error
    return found


def test_what_fails_shows_a_reference_and_leaves_the_other_fields_answered(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def tell(rig: Rig) -> None:
        for field in ("number", "nothing", "forEver"):
            error = await refused(rig, f"{{ city(id: 2988507) {{ name {field} }} }}", "INTERNAL")
            assert error["extensions"]["reference"]
            assert "Paris" not in error["message"]
        answer = await rig.graphql("{ mistaken { name } city(id: 2988507) { name } }")
        assert answer["data"] == {"mistaken": None, "city": {"name": "Paris"}}
        assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
        for name in ("write", "towns", "__class__", "_context"):
            await refused(rig, f'{{ odd(name: "{name}") }}', "INTERNAL")

    story(database, tmp_path, module, tell)


def test_who_blocks_the_loop_is_named_at_each_step_and_while_it_goes_on(
    database: str, tmp_path: Path, module: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "STUCK", 0.2)

    async def tell(rig: Rig) -> None:
        assert (await rig.graphql("{ sleepy }"))["data"] == {"sleepy": 1}
        assert "the resolver of Query.sleepy kept the event loop for" in caplog.text
        assert (await rig.graphql("{ endless }"))["data"] == {"endless": 1}
        assert "the resolver of Query.endless has kept the event loop for" in caplog.text
        assert (await rig.graphql("{ city(id: 2988507) { name } }"))["data"]["city"]

    story(database, tmp_path, module, tell)


def test_who_takes_too_long_is_stopped(database: str, tmp_path: Path, module: Any) -> None:
    async def tell(rig: Rig) -> None:
        began = time.monotonic()
        answer = await rig.client.post("/graphql", json={"query": "{ late }"})
        assert answer.json()["code"] == "TIMEOUT"
        assert time.monotonic() - began < 20

    story(database, tmp_path, module, tell, limits=Limits(statement_timeout=0.5))


def test_a_query_that_recurses_by_own_fields_is_bounded(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def tell(rig: Rig) -> None:
        depth = 4
        nested = "again { " * depth + "name" + " }" * depth
        answer = await rig.graphql(f"{{ city(id: 2988507) {{ {nested} }} }}")
        assert "errors" not in answer
        depth = 40
        nested = "again { " * depth + "name" + " }" * depth
        await refused(rig, f"{{ city(id: 2988507) {{ {nested} }} }}", "LIMIT_EXCEEDED")

    story(database, tmp_path, module, tell)


def test_records_that_are_read_one_by_one_are_bounded_and_together_are_not(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def tell(rig: Rig) -> None:
        error = await refused(rig, "{ oneByOne(times: 10000) }", "LIMIT_EXCEEDED")
        assert "asyncio.gather" in error["extensions"]["hint"]
        answer = await rig.graphql("{ together(times: 10000) }")
        assert answer["data"] == {"together": 10000}
        await refused(rig, "{ together(times: 100001) }", "LIMIT_EXCEEDED")

    story(database, tmp_path, module, tell)


def test_a_mutation_reads_what_it_has_written_and_only_a_post_runs_it(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def tell(rig: Rig) -> None:
        named = 'mutation { twice(id: "2996944", name: "Lugdunum") }'
        for method in ("GET", "HEAD"):
            await rig.client.request(method, "/graphql", params={"query": named})
        assert "Lugdunum" not in str(await rig.graphql("{ cities { nodes { name } } }"))
        answer = await rig.graphql(named)
        assert answer["data"] == {"twice": ["Lyon", "Lugdunum"]}
        # What was written before it failed stays written: a mutation of the contract is a
        # transaction of its own.
        await refused(rig, 'mutation { half(id: "2996944") }', "INTERNAL")
        assert "half" in str(await rig.graphql("{ cities { nodes { name } } }"))
        answer = await rig.graphql('mutation { often(id: "2996944", times: 60) }')
        assert answer["data"] == {"often": "n59"}

    story(database, tmp_path, module, tell)


def test_what_a_subscription_may_read_is_meant_for_an_event(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def tell(rig: Rig) -> None:
        streamed = await rig.client.post(
            "/graphql",
            json={"query": "subscription { names(times: 5) }"},
            headers={"Accept": "text/event-stream"},
        )
        assert streamed.text.count('{"data":{"names":"Paris"}}') == 5
        assert "errors" not in streamed.text

    story(database, tmp_path, module, tell)


def test_an_error_thrown_into_a_watched_resolver_reaches_it() -> None:
    async def main() -> None:
        seen = []

        async def resolver() -> int:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise
            return 1

        watch = LoopWatch()
        task = asyncio.ensure_future(_await(watch.call("Query.it", resolver)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["cancelled"]

        async def failing() -> int:
            raise LookupError("x")

        with pytest.raises(LookupError):
            await watch.call("Query.it", failing)

        async def fine() -> str:
            return await asyncio.wait_for(asyncio.sleep(0, "done"), 1)

        assert await watch.call("Query.it", fine) == "done"
        assert watch.call("Query.it", lambda: 7) == 7

    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(main())


async def _await(awaitable: Any) -> Any:
    return await awaitable
