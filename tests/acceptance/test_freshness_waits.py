"""Who waits for a store is woken when it shows more, not by looking again and again; how stale
an answer can be is said truly when nothing changes, when the worker is dead, and when clocks
differ."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

import psycopg
import pytest

from gateway.context import listener
from gateway.context.freshness import usable
from gateway.context.services import Freshness
from gateway.context.tokens import sign_token
from stores.protocols import Withheld
from tests.acceptance.gateway_rig import SECRET, Rig, gateway
from tests.acceptance.test_up import Process, command, settings, started

CITY = '{ city(id: "1") { name } }'


@contextlib.asynccontextmanager
async def listening(rig: Rig):  # type: ignore[no-untyped-def]
    heard = rig.services.listener
    task = asyncio.ensure_future(heard.run(str(rig.services.pool.conninfo)))
    async with asyncio.timeout(10):
        while not heard.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    yield heard
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_type_that_stays_behind_is_as_old_as_the_store_says_and_no_other(
    database: str, tmp_path: Path
) -> None:
    """A sink that cannot read countries goes on with cities: a reader who asks for freshness gets
    it, or an error."""

    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            services = rig.services
            for store in (services.documents, services.search):
                at = await store.position()
                assert at is not None
                behind = (Withheld("country", at.lsn - 1, at.as_of - 3600),)
                await store.publish(dataclasses.replace(at, withheld=behind))
            token = sign_token(services.system, at.lsn, SECRET)
            for headers in ({"Recordgate-Max-Staleness": "60s"}, {"Recordgate-Token": token}):
                answer = await rig.graphql(
                    '{ country(id: "FR") { name } city(id: "2988507") { name } }', headers=headers
                )
                fields = answer["extensions"]["recordgate"]["fields"]
                assert {k: f["store"] for k, f in fields.items()} == {
                    "country": "canonical",
                    "city": "documents",
                }
                stale = await rig.client.get("/search/country?q=France", headers=headers)
                assert (stale.status_code, stale.json()["code"]) == (503, "STALE")
                fresh = await rig.client.get("/search/city?q=Paris", headers=headers)
                assert fresh.status_code == 200
            # Who asks for none gets what there is, and is told how old it is.
            answer = await rig.graphql('{ country(id: "FR") { name } }')
            told = answer["extensions"]["recordgate"]["fields"]["country"]
            assert told["store"] == "documents"
            assert told["stalenessMs"] >= 3_600_000

    asyncio.run(go())


def test_who_waits_is_woken_by_what_the_worker_tells(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "SAFETY", 60.0)

    async def go() -> None:
        async with gateway(database, tmp_path) as rig, listening(rig):
            services = rig.services
            now = await rig.publish()
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute("UPDATE cities SET name = 'Lutetia' WHERE geonameid = 2988507")
                row = conn.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
                assert row is not None
                assert row[0] > now.lsn
                asked = Freshness(sign_token(services.system, row[0], SECRET), None, 30.0)
                began = time.monotonic()
                waits = [
                    asyncio.ensure_future(usable(services, services.documents, asked))
                    for _ in range(20)
                ]
                await asyncio.sleep(0.1)
                await rig.publish()
                assert not any(w.done() for w in waits)
                conn.execute("NOTIFY recordgate_positions, 'documents'")
                standings = await asyncio.gather(*waits)
            assert all(s.usable for s in standings)
            assert time.monotonic() - began < 20

    asyncio.run(go())


def test_a_lost_connection_is_made_again_and_meanwhile_waiters_look_themselves(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "RETRY", 0.05)

    async def go() -> None:
        async with gateway(database, tmp_path) as rig, listening(rig) as heard:
            before = heard.heard
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'recordgate gateway news'"
                    " AND datname = current_database()"
                )
            async with asyncio.timeout(20):
                while heard.heard == before:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert heard.connected

    asyncio.run(go())


def test_staleness_is_reckoned_by_canonicals_clock(database: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig, listening(rig) as heard:
            assert abs(heard.ahead) < 30  # one machine: the difference is what asking took
            heard.ahead = 3600.0
            answer = await rig.graphql('{ city(id: "2988507") { name } }')
            field = answer["extensions"]["recordgate"]["fields"]["city"]
            assert field["stalenessMs"] >= 3_600_000
            fresh = {"Recordgate-Max-Staleness": "60s"}
            answer = await rig.graphql('{ city(id: "2988507") { name } }', headers=fresh)
            field = answer["extensions"]["recordgate"]["fields"]["city"]
            assert field["store"] == "canonical"

    asyncio.run(go())


def test_an_idle_worker_keeps_answers_fresh_and_a_dead_one_does_not(
    database: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, database, name="stale")
    assert command(config, "apply", "--yes").returncode == 0
    with started(config, "serve") as serve, started(config, "sync", listens=False) as sync:
        wait_for(serve, "documents", 60, **{"Recordgate-Max-Staleness": "5s"})
        time.sleep(6)
        assert store(serve, **{"Recordgate-Max-Staleness": "5s"}) == "documents"
        os.kill(sync.process.pid, signal.SIGKILL)
        sync.process.wait()
        wait_for(serve, "canonical", 30, **{"Recordgate-Max-Staleness": "1s"})
        assert store(serve) == "documents"
        search = serve.graphql(
            '{ searchCities(query: "x") { totalCount } }', **{"Recordgate-Max-Staleness": "1s"}
        )
        error = search["errors"][0]["extensions"]
        assert error["code"] == "STALE"
        assert error["behindMs"] > 0


def store(process: Process, **headers: str) -> str:
    answer = process.graphql(CITY, **headers)
    found: str = answer["extensions"]["recordgate"]["fields"]["city"]["store"]
    return found


def wait_for(process: Process, wanted: str, seconds: float, **headers: str) -> None:
    deadline = time.monotonic() + seconds
    while store(process, **headers) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)
