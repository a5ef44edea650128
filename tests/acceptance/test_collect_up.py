"""`recordgate up` collects by itself, says in its answers how old a source's records are, and stays
ready without it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.test_up import Process
from tests.collect_world import CollectWorld, stations
from tests.hostile_source import HostileSource, Reply, hostile_source


def wait_for(condition: Callable[[], Any], seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_up_collects_and_says_how_old_a_source_is(database: str, tmp_path: Path) -> None:
    with hostile_source(HostileSource(stations(35))) as source:
        http = {
            "url": f"{source.url}/v1",
            "records": "$.data[*]",
            "pages": {"by": "next", "next": "$.meta.link"},
        }
        world = CollectWorld(database, tmp_path, {"http": http, "every": "1s"})
        process = Process(world.settings(port="0"), "up")
        try:
            wait_for(lambda: len(world.ids()) == 35)
            ask = "{ stations(first: 1) { totalCount edges { node { name } } } }"
            extension = wait_for(
                lambda: process.graphql(ask)["extensions"]["recordgate"].get("sources")
            )
            assert extension["station"]["sourceStalenessMs"] < 20_000
            assert extension["station"]["sourceAsOf"].endswith("Z")
            source.answer = lambda asked, nth: Reply(404, b"")
            wait_for(
                lambda: world.rows("SELECT code FROM recordgate.conditions WHERE sink = 'collect'")
            )
            before = process.graphql(ask)["extensions"]["recordgate"]["sources"]["station"]
            time.sleep(0.2)
            later = process.graphql(ask)["extensions"]["recordgate"]["sources"]["station"]
            assert later["sourceAsOf"] == before["sourceAsOf"]
            assert later["sourceStalenessMs"] >= before["sourceStalenessMs"] + 200
            assert process.graphql(ask)["data"]["stations"]["totalCount"] == 35
            with urllib.request.urlopen(f"{process.url}/health/ready", timeout=10) as answer:
                assert answer.status == 200
            metrics = wait_for(
                lambda: (
                    (m := process.get("/metrics").decode())
                    and 'source_up{source="station"} 0.0' in m
                    and m
                )
            )
            assert 'recordgate_source_age_seconds{source="station"}' in metrics
            assert 'code="source-refused",sink="collect",type="station"' in metrics
            told = subprocess.run(
                [sys.executable, "-m", "recordgate", "--config", str(world.settings(port="0")),
                 "collect", "status", "--json"],
                capture_output=True, timeout=60, check=True,
            )  # fmt: skip
            (row,) = json.loads(told.stdout)["sources"]
            assert (row["state"], row["code"]) == ("down", "SOURCE_REFUSED")
        finally:
            assert process.stop() == 0
        assert process.log.read_text().count("source-refused") == 1
