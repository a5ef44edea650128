"""What the durable backlog costs while no sink is behind: 100,000 changes (BENCH_BACKLOG_CHANGES), a hundred to a
transaction, into both embedded stores, by the worker as it is and by one whose durable backlog is taken out; in
turn, three times each, the medians compared. `seconds`: from the first commit until both stores show all.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.follow import CONTRACT, ROWS, processor_time, wait_for, worker
from migrations.run import migrate
from recordgate.embedded import EmbeddedPostgres
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from sync.writer import SinkWriter

RECORDS = 50_000
CHANGES = int(os.environ.get("BENCH_BACKLOG_CHANGES", "100000"))
IN_ONE = 100
ROUNDS = 3


def without(url: str, folder: Path) -> None:
    """A worker that never looks at the table and never moves anything there."""

    async def nothing(self: SinkWriter, *_: Any) -> None:
        self._durable_pending = False

    for name in ("_read_durable", "relieve"):
        setattr(SinkWriter, name, nothing)
    worker(url, folder)


def round_(url: str, folder: Path, role: str) -> tuple[float, float]:
    """(seconds, microseconds of processor time a change)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.backlog_cost", role, url, str(folder)]
    )
    try:
        wait_for(url, folder, process)
        used, began = processor_time(url, process), time.monotonic()
        with connect(url) as conn:
            for start in range(0, CHANGES, IN_ONE):
                keys = [1 + n * 7919 % RECORDS for n in range(start, start + IN_ONE)]
                conn.execute(
                    "UPDATE public.cities SET population = population + 1 WHERE geonameid = ANY(%s)",
                    (keys,),
                )
        wait_for(url, folder, process)
        took = time.monotonic() - began
        return took, (processor_time(url, process) - used) / CHANGES * 1e6
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def run() -> None:
    found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as made:
        folder = Path(made)
        folder.chmod(0o711)
        server = EmbeddedPostgres(folder / "postgres")
        try:
            url = server.start()
            contract = load_contract(CONTRACT)
            migrate(url)
            with connect(url) as conn:
                apply_plan(conn, contract, make_plan(conn, contract))
                for statement in ROWS.replace("ROW_COUNT", str(RECORDS)).split(";"):
                    conn.execute(statement.encode())
            for _ in range(ROUNDS):
                for role, rounds in found.items():
                    rounds.append(round_(url, folder / "stores", role))
        finally:
            server.release()
            server.wait_stopped()
            server.remove()
    print(f"{CHANGES:,} changes of {RECORDS:,} records, medians of {ROUNDS}\n")
    print("| durable backlog | seconds | changes/s | cost µs/change |")
    print("|---|---|---|---|")
    seconds = {}
    for role, rounds in found.items():
        seconds[role] = statistics.median(s for s, _ in rounds)
        cost = statistics.median(c for _, c in rounds)
        print(f"| {role} | {seconds[role]:.2f} | {CHANGES / seconds[role]:,.0f} | {cost:.0f} |")
    print(f"\nthroughput lost: {100 * (1 - seconds['without'] / seconds['with']):.1f} %")


if __name__ == "__main__":
    role = {"with": worker, "without": without}[sys.argv[1]]
    role(sys.argv[2], Path(sys.argv[3]))
