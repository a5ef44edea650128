"""What a product's own fields cannot do, whatever they raise, return, read or write: over a real
gateway."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gateway.context.services import Limits
from tests.acceptance.access_rig import bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import Rig, gateway

RAISING = """
import asyncio, sys
from collections.abc import AsyncGenerator
from typing import Annotated
import psycopg, strawberry
from recordgate.extending import Info, record
from gateway.schema.static import Node

City = record("City")
Country = record("Country")
Place = Annotated[City | Country, strawberry.union("Place")]

@strawberry.type
class Pair:
    city: City | None
    n: int
    both: list[City]

    @strawberry.field
    async def country(self, info: Info) -> Country | None:
        return await info.context.records.country("FR")

@strawberry.type
class Query:
    @strawberry.field
    async def fails(self, info: Info, how: str) -> int:
        return await self_fail(how)

    @strawberry.field
    def fails_at_once(self, how: str) -> int:
        raise made(how)

    @strawberry.field
    def leaf(self) -> int | None:
        return "hunter2"

    @strawberry.field
    def listed(self) -> list[int] | None:
        return "hunter2"

    @strawberry.field
    def pair_of_it(self) -> Pair | None:
        return {"n": "hunter2"}

    @strawberry.field
    def a_city(self) -> City | None:
        return "hunter2"

    @strawberry.field
    def some_node(self) -> Node | None:
        return {"id": "hunter2"}

    @strawberry.field
    async def another_city(self, info: Info) -> City | None:
        return await info.context.records.country("FR")

    @strawberry.field
    async def endless(self) -> int:
        await asyncio.sleep(3600)
        return 1

    @strawberry.field
    async def one_by_one(self, info: Info) -> int:
        for i in range(1100):
            await info.context.records.city(i)
        return 1

    @strawberry.field
    async def together(self, info: Info) -> int:
        found = await asyncio.gather(*(info.context.records.city(i) for i in range(10_000)))
        return len(found)

    @strawberry.field
    async def writes(self, info: Info) -> int | None:
        await info.context.records.write("updateCity", id="2996944", input={"population": 1})
        return 1

    @strawberry.field
    async def pair(self, info: Info) -> Pair:
        city = await info.context.records.city("2988507")
        return Pair(city=city, n=2, both=[city, await info.context.records.city("2996944")])

    @strawberry.field
    async def a_node(self, info: Info) -> Node | None:
        return await info.context.records.city("2988507")

    @strawberry.field
    async def places(self, info: Info) -> list[Place | None]:
        found = info.context.records
        return await asyncio.gather(found.city("2988507"), found.country("FR"), found.city("7"))

@strawberry.type
class Mutation:
    @strawberry.mutation
    async def itself(self, info: Info) -> City | None:
        await info.context.records.write("itself")

    @strawberry.mutation
    async def shift(self, info: Info, by: int) -> int:
        city = await info.context.records.city("2996944")
        await info.context.records.write("updateCity", id=city.id, input={"population": city.population + by})
        return city.population + by

    @strawberry.mutation
    async def settle(self, info: Info, population: int) -> int:
        for id in ("2996944", "4717560"):
            await info.context.records.write("updateCity", id=id, input={"population": population})
        return population

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def cities(self, info: Info) -> AsyncGenerator[City, None]:
        yield await info.context.records.city("2988507")

    @strawberry.subscription
    async def blocks(self) -> AsyncGenerator[int, None]:
        import time
        yield 1
        time.sleep(0.15)
        yield 2

    @strawberry.subscription
    async def fails_later(self, how: str) -> AsyncGenerator[int, None]:
        yield 1
        raise made(how)

    @strawberry.subscription
    async def no_events(self) -> AsyncGenerator[int, None]:
        return 5

async def self_fail(how):
    await asyncio.sleep(0)
    raise made(how)

