"""A gateway that is started while canonical is away answers what the stores can, and all once it is
back."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg

from recordgate.last_canonical import FILE
from tests.acceptance.gateway_rig import ROWS
from tests.acceptance.test_up import Process, settings, started
from tests.gate import Way


def code(answer: dict[str, Any]) -> str:
    return str(answer["errors"][0]["extensions"]["code"])


BY_KEY = '{ city(id: "2996944") { name } }'
BY_WORDS = '{ searchCities(query: "lyon") { nodes { name } } }'
LISTED = "{ countries { nodes { iso } } }"
VERSIONS = "{ countries { nodes { iso version } } }"
"""Only canonical has them."""
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
        listed = gateway.graphql(LISTED)
        assert listed["data"] == {"countries": {"nodes": [{"iso": "FR"}, {"iso": "US"}]}}
        route = listed["extensions"]["recordgate"]["fields"]["countries"]
        assert (route["store"], route["stalenessMs"] > 0) == ("documents", True)
        for query in (VERSIONS, WRITTEN):
            assert code(gateway.graphql(query)) == "STORE_UNAVAILABLE"
        assert json.loads(gateway.get("/health/ready"))["status"] == "degraded"
        to_canonical.open()
        assert len(until(gateway, VERSIONS)["data"]["countries"]["nodes"]) == 2
        assert "errors" not in until(gateway, WRITTEN)
        assert gateway.stop() == 0
        log = gateway.log.read_text("utf-8")
    assert "canonical is not reachable, retrying" in log
