"""A contract takes the place of another under two gateways, a worker and constant reads: no read
fails. All kinds of change one by one: `make rolling`; here all of them at once, by a `migrate` that
is killed at every step and run again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.crash_points import arm

ALL = os.environ.get("RECORDGATE_TEST_ROLLING", "")

BASE = """apiVersion: v3.2.0
kind: DataContract
id: rolling
name: Rolling
version: 1.0.0
status: active
schema:
  - name: maker
    physicalName: makers
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string, customProperties: [{property: search, vendor: recordgate, value: {text: true}}]}
  - name: thing
    physicalName: things
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string, customProperties: [{property: search, vendor: recordgate, value: {text: true, sort: true}}]}
      - {name: size, logicalType: integer, physicalType: integer, customProperties: [{property: search, vendor: recordgate, value: {facet: true}}]}
      - {name: note, logicalType: string}
      - {name: batch, logicalType: string, required: true}
      - {name: makerId, physicalName: maker_id, logicalType: integer}
"""
ROWS = """
INSERT INTO makers SELECT n, 'Maker ' || n FROM generate_series(1, 20) AS n;
INSERT INTO things (id, name, size, note, batch, maker_id)
SELECT n, 'thing ' || n, n, 'a note', 'b', 1 + n % 20 FROM generate_series(1, 3000) AS n;
"""
TEXT = (
    "customProperties: [{property: search, vendor: recordgate, value: {text: true, facet: true}}]"
)
CHANGES = {
    "add": ("      - {name: note,", "      - {name: color, logicalType: string}\n      - {name:"
                                    " note,"),
    "search": ("{name: note, logicalType: string}", f"{{name: note, logicalType: string, {TEXT}}}"),
    "rename": ("{name: note,", "{name: remark, physicalName: note,"),
    "drop": ("      - {name: batch, logicalType: string, required: true}\n", ""),
    "type": ("physicalType: integer,", "physicalType: bigint,"),
    "relation": (
        "physicalName: maker_id, logicalType: integer}",
        "physicalName: maker_id, logicalType: integer, relationships: [{id: maker, to: maker.id}]}",
    ),
}  # fmt: skip
EMBED = (
    "physicalName: things\n",
    "physicalName: things\n    customProperties: [{property: embed, vendor: recordgate, value:"
    " [maker]}]\n",
)
READS = (
    '{ thing(id: "7") { id name size } }',
    "{ things(filter: {size: {gte: 10}}, orderBy: [{size: ASC}], first: 3) { nodes { id name size"
    " } } }",
    '{ searchThings(query: "thing", filter: {size: {lte: 50}}, facets: ["size"], sort: [{name:'
    " ASC}], first: 3)"
    " { totalCount nodes { name size } } }",
    '{ maker(id: "3") { name } makers(first: 2) { totalCount } }',
    "{ thingsAggregate(filter: {size: {lte: 100}}) { count } }",
)


def changed(*kinds: str) -> str:
    text = BASE.replace("version: 1.0.0", "version: 2.0.0")
    for kind in kinds:
        old, new = CHANGES[kind]
        assert text.count(old) == 1, kind
        text = text.replace(old, new)
        if kind == "relation":
            text = text.replace(*EMBED)
    return text


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["recordgate.cli.migrate", "recordgate.cli.status", "sync.worker"])


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its exit code, negative where a signal ended it, and what it
    said."""

    code: int
    said: str


def commanded(environment: dict[str, str], command: Sequence[str], crash: str, out: Path) -> None:
    """Run a command of recordgate as this process."""
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ.update(environment)
    arm(crash)
    build(command[0])(list(command))