def made(how):
    return {
        "exit": SystemExit("hunter2"),
        "interrupt": KeyboardInterrupt("hunter2"),
        "cancel": asyncio.CancelledError("hunter2"),
        "stop": StopAsyncIteration("hunter2"),
        "unique": psycopg.errors.UniqueViolation("hunter2"),
        "lost": psycopg.OperationalError("hunter2"),
        "group": ExceptionGroup("hunter2", [ValueError("hunter2")]),
    }[how]
"""
KINDS = ("exit", "interrupt", "cancel", "stop", "unique", "lost", "group")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module that can be imported, and says its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text: str) -> str:
        name = f"hostile_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    return write


async def events(rig: Rig, query: str) -> str:
    answer = await rig.client.post(
        "/graphql", json={"query": query}, headers={"Accept": "text/event-stream"}
    )
    return answer.text


def refused(answer: dict[str, Any]) -> str:
    """The code of the one error, which shows nothing of what was raised or returned."""
    (error,) = answer["errors"]
    assert "hunter2" not in str(answer)
    extensions = error["extensions"]
    if extensions["code"] == "INTERNAL":
        assert error["message"] == "an internal error"
        assert set(extensions) == {"code", "reference"}
    return str(extensions["code"])


def test_own_fields_end_nothing_but_themselves(
    database: str, tmp_path: Path, module: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        limits = Limits(statement_timeout=2.0)
        async with gateway(database, tmp_path, extensions=[module(RAISING)], limits=limits) as rig:
            for kind in KINDS:
                for name in ("fails", "failsAtOnce"):
                    answer = await rig.graphql(f'{{ {name}(how: "{kind}") }}')
                    assert refused(answer) == "INTERNAL", (kind, answer)
                text = await events(rig, f'subscription {{ failsLater(how: "{kind}") }}')
                assert '{"data":{"failsLater":1}}' in text
                assert "INTERNAL" in text, (kind, text)
                assert "hunter2" not in text
            for query in (
                *("leaf", "listed", "pairOfIt { n }", "aCity { name }", "someNode { id }"),
                "anotherCity { name }",
            ):
                answer = await rig.graphql(f"{{ {query} }}")
                assert refused(answer) == "INTERNAL", answer
            assert "INTERNAL" in await events(rig, "subscription { noEvents }")

            assert refused(await rig.graphql("{ oneByOne }")) == "LIMIT_EXCEEDED"
            answer = await rig.graphql("{ together }")
            assert answer["data"] == {"together": 10_000}, answer

            await events(rig, "subscription { blocks }")
            assert "the resolver of Subscription.blocks kept the event loop" in caplog.text

            # One that never ends is ended: also where its answer is streamed. Here after 0.3 s.
            rig.services.limits = Limits(statement_timeout=-4.7)
            assert "TIMEOUT" in await events(rig, "{ endless }")

    asyncio.run(story())


def test_records_stand_wherever_the_schema_has_their_type(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(RAISING)]) as rig:
            answer = await rig.graphql(
                "{ pair { n city { called: name country { name } } both { name } country { iso } }"
                " aNode { __typename id ... on City { name } }"
                " places { __typename ... on City { name } ... on Country { iso } } }"
            )
            assert answer["data"] == {
                "pair": {
                    "n": 2,
                    "city": {"called": "Paris", "country": {"name": "France"}},
                    "both": [{"name": "Paris"}, {"name": "Lyon"}],
                    "country": {"iso": "FR"},
                },
                "aNode": {"__typename": "City", "id": "2988507", "name": "Paris"},
                "places": [
                    {"__typename": "City", "name": "Paris"},
                    {"__typename": "Country", "iso": "FR"},
                    None,
                ],
            }, answer
            text = await events(rig, "subscription { cities { name country { name } } }")
            assert '{"data":{"cities":{"name":"Paris","country":{"name":"France"}}}}' in text

    asyncio.run(story())


def test_own_fields_write_only_in_mutations_and_once_for_an_idempotency_key(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(RAISING)]) as rig:
            token: dict[str, str] = {}

            async def population() -> Any:
                answer = await rig.graphql("{ city(id: 2996944) { population } }", headers=token)
                return answer["data"]["city"]["population"]

            assert refused(await rig.graphql("{ writes }")) == "INTERNAL"
            by_link = await rig.client.get("/graphql", params={"query": "{ writes }"})
            assert refused(by_link.json()) == "INTERNAL"
            assert await population() == 522969
            for method in ("GET", "HEAD"):
                answer = await rig.client.request(
                    method, "/graphql", params={"query": "mutation { settle(population: 3) }"}
                )
                assert answer.status_code == 405
            text = (
                await rig.client.get(
                    "/graphql",
                    params={"query": "mutation { settle(population: 3) }"},
                    headers={"Accept": "text/event-stream"},
                )
            ).text
            assert "METHOD_NOT_ALLOWED" in text
            assert await population() == 522969

            assert refused(await rig.graphql("mutation { itself { name } }")) == "BAD_USER_INPUT"

            async def sent_twice(query: str, key: str) -> list[dict[str, Any]]:
                found = []
                for _ in range(2):
                    headers = {"Idempotency-Key": key, **token}
                    found.append(await rig.graphql(f"mutation {{ {query} }}", headers=headers))
                    seen = found[-1]["extensions"]["recordgate"]
                    if "token" in seen:
                        token["Recordgate-Token"] = seen["token"]
                return found

            first, again = await sent_twice("settle(population: 3)", "settle-1")
            assert first["data"] == again["data"] == {"settle": 3}
            # One whose writes depend on what it reads is not done a second time.
            first, again = await sent_twice("shift(by: 1)", "shift-1")
            assert first["data"] == {"shift": 4}
            assert refused(again) == "BAD_USER_INPUT"
            assert await population() == 4

    asyncio.run(story())


RIGHTS = """
import strawberry
from recordgate.extending import Info, extends, record

