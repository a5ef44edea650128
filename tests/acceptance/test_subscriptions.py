"""Subscriptions tell each change of a record that the caller may see, at least once, over both
transports, also across cuts and restarts; who does not keep up is told so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import jwt
import orjson
import psycopg
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_socket

from gateway.context.services import RequestContext, Viewer
from gateway.graphql.subscription_plan import Changed, Event, SubscriptionPlan, make_subscription
from gateway.graphql.subscriptions import Hub
from gateway.schema import build_schema
from stores.errors import ForbiddenError, RecordgateError, TimeoutExceeded
from tests.acceptance.gateway_rig import ROWS, gateway
from tests.acceptance.test_up import Process, settings, started

CITIES = "subscription { cityChanged { kind id token city { name population country { name } } } }"
INSERT = (
    "INSERT INTO cities (geonameid, name, country_code, latitude, longitude, population)"
    " VALUES (%s, %s, 'FR', 0, 0, %s)"
)


@contextmanager
def running(database: str, folder: Path, name: str, more: str = "") -> Iterator[Process]:
    """`more`: settings."""
    config = settings(folder, database, name=name)
    with config.open("a") as file:
        file.write(more)
    with started(config, "up") as up:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
        yield up


class Events:
    """The `next` events of a stream, as they come."""

    def __init__(self, lines: AsyncIterator[str], first: str) -> None:
        self._lines = lines
        self._name = first.removeprefix("event: ")
        self.ended = False

    async def next(self, seconds: float = 30) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            name, self._name = self._name, ""
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: ") and name == "next":
                    found: dict[str, Any] = orjson.loads(line.removeprefix("data: "))
                    return found
                elif line.startswith("data:") and name == "complete":
                    self.ended = True
        raise EOFError

    async def change(self, seconds: float = 30) -> dict[str, Any]:
        found: dict[str, Any] = (await self.next(seconds))["data"]["cityChanged"]
        return found


@asynccontextmanager
async def stream(
    url: str, query: str, variables: Any = None, headers: dict[str, str] | None = None
) -> AsyncIterator[Events]:
    body = {"query": query, "variables": variables or {}}
    headers = {"accept": "text/event-stream"} | (headers or {})
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("POST", f"{url}/graphql", json=body, headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        # The comment that it begins with says that it is subscribed.
        first = await anext(lines)
        assert first in (":", "event: next")
        yield Events(lines, first)


def socket_to(up: Process, headers: dict[str, str] | None = None) -> connect_socket:
    """A connection that speaks the protocol, not begun yet."""
    return connect_socket(
        up.url.replace("http", "ws") + "/graphql",
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        additional_headers=headers,
    )


def test_created_updated_and_deleted_records_are_told_with_a_token_that_holds(
    database: str, tmp_path: Path
) -> None:
    async def go(up: Process) -> None:
        async with (
            stream(up.url, CITIES) as events,
            await psycopg.AsyncConnection.connect(database, autocommit=True) as conn,
        ):
            await conn.execute(INSERT, (1, "Eins", 5))
            first = await events.change()
            token = first.pop("token")
            assert first == {
                "kind": "CREATED",
                "id": "1",
                "city": {"name": "Eins", "population": 5, "country": {"name": "France"}},
            }
            read = await asyncio.to_thread(
                up.graphql,
                '{ city(id: "1") { name } }',
                **{"Recordgate-Token": token, "Recordgate-Wait-Up-To": "20s"},
            )
            assert read["data"]["city"] == {"name": "Eins"}
            assert read["extensions"]["recordgate"]["fields"]["city"]["store"] == "documents"
            await conn.execute("UPDATE cities SET population = 6 WHERE geonameid = 1")
            second = await events.change()
            assert (second["kind"], second["city"]["population"]) == ("UPDATED", 6)
            await conn.execute("DELETE FROM cities WHERE geonameid = 1")
            third = await events.change()
            assert (third["kind"], third["id"], third["city"]) == ("DELETED", "1", None)
            # What a record shows of others is a change of it, too.
            await conn.execute("UPDATE countries SET name = 'Frankreich' WHERE iso = 'FR'")
            told = [await events.change(), await events.change()]
            assert {(c["kind"], c["id"]) for c in told} == {
                ("UPDATED", "2988507"),
                ("UPDATED", "2996944"),
            }
            assert all(c["city"]["country"]["name"] == "Frankreich" for c in told)
            await conn.execute("UPDATE cities SET population = geonameid")
            await conn.execute(
                "INSERT INTO cities (geonameid, name, country_code, latitude, longitude, population)"
                " SELECT i, 'many', 'US', 0, 0, i FROM generate_series(10, 5000) i"
            )
            while (change := await events.change())["kind"] != "REFRESH":
                assert change["id"] is not None
            assert (change["id"], change["city"]) == (None, None)

    with running(database, tmp_path, "told") as up:
        asyncio.run(go(up))


def test_a_filter_lets_its_own_records_through_and_tells_nothing_of_others(
    database: str, tmp_path: Path
) -> None:
    async def go(up: Process) -> None:
        query = """subscription ($least: Int!) {
            big: cityChanged(filter: {population: {gte: $least}}) { kind n: city { name __typename } } }"""
        async with (
            stream(up.url, query, {"least": 100}) as events,
            await psycopg.AsyncConnection.connect(database, autocommit=True) as conn,
        ):
            await conn.execute(INSERT, (1, "small", 5))
            await conn.execute("DELETE FROM cities WHERE geonameid = 1")
            await conn.execute(INSERT, (2, "big", 500))
            assert (await events.next())["data"] == {
                "big": {"kind": "CREATED", "n": {"name": "big", "__typename": "City"}}
            }

    with running(database, tmp_path, "filtered") as up:
        asyncio.run(go(up))


PEOPLE = """
INSERT INTO departments (code, open, name) VALUES ('o', true, 'Open'), ('s', false, 'Secret');
INSERT INTO people (id, name, salary, email, department_code)
VALUES (1, 'Ann', 10, 'ann@example.org', 'o'), (2, 'Bob', 20, 'bob@example.org', 's');
"""


def test_a_row_or_field_that_is_hidden_leaves_by_no_event(database: str, tmp_path: Path) -> None:
    contract = Path(__file__).parent / "restricted.odcs.yaml"

    async def go() -> None:
        async with gateway(
            database, tmp_path, contract=contract, rows=PEOPLE, published=False
        ) as rig:
            schema = build_schema(rig.services.contract)

            async def told(role: str, query: str, *changes: Changed) -> list[Any]:
                viewer = Viewer(role, frozenset([role]), may_introspect=False)
                context = RequestContext(rig.services, viewer)
                plan = make_subscription(schema, context, query, {}, None)
                assert plan is not None
                found = [orjson.loads(e.body)["data"] for e in await plan.events(changes)]
                return [next(iter(d.values())) for d in found]

            rows = [Changed(n, n, "department", k, "updated") for n, k in enumerate("os", 1)]
            gone = Changed(3, 3, "department", "x", "deleted")
            query = "subscription { departmentChanged { kind id department { name } } }"
            assert [c["id"] for c in await told("hr", query, *rows, gone)] == ["o", "s", "x"]
            assert [c["id"] for c in await told("staff", query, *rows, gone)] == ["o"]
            people = [Changed(n, n, "person", str(n), "updated") for n in (1, 2)]
            query = (
                "subscription { personChanged { id person { salary email department { name } } } }"
            )
            first, second = await told("staff", query, *people)
            assert first["person"]["salary"] is None
            assert first["person"]["email"] not in (None, "ann@example.org")
            assert first["person"]["department"] == {"name": "Open"}
            assert second["person"]["department"] is None
            by = "subscription { personChanged(filter: {salary: {gt: 15}}) { id } }"
            assert [c["id"] for c in await told("hr", by, *people)] == ["2"]
            with pytest.raises(ForbiddenError):
                await told("staff", by, *people)

    asyncio.run(go())


def test_missed_changes_are_told_as_a_refresh(database: str, tmp_path: Path) -> None:
    async def go(up: Process) -> None:
        async with stream(up.url, CITIES) as events:
            up.process.send_signal(signal.SIGSTOP)
            with psycopg.connect(database, autocommit=True) as conn:
                # As the worker does that finds changes missing.
                conn.execute(
                    "UPDATE recordgate.feed_state SET since = since + 1, horizon = since + 1"
                )
            up.process.send_signal(signal.SIGCONT)
            change = await events.change(60)
            assert change["kind"] == "REFRESH"

    with running(database, tmp_path, "missed") as up:
        asyncio.run(go(up))


def test_a_cut_subscription_goes_on_by_its_token_also_after_a_restart(
    database: str, tmp_path: Path
) -> None:
    async def first(up: Process) -> str:
        async with stream(up.url, CITIES) as events:
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute(INSERT, (1, "Eins", 1))
            return str((await events.change())["token"])

    async def rest(up: Process, token: str, **headers: str) -> list[str]:
        query = CITIES.replace("cityChanged", "cityChanged(after: $after)").replace(
            "subscription", "subscription ($after: String)"
        )
        found: list[str] = []
        async with stream(
            up.url, query, {"after": token} if not headers else {}, headers
        ) as events:
            while "3" not in found:
                found.append((await events.change())["id"])
        return found

    with running(database, tmp_path, "resumed") as up:
        token = asyncio.run(first(up))
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(INSERT, (2, "Zwei", 2))
            up.stop(signal.SIGKILL)
            conn.execute(INSERT, (3, "Drei", 3))
    with started(tmp_path / "recordgate.toml", "up") as again:
        found = asyncio.run(rest(again, token))
        assert set(found) == {"1", "2", "3"}
        by_browser = asyncio.run(rest(again, "", **{"Last-Event-ID": token}))
        assert set(by_browser) == {"1", "2", "3"}


def test_a_token_from_before_the_feed_is_refused(database: str, tmp_path: Path) -> None:
    async def go(up: Process) -> None:
        made = await asyncio.to_thread(
            up.graphql, 'mutation { updateCity(id: "2988507", input: {population: 1}) { token } }'
        )
        token = made["data"]["updateCity"]["token"]
        query = f'subscription {{ cityChanged(after: "{token}") {{ id }} }}'
        async with stream(up.url, query) as events:
            error = (await events.next())["errors"][0]
            assert error["extensions"]["code"] == "STALE"
            with pytest.raises(EOFError):
                await events.next()
            assert events.ended

    with running(database, tmp_path, "before") as up:
        asyncio.run(go(up))


def test_what_is_no_subscription_is_answered_and_ended(database: str, tmp_path: Path) -> None:
    async def go(up: Process) -> None:
        async with stream(up.url, '{ city(id: "2988507") { name } }') as events:
            assert (await events.next())["data"] == {"city": {"name": "Paris"}}
            with pytest.raises(EOFError):
                await events.next()
            assert events.ended
        for query in (
            "subscription { nothing }",
            "subscription { a: cityChanged { id } b: cityChanged { id } }",
        ):
            async with stream(up.url, query) as events:
                assert (await events.next())["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        answer = await asyncio.to_thread(up.graphql, CITIES)
        assert "stream" in answer["errors"][0]["message"]

    with running(database, tmp_path, "ended") as up:
        asyncio.run(go(up))


def test_a_socket_carries_several_operations(database: str, tmp_path: Path) -> None:
    async def go(up: Process) -> None:
        async with socket_to(up) as socket:

            async def send(**message: Any) -> None:
                await socket.send(orjson.dumps(message).decode())

            async def receive() -> dict[str, Any]:
                async with asyncio.timeout(30):
                    found: dict[str, Any] = orjson.loads(await socket.recv())
                    return found

            await send(type="connection_init")
            assert await receive() == {"type": "connection_ack"}
            await send(type="ping")
            assert await receive() == {"type": "pong"}
            await send(
                type="subscribe", id="q", payload={"query": '{ city(id: "2988507") { name } }'}
            )
            answer = await receive()
            assert (answer["id"], answer["type"]) == ("q", "next")
            assert answer["payload"]["data"] == {"city": {"name": "Paris"}}
            assert await receive() == {"id": "q", "type": "complete"}
            await send(type="subscribe", id="bad", payload={"query": "{ nothing }"})
            assert (await receive())["type"] in ("next", "error")
            await send(type="subscribe", id="s", payload={"query": CITIES})
            with psycopg.connect(database, autocommit=True) as conn:
                told = None
                for number in range(1, 100):
                    conn.execute(INSERT, (number, "new", number))
                    try:
                        async with asyncio.timeout(1):
                            message = await receive()
                    except TimeoutError:
                        continue
                    if message.get("id") == "s":
                        told = message
                        break
                assert told is not None
                assert told["payload"]["data"]["cityChanged"]["kind"] == "CREATED"
            await send(type="complete", id="s")
            await send(type="subscribe", id="q2", payload={"query": "{ __typename }"})
            while (message := await receive()).get("id") != "q2":
                pass
            assert message["payload"]["data"] == {"__typename": "Query"}

    with running(database, tmp_path, "socket") as up:
        asyncio.run(go(up))


async def drained(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (['{"type":"subscribe","id":"1","payload":{"query":"{__typename}"}}'], 4401),
        (["no json"], 4400),
        (['{"type":"connection_init"}', '{"type":"connection_init"}'], 4429),
        (['{"type":"connection_init"}', '{"type":"nothing"}'], 4400),
        (['{"type":"connection_init"}', '{"type":"subscribe","id":"1","payload":[]}'], 4400),
        (
            ['{"type":"connection_init"}']
            + ['{"type":"subscribe","id":"1","payload":{"query":"subscription{cityChanged{id}}"}}']
            * 2,
            4409,
        ),
    ],
)
def test_a_socket_that_breaks_the_protocol_is_closed_with_its_code(
    gateway_process: Process, messages: list[str], code: int
) -> None:
    async def go() -> None:
        async with socket_to(gateway_process) as socket:
            for message in messages:
                await socket.send(message)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(drained(socket), 20)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == code

    asyncio.run(go())


@pytest.fixture(scope="module")
def gateway_process(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    from tests.conftest import drop_database, url_of

    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE test_sockets")
    with running(url_of(postgres, "test_sockets"), tmp_path_factory.mktemp("up"), "sockets") as up:
        yield up
    drop_database(postgres, "test_sockets")


def test_a_reader_that_does_not_keep_up_is_told_and_costs_no_more(
    database: str, tmp_path: Path
) -> None:
    from gateway.graphql.subscription_plan import Event
    from gateway.graphql.subscriptions import MOST_EVENTS, Subscription
    from stores.errors import LimitError

    async def go() -> None:
        slow, fast = Subscription(), Subscription()
        for number in range(MOST_EVENTS + 1):
            event = Event(b"%d" % number, "")
            slow.put([event])
            fast.put([event])
            assert await fast.next() is event
        with pytest.raises(LimitError):
            await slow.next()

    asyncio.run(go())


def test_a_gateway_that_ends_breaks_streams_off_so_that_they_go_on_elsewhere(
    database: str, tmp_path: Path
) -> None:
    async def go(up: Process) -> None:
        async with stream(up.url, CITIES) as events:
            up.process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            with pytest.raises((EOFError, httpx.RemoteProtocolError)):
                await events.next()
            assert not events.ended
            assert time.monotonic() - began < 20
        assert await asyncio.to_thread(up.process.wait, 20) == 0

    with running(database, tmp_path, "broken") as up:
        asyncio.run(go(up))


def test_a_stream_ends_when_its_key_is_revoked(database: str, tmp_path: Path) -> None:
    config = settings(tmp_path, database, name="revoked")

    def keys(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "recordgate", "--config", str(config), "keys", *arguments]
        done = subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=60)
        found: dict[str, Any] = orjson.loads(done.stdout)
        return found

    key = keys("create")

    async def go(up: Process) -> None:
        credential = {"x-api-key": key["key"]}
        async with (
            stream(up.url, CITIES, headers=credential) as events,
            socket_to(up, credential) as socket,
        ):
            await socket.send('{"type":"connection_init"}')
            await socket.recv()
            await asyncio.to_thread(keys, "revoke", key["id"])
            told = await events.next()
            assert told["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
            async with asyncio.timeout(30):
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401

    with running(database, tmp_path, "revoked") as up:
        asyncio.run(go(up))


def test_a_stream_ends_when_its_token_expires(database: str, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    key = jwt.get_algorithm_by_name("ES256").to_jwk(private.public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_bytes(orjson.dumps({"keys": [{**key, "kid": "one"}]}))
    claims = {"iss": "https://idp.example", "aud": "recordgate", "sub": "ada", "roles": []}

    async def go(up: Process) -> None:
        claims["exp"] = int(time.time()) + 6
        token = jwt.encode(claims, private, "ES256", headers={"kid": "one"})
        async with stream(up.url, CITIES, headers={"Authorization": f"Bearer {token}"}) as events:
            told = await events.next()
            assert time.time() >= claims["exp"]
            assert told["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"

    more = (
        'jwks = "jwks.json"\njwt_issuer = "https://idp.example"\njwt_audience = "recordgate"\n'
        'jwt_algorithms = ["ES256"]\njwt_leeway = 0\n'
    )
    with running(database, tmp_path, "expires", more) as up:
        asyncio.run(go(up))


@asynccontextmanager
async def opened_socket(up: Process) -> AsyncIterator[ClientConnection]:
    async with socket_to(up) as socket:
        await socket.send('{"type":"connection_init"}')
        await socket.recv()
        yield socket


async def outcomes(socket: ClientConnection, query: str, count: int) -> list[str]:
    """Of `count` operations that are asked at once: OK, or the code of the error."""
    for number in range(count):
        message = {"type": "subscribe", "id": str(number), "payload": {"query": query}}
        await socket.send(orjson.dumps(message).decode())
    found: dict[str, str] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            message = orjson.loads(await socket.recv())
            error = message["type"] == "error"
            code = message["payload"][0]["extensions"]["code"] if error else "OK"
            found.setdefault(message["id"], code)
    return list(found.values())


def test_a_client_that_comes_back_with_all_its_operations_is_not_refused(
    database: str, tmp_path: Path
) -> None:
    async def go(up: Process) -> None:
        async with opened_socket(up) as socket:
            assert await outcomes(socket, "{ __typename }", 90) == ["OK"] * 90

    with running(database, tmp_path, "comes_back", "concurrent_requests = 25\n") as up:
        asyncio.run(go(up))


def test_operations_of_a_socket_count_against_the_rate_of_the_caller(
    database: str, tmp_path: Path
) -> None:
    async def go(up: Process) -> None:
        async with opened_socket(up) as socket:  # the first of five
            codes = await outcomes(socket, "{ __typename }", 7)
            assert sorted(codes) == ["OK"] * 4 + ["RATE_LIMITED"] * 3

    more = "rate_limit = 0.001\nrate_burst = 5\n"
    with running(database, tmp_path, "ws_rate", more) as up:
        asyncio.run(go(up))


@pytest.mark.parametrize("error", [ValueError("a fault"), TimeoutExceeded("too slow")], ids=repr)
def test_what_one_group_cannot_read_holds_up_nobody_else(
    database: str, tmp_path: Path, error: Exception
) -> None:
    class Slow(SubscriptionPlan):
        async def events(self, changes: Sequence[Changed]) -> list[Event]:
            raise error

    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            context = RequestContext(rig.services, Viewer())
            schema = build_schema(rig.services.contract)
            good = make_subscription(schema, context, CITIES, {}, None)
            assert good is not None
            slow = Slow(**{f.name: getattr(good, f.name) for f in fields(good)})
            hub = Hub(rig.services)
            hub._known.set()
            hub._task = asyncio.create_task(asyncio.sleep(60))
            first, second = await hub.subscribe(slow, "slow"), await hub.subscribe(good, "good")
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute(
                    "INSERT INTO recordgate.feed (lsn, type, key, kind) VALUES ('0/1', 'city', '2988507', 'updated')"
                )
            await hub._deliver()
            with pytest.raises(RecordgateError) as told:
                await first.next()
            assert "fault" not in str(told.value)
            assert b'"Paris"' in (await second.next()).body
            await hub._deliver()
            assert not second._queue, "told once"
            hub._task.cancel()

    asyncio.run(go())


def test_changes_too_large_to_be_read_at_once_are_told_as_one_refresh(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            context = RequestContext(rig.services, Viewer())
            query = "subscription { cityChanged { kind city { country { cities(first: 1000) { nodes { id } } } } } }"
            plan = make_subscription(build_schema(rig.services.contract), context, query, {}, None)
            assert plan is not None
            assert 50 < plan.most_at_once < 100

    asyncio.run(go())
