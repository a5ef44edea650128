"""How closely the worker follows: 20,000 single-row commits made as fast as one session can, while
the worker takes them into Tantivy and SQLite; at two sizes of the table.

`behind`: seconds from the last commit until both stores show it. `visible`: milliseconds from a
commit (each tenth is looked at) until the store's own position has passed it, polled every two
milliseconds. `cost`: processor time of the worker and of its sessions in Postgres, for each commit.
Committer, worker and looker are processes of their own; everything, Postgres included, shares the
machine's cores. First the rows are loaded: `load` is how long both stores take for that together,
`peak` the worker's memory at its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cities import CONTRACT, SINKS, fill, loaded, own_postgres, run_worker, wait_for
from stores.canonical.connect import connect
from stores.contract.load import load_contract
from stores.registry import open_store

SIZES = tuple(int(n) for n in os.environ.get("BENCH_FOLLOW_ROWS", "200000,2000000").split(","))
COMMITS = int(os.environ.get("BENCH_FOLLOW_COMMITS", "20000"))
EVERY = 10


@dataclass
class Followed:
    rows: int
    load: float
    peak: float
    rate: float
    behind: float
    p50: dict[str, float]
    p99: dict[str, float]
    cost: float


def worker(url: str, folder: Path) -> None:
    sinks = {name: open_store(scheme, folder) for name, scheme in SINKS.items()}
    run_worker(load_contract(CONTRACT), url, sinks)


def committer(url: str, rows: int) -> None:
    """Prints for each tenth commit [position, seconds since the epoch]."""
    seen = []
    with connect(url) as conn:
        for i in range(COMMITS):
            conn.execute(
                "UPDATE public.cities SET population = population + 1 WHERE geonameid = %s",
                (1 + (i * 7919) % rows,),
            )
            if i % EVERY == EVERY - 1:
                now = time.time()
                row = conn.execute(
                    "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
                ).fetchone()
                assert row is not None
                seen.append([row[0], now])
    print(json.dumps(seen))


async def looker(folder: Path) -> None:
    """Until stdin ends: prints sink → [[position, seconds since the epoch], …] of each new
    position."""
    contract = load_contract(CONTRACT)
    stores = {name: open_store(scheme, folder) for name, scheme in SINKS.items()}
    for store in stores.values():
        await store.open(contract, write=False)
    found: dict[str, list[list[float]]] = {name: [] for name in stores}
    os.set_blocking(0, False)
    print("ready", flush=True)
    while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[attr-defined]
        for name, store in stores.items():
            position = await store.position()
            if position and (not found[name] or found[name][-1][0] != position.lsn):
                found[name].append([position.lsn, time.time()])
        await asyncio.sleep(0.002)
    print(json.dumps(found))


def part(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.follow", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options)


def processor_time(url: str, process: subprocess.Popen[bytes]) -> float:
    """Of the worker and of the sessions that it has in Postgres, its replication session
    included."""
    with connect(url) as conn:
        pids = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'recordgate %' AND pid <> pg_backend_pid()"
        ).fetchall()
    total = 0.0
    for pid in [process.pid, *(row[0] for row in pids)]:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


def follow(url: str, folder: Path, rows: int) -> Followed:
    fill(url, rows)
    began = time.monotonic()
    with loaded(part("worker", url, folder), url, folder, 30) as process:
        load = time.monotonic() - began
        peak = psutil.Process(process.pid).memory_info().rss / 2**20
        look = part("looker", folder, stdin=subprocess.PIPE)
        assert look.stdout is not None
        assert look.stdin is not None
        look.stdout.readline()
        used = processor_time(url, process)
        began = time.monotonic()
        commit = part("committer", url, rows)
        said, _ = commit.communicate()
        took = time.monotonic() - began
        wait_for(url, folder, process)
        behind = time.monotonic() - began - took
        cost = (processor_time(url, process) - used) / COMMITS
        look.stdin.close()
        positions = json.loads(look.stdout.read())
        look.wait()
    p50, p99 = {}, {}
    for name, steps in positions.items():
        late = sorted(lateness(json.loads(said), steps))
        p50[name] = late[len(late) // 2]
        p99[name] = late[int(len(late) * 0.99)]
    return Followed(rows, load, peak, COMMITS / took, behind, p50, p99, cost * 1e6)


def lateness(commits: list[list[float]], steps: list[list[float]]) -> list[float]:
    """Milliseconds from each commit to the first step that has passed it."""
    found, at = [], 0
    for lsn, when in commits:
        while at < len(steps) and steps[at][0] < lsn:
            at += 1
        if at < len(steps):
            found.append(max(0.0, (steps[at][1] - when) * 1000))
    return found


def run() -> None:
    found = []
    for rows in SIZES:
        with own_postgres() as (url, folder):
            found.append(follow(url, folder, rows))
    print(f"{COMMITS:,} single-row commits, Tantivy and SQLite\n")
    print(
        "| rows | load s | memory MiB | commits/s | behind s | visible search p50/p99 ms"
        " | visible documents p50/p99 ms | cost µs/commit | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for f in found:
        late = [f"{f.p50[name]:.0f} / {f.p99[name]:.0f}" for name in SINKS]
        print(
            f"| {f.rows:,} | {f.load:.1f} | {f.peak:.0f} | {f.rate:,.0f} | {f.behind:.2f} | {late[0]} | {late[1]}"
            f" | {f.cost:.0f} | {f.cost / found[0].cost:.2f} |"
        )


if __name__ == "__main__":
    match sys.argv[1]:
        case "worker":
            worker(sys.argv[2], Path(sys.argv[3]))
        case "committer":
            committer(sys.argv[2], int(sys.argv[3]))
        case "looker":
            asyncio.run(looker(Path(sys.argv[2])))
