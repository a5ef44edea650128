"""How fast the gateway answers, against PostGraphile over the same Postgres, against Postgres
alone, and by documents against the store's own driver without a gateway.

The demo's 252 countries and 234,908 cities. One process each, 16 connections, the sides in turn
after a warm-up, the median of the rounds; answers are compared before anything is measured. The
gateway is `recordgate serve` with its limits on. Q1: one city with its country, by key; Q2: 50
cities, each with its country; Q3: 100 countries, each with 5 cities. For canonical's route the
contract leaves `embed` out, so that no document holds a city's country. Then Q1 at half of the
greatest rate. Needs wrk, and npm for PostGraphile, which is installed once; what cannot be had is
left out.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg

from benchmarks import http_load
from benchmarks.http_load import Load, load
from benchmarks.results import Table
from compose.local.process import free_port
from recordgate.canonical_access import open_canonical
from recordgate.demo.data import make_files
from recordgate.embedded import EmbeddedPostgres
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries
from recordgate.readiness import make_ready
from recordgate.settings import Settings
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.protocols import Position, Write
from stores.registry import open_store
from sync.projection import Projector, connect_for_reading

CONTRACT = Path(__file__).parents[1] / "recordgate" / "demo" / "geonames.odcs.yaml"
POSTGRAPHILE = Path(__file__).parent / "postgraphile"
ROUNDS = 5
SECONDS = 3
KEYS = 1000
POOL = 16
PRODUCTION = {"GRAPHILE_ENV": "production", "NODE_ENV": "production"}

CITY = "geonameid name population countryCode timezone"
COUNTRY = "iso name continent capital"
QUERIES: dict[str, tuple[str, str]] = {
    "Q1": (
        f"query ($id: ID!) {{ city(id: $id) {{ {CITY} country {{ {COUNTRY} }} }} }}",
        f"query ($id: Int!) {{ city: cityByGeonameid(geonameid: $id) {{ {CITY}"
        f" country: countryByCountryCode {{ {COUNTRY} }} }} }}",
    ),
    "Q2": (
        f"{{ cities(first: 50) {{ nodes {{ {CITY} country {{ {COUNTRY} }} }} }} }}",
        f"{{ cities: allCities(first: 50) {{ nodes {{ {CITY}"
        f" country: countryByCountryCode {{ {COUNTRY} }} }} }} }}",
    ),
    "Q3": (
        f"{{ countries(first: 100) {{ nodes {{ {COUNTRY} cities(first: 5) {{ nodes {{ {CITY} }} }} }} }} }}",
        f"{{ countries: allCountries(first: 100) {{ nodes {{ {COUNTRY}"
        f" cities: citiesByCountryCode(first: 5) {{ nodes {{ {CITY} }} }} }} }} }}",
    ),
}
"""Each query for the gateway and for PostGraphile, with aliases that make the answers equal."""


@dataclass(frozen=True)
class Side:
    """A server's address and process."""

    address: str
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time that the process has taken, all its threads together."""
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


# What is measured ---------------------------------------------------------------------------------


def run() -> None:
    if not http_load.available():
        print("left out: wrk is not installed (Debian's package wrk)")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        server = EmbeddedPostgres(folder / "postgres")
        stack.callback(server.release)
        url = server.start()
        contract = load_contract(CONTRACT)
        keys = fill(url, contract, folder)
        (folder / "documents").mkdir()
        documents = asyncio.run(load_documents(url, contract, folder / "documents"))
        table = Table(
            "gateway",
            "The gateway, PostGraphile and Postgres alone; documents by the gateway and by their driver",
            ["", "requests/s", "ratio", "p50 ms", "p99 ms", "CPU us"],
        )
        against_postgraphile(url, folder, keys, table)
        by_documents(url, folder, documents, keys, table)
        table.save()


def postgraphile_is_there() -> bool:
    """Installed, now if it was not yet."""
    npm = shutil.which("npm")
    if npm and not (POSTGRAPHILE / "node_modules").is_dir():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=POSTGRAPHILE, check=False)
    return (POSTGRAPHILE / "node_modules" / ".bin" / "node").exists()


def against_postgraphile(url: str, folder: Path, keys: list[int], table: Table) -> None:
    with ExitStack() as stack:
        without = folder / "without_embed.odcs.yaml"
        without.write_text(re.sub(r".*property: embed.*\n", "", CONTRACT.read_text("utf-8")))
        ours = stack.enter_context(gateway(url, folder / "canonical", without))
        sides = {"recordgate": ours}
        if postgraphile_is_there():
            sides["PostGraphile"] = stack.enter_context(postgraphile(url))
        else:
            print(f"left out: PostGraphile (`npm ci` in {POSTGRAPHILE.name} did not work)")
        require_canonical(ours.address, keys[0])
        for name, (own, other) in QUERIES.items():
            bodies = {
                "recordgate": requests(own, [str(k) for k in keys] if name == "Q1" else None),
                "PostGraphile": requests(other, list(keys) if name == "Q1" else None),
            }
            compare(sides, bodies)
            found = in_turn({n: (side, bodies[n]) for n, side in sides.items()})
            base = found.get("PostGraphile", found["recordgate"]).rate
            for side, loaded in found.items():
                show(table, name, side, loaded, base)
            rate = database_alone(url, ours.address, bodies["recordgate"][0], keys, folder)
            table.row(f"{name} Postgres alone", rate, rate / base)
            if name == "Q1":
                half = found["recordgate"].rate / 2
                loaded = load(ours.address, bodies["recordgate"], SECONDS * 2, rate=half)
                show(table, name, "recordgate, half rate", loaded, base)
                table.row("   its p99 / p50", "", loaded.p99 / loaded.p50)


def by_documents(url: str, folder: Path, documents: str, keys: list[int], table: Table) -> None:
    query = QUERIES["Q1"][0]
    bodies = requests(query, [str(k) for k in keys])
    file = folder / "documents" / "documents.sqlite"
    with ExitStack() as stack:
        sides = {
            "documents": stack.enter_context(gateway(url, folder / "documents", CONTRACT)),
            "driver by HTTP": stack.enter_context(bare(file, documents)),
        }
        found = post(sides["documents"].address, bodies[0])
        store = found["extensions"]["recordgate"]["fields"]["city"]["store"]
        if store != "documents":
            raise RuntimeError(f"the key read was answered by {store}")
        document = post(sides["driver by HTTP"].address, bodies[0])
        if document["name"] != found["data"]["city"]["name"]:
            raise RuntimeError("the driver reads other documents")
        loads = in_turn({n: (side, bodies) for n, side in sides.items()})
        base = loads["driver by HTTP"].rate
        for side, loaded in loads.items():
            show(table, "Q1", side, loaded, base)
    rate = driver_alone(file, documents, keys)
    table.row("Q1 driver alone, no HTTP", rate, rate / base)


def in_turn(sides: dict[str, tuple[Side, list[bytes]]]) -> dict[str, Load]:
    """Each side's median round, the sides one after another in every round; the first is the
    warm-up."""
    rounds: dict[str, list[Load]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, (side, bodies) in sides.items():
            before = side.cpu()
            loaded = load(side.address, bodies, SECONDS)
            cpu = (side.cpu() - before) / loaded.requests * 1e6
            loaded = replace(loaded, cpu=cpu)
            if number:
                rounds[name].append(loaded)
    return {
        name: Load(*(median(getattr(r, f.name) for r in several) for f in fields(Load)))
        for name, several in rounds.items()
    }


def show(table: Table, name: str, side: str, loaded: Load, base: float) -> None:
    cpu = [loaded.cpu] if loaded.cpu else []
    table.row(f"{name} {side}", loaded.rate, loaded.rate / base, loaded.p50, loaded.p99, *cpu)


def requests(query: str, ids: list[Any] | None) -> list[bytes]:
    if ids is None:
        return [json.dumps({"query": query}).encode()]
    return [json.dumps({"query": query, "variables": {"id": i}}).encode() for i in ids]


def compare(sides: dict[str, Side], bodies: dict[str, list[bytes]]) -> None:
    """Raise where two sides answer differently."""
    for number in range(min(50, len(bodies["recordgate"]))):
        answers = [post(s.address, bodies[name][number])["data"] for name, s in sides.items()]
        if any(a != answers[0] for a in answers) or not any(answers[0].values()):
            raise RuntimeError(f"the answers differ: {answers}")


def require_canonical(url: str, key: int) -> None:
    found = post(url, requests(QUERIES["Q1"][0], [str(key)])[0])
    if found["extensions"]["recordgate"]["fields"]["city"]["store"] != "canonical":
        raise RuntimeError("the key read was not answered by canonical")


def post(url: str, body: bytes, **headers: str) -> Any:
    asked = urllib.request.Request(
        url, body, {"Content-Type": "application/json", "Accept": "application/json", **headers}
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


# The sides ----------------------------------------------------------------------------------------


@contextmanager
def gateway(url: str, folder: Path, contract: Path, search: str = "tantivy:") -> Iterator[Side]:
    """`recordgate serve`: one process, no worker beside it."""
    folder.mkdir(exist_ok=True)
    config = folder / "recordgate.toml"
    config.write_text(
        f"contract = {json.dumps(str(contract))}\npostgres = {json.dumps(url)}\n"
        f"search = {json.dumps(search)}\n"
        f"data_dir = {json.dumps(str(folder))}\nport = 0\npool_size = {POOL}\nlog_level = 'error'\n"
    )
    command = [sys.executable, "-m", "recordgate", "--config", str(config), "serve"]
    with process(command, "listening on ") as (line, pid):
        yield Side(line.removeprefix("listening on ").strip() + "/graphql", pid)


@contextmanager
def postgraphile(url: str) -> Iterator[Side]:
    port = free_port()
    node = POSTGRAPHILE / "node_modules" / ".bin" / "node"
    command = [str(node), str(POSTGRAPHILE / "server.mjs"), url, str(port), str(POOL)]
    with process(command, "listening", **PRODUCTION) as (_, pid):
        yield Side(f"http://127.0.0.1:{port}/graphql", pid)


@contextmanager
def bare(file: Path, table: str) -> Iterator[Side]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_documents", str(file), table, str(port)]
    with process(command, None) as (_, pid):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield Side(f"http://127.0.0.1:{port}/", pid)


@contextmanager
def process(command: list[str], until: str | None, **environment: str) -> Iterator[tuple[str, int]]:
    """A process that is ended afterwards: its first line that begins with `until`, and its id."""
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[1],
    )
    assert running.stdout is not None
    try:
        line = ""
        deadline = time.monotonic() + 60
        while until is not None and not line.startswith(until):
            ready, _, _ = select.select([running.stdout], [], [], deadline - time.monotonic())
            line = running.stdout.readline() if ready else ""
            if not line:
                raise RuntimeError(f"{command[0]} did not start")
        yield line, running.pid
    finally:
        running.terminate()
        running.wait(20)
        running.stdout.close()


def database_alone(url: str, ours: str, body: bytes, keys: list[int], folder: Path) -> float:
    """Transactions a second of pgbench with the statement that the gateway sends, prepared; of one
    key."""
    plan = post(ours, body, **{"Recordgate-Explain": "1"})["extensions"]["recordgate"]["plan"]
    (field,) = plan.values()
    statement = re.sub(r"\$\d+", ":key", field["statements"][0])
    script = folder / "alone.sql"
    script.write_text(f"{statement.replace(':key', str(keys[0]))};\n")
    parts = urlsplit(url)
    program = find_binaries(choose_account(None))["pgbench"]
    rates = []
    for _ in range(3):
        done = subprocess.run(
            [
                *(program, "-n", "-M", "prepared", "-j", "1", "-c", str(http_load.CONNECTIONS)),
                *("-T", str(SECONDS), "-f", str(script)),
                *("-h", parse_qs(parts.query).get("host", [parts.hostname or ""])[0]),
                *("-U", parts.username or "", parts.path.lstrip("/")),
            ],
            env={**os.environ, "PGPASSWORD": unquote(parts.password or "")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        rates.append(float(re.findall(r"tps = ([\d.]+)", done)[0]))
    return median(rates)


def driver_alone(file: Path, table: str, keys: list[int]) -> float:
    from benchmarks.bare_documents import read

    began = time.perf_counter()
    for key in keys * 10:
        if read(str(file), table, str(key)) is None:
            raise RuntimeError(f"{key} is not there")
    return len(keys) * 10 / (time.perf_counter() - began)


# The data -----------------------------------------------------------------------------------------


def fill(url: str, contract: Contract, folder: Path) -> list[int]:
    """Make the tables and copy the demo's rows into them; some keys of cities."""
    make_ready(url, contract, may_apply=True)
    files = make_files(folder / "data")
    with psycopg.connect(url, autocommit=True) as conn, conn.cursor() as cursor:
        with cursor.copy("COPY public.countries FROM STDIN") as copy:
            for line in files.countries.read_text("utf-8").splitlines():
                copy.write_row(list(json.loads(line).values()))
        keys: list[int] = []
        with (
            files.cities.open(encoding="utf-8", newline="") as lines,
            cursor.copy("COPY public.cities FROM STDIN") as copy,
        ):
            for row in csv.DictReader(lines):
                values: dict[str, Any] = {k: v or None for k, v in row.items()}
                values["alternateNames"] = json.loads(row["alternateNames"])
                copy.write_row(list(values.values()))
                keys.append(int(row["geonameid"]))
        conn.execute("VACUUM ANALYZE")
    return random.Random(7).sample(keys, KEYS)


async def load_documents(url: str, contract: Contract, folder: Path, to: str = "sqlite:") -> str:
    """Put every document into a store; the name of the cities' table in the file of the embedded
    one."""
    settings = Settings(contract=CONTRACT, postgres=url, data_dir=folder)
    with open_canonical(settings):
        canonical, _ = make_ready(url, contract, may_apply=False)
    role: Literal["documents", "search"] = "documents" if to == "sqlite:" else "search"
    store = open_store(to, folder, role=role)
    await store.open(contract, write=True)
    conn = await connect_for_reading(url, "benchmark")
    try:
        projector = Projector(conn, contract)
        began, version = time.time(), 0
        for name in contract.types:
            await store.create_generation(name, 1)
            after: str | None = None
            while True:
                page = await projector.page(name, after, 5000)
                version = version or page.version
                writes = [Write(k, page.version, d) for k, d in page.documents.items()]
                await store.write(name, 1, writes)
                after = page.last
                if after is None:
                    break
            await store.activate(name, 1)
        await store.publish(Position(canonical.system, version, began, timeline=canonical.timeline))
    finally:
        await conn.close()
        await store.close()
    return f"records_{1 + list(contract.types).index('city')}"
