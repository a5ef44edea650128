"""Real servers for tests, one of each kind for the whole test run, however many workers it has.

The first worker that needs one starts it; all hold a shared lock on a file of the run, and the last
one to let go stops it. Where a server cannot be had here, its tests are skipped with the reason;
under CI they fail.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymongo import MongoClient

from compose.local import servers
from compose.local.process import Process, ServerProblem

Start = Callable[[Path], tuple[Process, str]]


def for_run(name: str, start: Start) -> Iterator[str]:
    """The URL of the run's server `name`."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    base = Path(tempfile.gettempdir()) / f"recordgate-test-servers-{os.geteuid()}" / f"{name}-{run}"
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    data = _fast_folder() / f"recordgate-{name}-{run}"
    told = base / "server.json"
    with (base / "users").open("w") as users:
        with (base / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not told.exists():
                told.write_text(json.dumps(_started(data, start)))
        found = json.loads(told.read_text())
        try:
            if "problem" in found:
                if os.environ.get("CI"):
                    pytest.fail(found["problem"])
                pytest.skip(found["problem"])
            yield str(found["url"])
        finally:
            with (base / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_UN)
                _stop_if_last(base, data, found)


@contextmanager
def fresh_folder(name: str) -> Iterator[Path]:
    """A folder for a test's own server."""
    folder = Path(tempfile.mkdtemp(prefix=f"recordgate-{name}-", dir=_fast_folder()))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def unless_it_cannot_be_had() -> Iterator[None]:
    """A server that cannot be had here skips the test; under CI it fails it."""
    try:
        yield
    except ServerProblem as problem:
        if os.environ.get("CI"):
            pytest.fail(str(problem))
        pytest.skip(str(problem))


def _fast_folder() -> Path:
    """In memory where there is such a folder: a server flushes its files at every step of an
    index's life."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        return memory
    return Path(tempfile.gettempdir())


def _started(folder: Path, start: Start) -> dict[str, object]:
    try:
        process, url = start(folder)
    except ServerProblem as problem:
        return {"problem": str(problem)}
    return {"url": url, "pid": process.pid, "name": process.name}


def _stop_if_last(base: Path, data: Path, found: dict[str, object]) -> None:
    with (base / "users").open("w") as users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        told = base / "server.json"
        if told.exists():
            told.unlink()
            if "pid" in found:
                Process(str(found["name"]), data, int(str(found["pid"]))).stop()
            shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="session")
def elasticsearch_server() -> Iterator[str]:
    """The server's http URL; RECORDGATE_TEST_ELASTICSEARCH_URL names one that is there already."""
    named = os.environ.get("RECORDGATE_TEST_ELASTICSEARCH_URL")
    if named:
        yield named
    else:
        yield from for_run("elasticsearch", servers.start_elasticsearch)


@pytest.fixture(scope="session")
def elasticsearch_url(elasticsearch_server: str) -> str:
    """As a store's URL, without a prefix."""
    return elasticsearch_server.replace("http", "elasticsearch", 1).replace(
        "elasticsearchs:", "elasticsearch+https:"
    )


@pytest.fixture(scope="session")
def mongodb_url() -> Iterator[str]:
    """The server's URL without a database; RECORDGATE_TEST_MONGODB_URL names one that is there
    already, whose databases of tests are dropped afterwards."""
    named = os.environ.get("RECORDGATE_TEST_MONGODB_URL")
    if not named:
        yield from for_run("mongodb", servers.start_mongodb)
        return
    before: set[str] = set()
    with MongoClient[dict[str, object]](named) as client:
        before |= set(client.list_database_names())
    yield named.rstrip("/")
    with MongoClient[dict[str, object]](named) as client:
        for name in set(client.list_database_names()) - before:
            if re.fullmatch("t[0-9a-f]{16}", name):
                client.drop_database(name)


def remove_elasticsearch_indexes(url: str) -> None:
    """Every index of a store's URL with a prefix: a server holds a thousand."""
    server, _, prefix = url.replace("elasticsearch", "http", 1).rpartition("/")
    with urllib.request.urlopen(f"{server}/_cat/indices/{prefix}-*?format=json&h=index") as answer:
        names = [i["index"] for i in json.load(answer)]
    for name in names:
        request = urllib.request.Request(f"{server}/{name}", method="DELETE")
        urllib.request.urlopen(request).close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """host:port of the broker."""
    yield from for_run("kafka", servers.start_kafka)


@pytest.fixture(scope="session")
def connect(kafka: str) -> Iterator[str]:
    """The URL of Kafka Connect, which has Debezium's connector."""
    yield from for_run("connect", lambda folder: servers.start_connect(folder, kafka))
