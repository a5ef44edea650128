"""The pgoutput source when things break: cut connections, restarts, busy readers, huge
transactions."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from stores.errors import ConflictError, RecordgateError, StoreUnavailable
from sync.changes import ChangeOp, Event, Transaction
from sync.sources.pgoutput import PgOutputSource, SlotState, slot_state
from tests.change_tables import (
    CONTRACT,
    TABLES,
    changes,
    eventually,
    position,
    progress,
    publish,
    read,
    read_to,
    stream_of,
    transactions,
    wal_end,
)

PUBLICATION = "faults"


@dataclass
class Stage:
    url: str
    slot: str
    conn: psycopg.Connection[Any]

    def source(self, options: str = "") -> PgOutputSource:
        url = psycopg.conninfo.make_conninfo(self.url, options=options) if options else self.url
        return PgOutputSource(url, CONTRACT, slot=self.slot, publication=PUBLICATION)

    def state(self) -> SlotState:
        return slot_state(self.conn, self.slot)

    def insert(self, *ids: int) -> None:
        for i in ids:
            self.conn.execute("INSERT INTO shop VALUES (%s)", (i,))


@pytest.fixture
def stage(database: str) -> Iterator[Stage]:
    slot = f"f_{psycopg.conninfo.conninfo_to_dict(database)['dbname']}"
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
        publish(conn, PUBLICATION, CONTRACT)
        yield Stage(database, slot, conn)


def ids(events: list[Event]) -> list[str | None]:
    return [c.new.get("id") for c in changes(events)]


def test_a_cut_connection_is_told_and_nothing_is_lost(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.insert(1, 2)
        seen = await read_to(source, wal_end(stage.conn))
        durable = position(seen)
        source.acknowledge(durable)
        for round_ in range(3):
            first = 10 * (round_ + 1)
            stage.insert(first)
            stage.conn.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s",
                (stage.slot,),
            )
            stage.insert(first + 1)
            with pytest.raises(StoreUnavailable):
                await read(source, lambda events: False)
            await source.open(durable)
            seen = await read_to(source, wal_end(stage.conn))
            assert ids(seen) == [str(first), str(first + 1)]
            durable = position(seen)
            source.acknowledge(durable)
        await source.close()

    asyncio.run(run())


def test_a_lost_second_connection_is_told_too(stage: Stage) -> None:
    """The one that asks for canonical's clock: without it positions would not be dated any more."""

    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND backend_type = 'client backend'",
            (f"recordgate {stage.slot}",),
        )
        with pytest.raises(StoreUnavailable):
            await read(source, lambda events: False)
        await source.open(None)
        stage.insert(1)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["1"]
        await source.close()

    asyncio.run(run())


def test_a_connection_cut_in_the_middle_of_a_transaction_brings_it_again_whole(
    stage: Stage,
) -> None:
    async def run() -> None:
        source = stage.source()
        start = await source.open(None)
        stage.conn.execute("INSERT INTO shop SELECT generate_series(1, 20000)")
        part = await read(source, lambda events: bool(transactions(events)))
        assert transactions(part)[0].lsn == 0
        stage.conn.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s",
            (stage.slot,),
        )
        await source.open(start)
        seen = await read_to(source, wal_end(stage.conn))
        assert len(changes(seen)) == 20000
        await source.close()

    asyncio.run(run())


def test_the_server_is_told_in_time_while_the_reader_is_busy(stage: Stage) -> None:
    """A reader that is away for longer than wal_sender_timeout, with more waiting than buffers
    hold."""

    async def run() -> None:
        source = stage.source("-c wal_sender_timeout=2s")
        await source.open(None)
        stage.conn.execute("INSERT INTO shop SELECT generate_series(1, 100000)")
        # Once: the server goes on writing to its log (an autovacuum, a checkpoint), and behind the
        # last change come no others that an end beyond it could be met with.
        target = wal_end(stage.conn)
        count, reached, slept = 0, 0, False
        async with asyncio.timeout(60), stream_of(source) as stream:
            async for events in stream:
                if transactions(events) and not slept:
                    await asyncio.sleep(5)
                    slept = True
                count += len(changes(events))
                reached = max(reached, position(events))
                if reached >= target:
                    break
        assert slept
        assert count == 100000
        await source.close()

    asyncio.run(run())


