"""Against pgsync: the same rows of the same Postgres into the same Elasticsearch, one after the
other in one run.

Items with their brand inside. Measured, each as items a second until all can be searched: the first
load into an empty index, from the start of the process; SINGLE updates committed one by one, as
fast as one session can, while the process follows; the same rows again, in three transactions. Each
side has a database of its own, since pgsync adds triggers. pgsync runs as it is documented for
following, `--daemon` with Redis, and once more with `--wal`; ours is the worker with the search
store alone. pgsync has `bootstrap` behind it when its first load starts.

Installed into a folder of its own, once: pgsync from PyPI, in the versions of
pgsync_peer/requirements.txt, and Redis from Debian's packages where the machine has none.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from benchmarks.cities import run_worker
from benchmarks.results import Table
from compose.local import servers
from compose.local.fetch import servers_dir
from compose.local.process import free_port
from recordgate.embedded import EmbeddedPostgres
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import RecordgateError
from stores.protocols import SearchStore
from stores.query import Compare, Op, SearchQuery
from stores.registry import open_store

PEER = Path(__file__).parent / "pgsync_peer"
ITEMS = int(os.environ.get("BENCH_PGSYNC_ITEMS", "60000"))
SINGLE = int(os.environ.get("BENCH_PGSYNC_SINGLE", "20000"))
BRANDS = 250
PATIENCE = 1200
REDIS_PACKAGES = ("redis-tools", "redis-server", "libjemalloc2", "liblzf1")
EVERYTHING = -1
"""In place of a revision: every item."""

CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: catalogue
name: Items with their brands
version: 1.0.0
status: active
schema:
  - name: brand
    physicalName: brands
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string}
  - name: item
    physicalName: items
    customProperties: [{property: embed, vendor: recordgate, value: [brand]}]
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: name
        logicalType: string
        customProperties: [{property: search, vendor: recordgate, value: {text: true}}]
      - name: description
        logicalType: string
        customProperties: [{property: search, vendor: recordgate, value: {text: true}}]
      - {name: price, logicalType: number, physicalType: "numeric(10,2)"}
      - {name: rev, logicalType: integer, required: true}
      - name: brandId
        physicalName: brand_id
        logicalType: integer
        relationships:
          - {id: brand, to: brand.id, customProperties: [{property: inverse, vendor: recordgate, value: items}]}
"""
SCHEMA = [
    {
        "database": "theirs",
        "index": "items",
        "nodes": {
            "table": "items",
            "schema": "public",
            "columns": ["id", "name", "description", "price", "rev", "brand_id"],
            "children": [
                {
                    "table": "brands",
                    "schema": "public",
                    "columns": ["id", "name"],
                    "label": "brand",
                    "relationship": {"variant": "object", "type": "one_to_one"},
                }
            ],
        },
    }
]
ROWS = """
INSERT INTO brands SELECT i, 'Brand ' || i FROM generate_series(1, {brands}) i;
INSERT INTO items (id, name, description, price, rev, brand_id)
SELECT i, 'Item ' || md5(i::text), repeat(md5((i + 1)::text) || ' ', 6), i / 7.0, 0, 1 + i % {brands}
  FROM generate_series(1, {items}) i;
ANALYZE
"""


# What is installed -------------------------------------------------------------------------------


def install() -> Path:
    """The folder with pgsync's environment; made once."""
    folder = servers_dir() / "pgsync"
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        pip = [str(folder / "venv" / "bin" / "pip"), "install", "--quiet"]
        pip += ["--disable-pip-version-check", "-r", str(PEER / "requirements.txt")]
        subprocess.run(pip, check=True)
        done.touch()
    return folder


def redis_program(folder: Path) -> tuple[str, dict[str, str]]:
    """The server's program and what it needs in its environment."""
    found = shutil.which("redis-server")
    if found:
        return found, {}
    root = folder / "redis"
    if not (root / "usr" / "bin" / "redis-server").exists():
        with tempfile.TemporaryDirectory() as packages:
            fetch = ["apt-get", "-o", "APT::Sandbox::User=root", "download", *REDIS_PACKAGES]
            subprocess.run(fetch, cwd=packages, check=True, stdout=subprocess.DEVNULL)
            for package in Path(packages).glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
    libraries = ":".join(str(p) for p in (root / "usr" / "lib").glob("*-linux-gnu"))
    return str(root / "usr" / "bin" / "redis-server"), {"LD_LIBRARY_PATH": libraries}


