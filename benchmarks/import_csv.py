"""`recordgate import` of a CSV file against `psql \\copy` of the same file into a like table.

1,000,000 rows of 10 columns (313 MB), both into an empty table with the same key, checks and
foreign key, on one embedded server, in turn; medians. Then what needs no baseline: the keys in no
order, the same file again, a file in which every tenth row is bad, and the peak memory at five
times the rows. The time is that of the whole command, its start included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import psycopg

from recordgate.embedded import EmbeddedPostgres
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract

ROWS = int(os.environ.get("BENCH_ROWS", 1_000_000))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", 3))

CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: bench
name: A table of ten columns
version: 1.0.0
status: active
schema:
  - name: category
    physicalName: categories
    properties:
      - {name: id, logicalType: integer, physicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
  - name: item
    physicalName: items
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: title, logicalType: string, required: true, logicalTypeOptions: {maxLength: 400}}
      - {name: name, logicalType: string}
      - {name: quantity, logicalType: integer, physicalType: integer, logicalTypeOptions: {minimum: 0}}
      - name: categoryId
        physicalName: category_id
        logicalType: integer
        physicalType: integer
        relationships: [{id: category, to: category.id, customProperties: [{property: inverse, vendor: recordgate, value: items}]}]
      - {name: price, logicalType: number, physicalType: "numeric(10,2)"}
      - {name: score, logicalType: number}
      - {name: day, logicalType: date}
      - {name: seenAt, physicalName: seen_at, logicalType: timestamp}
      - {name: note, logicalType: string}
"""

CONTENT = """
SELECT {key} AS id, md5(i::text) || md5((i + 1)::text) || repeat(md5((i * 7)::text), 3) AS title,
       'name ' || i AS name, {quantity} AS quantity, i %% 200 AS category_id,
       round((i * 31 %% 1000000) / 97.0, 2) AS price, sin(i) AS score, date '2000-01-01' + (i %% 9000)::int AS day,
       timestamptz '2000-01-01' + i * interval '61 seconds' AS seen_at,
       md5((i * 3)::text) || md5((i * 11)::text) AS note
  FROM generate_series(1, %s::bigint) i
"""


def write(url: str, path: Path, rows: int, key: str = "i", quantity: str = "i %% 1000") -> Path:
    """A file of `rows` rows, made by the server."""
    query = CONTENT.format(key=key, quantity=quantity)
    with psycopg.connect(url) as connection, path.open("wb") as file:
        copy = connection.cursor().copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", (rows,))
        with copy as blocks:
            for block in blocks:
                file.write(block)
    return path


class Bench:
    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        (folder / "bench.odcs.yaml").write_text(CONTRACT)
        (folder / "recordgate.toml").write_text(
            f'contract = "bench.odcs.yaml"\npostgres = "{url}"\n'
        )
        contract = load_contract(folder / "bench.odcs.yaml")
        with connect(url) as connection:
            migrate(connection)
            apply_plan(connection, contract, make_plan(connection, contract))
            connection.execute("INSERT INTO public.categories SELECT generate_series(0, 199)")

    def empty(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("TRUNCATE public.items")
            connection.execute("CHECKPOINT")

    def psql(self, path: Path) -> float:
        self.empty()
        program = find_binaries(choose_account(None))["psql"]
        command = f"\\copy public.items from '{path}' csv header"
        began = time.perf_counter()
        subprocess.run([program, "-qX", self.url, "-c", command], check=True)
        return time.perf_counter() - began

    def load(self, path: Path, *, empty: bool = True) -> tuple[float, float, dict[str, int]]:
        """(seconds, peak memory in MiB, the report)"""
        if empty:
            self.empty()
        command = [sys.executable, "-m", "recordgate", "import", "item", str(path), "--json"]
        began = time.perf_counter()
        with subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            report = json.loads(process.stdout.read())
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode in (0, 3), report
        return time.perf_counter() - began, usage.ru_maxrss / 1024, report


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "data") as server:
            measure(Bench(folder, server.url))
        server.wait_stopped()


def measure(bench: Bench) -> None:
    path = write(bench.url, bench.folder / "rows.csv", ROWS)
    megabytes = path.stat().st_size / 1e6
    baseline, ours, peaks = [], [], []
    for _ in range(ROUNDS):
        baseline.append(bench.psql(path))
        seconds, peak, report = bench.load(path)
        assert report["inserted"] == ROWS
        ours.append(seconds)
        peaks.append(peak)
    print(f"{ROWS:,} rows, {megabytes:,.0f} MB, median of {ROUNDS}")
    print(f"{'':36}{'seconds':>9}{'ratio':>7}{'MiB':>6}")
    base = median(baseline)
    row("psql \\copy", base, 1.0)
    row("import into an empty table", median(ours), median(ours) / base, max(peaks))
    seconds, peak, report = bench.load(path, empty=False)
    assert report["unchanged"] == ROWS
    row("the same file again, nothing changes", seconds, seconds / base, peak)
    path.unlink()
    shuffled = write(bench.url, path, ROWS, key=f"(i * 7919) %% {next_prime(ROWS)}")
    seconds, peak, _ = bench.load(shuffled)
    row("keys in no order", seconds, seconds / bench.psql(shuffled), peak)
    shuffled.unlink()
    bad = write(bench.url, path, ROWS, quantity="CASE WHEN i %% 10 = 0 THEN 'x' ELSE '5' END")
    seconds, peak, report = bench.load(bad)
    assert report["rejected"] == ROWS // 10
    row("every tenth row is bad", seconds, seconds / base, peak)
    bad.unlink()
    large = write(bench.url, path, ROWS * 5)
    seconds, peak, _ = bench.load(large)
    row(f"{ROWS * 5:,} rows", seconds, seconds / (5 * base), peak)


def row(name: str, seconds: float, ratio: float, peak: float | None = None) -> None:
    memory = f"{peak:6.0f}" if peak is not None else ""
    print(f"{name:36}{seconds:9.1f}{ratio:7.2f}{memory}", flush=True)


def next_prime(number: int) -> int:
    candidate = number + 1
    while any(candidate % n == 0 for n in range(2, int(candidate**0.5) + 1)):
        candidate += 1
    return candidate