Department = record("Department")

@extends("Person", needs=("salary", "email"))
class Person:
    @strawberry.field
    def pay(self) -> str:
        return f"{self.salary} {self.email}"

@strawberry.type
class Query:
    @strawberry.field
    async def one(self, info: Info) -> str:
        person = await info.context.records.person(1)
        return f"{person.salary} {person.email}"

    @strawberry.field
    async def all(self, info: Info) -> str:
        (person,) = await info.context.records.people()
        return f"{person.salary} {person.email}"

    @strawberry.field
    async def count_by(self, info: Info) -> int:
        return len(await info.context.records.people(filter={"salary": {"gt": 1}}))

    @strawberry.field
    async def codes(self, info: Info) -> list[str]:
        hidden = await info.context.records.department("sec")
        return [d.code for d in await info.context.records.departments()] + [str(hidden)]

    @strawberry.field
    async def department_of_it(self, info: Info) -> Department | None:
        return await info.context.records.department("sec")

@strawberry.type
class Mutation:
    @strawberry.mutation
    def act(self) -> int:
        return 1
"""


def test_own_fields_see_what_the_caller_may_see(database: str, tmp_path: Path, module: Any) -> None:
    path, (hr, staff) = keys_for(tmp_path, ("hr",), ("staff",))
    folder = tmp_path / "stores"
    folder.mkdir()
    query = (
        "{ one all person(id: 1) { pay } people { nodes { pay } } codes departmentOfIt { name } }"
    )

    async def work(rig: Rig) -> None:
        async def ask(text: str, who: str) -> dict[str, Any]:
            return await rig.graphql(text, headers=bearer(who))

        # At the same time, over and over: nothing that one was told is kept for the other.
        answers = await asyncio.gather(*(ask(query, who) for _ in range(3) for who in (hr, staff)))
        for seen, hidden in zip(answers[::2], answers[1::2], strict=True):
            plain, masked = "91000 ada.quill@example.org", "None a***"
            for answer, pay in ((seen, plain), (hidden, masked)):
                data = answer["data"]
                assert data["one"] == data["all"] == data["person"]["pay"] == pay
                assert data["people"]["nodes"] == [{"pay": pay}]
            assert seen["data"]["codes"] == ["pub", "sec", "<Department sec>"]
            assert seen["data"]["departmentOfIt"] == {"name": "Blacksite"}
            assert hidden["data"]["codes"] == ["pub", "None"]
            assert hidden["data"]["departmentOfIt"] is None
        assert (await ask("{ countBy }", hr))["data"] == {"countBy": 1}
        assert refused(await ask("{ countBy }", staff)) == "FORBIDDEN"
        assert refused(await ask("mutation { act }", staff)) == "FORBIDDEN"

    run(database, folder, work, with_keys(path), extensions=[module(RIGHTS)])


ENDLESS = """
import asyncio
import json
from collections.abc import AsyncGenerator
import strawberry

