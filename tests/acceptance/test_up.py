"""`up`, `serve` and `sync` as processes: they answer, survive being killed, stop when asked to, and
say clearly why they do not start."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.gateway_rig import GEONAMES, ROWS


def settings(folder: Path, database: str, *, name: str, port: int = 0) -> Path:
    """A settings file with a contract of its own: slots are named by it, and are the server's."""
    contract = folder / "contract.odcs.yaml"
    contract.write_text(GEONAMES.read_text("utf-8").replace("id: geonames", f"id: {name}"))
    file = folder / "recordgate.toml"
    file.write_text(
        f'contract = "contract.odcs.yaml"\npostgres = {json.dumps(database)}\n'
        f'data_dir = "data"\nport = {port}\n'
    )
    return file


class Process:
    """A `recordgate` process; `url` is where it listens."""

    def __init__(self, config: Path, *arguments: str, listens: bool = True) -> None:
        self.log = config.parent / f"{arguments[0]}.log"
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "recordgate", "--config", str(config), *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.url = self._first_line().removeprefix("listening on ") if listens else ""

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        line = self.process.stdout.readline().decode().strip() if ready else ""
        assert line.startswith("listening on http://"), self.log.read_text()
        return line

    def graphql(self, query: str, **headers: str) -> dict[str, Any]:
        body = json.dumps({"query": query}).encode()
        headers = {"content-type": "application/json"} | headers
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        return code


@contextlib.contextmanager
def started(config: Path, *arguments: str, listens: bool = True) -> Iterator[Process]:
    process = Process(config, *arguments, listens=listens)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.stop(signal.SIGKILL)


def command(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recordgate", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WAIT = {"Recordgate-Wait-Up-To": "20s"}


def test_up_sets_up_answers_survives_a_kill_and_stops(database: str, tmp_path: Path) -> None:
    config = settings(tmp_path, database, name=f"up{os.getpid()}")
    with started(config, "up") as first:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
        written = first.graphql(
            'mutation { updateCity(id: "2996944", input: {name: "Lugdunum"}) { token } }'
        )
        token = written["data"]["updateCity"]["token"]
        seen = first.graphql(
            '{ city(id: "2996944") { name country { name } } searchCities(query: "lugdunum") { nodes { name } } }',
            **WAIT,
            **{"Recordgate-Token": token},
        )
        assert seen["data"] == {
            "city": {"name": "Lugdunum", "country": {"name": "France"}},
            "searchCities": {"nodes": [{"name": "Lugdunum"}]},
        }
        routes = seen["extensions"]["recordgate"]["fields"]
        assert {p: r["store"] for p, r in routes.items()} == {
            "city": "documents",
            "searchCities": "search",
        }
        state = json.loads(first.get("/console/state"))
        assert set(state["sync"]["sinks"]) == {"documents", "search"}
        metrics = first.get("/metrics").decode()
        assert (
            'recordgate_sink_documents_total{sink="search",type="city",verdict="applied"}'
            in metrics
        )
        assert "recordgate_requests_total{" in metrics
        taken = command(config, "serve", "--port", first.url.rsplit(":", 1)[1])
        assert taken.returncode == 1
        assert "is in use" in taken.stderr
        assert "--port" in taken.stderr
        assert taken.stdout == ""
        with started(config, "up") as second:
            waits = second.graphql('{ city(id: "2996944") { name } }')
            assert waits["data"]["city"]["name"] == "Lugdunum"
            first.process.kill()
            _rename(second, "Lutetia")
            assert second.stop() == 0
    with started(config, "up") as again:
        _rename(again, "Lyon")
        begun = time.monotonic()
        assert again.stop() == 0
        assert time.monotonic() - begun < 10
        assert "Traceback" not in again.log.read_text()


def _rename(up: Process, name: str) -> None:
    """Write by one process, and see the worker that is in charge carry it to the documents."""
    changed = up.graphql(
        f'mutation {{ updateCity(id: "2996944", input: {{name: "{name}"}}) {{ token }} }}'
    )
    token = changed["data"]["updateCity"]["token"]
    seen = up.graphql('{ city(id: "2996944") { name } }', **WAIT, **{"Recordgate-Token": token})
    assert seen["data"]["city"]["name"] == name
    assert seen["extensions"]["recordgate"]["fields"]["city"]["store"] == "documents"


def test_serve_and_sync_are_up_in_two_processes(database: str, tmp_path: Path) -> None:
    config = settings(tmp_path, database, name=f"two{os.getpid()}")
    for role in ("serve", "sync"):
        refused = command(config, role)
        assert refused.returncode == 1
        assert "recordgate apply" in refused.stderr
    assert command(config, "apply", "--yes").returncode == 0
    with started(config, "serve") as gateway, started(config, "sync", listens=False) as worker:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
        written = gateway.graphql(
            'mutation { updateCity(id: "2996944", input: {name: "L"}) { token } }'
        )
        token = written["data"]["updateCity"]["token"]
        seen = gateway.graphql(
            '{ city(id: "2996944") { name } searchCities(query: "paris") { totalCount } }',
            **WAIT,
            **{"Recordgate-Token": token},
        )
        assert seen["data"] == {"city": {"name": "L"}, "searchCities": {"totalCount": 2}}
        # The worker dies: what is there is still answered, and a token is answered by canonical.
        worker.process.kill()
        worker.process.wait(10)
        written = gateway.graphql(
            'mutation { updateCity(id: "2996944", input: {name: "M"}) { token } }'
        )
        token = written["data"]["updateCity"]["token"]
        late = gateway.graphql(
            '{ city(id: "2996944") { name } searchCities(query: "m") { totalCount } }',
            **{"Recordgate-Token": token},
        )
        assert late["data"] == {"city": {"name": "M"}, "searchCities": None}
        assert late["errors"][0]["extensions"]["code"] == "STALE"
        assert gateway.stop(signal.SIGINT) == 0


def test_a_port_or_a_contract_that_is_wrong_is_said_before_anything_starts(
    database: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, database, name=f"bad{os.getpid()}")
    assert command(config, "up", "--port", "70000").returncode == 2
    config.write_text(config.read_text() + 'anonymous = "read"\n')
    wrong = command(config, "up", "--host", "192.0.2.1")
    assert wrong.returncode == 1
    assert "cannot listen" in wrong.stderr
    (tmp_path / "contract.odcs.yaml").write_text("kind: [")
    broken = command(config, "up")
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr
    with psycopg.connect(database) as conn:
        found = conn.execute("SELECT to_regclass('public.cities'), to_regnamespace('recordgate')")
        assert found.fetchone() == (None, None)
