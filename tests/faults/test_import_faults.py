"""Imports that are killed, disturbed, or begun twice: each is either resumed or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from stores.canonical.importing import Mode
from stores.errors import StoreUnavailable
from tests.import_target import Target, new_target

ROWS = 40_000


@pytest.fixture(scope="module")
def module_target(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with new_target(postgres, tmp_path_factory.mktemp("import")) as target:
        lines = "".join(f"{i},name {i},{i % 90},AB\n" for i in range(ROWS))
        target.file("big.csv", "id,name,weight,makerCode\n" + lines)
        yield target


@pytest.fixture
def target(module_target: Target) -> Target:
    module_target.clean()
    module_target.do("INSERT INTO makers VALUES ('AB', 'x')")
    return module_target


def start(target: Target, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "recordgate", "--config", str(target.settings())]
    return subprocess.Popen(
        [*command, "import", "item", "big.csv", "--json", *more],
        cwd=target.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    found: dict[str, Any] = json.loads(out)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@contextmanager
def holding(target: Target, lock: str) -> Iterator[None]:
    """Whatever needs `lock` waits, so that a process can be killed exactly there."""
    with psycopg.connect(target.url) as connection:
        connection.execute(lock.encode())
        yield
        connection.rollback()


def state(target: Target) -> str | None:
    found = target.rows(
        "SELECT state FROM recordgate.import_batches ORDER BY started_at DESC LIMIT 1"
    )
    return found[0][0] if found else None


def waiting(target: Target) -> bool:
    return bool(
        target.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


def count(target: Target) -> int:
    return int(target.rows("SELECT count(*) FROM items")[0][0])


def test_killed_while_reading_it_is_not_there_and_begins_again(target: Target) -> None:
    process = start(target)
    wait_for(lambda: state(target) == "staging")
    kill(process)
    assert count(target) == 0
    report = finish(start(target))
    assert (report["inserted"], report["resumed"]) == (ROWS, False)
    assert count(target) == ROWS
    assert target.staging_tables() == []


def test_killed_while_checking_it_goes_on_from_what_was_staged(target: Target) -> None:
    with holding(target, "LOCK TABLE makers"):
        process = start(target, "--batch", "b7")
        wait_for(lambda: state(target) == "staged" and waiting(target))
        kill(process)
    assert count(target) == 0
    report = finish(start(target, "--batch", "b7"))
    assert (report["inserted"], report["resumed"], report["batch"]) == (ROWS, True, "b7")
    assert count(target) == ROWS
    assert target.staging_tables() == []


def test_killed_while_merging_it_goes_on_from_what_was_staged(target: Target) -> None:
    with holding(target, "LOCK TABLE items IN SHARE MODE"):
        process = start(target)
        wait_for(lambda: state(target) == "merging" and waiting(target))
        kill(process)
    assert count(target) == 0
    report = finish(start(target))
    assert (report["inserted"], report["resumed"]) == (ROWS, True)
    assert count(target) == ROWS


def test_killed_at_any_moment_all_or_nothing_is_there(target: Target) -> None:
    began = time.monotonic()
    finish(start(target))
    whole = time.monotonic() - began
    for share in (0.6, 0.8, 0.95):
        target.clean()
        target.do("INSERT INTO makers VALUES ('AB', 'x')")
        process = start(target)
        time.sleep(whole * share)
        process.kill()  # it may have ended by itself, on a machine that became faster
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        wait_for(lambda: not busy(target))
        assert count(target) in (0, ROWS)
        report = finish(start(target))
        assert report["inserted"] + report["unchanged"] == ROWS
        assert count(target) == ROWS
        assert target.staging_tables() == []


def busy(target: Target) -> bool:
    """Whether the killed process's sessions are still alive in the server."""
    return bool(
        target.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    )


def test_rows_lost_from_staging_are_read_again(target: Target) -> None:
    """A crash of Postgres empties unlogged tables."""
    with holding(target, "LOCK TABLE makers"):
        process = start(target)
        wait_for(lambda: state(target) == "staged" and waiting(target))
        kill(process)
    wait_for(lambda: not busy(target))
    (table,) = [t for t in target.staging_tables() if "_" not in t.removeprefix("import_")]
    target.do(f"DELETE FROM recordgate.{table} WHERE row % 1000 = 0")
    report = finish(start(target))
    assert (report["inserted"], report["resumed"]) == (ROWS, False)
    assert count(target) == ROWS


def test_another_import_clears_what_a_dead_one_left(target: Target) -> None:
    with holding(target, "LOCK TABLE makers"):
        process = start(target)
        wait_for(lambda: state(target) == "staged" and waiting(target))
        kill(process)
    assert target.load("item", "id,name\n1,one\n").inserted == 1
    assert target.staging_tables() == []
    states = target.rows("SELECT state FROM recordgate.import_batches ORDER BY started_at")
    assert states == [("failed",), ("done",)]