# Both sides --------------------------------------------------------------------------------------


@dataclass
class Side:
    """`visible` counts the items that can be searched and have a revision. `arguments`: argv of the
    process that follows; `load`: of the one that loads, where that is another, which ends by
    itself."""

    name: str
    url: str
    arguments: list[str]
    environment: dict[str, str]
    visible: Callable[[int], int]
    log: Path
    load: list[str] | None = None

    @contextmanager
    def running(self, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                arguments,
                env={**os.environ, **self.environment},
                cwd=self.log.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)  # it has workers
                    process.wait(20)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue

    def wait(self, process: subprocess.Popen[bytes], revision: int, wanted: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while (found := self.visible(revision)) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: {found} of {wanted} after {PATIENCE} s")
            if process.poll() not in (None, 0):
                raise RuntimeError(f"{self.name} has ended: {self.log.read_text()[-2000:]}")
            time.sleep(0.1)


def rate(
    side: Side, process: subprocess.Popen[bytes], revision: int, count: int, began: float
) -> float:
    side.wait(process, revision, count)
    return count / (time.monotonic() - began)


def measure(side: Side) -> list[float]:
    """Items a second: first load, single commits, three transactions."""
    found = []
    with ExitStack() as running:
        began = time.monotonic()
        process = running.enter_context(side.running(side.load or side.arguments))
        found.append(rate(side, process, EVERYTHING, ITEMS, began))
        if side.load:
            running.pop_all().close()
            process = running.enter_context(side.running(side.arguments))
        with psycopg.connect(side.url, autocommit=True) as conn:
            conn.execute("UPDATE items SET rev = 1 WHERE id = %s", (ITEMS,))
            side.wait(process, 1, 1)  # it follows
            began = time.monotonic()
            for number in range(SINGLE):
                conn.execute("UPDATE items SET rev = 2 WHERE id = %s", (1 + number,))
            found.append(rate(side, process, 2, SINGLE, began))
            began = time.monotonic()
            for part in range(3):
                conn.execute(
                    "UPDATE items SET rev = 3 WHERE id <= %s AND id %% 3 = %s", (SINGLE, part)
                )
            found.append(rate(side, process, 3, SINGLE, began))
    return found


def database(server: str, name: str, contract: Contract) -> str:
    """The URL of a new database with the tables and rows."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = psycopg.conninfo.make_conninfo(server, dbname=name)
    with connect(url) as conn:
        if name == "ours":
            migrate(url)
        apply_plan(conn, contract, make_plan(conn, contract))
        if name != "ours":
            conn.execute("DROP PUBLICATION recordgate_catalogue")
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in ROWS.format(brands=BRANDS, items=ITEMS).split(";"):
            conn.execute(statement.encode())
    return url


# Ours --------------------------------------------------------------------------------------------


def worker(url: str, search: str, contract: Contract) -> None:
    run_worker(contract, url, {"search": open_store(search, Path())})


class Looker:
    """Asks the search store as a reader does; belongs to a loop of its own."""

    def __init__(self, search: str, contract: Contract) -> None:
        self._runner = asyncio.Runner()
        self._search, self._contract = search, contract
        self._store: SearchStore | None = None

    def __call__(self, revision: int) -> int:
        return self._runner.run(self._count(revision))

    async def _count(self, revision: int) -> int:
        wanted = Compare("rev", Op.GTE if revision == EVERYTHING else Op.EQ, max(revision, 0))
        try:
            if self._store is None:
                store = open_store(self._search, Path())
                await store.open(self._contract, write=False)
                self._store = cast(SearchStore, store)
            return (await self._store.search(SearchQuery("item", filter=wanted, first=1))).total
        except RecordgateError:
            return 0  # not loaded yet

    def close(self) -> None:
        if self._store is not None:
            self._runner.run(self._store.close())
        self._runner.close()


def ours(url: str, search: str, folder: Path, looker: Looker) -> Side:
    arguments = [sys.executable, "-m", "benchmarks.pgsync", url, search, str(folder / "contract")]
    return Side(
        "recordgate",
        url,
        arguments,
        {"PYTHONPATH": str(Path(__file__).parents[1])},
        looker,
        folder / "ours.log",
    )


# Theirs ------------------------------------------------------------------------------------------


def send(method: str, url: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def warm_up(elasticsearch: str) -> None:
    """The first to write would pay for the server's compiling itself."""
    item = {"id": 1, "name": "x", "rev": 0, "description": "warm up " * 20, "brand": {"id": 1}}
    lines = (json.dumps({"index": {}}) + "\n" + json.dumps(item) + "\n") * 1000
    for _ in range(40):
        send("POST", f"{elasticsearch}/warm-up/_bulk", lines.encode())
        send("POST", f"{elasticsearch}/warm-up/_refresh")
    send("DELETE", f"{elasticsearch}/warm-up")


def theirs(
    mode: str, url: str, elasticsearch: str, redis: int, folder: Path, installed: Path
) -> Side:
    """`mode`: the option of pgsync by which it follows."""
    programs = installed / "venv" / "bin"
    folder.mkdir()
    schema = folder / "schema.json"
    parts = conninfo_to_dict(url)
    index = f"items{mode.strip('-')}"
    schema.write_text(json.dumps([SCHEMA[0] | {"database": parts["dbname"], "index": index}]))
    environment = {
        "PG_HOST": "127.0.0.1",
        "PG_PORT": str(_port(url)),
        "PG_USER": str(parts["user"]),
        "PG_PASSWORD": str(parts["password"]),
        "PG_DATABASE": str(parts["dbname"]),
        "ELASTICSEARCH_URL": elasticsearch,
        "ELASTICSEARCH_TIMEOUT": "60",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis),
        "CHECKPOINT_PATH": str(folder),
        "GENERAL_LOGGING_LEVEL": "WARNING",
    }
    log = folder / "pgsync.log"
    with log.open("ab") as said:
        subprocess.run(
            [str(programs / "python"), str(programs / "bootstrap"), "--config", str(schema)],
            env={**os.environ, **environment},
            cwd=folder,
            stdout=said,
            stderr=said,
            check=True,
        )

    def count(revision: int) -> int:
        query = {"match_all": {}} if revision == EVERYTHING else {"term": {"rev": revision}}
        try:
            send("POST", f"{elasticsearch}/{index}/_refresh")
            body = json.dumps({"query": query}).encode()
            return int(send("POST", f"{elasticsearch}/{index}/_count", body)["count"])
        except OSError:
            return 0  # no index yet

    start = [str(programs / "python"), str(programs / "pgsync"), "--config", str(schema)]
    return Side(f"pgsync {mode}", url, [*start, mode], environment, count, log, start)


