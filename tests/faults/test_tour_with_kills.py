"""The demo's tour, small, on servers of its own that are killed in its course: each step sees what
it must, and it ends with no differences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from pymongo import MongoClient

from compose.local.fetch import servers_dir
from compose.local.servers import http_json
from recordgate.demo.leftovers import remove_leftovers
from tests.servers import fresh_folder

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not os.environ.get("RECORDGATE_KILL_TOUR"), reason="many minutes long: make kill-tour"
    ),
]
KILLED = ("postgres", "elasticsearch", "mongodb", "kafka", "connect")


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """With servers of this test alone, by the commands of `make servers` and `make
    servers-stop`."""
    with fresh_folder("tour") as folder:
        found = {
            **os.environ,
            "RECORDGATE_TEST_SERVERS_DIR": str(servers_dir()),
            "RECORDGATE_TEST_SERVERS_RUN": str(folder),
        }
        servers = [sys.executable, "-m", "compose.local"]
        up = subprocess.run([*servers, "up"], env=found, capture_output=True, text=True)
        try:
            if up.returncode and not os.environ.get("CI"):
                pytest.skip(up.stderr)
            assert up.returncode == 0, up.stderr
            yield found
        finally:
            subprocess.run([*servers, "down"], env=found, capture_output=True)
            for file in folder.glob("*/pid"):  # of a start that was interrupted
                with suppress(ProcessLookupError):
                    os.kill(int(file.read_text()), signal.SIGKILL)


def test_the_tour_ends_without_differences_though_every_server_is_killed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "recordgate", "demo", "--check", "--stack", "kafka"]
    options = ["--kill-servers", "--cities", "3000", "--data-dir", str(tmp_path / "demo"), "--json"]
    tour = subprocess.Popen(
        [*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, told = tour.communicate(timeout=1700)
    finally:
        if tour.poll() is None:
            tour.send_signal(signal.SIGINT)  # it ends what it has started
            tour.communicate(timeout=60)
    assert tour.returncode == 0, told.decode()[-3000:]
    report = json.loads(out)
    assert report["passed"]
    saw = {step["name"]: step["saw"] for step in report["steps"]}
    for name in KILLED:
        assert "; 0 differences" in saw[f"kill -9 {name}, go on"]
    assert saw["verify"] == "0 differences in both stores"
    assert nothing_is_left(Path(environment["RECORDGATE_TEST_SERVERS_RUN"]), tmp_path / "demo")


def nothing_is_left(run: Path, demo: Path) -> bool:
    """In the servers, once the demo's leftovers are removed; its connector has gone with the
    tour."""
    urls = {name: e["url"] for name, e in json.loads((run / "servers.json").read_text()).items()}
    search = urls["elasticsearch"].replace("elasticsearch:", "http:")
    admin = KafkaAdminClient(bootstrap_servers=urls["kafka"].removeprefix("kafka://").rstrip("/"))
    with MongoClient[dict[str, object]](urls["mongodb"]) as mongodb, closing(admin):

        def ours() -> set[str]:
            places = {i["index"] for i in http_json(f"{search}/_cat/indices?format=json")}
            places |= {*mongodb.list_database_names(), *admin.list_topics()}
            return {place for place in places if place.startswith("demo")}

        assert http_json(f"{urls['connect']}/connectors") == []
        assert len(ours()) > 6
        remove_leftovers(demo / "recordgate.toml")
        return not ours()
