"""Lists from the document store: only where their age is allowed or canonical is away, the same
bytes by either route, and never a wrong one whatever is missing."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from gateway.context.canonical_away import Expiring
from gateway.context.plan_cache import PlanCache
from gateway.context.tokens import sign_token
from stores.contract.model import Route
from stores.errors import StoreUnavailable
from stores.roles import StoreRole
from tests.acceptance.gateway_rig import ROWS, SECRET, Rig, gateway
from tests.gate import Way

OLD = {"Recordgate-Max-Staleness": "1h", "Recordgate-Explain": "1"}
FRENCH = (
    '{ cities(filter: {countryCode: {eq: "FR"}}, orderBy: [{name: DESC}], first: 1%s)'
    " { nodes { name country { name } } pageInfo { hasNextPage hasPreviousPage endCursor } } }"
)


def route(answer: dict[str, Any], field: str = "cities") -> dict[str, Any]:
    found: dict[str, Any] = answer["extensions"]["recordgate"]["fields"][field]
    return found


def prefers(rig: Rig, **changes: Any) -> None:
    """Have the contract say so from now on."""
    city = rig.services.contract.types["city"]
    object.__setattr__(city, "route", Route(**changes))
    rig.services.plans = PlanCache()


def test_a_list_is_as_of_now_unless_request_or_contract_allow_an_older_one(
    database: str, tmp_path: Path
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path) as rig:
            await asyncio.sleep(0.01)
            now = await rig.graphql(FRENCH % "")
            assert route(now)["store"] == "canonical"
            for headers in ({"Recordgate-Max-Staleness": "0"}, {"Recordgate-Max-Staleness": "1ms"}):
                assert route(await rig.graphql(FRENCH % "", None, headers))["store"] == "canonical"
            old = await rig.graphql(FRENCH % "", None, OLD)
            assert route(old)["store"] == "documents"
            assert orjson.dumps(old["data"]) == orjson.dumps(now["data"])
            plan = old["extensions"]["recordgate"]["plan"]["cities"]
            assert {c["store"] for c in plan["considered"]} == {"canonical", "search"}
            assert plan["weights"]["documents"]["records"] == 3

            # Its tag is of its data: the store's position says nothing of what canonical would say.
            got = await rig.client.get("/graphql", params={"query": FRENCH % ""}, headers=OLD)
            assert got.headers["etag"].startswith('W/"c.')

            # A cursor of one route is a cursor of the other, also in a variable.
            cursor = old["data"]["cities"]["pageInfo"]["endCursor"]
            query = "query ($after: String) " + FRENCH % ", after: $after"
            pages = [await rig.graphql(query, {"after": cursor}, h) for h in (OLD, None)]
            assert [route(p)["store"] for p in pages] == ["documents", "canonical"]
            assert orjson.dumps(pages[0]["data"]) == orjson.dumps(pages[1]["data"])
            assert pages[0]["data"]["cities"]["nodes"][0]["name"] == "Lyon"
            forged = base64.urlsafe_b64encode(
                base64.urlsafe_b64decode(cursor + "==").replace(b"2988507", b"+2988507")
            )
            answers = [
                await rig.graphql(query, {"after": forged.decode().rstrip("=")}, h)
                for h in (OLD, None)
            ]
            assert [route(a)["store"] for a in answers] == ["canonical", "canonical"]
            assert answers[0]["data"] == answers[1]["data"]

            # A write that the store has not seen yet.
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute("UPDATE cities SET name = 'Lugdunum' WHERE name = 'Lyon'")
            token = sign_token(rig.services.system, 2**50, SECRET)
            seen = await rig.graphql(FRENCH % "", None, OLD | {"Recordgate-Token": token})
            assert route(seen)["store"] == "canonical"
            assert "has not applied the token's write" in route(seen)["reason"]

            prefers(rig, prefer=("documents", "canonical"))
            assert route(await rig.graphql(FRENCH % ""))["store"] == "documents"
            strong = await rig.graphql(FRENCH % "", None, {"Recordgate-Max-Staleness": "0"})
            assert route(strong)["store"] == "canonical"
            prefers(rig, prefer=("documents",), max_staleness=0.001)
            assert route(await rig.graphql(FRENCH % ""))["store"] == "canonical"
            prefers(rig, prefer=("canonical",))
            assert route(await rig.graphql(FRENCH % "", None, OLD))["store"] == "canonical"
            one = await rig.graphql('{ city(id: "2988507") { name } }')
            assert route(one, "city")["reason"] == "the contract prefers canonical"

    asyncio.run(story())


def test_a_store_that_cannot_serve_a_list_is_replaced_by_canonical(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.context.freshness._STATISTICS_TTL", 0.01)

    async def story() -> None:
        async with gateway(database, tmp_path) as rig:
            expected = (await rig.graphql(FRENCH % ""))["data"]

            async def reason(*, store: str = "canonical") -> str:
                answer = await rig.graphql(FRENCH % "", None, OLD)
                assert answer["data"] == expected
                assert route(answer)["store"] == store
                return str(route(answer)["reason"])

            # Statistics that lie: they promise an index that is gone, and few records.
            statistics = await rig.services.documents.statistics("city")
            lying = replace(
                statistics, indexes=((("countryCode", "geonameid"), (1.0, 1.0)),), rows=10**9
            )
            store = rig.services.guards[StoreRole.DOCUMENTS].store
            with pytest.MonkeyPatch.context() as patch:

                async def lies(_: str) -> Any:
                    return lying

                patch.setattr(store, "statistics", lies)
                assert "index" in await reason()
                lying = replace(lying, indexes=())
                await asyncio.sleep(0.02)
                assert "of 1000000000 records would be read" in await reason()
            await asyncio.sleep(0.02)
            # The work is more than a list may take: it is stopped, and not tried again soon.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("stores.documents.sqlite.list_reads.STEPS", 1)
                patch.setattr("gateway.query.list_reads.WORK", 0.0)
                assert "would read more" in await reason()
                assert "had to stop" in await reason()
            rig.services.overworked = Expiring(30.0)
            await reason(store="documents")
            # The store dies in the middle.
            with pytest.MonkeyPatch.context() as patch:

                async def dies(_: Any) -> Any:
                    raise StoreUnavailable("the disk is failing", store="sqlite")

                patch.setattr(store, "page", dies)
                assert "the disk is failing" in await reason()

    asyncio.run(story())


def test_a_type_of_which_the_store_has_refused_records_is_listed_by_canonical(
    database: str, tmp_path: Path
) -> None:
    """A dead letter is missing in the store, and so in its lists."""

    async def story() -> None:
        async with gateway(database, tmp_path) as rig:
            listener = rig.services.listener
            async with await psycopg.AsyncConnection.connect(database, autocommit=True) as conn:
                await listener._read_clock(conn)
                assert route(await rig.graphql(FRENCH % "", None, OLD))["store"] == "documents"
                await conn.execute(
                    "INSERT INTO recordgate.dead_letters (kind, type, sink, key, code, reasons)"
                    " VALUES ('sink', 'city', 'documents', '1', 'STORE_REFUSED', '[]')"
                )
                await listener._read_clock(conn)
            found = route(await rig.graphql(FRENCH % "", None, OLD))
            assert found["store"] == "canonical"
            assert "refused records" in found["reason"]
            # What no expression of the store holds is canonical's, too, and no fault of the store.
            listener.set_aside = frozenset()
            many = ", ".join(f'{{not: {{name: {{contains: "{n}"}}}}}}' for n in range(499))
            query = f"{{ cities(filter: {{or: [{many}]}}) {{ nodes {{ id }} }} }}"
            answers = [await rig.graphql(query, None, headers) for headers in (OLD, None)]
            assert answers[0]["data"] == answers[1]["data"]
            deep = '{name: {eq: "Lyon"}}'
            for _ in range(9):
                deep = f"{{not: {deep}}}"
            query = f"{{ cities(filter: {deep}) {{ nodes {{ name }} }} }}"
            answers = [await rig.graphql(query, None, headers) for headers in (OLD, None)]
            assert [route(a)["store"] for a in answers] == ["documents", "canonical"]
            assert answers[0]["data"] == answers[1]["data"]

    asyncio.run(story())


LISTS = [
    FRENCH % "",
    "{ countries { totalCount nodes { iso name } } }",
    "{ cities(last: 2, orderBy: [{population: ASC}]) { nodes { id population } } }",
    '{ cities(filter: {country: {name: {startsWith: "U"}}}) { nodes { id } } }',
    '{ cities(filter: {not: {name: {contains: "yo"}}}) { edges { cursor } } }',
    '{ citiesAggregate(filter: {countryCode: {eq: "FR"}}) { n: count kind: __typename } }',
]
ONLY_CANONICAL = [
    "{ cities(filter: {latitude: {gt: 40}}) { nodes { id } } }",
    "{ countries { nodes { iso version } } }",
    "{ citiesAggregate { max { population } } }",
]
WRITTEN = 'mutation { updateCity(id: "2996944", input: {name: "Lugdunum"}) { token } }'


def test_canonical_dies_in_the_middle_and_what_the_stores_hold_is_answered(
    database: str, way: tuple[Way, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_canonical, url = way
    monkeypatch.setattr("gateway.query.canonical.MAX_WAIT", 0.5)

    async def story() -> Counter[str]:
        seen: Counter[str] = Counter()
        async with gateway(url, tmp_path, rows="SELECT 1", published=False) as rig:
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute(ROWS.encode())
            await rig.publish()
            expected = {q: (await rig.graphql(q))["data"] for q in LISTS}
            for turn in range(4):
                if turn == 1:
                    to_canonical.shut()
                for query in LISTS:
                    answer = await rig.graphql(query)
                    assert answer["data"] == expected[query], answer
                    (field,) = answer["extensions"]["recordgate"]["fields"].values()
                    assert (field["store"] == "documents") is (turn > 0)
                    assert (field["stalenessMs"] > 0) is (turn > 0)
                    seen[field["store"]] += 1
            for query in (*ONLY_CANONICAL, WRITTEN):
                answer = await rig.graphql(query)
                (error,) = answer["errors"]
                assert error["extensions"]["code"] == "STORE_UNAVAILABLE", answer
                seen["refused"] += 1
            # What is asked to be fresher than the store is has no answer, and no older one.
            fresh = await rig.graphql(LISTS[0], None, {"Recordgate-Max-Staleness": "1ms"})
            assert fresh["errors"][0]["extensions"]["code"] == "STORE_UNAVAILABLE"
            to_canonical.open()
            deadline = time.monotonic() + 20
            while route(await rig.graphql(LISTS[0]))["store"] != "canonical":
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
        return seen

    seen = asyncio.run(story())
    print(f"canonical away: {dict(seen)}")
    assert seen == {"canonical": 6, "documents": 18, "refused": 4}