def _port(url: str) -> int:
    with psycopg.connect(url) as conn:
        return conn.info.port


@contextmanager
def redis_running(folder: Path, installed: Path) -> Iterator[int]:
    program, environment = redis_program(installed)
    port = free_port()
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        env={**os.environ, **environment},
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


def run() -> None:
    installed = install()
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as made, ExitStack() as running:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "contract").write_text(CONTRACT, "utf-8")
        contract = load_contract(folder / "contract")
        network = {"listen_addresses": "127.0.0.1", "port": str(free_port())}
        postgres = EmbeddedPostgres(folder / "postgres", network)
        running.callback(postgres.remove)
        running.callback(postgres.wait_stopped)
        running.callback(postgres.release)
        server = postgres.start()
        process, elasticsearch = servers.start_elasticsearch(folder / "elasticsearch", heap="1g")
        running.callback(process.stop)
        redis = running.enter_context(redis_running(folder, installed))
        table = Table(
            "pgsync",
            f"{ITEMS:,} items with their brand, {SINGLE:,} updated; items a second until they can be searched",
            ["", "first load", "single", "three tx"],
        )
        warm_up(elasticsearch)
        search = f"{elasticsearch}/ours".replace("http", "elasticsearch", 1)
        looker = running.enter_context(closing(Looker(search, contract)))
        mine = measure(ours(database(server, "ours", contract), search, folder, looker))
        table.row("recordgate", *mine)
        for mode in ("--daemon", "--wal"):
            name = f"theirs{mode.strip('-')}"
            url = database(server, name, contract)
            side = theirs(mode, url, elasticsearch, redis, folder / name, installed)
            found = measure(side)
            table.row(side.name, *found)
            table.row("  times", *(a / b for a, b in zip(mine, found, strict=True)))
        table.save()


if __name__ == "__main__":
    worker(sys.argv[1], sys.argv[2], load_contract(Path(sys.argv[3])))