begun, closed = [], []

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> AsyncGenerator[int, None]:
        begun.append(1)
        try:
            async with asyncio.timeout(600):
                for i in range(10**9):
                    yield i
                    await asyncio.sleep(0.05 if i < 3 else 600)
        finally:
            closed.append(1)
"""


def test_a_subscription_of_a_product_counts_and_breaks_off_where_the_gateway_ends(
    database: str, tmp_path: Path, module: Any
) -> None:
    """Its client goes on at another gateway; it held this one until it was cut."""

    async def story() -> None:
        name = module(ENDLESS)
        async with gateway(database, tmp_path, extensions=[name]) as rig:
            streams = [
                asyncio.ensure_future(
                    rig.client.post(
                        "/graphql",
                        json={"query": "subscription { ticks }"},
                        headers={"Accept": "text/event-stream"},
                    )
                )
                for _ in range(2)
            ]
            await asyncio.sleep(1)
            assert "recordgate_subscriptions 2.0" in (await rig.client.get("/metrics")).text
            async with asyncio.timeout(5):
                assert await rig.app.state.drain.run(delay=0, most=4)
                texts = [(await stream).text for stream in streams]
            for text in texts:
                assert '{"data":{"ticks":3}}' in text
                assert "event: complete" not in text  # the client is to come again
                assert "error" not in text
            assert sys.modules[name].closed == [1, 1]

    asyncio.run(story())


async def gone_after(app: Any, messages: int) -> None:
    """A WebSocket whose client subscribes, takes so many messages, and is gone without a word."""
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {
        "type": "websocket",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "query_string": b"",
        "headers": [(b"host", b"gateway")],
        "subprotocols": ["graphql-transport-ws"],
        "scheme": "ws",
        "client": ("127.0.0.1", 1),
        "server": ("gateway", 80),
        "root_path": "",
    }
    serving = asyncio.ensure_future(app(scope, inbox.get, sent.put))
    inbox.put_nowait({"type": "websocket.connect"})
    for text in (
        {"type": "connection_init"},
        {"id": "1", "type": "subscribe", "payload": {"query": "subscription { ticks }"}},
    ):
        inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(text)})
    for _ in range(messages):
        await asyncio.wait_for(sent.get(), 5)
    inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, 5)


def test_a_subscription_of_a_product_ends_with_a_client_that_is_gone_without_a_word(
    database: str, tmp_path: Path, module: Any
) -> None:
    """As in reports to others (Strawberry 3777, graphql-ws 532, SmallRye 1414): a generator ran on
    for nobody, above all where the socket was gone while it was being opened."""

    async def story() -> None:
        name = module(ENDLESS)
        async with gateway(database, tmp_path, extensions=[name]) as rig:
            # Accepted, acknowledged, and two ticks; or gone before anything is answered.
            await gone_after(rig.app, 4)
            assert sys.modules[name].closed == [1]
            for messages in (0, 1, 2):
                await gone_after(rig.app, messages)
            for _ in range(100):
                if "recordgate_subscriptions 0.0" in (await rig.client.get("/metrics")).text:
                    break
                await asyncio.sleep(0.05)
            assert sys.modules[name].closed == sys.modules[name].begun
            assert not [t for t in asyncio.all_tasks() if "ticks" in repr(t.get_coro())]

    asyncio.run(story())
