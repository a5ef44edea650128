"""How fast the change source decodes, against `pg_recvlogical` and against receiving without
looking.

200,000 inserted rows of 10 columns in one transaction, read again and again from one slot that is
never acknowledged, the three readers in turn; the best of each counts. The same with updates under
REPLICA IDENTITY FULL, where a message holds two rows.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg

from recordgate.embedded import EmbeddedPostgres
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries
from stores.contract.model import Contract, Logical, Property, RecordType, Relation, Scalar
from sync.changes import Transaction
from sync.sources.pgoutput import PgOutputSource, drop_slot, ensure_slot
from sync.sources.pgoutput.connection import start_replication
from sync.sources.pgoutput.slot import wait_released

ROWS = 200_000
ROUNDS = 3
SLOT = "bench_change_source"
PUBLICATION = "bench_change_source"

TABLE = """
CREATE TABLE item (
    id int PRIMARY KEY, owner int, name text, note text, price numeric(10, 2),
    amount int, ratio float8, made timestamptz, flag boolean, code varchar(20)
);
CREATE PUBLICATION bench_change_source FOR TABLE item;
"""
INSERT = f"""
INSERT INTO item
SELECT i, i % 1000, 'name of item ' || i, repeat('note ', 8), i / 7.0, i * 3, i / 11.0, now(), i % 2 = 0,
       'code-' || i
FROM generate_series(1, {ROWS}) i
"""


def contract() -> Contract:
    """The table with its key and one foreign key: what a city with its country has."""
    columns = (
        Property(name, name, name, Logical.INTEGER, Scalar.INT, "integer")
        for name in ("id", "owner")
    )
    owner = Relation("owner", "owner", "owner", ("owner",), ("id",), False, True, "items")
    item = RecordType(
        "item", "public", "item", "Item", "item", "items", tuple(columns), ("id",), (owner,)
    )
    return Contract("bench", "bench", "1", {"item": item})


async def source_seconds(url: str) -> float:
    source = PgOutputSource(url, contract(), slot=SLOT, publication=PUBLICATION)
    await source.open(None)
    seen = 0
    began = time.perf_counter()
    async for events in source.events():
        for event in events:
            if isinstance(event, Transaction):
                seen += len(event.changes)
        if seen >= ROWS:
            break
    took = time.perf_counter() - began
    await source.close()
    assert seen == ROWS
    return took


async def raw_seconds(url: str) -> float:
    """The same connection, every message thrown away unread."""
    seen = 0

    def count(message: bytes) -> None:
        nonlocal seen
        seen += message[25:26] in (b"I", b"U")

    stream = await asyncio.to_thread(start_replication, url, SLOT, PUBLICATION, 0)
    arrived = asyncio.Event()
    began = time.perf_counter()
    while seen < ROWS:
        if not stream.receive(count):
            arrived.clear()
            stream.watch(arrived.set)
            await arrived.wait()
    took = time.perf_counter() - began
    stream.close()
    return took


def recvlogical_seconds(url: str, end: str) -> float:
    """Postgres' own client, to /dev/null."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    program = find_binaries(choose_account(None))["pg_recvlogical"]
    began = time.perf_counter()
    # endpos ends it at the commit; it never confirms more than it has been told to.
    subprocess.run(
        [
            *(program, "--start", "--no-loop", "-S", SLOT, "-f", "/dev/null", "--endpos", end),
            *("-o", "proto_version=1", "-o", f"publication_names={PUBLICATION}"),
            *("-F", "0", "-s", "0"),
            *("-h", host, "-U", parts.username or "", "-d", parts.path.lstrip("/")),
        ],
        check=True,
        env={"PGPASSWORD": unquote(parts.password or "")},
    )
    return time.perf_counter() - began


def measure(url: str, kind: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CHECKPOINT")
        conn.execute(statement)
        end = str(conn.execute("SELECT pg_current_wal_lsn()").fetchone()[0])  # type: ignore[index]
        readers: dict[str, Callable[[], float]] = {
            "raw receive": lambda: asyncio.run(raw_seconds(url)),
            "change source": lambda: asyncio.run(source_seconds(url)),
        }
        best = dict.fromkeys(readers, float("inf"))
        for _ in range(ROUNDS):
            for name, reader in readers.items():
                wait_released(conn, SLOT)
                best[name] = min(best[name], reader())
        wait_released(conn, SLOT)
        # Last: it confirms what it has read when it ends.
        best["pg_recvlogical"] = recvlogical_seconds(url, end)
        drop_slot(conn, SLOT)
    raw = best["raw receive"]
    for name, seconds in best.items():
        print(f"{kind:24} {name:16} {ROWS / seconds:>10,.0f} rows/s {raw / seconds:>6.2f} of raw")


def run() -> None:
    """Print the table."""
    folder = Path(tempfile.mkdtemp(prefix="recordgate-bench-"))
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder, {"fsync": "off", "max_wal_size": "4GB"})
    try:
        url = server.start()
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(TABLE)
            ensure_slot(conn, SLOT)
        measure(url, "insert", INSERT)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("ALTER TABLE item REPLICA IDENTITY FULL")
            ensure_slot(conn, SLOT)
        measure(url, "update, identity full", "UPDATE item SET amount = amount + 1")
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
        folder.rmdir()


if __name__ == "__main__":
    run()
