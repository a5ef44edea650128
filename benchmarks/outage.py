"""A store that was down for the length of 500,000 changes of 50,000 records (BENCH_OUTAGE_CHANGES,
BENCH_OUTAGE_ROWS): how long it takes to catch up, against reading and writing for each change.

The document store's file is locked by another process, as a backup would, while the changes are
committed, a hundred to a transaction. `caught up`: seconds from the unlocking until the store shows
everything. `replay`: the same changes, in batches of a thousand, each change read from canonical
and written to a like store, published every two seconds; one tenth of them is done and counted ten
times. `wal`: most that the slot kept meanwhile, looked at all the time; `search behind`: seconds
that the other store needed after the last commit.
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
from stores.canonical.connect import Connection, connect
from stores.contract.load import load_contract
from stores.protocols import Write
from stores.registry import open_store
from sync.projection import Projector, connect_for_reading

RECORDS = int(os.environ.get("BENCH_OUTAGE_ROWS", "50000"))
CHANGES = int(os.environ.get("BENCH_OUTAGE_CHANGES", "500000"))
IN_ONE = 100
BATCH = 1000
REPLAYED = CHANGES // 10

RETAINED = """
SELECT coalesce(max(pg_current_wal_lsn() - restart_lsn), 0)::bigint FROM pg_replication_slots
"""


def changed(number: int) -> int:
    """The record of a change: all of them, in an order that repeats none soon."""
    return 1 + number * 7919 % RECORDS


def change(conn: Connection) -> tuple[float, int]:
    """Commit all changes: seconds, and the most WAL that the slot kept."""
    most, began = 0, time.monotonic()
    for start in range(0, CHANGES, IN_ONE):
        conn.execute(
            "UPDATE public.cities SET population = population + 1 WHERE geonameid = ANY(%s)",
            ([changed(n) for n in range(start, min(start + IN_ONE, CHANGES))],),
        )
        if start % (50 * IN_ONE) == 0:
            row = conn.execute(RETAINED.encode()).fetchone()
            assert row is not None
            most = max(most, row[0])
    return time.monotonic() - began, most


async def position_passes(folder: Path, sink: str, lsn: int) -> float:
    """Seconds until the sink's own position has passed `lsn`."""
    began = time.monotonic()
    store = open_store(SINKS[sink], folder)
    await store.open(load_contract(CONTRACT), write=False)
    while (at := await store.position()) is None or at.lsn < lsn:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await store.close()
    return time.monotonic() - began


async def replay(url: str, folder: Path) -> float:
    """Seconds for each change read and written by itself, scaled to all."""
    contract = load_contract(CONTRACT)
    store = open_store("sqlite:", folder)
    await store.open(contract, write=True)
    await store.create_generation("city", 1)
    async with await connect_for_reading(url, "benchmark") as conn:
        projector = Projector(conn, contract)
        began = published = time.monotonic()
        for start in range(0, REPLAYED, BATCH):
            keys = [str(changed(n)) for n in range(start, min(start + BATCH, REPLAYED))]
            reading = await projector.read("city", list(dict.fromkeys(keys)))
            writes = [Write(k, reading.version, d) for k, d in reading.documents.items()]
            await store.write("city", 1, writes)
            if time.monotonic() - published > 2.0:
                await store.publish(None)
                published = time.monotonic()
        await store.publish(None)
        took = time.monotonic() - began
    await store.close()
    return took * CHANGES / REPLAYED


def outage(url: str, folder: Path) -> None:
    fill(url, RECORDS)
    with loaded(part("worker", url, folder), url, folder), connect(url) as conn:
        with closing(sqlite3.connect(folder / "documents.sqlite", timeout=60)) as other:
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            took, wal = change(conn)
            row = conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
            assert row is not None
            search = asyncio.run(position_passes(folder, "search", row[0]))
            kept = conn.execute("SELECT count(*) FROM recordgate.backlog").fetchone()
            other.execute("ROLLBACK")
        caught_up = asyncio.run(position_passes(folder, "documents", row[0]))
    replayed = asyncio.run(replay(url, folder / "replay"))
    assert kept is not None
    print(f"{CHANGES:,} changes of {RECORDS:,} records, committed in {took:.0f} s\n")
    print("| caught up s | replay s | ratio | keys in the backlog | wal MiB | search behind s |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {caught_up:.1f} | {replayed:.1f} | {replayed / caught_up:.1f} | {kept[0]:,}"
        f" | {wal / 2**20:.0f} | {search:.1f} |"
    )


def run() -> None:
    with own_postgres() as (url, folder):
        outage(url, folder)
