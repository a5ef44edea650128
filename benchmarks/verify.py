"""How fast `verify` compares a store with canonical, and how much it reads: a million records
(BENCH_VERIFY_ROWS) in each embedded store, first all equal, then with one record changed behind the
worker's back in each hundredth range.

`read` is the share of a full dump of both sides: a store's documents are always read, canonical's
only of ranges that differ (docs/decisions/verify-and-sweep.md). The worker is stopped; canonical
runs on the same cores.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.cities import CONTRACT, SINKS, fill, loaded, own_postgres
from benchmarks.follow import part
from stores.contract.load import load_contract
from stores.registry import open_store
from sync.ranges import RANGE
from sync.verify import Differences, verify

COUNT = int(os.environ.get("BENCH_VERIFY_ROWS", "1000000"))
TYPE = "city"


def load(url: str, folder: Path) -> None:
    """Rows in canonical, and both stores equal to it; the worker is gone."""
    fill(url, COUNT)
    with loaded(part("worker", url, folder), url, folder):
        pass


async def compare(url: str, folder: Path, sinks: list[str]) -> tuple[float, list[Differences]]:
    """Seconds, and what was found in each sink."""
    contract = load_contract(CONTRACT)
    stores = {name: open_store(SINKS[name], folder) for name in sinks}
    for store in stores.values():
        await store.open(contract, write=False)
    began = time.monotonic()
    report = await verify(contract, url, stores, types=[TYPE], patience=0.0)
    took = time.monotonic() - began
    for store in stores.values():
        await store.close()
    return took, list(report.types[TYPE].values())


def damage(folder: Path) -> int:
    """One record in each hundredth range of the document store."""
    with closing(sqlite3.connect(folder / "documents.sqlite")) as conn, conn:
        (row,) = conn.execute(
            "SELECT id FROM generations WHERE type = ? AND state = 'active'", (TYPE,)
        ).fetchall()
        table = f"records_{row[0]}"
        keys = conn.execute(f"SELECT key FROM {table} ORDER BY key").fetchall()[:: RANGE * 100]
        return conn.executemany(
            f"UPDATE {table} SET document = replace(document, 'City of', 'city of') WHERE key = ?",
            keys,
        ).rowcount


def run() -> None:
    with own_postgres() as (url, stores):
        load(url, stores)
        print(f"{COUNT:,} records\n")
        print("| stores | | seconds | records/s of a store | differences | read |")
        print("|---|---|---|---|---|---|")

        def line(sinks: list[str], what: str) -> None:
            took, found = asyncio.run(compare(url, stores, sinks))
            documents = sum(d.documents for d in found)
            read = (COUNT * len(sinks) + documents) / (2 * COUNT * len(sinks))
            print(
                f"| {' and '.join(sinks)} | {what} | {took:.1f} | {COUNT / took:,.0f}"
                f" | {sum(d.total for d in found)} | {read:.3f} |",
                flush=True,
            )

        for sinks in (["documents"], ["search"], ["documents", "search"]):
            line(sinks, "equal")
        changed = damage(stores)
        line(["documents"], f"{changed} changed, each in a range of its own")
