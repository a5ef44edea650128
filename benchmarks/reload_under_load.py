"""A reload of a million records (BENCH_RELOAD_ROWS) in both embedded stores while 500 changes a
second are committed: how late the live generation shows them, and the worker's memory.

`late`: milliseconds from a commit (each tenth is looked at) until the store's own position has
passed it, polled every two milliseconds, while the reload runs and, for comparison, for ten seconds
before it. `memory`: the worker's resident memory, looked at five times a second. Committer, worker
and looker are processes of their own, on the same cores as Postgres.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from benchmarks.cities import SINKS, fill, loaded, own_postgres, wait_for
from benchmarks.follow import lateness, part
from stores.canonical.connect import connect, connect_async
from sync import requests

COUNT = int(os.environ.get("BENCH_RELOAD_ROWS", "1000000"))
RATE = 500
EVERY = 10
BEFORE = 10.0


def committer(url: str) -> None:
    """Until stdin ends: RATE commits a second; prints for each tenth [position, seconds since the
    epoch]."""
    seen, number = [], 0
    os.set_blocking(0, False)
    with connect(url) as conn:
        print("ready", flush=True)
        began = time.monotonic()
        while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[union-attr]
            number += 1
            conn.execute(
                "UPDATE public.cities SET population = population + 1 WHERE geonameid = %s",
                (1 + number * 7919 % COUNT,),
            )
            if number % EVERY == 0:
                now = time.time()
                row = conn.execute(
                    "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
                ).fetchone()
                assert row is not None
                seen.append([row[0], now])
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
    print(json.dumps(seen))


async def reloaded(url: str) -> None:
    async with await connect_async(url) as conn:
        request = await requests.ask(conn, "reload", "city", None)
        while (await requests.state(conn, request))[0] not in ("done", "failed"):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


class Memory(threading.Thread):
    """Resident memory of a process in MiB, over time."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self._process = psutil.Process(pid)
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.2):
            self.seen.append(self._process.memory_info().rss / 2**20)

    def stop(self) -> None:
        self._end.set()
        self.join()


def measured(url: str, folder: Path) -> None:
    fill(url, COUNT)
    with loaded(part("worker", url, folder), url, folder) as process:
        look = part("looker", folder, stdin=subprocess.PIPE)
        assert look.stdout is not None
        assert look.stdin is not None
        look.stdout.readline()
        commit = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.reload_under_load", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert commit.stdout is not None
        commit.stdout.readline()
        time.sleep(BEFORE)
        memory = Memory(process.pid)
        memory.start()
        began, began_at = time.monotonic(), time.time()
        asyncio.run(reloaded(url))
        took, ended_at = time.monotonic() - began, time.time()
        memory.stop()
        said, _ = commit.communicate()
        wait_for(url, folder, process)
        look.stdin.close()
        positions = json.loads(look.stdout.read())
        look.wait()
    commits = json.loads(said)
    during = [c for c in commits if began_at <= c[1] <= ended_at]
    print(
        f"{COUNT:,} records reloaded in both stores in {took:.0f} s,"
        f" {len(during) * EVERY / took:,.0f} changes/s meanwhile\n"
    )
    print("| store | late before p50 / p99 ms | late meanwhile p50 / p99 / most ms |")
    print("|---|---|---|")
    for name in SINKS:
        quiet = sorted(lateness([c for c in commits if c[1] < began_at], positions[name]))
        late = sorted(lateness(during, positions[name]))
        print(
            f"| {name} | {quiet[len(quiet) // 2]:.0f} / {quiet[int(len(quiet) * 0.99)]:.0f}"
            f" | {late[len(late) // 2]:.0f} / {late[int(len(late) * 0.99)]:.0f} / {late[-1]:.0f} |"
        )
    third = max(1, len(memory.seen) // 3)
    print(
        f"\nworker's memory MiB: most {max(memory.seen):.0f}; in the first third {max(memory.seen[:third]):.0f},"
        f" in the last {max(memory.seen[-third:]):.0f}"
    )


def run() -> None:
    with own_postgres() as (url, folder):
        measured(url, folder)


if __name__ == "__main__":
    committer(sys.argv[1])