def test_a_key_that_another_writer_is_inserting(target: Target) -> None:
    other = psycopg.connect(target.url)
    other.execute("INSERT INTO items (id, name) VALUES (2, 'theirs')")

    def commit_soon() -> None:
        wait_for(lambda: waiting(target))
        other.commit()

    thread = threading.Thread(target=commit_soon)
    thread.start()
    report = target.load("item", "id,name\n1,one\n2,ours\n3,three\n")
    thread.join()
    other.close()
    assert (report.inserted, report.updated) == (2, 1)
    assert target.rows("SELECT id, name FROM items ORDER BY id") == [
        (1, "one"), (2, "ours"), (3, "three"),
    ]  # fmt: skip


def test_a_key_that_another_writer_took_is_set_aside_in_mode_insert(target: Target) -> None:
    taken = once(lambda: target.do("INSERT INTO items (id, name) VALUES (2, 'theirs')"))
    report = target.load(
        "item", "id,name\n1,one\n2,ours\n", mode=Mode.INSERT, progress=at("merging", taken)
    )
    assert (report.inserted, report.reasons) == (1, {"KEY_EXISTS": 1})


def test_a_target_that_another_writer_deletes(target: Target) -> None:
    target.do("INSERT INTO makers VALUES ('CD', 'y')")
    gone = once(lambda: target.do("DELETE FROM makers WHERE code = 'CD'"))
    report = target.load(
        "item",
        "id,name,makerCode\n1,one,AB\n2,two,CD\n",
        progress=at("merging", gone),
    )
    assert (report.inserted, report.reasons) == (1, {"FOREIGN_KEY": 1})


def test_a_unique_value_that_another_writer_takes(target: Target) -> None:
    taken = once(lambda: target.do("INSERT INTO items (id, name, code) VALUES (9, 'nine', 'a-1')"))
    report = target.load(
        "item", "id,name,code\n1,one,a-1\n2,two,a-2\n", progress=at("merging", taken)
    )
    assert (report.inserted, report.reasons) == (1, {"UNIQUE_TAKEN": 1})


def once(action: Callable[[], None]) -> Callable[[], None]:
    left = [action]
    return lambda: left.pop()() if left else None


def at(stage: str, action: Callable[[], None]) -> Callable[[str, int, int | None], None]:
    """A progress callback that acts when a stage begins."""

    def progress(now: str, done: int, total: int | None) -> None:
        if now == stage and not done:
            action()

    return progress


def test_readers_and_writers_go_on_during_an_import(target: Target) -> None:
    """Other writers change the same keys all the while; readers never wait for the import."""
    stop = threading.Event()
    problems: list[BaseException] = []
    slowest = [0.0]
    written = [0]

    def read() -> None:
        with psycopg.connect(target.url, autocommit=True) as connection:
            while not stop.is_set():
                began = time.monotonic()
                connection.execute("SELECT name FROM items WHERE id = 7").fetchall()
                slowest[0] = max(slowest[0], time.monotonic() - began)
                time.sleep(0.01)

    def write(first: int) -> None:
        with psycopg.connect(target.url, autocommit=True) as connection:
            key = first
            while not stop.is_set():
                key = (key * 7919 + 13) % ROWS
                connection.execute(
                    "INSERT INTO items (id, name) VALUES (%s, 'theirs')"
                    " ON CONFLICT (id) DO UPDATE SET name = 'theirs'",
                    (key,),
                )
                written[0] += 1

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            problems.append(error)

    works: list[Callable[[], None]] = [read, lambda: write(1), lambda: write(2)]
    threads = [threading.Thread(target=guarded, args=(w,)) for w in works]
    for thread in threads:
        thread.start()
    wait_for(lambda: written[0] > 50)
    try:
        report = target.load("item", target.folder / "big.csv")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    assert report.rejected == 0
    assert report.inserted + report.updated + report.unchanged == ROWS
    assert report.updated > 0
    assert slowest[0] < 5
    (names,) = target.rows(
        "SELECT count(*) FILTER (WHERE name = 'theirs'), count(*) FILTER (WHERE name LIKE 'name %') FROM items"
    )
    assert sum(names) == ROWS
    report = target.load("item", target.folder / "big.csv")
    assert target.rows("SELECT count(*) FROM items WHERE name LIKE 'name %'") == [(ROWS,)]


def test_a_lost_connection_is_said_and_the_same_command_goes_on(target: Target) -> None:
    def cut() -> None:
        target.rows(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with pytest.raises(StoreUnavailable):
        target.load("item", target.folder / "big.csv", progress=at("merging", once(cut)))
    report = target.load("item", target.folder / "big.csv")
    assert (report.inserted, report.resumed) == (ROWS, True)


def test_two_of_the_same_at_once_are_one_import(target: Target) -> None:
    processes = [start(target, "--batch", "same") for _ in range(2)]
    reports = [finish(p) for p in processes]
    assert sorted(r["repeated"] for r in reports) == [False, True]
    assert [r["inserted"] for r in reports] == [ROWS, ROWS]
    assert count(target) == ROWS
