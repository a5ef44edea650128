"""A gateway that is started while canonical is away answers what the stores can, and all once it is
back."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from recordgate.last_canonical import FILE
from tests.acceptance.gateway_rig import ROWS
from tests.acceptance.test_up import Process, settings, started
from tests.gate import Gate


class Way:
    """A gate that is opened and shut from outside of its event loop."""

    def __init__(self, port: int) -> None:
        self._gate = Gate("127.0.0.1", port)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self._gate.port

    def open(self) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.open(), self._loop).result(10)

    def shut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._gate.shut(), self._loop).result(10)

    def end(self) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)


@pytest.fixture
def way(database: str) -> Iterator[tuple[Way, str]]:
    """To canonical, and its URL by that way."""
    with psycopg.connect(database) as conn:
        port = int(conn.execute("SHOW port").fetchone()[0])  # type: ignore[index]
        user, name, password = conn.info.user, conn.info.dbname, conn.info.password
    way = Way(port)
    way.open()
    yield way, f"postgresql://{user}:{password}@127.0.0.1:{way.port}/{name}"
    way.end()


def code(answer: dict[str, Any]) -> str:
    return str(answer["errors"][0]["extensions"]["code"])


BY_KEY = '{ city(id: "2996944") { name } }'
BY_WORDS = '{ searchCities(query: "lyon") { nodes { name } } }'
LISTED = "{ countries { nodes { iso } } }"
WRITTEN = 'mutation { updateCity(id: "2996944", input: {name: "Lugdunum"}) { token } }'


def both_hold(gateway: Process) -> bool:
    found = gateway.graphql(f"{{ {BY_KEY.strip('{} ')} }} {BY_WORDS.strip()[1:-1]} }}")
    fields = found["extensions"]["recordgate"]["fields"]
    hits = (found["data"]["searchCities"] or {}).get("nodes")
    return bool(hits) and {f["store"] for f in fields.values()} == {"documents", "search"}


def until(gateway: Process, query: str, seconds: float = 30.0) -> dict[str, Any]:
    """The first answer without an error."""
    deadline = time.monotonic() + seconds
    while "errors" in (answer := gateway.graphql(query)):
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)
    return answer


def test_a_gateway_that_starts_while_canonical_is_away_answers_what_the_stores_can(
    way: tuple[Way, str], database: str, tmp_path: Path
) -> None:
    to_canonical, url = way
    config = settings(tmp_path, url, name=f"away{os.getpid()}")
    with started(config, "up") as first:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
        token = first.graphql(WRITTEN.replace("Lugdunum", "Lyon"))["data"]["updateCity"]["token"]
        waiting = {"Recordgate-Wait-Up-To": "20s", "Recordgate-Token": token}
        for query in (BY_KEY, BY_WORDS):
            assert "errors" not in first.graphql(query, **waiting)
        first.stop()
    kept = tmp_path / "data" / FILE
    assert kept.stat().st_mode & 0o777 == 0o600
    to_canonical.shut()
    with started(config, "serve") as gateway:
        answer = gateway.graphql(BY_KEY)
        assert answer["data"] == {"city": {"name": "Lyon"}}
        assert answer["extensions"]["recordgate"]["fields"]["city"]["store"] == "documents"
        assert gateway.graphql(BY_WORDS)["data"] == {"searchCities": {"nodes": [{"name": "Lyon"}]}}
        assert gateway.graphql(BY_KEY, **{"Recordgate-Token": token})["data"] == answer["data"]
        assert (
            code(gateway.graphql(LISTED)) == code(gateway.graphql(WRITTEN)) == "STORE_UNAVAILABLE"
        )
        assert json.loads(gateway.get("/health/ready"))["status"] == "degraded"
        to_canonical.open()
        assert len(until(gateway, LISTED)["data"]["countries"]["nodes"]) == 2
        assert "errors" not in until(gateway, WRITTEN)
        assert gateway.stop() == 0
        log = gateway.log.read_text("utf-8")
    assert "canonical is not reachable, retrying" in log
