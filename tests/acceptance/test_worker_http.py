"""A worker that runs alone says whether it lives and follows, and gives its metrics, on a port of
its own."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg

from tests.acceptance.gateway_rig import ROWS
from tests.acceptance.test_up import command, settings, started


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while (found := get(f"{url}/health/ready"))[0] != 200:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def applied(folder: Path, database: str, name: str) -> Path:
    file = settings(folder, database, name=f"{name}{os.getpid()}")
    assert command(file, "apply", "--yes").returncode == 0
    return file


def test_a_worker_alone_answers_for_itself(database: str, tmp_path: Path) -> None:
    file = applied(tmp_path, database, "alone")
    with started(file, "sync", "--port", "0") as worker:
        wait_ready(worker.url)
        assert get(f"{worker.url}/health/live") == (200, '{"status":"live"}')
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(ROWS.encode())
        wanted = {
            'recordgate_sink_documents_total{sink="search",type="city",verdict="applied"} ',
            'recordgate_sink_lag_seconds{sink="documents"}',
        }
        deadline = time.monotonic() + 60
        while not all(line in (text := get(f"{worker.url}/metrics")[1]) for line in wanted):
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        assert get(f"{worker.url}/graphql")[0] == 404
        assert worker.stop() == 0


def test_a_second_worker_lives_but_is_ready_only_when_the_first_is_gone(
    database: str, tmp_path: Path
) -> None:
    file = applied(tmp_path, database, "second")
    with started(file, "sync", "--port", "0") as first:
        wait_ready(first.url)
        with started(file, "sync", "--port", "0") as second:
            assert get(f"{second.url}/health/live")[0] == 200
            code, body = get(f"{second.url}/health/ready")
            assert (code, "problem" in body) == (503, True)
            first.stop(signal.SIGKILL)
            wait_ready(second.url)