def test_an_idle_stream_outlives_the_servers_timeout(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source("-c wal_sender_timeout=1s")
        await source.open(None)
        began = time.monotonic()
        await read(source, lambda events: time.monotonic() - began > 3)
        stage.insert(1)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["1"]
        await source.close()

    asyncio.run(run())


def test_an_idle_stream_is_dated_again_and_again(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        seen = progress(await read(source, lambda events: len(progress(events)) >= 4))
        now = stage.conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert now is not None
        assert 0 <= now[0] - seen[-1].at < 2
        await source.close()

    asyncio.run(run())


def test_an_acknowledgement_reaches_the_slot_soon_and_survives_the_end(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.insert(1, 2)
        first, second = transactions(await read_to(source, wal_end(stage.conn)))
        source.acknowledge(first.lsn)
        await eventually(lambda: stage.state().confirmed_flush_lsn == first.lsn)
        source.acknowledge(0)  # older: nothing happens
        source.acknowledge(second.lsn)
        await source.close()
        await eventually(lambda: not stage.state().active)
        assert stage.state().confirmed_flush_lsn == second.lsn

    asyncio.run(run())


def test_nothing_is_acknowledged_that_the_consumer_did_not(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        start = await source.open(None)
        stage.insert(1)
        await read(source, lambda events: bool(transactions(events)) and len(progress(events)) > 2)
        assert stage.state().confirmed_flush_lsn == start
        await source.close()

    asyncio.run(run())


def test_idle_progress_lets_the_slot_pass_what_does_not_matter(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.conn.execute("CREATE TABLE noise AS SELECT generate_series(1, 50000)")
        end = wal_end(stage.conn)
        before = stage.state().retained_bytes
        assert before > 1 << 20
        async with asyncio.timeout(60), stream_of(source) as stream:
            async for events in stream:
                source.acknowledge(position(events))
                stage.conn.execute("SELECT pg_log_standby_snapshot()")
                if stage.state().restart_lsn >= end:
                    break
        lag = await source.lag_bytes()
        assert lag is not None
        assert lag < before
        await source.close()

    asyncio.run(run())


def test_a_second_reader_is_refused_with_the_first_ones_process(stage: Stage) -> None:
    async def run() -> None:
        first, second = stage.source(), stage.source()
        await first.open(None)
        pid = stage.state().active_pid
        with pytest.raises(ConflictError, match=str(pid)):
            await second.open(None)
        stage.insert(1)
        assert ids(await read_to(first, wal_end(stage.conn))) == ["1"]
        await first.close()
        await second.open(None)
        await second.close()

    asyncio.run(run())


def postmaster_of(conn: psycopg.Connection[Any]) -> psutil.Process:
    parent = psutil.Process(conn.info.backend_pid).parent()
    assert parent is not None
    return parent


READER = """
import asyncio, sys
from sync.sources.pgoutput import PgOutputSource
from tests.change_tables import CONTRACT

async def run():
    source = PgOutputSource(sys.argv[1], CONTRACT, slot=sys.argv[2], publication=sys.argv[3])
    await source.open(None)
    async for events in source.events():
        print(events, flush=True)

asyncio.run(run())
"""


def test_a_reader_that_was_killed_leaves_the_slot_to_the_next(stage: Stage) -> None:
    async def run(start: int) -> None:
        source = stage.source()
        await source.open(start)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["1"]
        await source.close()

    with subprocess.Popen(
        [sys.executable, "-c", READER, stage.url, stage.slot, PUBLICATION],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline()
        start = stage.state().confirmed_flush_lsn
        stage.insert(1)
        while b"Transaction" not in reader.stdout.readline():
            pass
        reader.kill()
    asyncio.run(run(start))


def test_a_crash_of_canonical_loses_nothing(own_server: Callable[..., str]) -> None:
    url = own_server()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLES)
        publish(conn, PUBLICATION, CONTRACT)
    asyncio.run(_crashes(url))


async def _crashes(url: str) -> None:
    source = PgOutputSource(url, CONTRACT, slot="crash", publication=PUBLICATION)
    durable = await source.open(None)
    system = source.system
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("INSERT INTO shop VALUES (1)")
        seen = await read_to(source, wal_end(conn))
        durable = position(seen)
        source.acknowledge(durable)
        conn.execute("INSERT INTO shop VALUES (2)")
        doomed = psycopg.connect(url)
        doomed.execute("INSERT INTO shop VALUES (3)")  # never committed
        postmaster_of(conn).kill()
        with pytest.raises(StoreUnavailable):
            await read(source, lambda events: False)
        doomed.close()
    async with asyncio.timeout(60):
        while True:
            try:
                await source.open(durable, system=system)
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("INSERT INTO shop VALUES (4)")
        assert ids(await read_to(source, wal_end(conn))) == ["2", "4"]
    await source.close()


def test_a_clean_stop_of_canonical_does_not_wait_for_a_reader_that_acknowledges(
    own_server: Callable[..., str],
) -> None:
    """Postgres ends only once its log's readers have confirmed all of it, that without changes
    too."""

    stopped_at = 0.0

    async def consume(url: str, source: PgOutputSource) -> None:
        nonlocal stopped_at
        async with asyncio.timeout(60), stream_of(source) as stream:
            async for events in stream:
                source.acknowledge(position(events))
                if not stopped_at and progress(events):
                    with psycopg.connect(url, autocommit=True) as conn:
                        conn.execute("CREATE TABLE noise AS SELECT generate_series(1, 10000)")
                        postmaster_of(conn).send_signal(signal.SIGINT)  # "fast"
                    stopped_at = time.monotonic()

    async def run(url: str) -> float:
        source = PgOutputSource(url, CONTRACT, slot="stop", publication=PUBLICATION)
        await source.open(None)
        with pytest.raises(StoreUnavailable):
            await consume(url, source)
        ended = time.monotonic()
        await source.close()
        return ended - stopped_at

    url = own_server()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLES)
        publish(conn, PUBLICATION, CONTRACT)
    assert asyncio.run(run(url)) < 5


def test_a_server_that_falls_silent_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.sources.pgoutput.source.SILENCE", 2.0)

    async def run() -> None:
        source = stage.source()
        await source.open(None)
        pids = stage.conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s",
            (f"recordgate {stage.slot}",),
        ).fetchall()
        assert len(pids) == 2
        for (pid,) in pids:
            psutil.Process(pid).suspend()
        try:
            with pytest.raises(StoreUnavailable, match="sent nothing"):
                await read(source, lambda events: False)
        finally:
            for (pid,) in pids:
                psutil.Process(pid).resume()
        await source.open(None)
        stage.insert(1)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["1"]
        await source.close()

    asyncio.run(run())


def test_the_memory_for_a_huge_transaction_is_that_for_a_small_one(stage: Stage) -> None:
    def peak(rows: int) -> int:
        async def run() -> int:
            source = stage.source()
            await source.open(None)
            stage.conn.execute(
                "INSERT INTO page SELECT 'site', i::text, repeat('x', 300), NULL"
                " FROM generate_series(1, %s) i",
                (rows,),
            )
            stage.conn.execute("TRUNCATE page")
            end, seen, last = wal_end(stage.conn), 0, 0
            gc.collect()
            tracemalloc.start()
            async with asyncio.timeout(120), stream_of(source) as stream:
                async for events in stream:
                    seen += sum(len(e.changes) for e in events if isinstance(e, Transaction))
                    last = max(last, position(events))
                    if last >= end:
                        break
            top = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert seen == rows + 1
            source.acknowledge(last)
            await source.close()
            return top

        return asyncio.run(run())

    small = peak(20_000)
    huge = peak(200_000)
    assert huge < 1.3 * small + 500_000
    assert huge < 20_000_000


def test_a_publication_that_was_missing_for_a_time_is_a_gap(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        start = await source.open(None)
        stage.insert(1)
        await read_to(source, wal_end(stage.conn))
        await source.close()
        stage.conn.execute("DROP PUBLICATION faults")
        stage.insert(2)
        publish(stage.conn, PUBLICATION, CONTRACT)
        stage.insert(3)
        await source.open(start)
        with pytest.raises(RecordgateError) as caught:
            await read(source, lambda events: False)
        assert caught.value.code == "GAP"
        await source.reset()
        await source.open(None)
        stage.insert(4)
        assert ids(await read_to(source, wal_end(stage.conn))) == ["4"]
        await source.close()

    asyncio.run(run())


def test_a_table_that_goes_by_another_name_is_still_followed(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.insert(1)
        stage.conn.execute("ALTER TABLE shop RENAME TO shop_old")
        stage.conn.execute("INSERT INTO shop_old VALUES (2)")
        found = ids(await read_to(source, wal_end(stage.conn)))
        assert [i for i in found if i is not None] == ["1", "2"]
        await source.close()

    asyncio.run(run())


def test_a_table_without_its_key_column_stops_no_other(stage: Stage) -> None:
    async def run() -> None:
        source = stage.source()
        await source.open(None)
        stage.conn.execute("ALTER TABLE page RENAME COLUMN path TO place")
        stage.conn.execute("INSERT INTO page VALUES ('a', 'b')")
        stage.insert(1)
        events = await read_to(source, wal_end(stage.conn))
        changes = [c for e in events if isinstance(e, Transaction) for c in e.changes]
        assert ChangeOp.UNTOLD in [c.op for c in changes if c.table == "page"]
        assert [c.new["id"] for c in changes if c.table == "shop"] == ["1"]
        await source.close()

    asyncio.run(run())
