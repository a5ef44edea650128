"""`GET /export/item` against `COPY … TO` of the same columns by psycopg, over the table of
import_csv; and the gateway's peak memory at 1,000,000 and at 5,000,000 rows. In turn, medians; rows
are counted on both sides.
"""

from __future__ import annotations

import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.gateway import gateway
from benchmarks.import_csv import ROWS, Bench, write
from benchmarks.results import Table
from recordgate.embedded import EmbeddedPostgres

ROUNDS = 3
FORMATS = ("csv", "ndjson", "parquet")


def run() -> None:
    table = Table(
        "exports",
        "Export against COPY of the same columns",
        ["", "seconds", "MB/s", "rows/s", "of COPY's rate", "peak MiB"],
    )
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        with EmbeddedPostgres(folder / "data") as server:
            bench = Bench(folder, server.url)
            for rows in (ROWS, 5 * ROWS):
                path = write(server.url, folder / "rows.csv", rows)
                bench.psql(path)
                path.unlink()
                measure(server.url, folder, rows, table)
        server.wait_stopped()
    table.save()


def measure(url: str, folder: Path, rows: int, table: Table) -> None:
    base = median(copied(url)[0] for _ in range(ROUNDS))
    size = copied(url)[1]
    table.row(f"COPY, {rows:,} rows", base, size / base / 1e6, rows / base, 1.0)
    for form in FORMATS:
        with gateway(url, folder / f"gateway-{form}-{rows}", folder / "bench.odcs.yaml") as side:
            address = side.address.replace("/graphql", f"/export/item?format={form}")
            several = [fetched(address) for _ in range(ROUNDS)]
            seconds, size = median(s for s, _, _ in several), several[0][1]
            if form != "parquet" and several[0][2] != rows + (form == "csv"):
                raise RuntimeError(f"{form}: {several[0][2]} lines of {rows} rows")
            table.row(
                f"{form}, {rows:,} rows",
                *(seconds, size / seconds / 1e6, rows / seconds, base / seconds, peak(side.pid)),
            )


def copied(url: str) -> tuple[float, int]:
    """(seconds, bytes)"""
    began, size = time.perf_counter(), 0
    with psycopg.connect(url) as conn, conn.cursor() as cursor:
        statement = "COPY (SELECT * FROM public.items ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"
        with cursor.copy(statement) as blocks:
            for block in blocks:
                size += len(block)
    return time.perf_counter() - began, size


def fetched(address: str) -> tuple[float, int, int]:
    """(seconds, bytes, lines)"""
    began, size, lines = time.perf_counter(), 0, 0
    with urllib.request.urlopen(address, timeout=600) as answer:
        while block := answer.read(1 << 18):
            size += len(block)
            lines += block.count(b"\n")
    return time.perf_counter() - began, size, lines


def peak(pid: int) -> float:
    """MiB that the process had resident at the most."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
