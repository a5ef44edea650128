"""A subscriber is told of a change only where something that they may see has changed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from gateway.context.services import RequestContext, Viewer
from gateway.context.tokens import sign_token
from gateway.graphql import subscription_memory
from gateway.graphql.subscription_memory import whole_shape
from gateway.graphql.subscription_plan import Changed, SubscriptionPlan, make_subscription
from gateway.graphql.subscriptions import Hub, Subscription
from gateway.schema import build_schema
from gateway.shape.visibility import Visibility
from stores.contract.load import load_contract
from stores.errors import LimitError
from tests.acceptance.gateway_rig import GEONAMES, Rig, gateway
from tests.acceptance.test_subscriptions import stream
from tests.acceptance.test_up import Process, settings, started
from tests.acceptance.test_veiled import ROWS, VEILED

PEOPLE = "subscription { personChanged { kind id person { name email } } }"

STEPS: list[tuple[str, list[int], list[str]]] = [
    # what is changed, the records that the worker names, and what staff is told of
    ("UPDATE people SET salary = 7 WHERE id = 1", [1], []),
    ("UPDATE people SET name = name", [1, 2, 3, 4], []),
    ("UPDATE people SET email = 'ada.other@example.org' WHERE id = 1", [1], []),
    ("UPDATE people SET mentor_id = NULL WHERE id = 1", [1], []),
    ("UPDATE people SET mentor_id = 1 WHERE id = 2", [2], []),
    ("UPDATE mentors SET name = 'New'", [2], []),
    ("UPDATE notes SET text = 'new'", [2], []),
    ("INSERT INTO notes (id, text, person_id) VALUES (2, 'x', 1)", [1], []),
    ("UPDATE departments SET name = 'New' WHERE code = 'sec'", [3], []),
    ("UPDATE badges SET secret = 'new'", [4], []),
    ("UPDATE people SET salary = 8, name = 'Eva' WHERE id = 1", [1], ["UPDATED 1"]),
    ("UPDATE people SET email = 'eva.other@example.org' WHERE id = 1", [1], ["UPDATED 1"]),
    ("UPDATE badges SET label = 'new'", [4], ["UPDATED 4"]),
    ("INSERT INTO badges (id, person_id) VALUES (2, 1)", [1], ["UPDATED 1"]),
    ("UPDATE departments SET name = 'New' WHERE code = 'pub'", [1, 2, 4], ["UPDATED 1", "UPDATED 2", "UPDATED 4"]),
    ("UPDATE departments SET open = true WHERE code = 'sec'", [3], ["UPDATED 3"]),
    ("UPDATE people SET salary = 9; UPDATE people SET name = 'Fee' WHERE id = 2", [1, 2, 3, 4], ["UPDATED 2"]),
]  # fmt: skip


def subscribe(rig: Rig, role: str, query: str = PEOPLE) -> SubscriptionPlan:
    context = RequestContext(rig.services, Viewer(role, frozenset([role])))
    plan = make_subscription(build_schema(rig.services.contract), context, query, {}, None)
    assert plan is not None
    return plan


async def told(plan: SubscriptionPlan, *changes: tuple[str | None, str]) -> list[str]:
    rows = [Changed(n, n, plan.type.name, key, kind) for n, (key, kind) in enumerate(changes, 1)]
    return [_said(e.body) for e in await plan.events(rows)]


def _said(body: bytes) -> str:
    (change,) = orjson.loads(body)["data"].values()
    return f"{change['kind']} {change['id']}"


def run(database: str, folder: Path, work: Any) -> None:
    async def main() -> None:
        async with gateway(database, folder, contract=VEILED, rows=ROWS, published=False) as rig:
            with psycopg.connect(database, autocommit=True) as conn:
                await work(rig, conn)

    asyncio.run(main())


def test_an_event_comes_only_where_something_visible_changed(database: str, tmp_path: Path) -> None:
    async def go(rig: Rig, conn: psycopg.Connection) -> None:
        staff, hr = subscribe(rig, "staff"), subscribe(rig, "hr")
        assert hr.memory is None
        assert staff.memory is not None
        await staff.memory.take()
        for statement, keys, expected in STEPS:
            conn.execute(statement.encode())
            changes = [(str(k), "updated") for k in keys]
            assert await told(staff, *changes) == expected, statement
            assert await told(hr, *changes) == [f"UPDATED {k}" for k in keys], statement
            assert not expected or await told(staff, *changes) == [], "told once"
        conn.execute("INSERT INTO people (id, name) VALUES (9, 'Gil')")
        assert await told(staff, ("9", "created")) == ["CREATED 9"]
        conn.execute("DELETE FROM people WHERE id = 9")
        assert await told(staff, ("9", "deleted"), ("99", "deleted")) == ["DELETED 9"]
        # So many at once that no key is named.
        conn.execute("UPDATE people SET salary = 0")
        assert await told(staff, (None, "refresh")) == []
        assert await told(hr, (None, "refresh")) == ["REFRESH None"]
        conn.execute("UPDATE people SET name = 'Hal' WHERE id = 1")
        assert await told(staff, (None, "refresh"), ("1", "updated")) == ["REFRESH None"]
        # The filter's own view: who leaves it is not told of, who comes back is.
        some = subscribe(
            rig, "staff", PEOPLE.replace("Changed", 'Changed(filter: {name: {eq: "Hal"}})')
        )
        assert some.memory is not None
        await some.memory.take()
        for name, expected in (("Ida", []), ("Hal", ["UPDATED 1"])):
            conn.execute("UPDATE people SET name = %s WHERE id = 1", [name])
            assert await told(some, ("1", "updated"), ("2", "updated")) == expected

    run(database, tmp_path, go)


def test_what_is_remembered_is_as_of_the_beginning_and_bounded(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription_memory, "PAGE", 3)

    async def go(rig: Rig, conn: psycopg.Connection) -> None:
        def feed(*keys: int) -> None:
            for key in keys:
                conn.execute(
                    "INSERT INTO recordgate.feed (lsn, type, key, kind)"
                    " VALUES ('0/1', 'person', %s, 'updated')",
                    [str(key)],
                )

        async def next_of(subscription: Subscription) -> str:
            return _said((await asyncio.wait_for(subscription.next(), 5)).body)

        hub = Hub(rig.services)
        hub._known.set()
        hub._task = asyncio.create_task(asyncio.sleep(60))
        first = await hub.subscribe(subscribe(rig, "staff"), "same")
        second = await hub.subscribe(subscribe(rig, "staff"), "same")
        conn.execute("UPDATE people SET salary = 1")
        feed(1, 2, 3, 4)
        await hub._deliver()
        conn.execute("UPDATE people SET name = 'Zoe' WHERE id = 4")
        feed(4)
        await hub._deliver()
        for subscription in (first, second):
            assert await next_of(subscription) == "UPDATED 4"
            assert not subscription._queue
        # Who goes on by a token is told to read anew, whether or not anything changed.
        later = subscribe(
            rig, "staff",
            PEOPLE.replace("Changed", f'Changed(after: "{sign_token(rig.services.system, 5, rig.services.token_secret)}")'),
        )  # fmt: skip
        assert await next_of(await hub.subscribe(later, "later")) == "REFRESH None"
        hub._task.cancel()
        plan = subscribe(rig, "staff")
        assert plan.memory is not None
        with pytest.raises(LimitError) as refused:
            await plan.memory.take(3)
        assert "narrow" in refused.value.hint
        assert await plan.memory.take(4)
        assert len(plan.memory.known) == 4

    run(database, tmp_path, go)


def test_a_worker_and_a_stream_tell_nothing_of_what_is_hidden(
    database: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, database, name="veiled")
    (tmp_path / "contract.odcs.yaml").write_text(VEILED.read_text("utf-8"))
    command = [sys.executable, "-m", "recordgate", "--config", str(config), "keys", "create"]
    done = subprocess.run(
        [*command, "--role", "staff", "--json"], capture_output=True, check=True, timeout=60
    )
    key = {"x-api-key": orjson.loads(done.stdout)["key"]}

    async def go(up: Process) -> None:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
            async with stream(up.url, PEOPLE, headers=key) as events:
                for statement in (
                    "UPDATE people SET salary = 5",
                    "UPDATE mentors SET name = 'Nobody'",
                    "UPDATE notes SET text = 'nothing'",
                    "UPDATE departments SET name = 'Nowhere' WHERE code = 'sec'",
                    "UPDATE badges SET label = 'seen'",
                ):
                    conn.execute(statement.encode())
                    await asyncio.sleep(0.3)
                conn.execute("UPDATE people SET name = 'Ivy' WHERE id = 3")
                told = [_said(orjson.dumps(await events.next())) for _ in range(2)]
                assert told == ["UPDATED 4", "UPDATED 3"]

    with started(config, "up") as up:
        asyncio.run(go(up))


@pytest.mark.parametrize(
    ("roles", "type_name", "compared"),
    [
        ((), "mentor", False), (("staff",), "mentor", False), (("hr",), "person", False),
        (("staff",), "person", True), (("staff",), "badge", True), (("hr",), "badge", False),
        (("staff",), "department", False), (("hr",), "note", False),
    ],
)  # fmt: skip
def test_only_who_may_not_see_all_is_compared_for(
    roles: tuple[str, ...], type_name: str, compared: bool
) -> None:
    contract = load_contract(VEILED)
    found = whole_shape(Visibility(contract, frozenset(roles)), contract.types[type_name])
    assert (found is not None) is compared


def test_a_contract_that_hides_nothing_costs_subscriptions_nothing() -> None:
    contract = load_contract(GEONAMES)
    assert all(whole_shape(Visibility(contract), t) is None for t in contract.types.values())
