"""A store that hangs, dies or is refused: what another can answer is answered, each field for
itself, canonical is not drowned, and the store is used again once it answers. The gateway's own end
drains."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compose.local import servers
from gateway.context.services import Limits
from gateway.query.key_reads import SLOW
from tests.acceptance.gateway_rig import Rig, gateway
from tests.acceptance.test_up import settings, started
from tests.gate import Gate
from tests.servers import fresh_folder, unless_it_cannot_be_had

CITY = '{ city(id: "2988507") { name } }'
PARIS = {"city": {"name": "Paris"}}


def route(answer: dict[str, Any], field: str = "city") -> dict[str, Any]:
    found: dict[str, Any] = answer["extensions"]["recordgate"]["fields"][field]
    return found


async def until(rig: Rig, store: str) -> None:
    async with asyncio.timeout(40):
        while True:
            answer = await rig.graphql(CITY)
            assert answer["data"] == PARIS
            if route(answer)["store"] == store:
                return
            await asyncio.sleep(0.1)


@pytest.mark.servers
def test_a_document_store_that_hangs_is_passed_over_then_left_alone_then_used_again(
    database: str, tmp_path: Path
) -> None:
    async def go(pid: int, url: str) -> None:
        async with gateway(
            database, tmp_path, documents_url=f"{url}/t{os.urandom(8).hex()}"
        ) as rig:
            await until(rig, "documents")
            os.kill(pid, signal.SIGSTOP)
            try:
                answer = await rig.graphql(CITY)
                assert answer["data"] == PARIS
                assert route(answer)["reason"] == SLOW
                # On a slow machine a pause is over before the next request, whose trial then
                # doubles it.
                why = ""
                for _ in range(40):
                    answer = await rig.graphql(CITY, headers={"Recordgate-Explain": "1"})
                    assert answer["data"] == PARIS
                    considered = answer["extensions"]["recordgate"]["plan"]["city"]["considered"]
                    why = next(c["why"] for c in considered if c["store"] == "documents")
                    if "not asked for a moment" in why:
                        break
                assert "not asked for a moment" in why
                ready = await rig.client.get("/health/ready")
                assert ready.status_code == 200
                assert ready.json()["status"] == "degraded"
                assert ready.json()["stores"]["documents"]["breaker"] != "closed"
                metrics = (await rig.client.get("/metrics")).text
                assert 'recordgate_store_breaker{store="documents"} 0.0' not in metrics
                assert 'recordgate_store_breaker{store="search"} 0.0' in metrics
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(rig, "documents")

    with fresh_folder("mongodb-gateway") as folder:
        with unless_it_cannot_be_had():
            process, url = servers.start_mongodb(folder)
        try:
            asyncio.run(go(process.pid, url))
        finally:
            process.kill()


@pytest.mark.servers
def test_search_that_is_killed_fails_its_field_alone_and_at_once(
    database: str, tmp_path: Path, elasticsearch_url: str
) -> None:
    """Over a proxy that is shut, so that the server of the other tests stays."""

    async def go() -> None:
        server = elasticsearch_url.removeprefix("elasticsearch://").rpartition(":")
        gate = Gate(server[0], int(server[2]))
        await gate.open()
        prefix = f"t{os.urandom(8).hex()}"
        url = f"elasticsearch://127.0.0.1:{gate.port}/{prefix}"
        async with gateway(database, tmp_path, search_url=url) as rig:
            both = f'{CITY[:-1]} searchCities(query: "paris") {{ totalCount }} }}'
            answer = await rig.graphql(both)
            assert answer["data"] == {**PARIS, "searchCities": {"totalCount": 2}}
            await gate.shut()
            for _ in range(8):
                answer = await rig.graphql(both)
                assert answer["data"] == {**PARIS, "searchCities": None}
                (error,) = answer["errors"]
                assert error["path"] == ["searchCities"]
                assert error["extensions"]["code"] == "STORE_UNAVAILABLE"
            assert "not asked for a moment" in error["message"]
            assert error["extensions"]["retryAfter"] > 0
            response = await rig.client.get("/search/city?q=paris")
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            await gate.open()
            async with asyncio.timeout(40):
                while (await rig.client.get("/search/city?q=paris")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)

    asyncio.run(go())


def test_a_failover_takes_no_more_of_canonical_than_the_bulkhead_allows(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path, limits=Limits(fallback_reads=2)) as rig:
            await until(rig, "documents")
            await rig.services.documents.close()
            with psycopg.connect(database) as lock:
                lock.execute("LOCK TABLE cities")
                reads = [asyncio.ensure_future(rig.graphql(CITY)) for _ in range(40)]
                for answer in itertools.islice(asyncio.as_completed(reads), 38):
                    error = (await answer)["errors"][0]["extensions"]
                    assert error["code"] == "STORE_UNAVAILABLE"
                    assert error["retryAfter"] == 1
                assert rig.services.fallbacks.running == 2
                listed = await rig.graphql("{ countries { nodes { iso } } }")
                assert [n["iso"] for n in listed["data"]["countries"]["nodes"]] == ["FR", "US"]
                lock.rollback()
            done = await asyncio.gather(*reads)
            assert sum(a.get("data") == PARIS for a in done) == 2
            assert rig.services.fallbacks.running == 0
            assert (await rig.graphql(CITY))["data"] == PARIS

    asyncio.run(go())


def damage(folder: Path) -> None:
    """Overwrite every file of the document store."""
    files = [p for p in folder.rglob("*") if p.is_file() and "documents" in str(p)]
    assert files
    for file in files:
        size = file.stat().st_size
        with file.open("r+b") as damaged:
            damaged.write(b"\xff" * size)


def test_the_embedded_store_unreadable_is_replaced_by_canonical(
    database: str, tmp_path: Path
) -> None:
    async def go() -> None:
        async with gateway(database, tmp_path) as rig:
            await until(rig, "documents")
            damage(tmp_path)
            answer = await rig.graphql(CITY)
            assert answer["data"] == PARIS

    asyncio.run(go())


def test_a_gateway_that_is_stopped_is_not_ready_and_ends_what_runs(
    database: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, database, name="drained")
    with started(config, "up") as up, psycopg.connect(database) as lock:
        lock.execute("LOCK TABLE cities")
        answers: list[dict[str, Any]] = []
        slow = threading.Thread(
            target=lambda: answers.append(up.graphql("{ cities(first: 1) { totalCount } }"))
        )
        slow.start()
        with psycopg.connect(database, autocommit=True) as conn:
            deadline = time.monotonic() + 20
            while not conn.execute(
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database()"
            ).fetchone():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        up.process.send_signal(signal.SIGTERM)
        seen = _status(f"{up.url}/health/ready")
        while seen == 200 and time.monotonic() < deadline:
            seen = _status(f"{up.url}/health/ready")
        assert seen == 503
        assert _status(f"{up.url}/graphql?query={{__typename}}") == 503
        lock.rollback()
        slow.join(20)
        assert answers[0]["data"]["cities"] == {"totalCount": 0}
        assert up.process.wait(20) == 0


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            json.load(answer)
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
