"""What the durable backlog costs while no sink is behind: 100,000 changes (BENCH_BACKLOG_CHANGES),
a hundred to a transaction, into both embedded stores, by the worker as it is and by one whose
durable backlog is taken out; in turn, three times each, the medians compared. `seconds`: from the
first commit until both stores show all.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cities import fill, loaded, own_postgres, wait_for
from benchmarks.follow import processor_time, worker
from stores.canonical.connect import connect
from sync.unit_reader import UnitReader
from sync.writer import SinkWriter

RECORDS = 50_000
CHANGES = int(os.environ.get("BENCH_BACKLOG_CHANGES", "100000"))
IN_ONE = 100
ROUNDS = 3


def without(url: str, folder: Path) -> None:
    """A worker that never looks at the table and never moves anything there."""

    async def no_page(self: UnitReader) -> None:
        self.durable_pending = False

    async def no_relief(self: SinkWriter, *_: Any) -> None:
        self._reader.durable_pending = False

    UnitReader._read_durable = no_page  # type: ignore[method-assign,assignment]
    SinkWriter.relieve = no_relief  # type: ignore[method-assign]
    worker(url, folder)


def round_(url: str, folder: Path, role: str) -> tuple[float, float]:
    """(seconds, microseconds of processor time a change)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.backlog_cost", role, url, str(folder)]
    )
    with loaded(process, url, folder):
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


def run() -> None:
    found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    with own_postgres() as (url, folder):
        fill(url, RECORDS)
        for _ in range(ROUNDS):
            for role, rounds in found.items():
                rounds.append(round_(url, folder, role))
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