@dataclass
class Product:
    """Two gateways and a worker, as processes; `reads` counts, `failed` says what went wrong."""

    url: str
    folder: Path
    gateways: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reads: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "rolling.odcs.yaml"

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "RECORDGATE_CONTRACT": str(self.file),
            "RECORDGATE_POSTGRES": self.url,
            "RECORDGATE_DATA_DIR": str(self.folder / "data"),
            "RECORDGATE_ANONYMOUS": "write",
        }

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{command[0]}{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "recordgate", *command],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self.processes.append(process)
        return process

    def run(self, *command: str, crash: str = "") -> Ended:
        """A command in a process of its own, which is killed at the crash point."""
        out = self.folder / "command.out"
        process = FORKS.Process(target=commanded, args=(self.environment, command, crash, out))
        process.start()
        process.join(120)
        assert process.exitcode is not None
        return Ended(process.exitcode, out.read_text("utf-8"))

    def json(self, command: str) -> dict[str, Any]:
        done = CliRunner().invoke(build(command), [command, "--json"], env=self.environment)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def sql(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def read_all_the_time(self) -> Iterator[None]:
        over = threading.Event()
        threads = [threading.Thread(target=self._read, args=(g, over)) for g in self.gateways]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _read(self, gateway: str, over: threading.Event) -> None:
        with httpx.Client(base_url=gateway, timeout=20.0) as client:
            while not over.is_set():
                for query in READS:
                    self._one(query, lambda q=query: client.post("/graphql", json={"query": q}))  # type: ignore[misc]
                self._one("/search", lambda: client.get("/search/thing", params={"q": "thing"}))
                time.sleep(0.05)

    def _one(self, what: str, get: Callable[[], httpx.Response]) -> None:
        try:
            answer = get()
            found = answer.json()
            empty = any(not v for v in (found.get("data") or {"hits": found.get("hits")}).values())
            if answer.status_code != 200 or "errors" in found or empty:
                self.failed.append(f"{what}: {answer.status_code} {answer.text[:500]}")
        except (httpx.HTTPError, ValueError) as error:
            self.failed.append(f"{what}: {error!r}")
        self.reads += 1


@pytest.fixture
def product(database: str, tmp_path: Path) -> Iterator[Product]:
    product = Product(database, tmp_path)
    product.file.write_text(BASE, "utf-8")
    contract = load_contract(product.file)
    migrate(database)
    with connect(database) as conn:
        apply_plan(conn, contract, make_plan(conn, contract))
    product.sql(ROWS)
    try:
        product.start("sync")
        for gateway in [product.start("serve", "--port", "0") for _ in range(2)]:
            assert gateway.stdout is not None
            product.gateways.append(gateway.stdout.readline().decode().split()[-1])
        loaded = "SELECT count(*) FROM recordgate.generations WHERE state = 'active'"
        wait(lambda: product.sql(loaded) == [(4,)])
        yield product
    finally:
        for process in product.processes:
            process.send_signal(signal.SIGTERM)
        for process in product.processes:
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


def wait(met: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.1)


def everywhere(product: Product, version: str) -> None:
    """Every process has the contract, and canonical lacks nothing and has nothing more."""
    found = product.json("status")
    assert [p["contractVersion"] for p in found["processes"]] == [version] * 3
    assert all(p["sameContract"] for p in found["processes"])
    assert not any(sink["loads"] for sink in found["sinks"].values())
    assert product.json("plan")["steps"] == []


STEPS = ("add", "loading", "load", "gateways", "take-away")


@pytest.mark.slow
def test_all_changes_at_once_by_a_migrate_that_is_killed_at_each_step(product: Product) -> None:
    with product.read_all_the_time():
        time.sleep(0.5)
        product.file.write_text(changed(*CHANGES), "utf-8")
        refused = product.run("migrate")
        assert refused.code == 1
        assert "DESTRUCTIVE_REFUSED" in refused.said
        for step in STEPS:
            killed = product.run("migrate", "--yes", crash=f"migrate-{step}")
            assert killed.code == -signal.SIGKILL, f"{step}: {killed.said}"
        done = product.run("migrate", "--yes")
        assert done.code == 0, done.said
        assert "contract 2.0.0 is everywhere" in done.said
        time.sleep(0.5)
    assert product.failed[:3] == []
    assert product.reads > 50
    everywhere(product, "2.0.0")
    asked = (
        '{ thing(id: "7") { color remark size maker { name } }'
        ' searchThings(query: "note", facets: ["remark"]) { totalCount } }'
    )
    for gateway in product.gateways:
        found = httpx.post(f"{gateway}/graphql", json={"query": asked}).json()
        assert found["data"] == {
            "thing": {"color": None, "remark": "a note", "size": 7, "maker": {"name": "Maker 8"}},
            "searchThings": {"totalCount": 3000},
        }


@pytest.mark.skipif(not ALL, reason="each kind by itself: make rolling")
@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind_of_change_there_and_back(product: Product, kind: str) -> None:
    with product.read_all_the_time():
        time.sleep(0.5)
        for text, version in ((changed(kind), "2.0.0"), (BASE, "1.0.0")):
            if kind == "drop" and version == "1.0.0":
                break  # rows without a value are in the way of a required column
            product.file.write_text(text, "utf-8")
            done = product.run("migrate", "--yes")
            assert done.code == 0, done.said
            everywhere(product, version)
    assert product.failed[:3] == []
