"""Two workers: the second waits, takes over when the first dies or stalls, and a first that wakes
up with an old batch in hand writes nothing that goes back, moves no watermark and acknowledges
nothing."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from sync import lease, opening, session
from sync.session import open_session
from sync.sources.pgoutput import slot
from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import SINKS, WorkerProcess, World, fill, shop

PATIENCE = 60.0


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        fill(found)
        yield found


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_charge(world: World) -> int | None:
    rows = world.rows("SELECT pid FROM recordgate.workers")
    return int(rows[0]["pid"]) if rows else None


def is_stopped(process: WorkerProcess) -> bool:
    stat = Path(f"/proc/{process.process.pid}/stat").read_text("utf-8")
    return stat.rpartition(")")[2].split()[0] == "T"


def synced_and_equal(world: World, sinks: tuple[str, ...] = SINKS) -> None:
    asyncio.run(world.synced(sinks))
    asyncio.run(world.assert_equal(sinks))


def watermarks(world: World) -> dict[str, int]:
    rows = world.rows(
        "SELECT sink, (detail ->> 'durable')::bigint AS at FROM recordgate.watermarks"
    )
    return {row["sink"]: int(row["at"]) for row in rows}


async def positions(world: World, sinks: tuple[str, ...] = SINKS) -> dict[str, int]:
    async with world.readers(sinks) as stores:
        found = {name: await store.position() for name, store in stores.items()}
    return {name: at.lsn for name, at in found.items() if at is not None}


def test_a_worker_that_stalls_is_replaced_in_less_than_five_seconds() -> None:
    """By its clocks; the tests below do it, on machines that may be slow."""
    assert lease.TRUSTED + lease.SAY < lease.STALLED
    assert lease.STALLED + lease.SAY + lease.RETRY < 4.5


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "stalls"])
def test_the_second_worker_waits_and_takes_over(world: World, how: signal.Signals) -> None:
    with WorkerProcess(world) as first:
        asyncio.run(world.synced())
        with WorkerProcess(world) as second:
            wait(lambda: b"standing by behind" in (world.folder / "worker.log").read_bytes())
            world.sql("UPDATE public.products SET name = 'still the first'")
            asyncio.run(world.synced())
            assert in_charge(world) == first.process.pid
            assert second.process.poll() is None
            began = time.monotonic()
            os.kill(first.process.pid, how)
            world.sql("DELETE FROM public.lines WHERE id < 30", "TRUNCATE public.lines")
            wait(lambda: in_charge(world) == second.process.pid)
            print(f"another is in charge after {time.monotonic() - began:.1f} s")
            synced_and_equal(world)
            # A stopped process would keep the files of an embedded store for ever: it is ended.
            first.process.wait(PATIENCE)
    assert world.one("SELECT max(number) AS n FROM recordgate.generations") == 1


def test_a_stalled_reader_with_a_full_socket_keeps_the_slot_from_nobody(world: World) -> None:
    """The server cannot even tell it that its session is ended."""
    with WorkerProcess(world) as first:
        asyncio.run(world.synced())
        os.kill(first.process.pid, signal.SIGSTOP)
        reader = (
            "SELECT active_pid AS n FROM pg_replication_slots WHERE database = current_database()"
        )
        before = world.one(reader)
        for turn in range(20):
            world.sql(
                f"UPDATE public.orders SET note = repeat(md5('{turn} ' || number), 2000)",
            )
        time.sleep(0.5)
        with WorkerProcess(world) as second:
            began = time.monotonic()
            wait(lambda: in_charge(world) == second.process.pid)
            wait(lambda: world.one(reader) not in (None, before))
            print(f"another reads after {time.monotonic() - began:.1f} s")
            synced_and_equal(world)


def test_a_worker_whose_source_takes_long_to_open_stays_in_charge_and_can_be_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot is made only when every transaction that was open before has ended."""
    # The look at whom it waits for is over before, and is no sign of life.
    monkeypatch.setattr(opening, "QUIET", 0.2)
    terms = "SELECT epoch AS n FROM recordgate.workers"

    async def until(condition: Callable[[], object]) -> None:
        await asyncio.to_thread(wait, condition)

    async def story() -> None:
        first, second = world.worker(), world.worker()
        async with AsyncExitStack() as exits:
            with psycopg.connect(world.url) as other:
                other.execute("INSERT INTO public.regions VALUES ('open', 'open')")
                await exits.enter_async_context(world.running(first))
                await until(lambda: in_charge(world))
                term = world.one(terms)
                await exits.enter_async_context(world.running(second))
                await until(lambda: "standing by" in str(second.state()["problem"]))
                await asyncio.sleep(lease.STALLED + 1.0)
                assert world.one(terms) == term, "nobody took over"
                began = time.monotonic()
                await first.stop()
                await until(lambda: world.one(terms) != term)
                assert time.monotonic() - began < slot.CREATION / 3
                await until(lambda: "standing by" not in str(second.state()["problem"]))
            await world.synced()
            await world.assert_equal()

    asyncio.run(story())


def test_a_stalled_workers_transaction_holds_no_lock_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other worker is there to end it."""
    option = "-c idle_in_transaction_session_timeout="
    assert session.LETS_GO.startswith(option)
    monkeypatch.setattr(session, "LETS_GO", f"{option}1s")

    async def story() -> None:
        async def nobody(_: object) -> None:
            pass

        opened = await open_session(world.url, "some_slot", ["search"], uuid.uuid4(), nobody)
        books = opened.sinks["search"].bookkeeping
        for conn in (opened.guard.conn, opened.marking, books.conn):
            await conn.execute("BEGIN")
            await conn.execute("LOCK TABLE public.orders IN ACCESS SHARE MODE")
        began = time.monotonic()
        await asyncio.to_thread(world.sql, "TRUNCATE public.orders CASCADE")
        assert time.monotonic() - began < 10
        await opened.close()

    asyncio.run(story())


def test_a_worker_that_only_seems_to_stall_gives_way_and_waits(world: World) -> None:
    """It is stopped until another is in charge, and goes on before that one has opened the stores:
    it lets go of their files by itself, and is there when it is needed again."""
    with WorkerProcess(world) as first:
        asyncio.run(world.synced())
        with WorkerProcess(world, RECORDGATE_TEST_CRASH_POINT="source-opened",
                           RECORDGATE_TEST_CRASH_SIGNAL="SIGSTOP") as second:  # fmt: skip
            wait(lambda: b"standing by behind" in (world.folder / "worker.log").read_bytes())
            os.kill(first.process.pid, signal.SIGSTOP)
            wait(lambda: is_stopped(second))
            assert in_charge(world) == second.process.pid
            world.sql("DELETE FROM public.lines WHERE id < 30")
            # The second, stopped as well, has the lock: the first waits, then replaces it in turn.
            os.kill(first.process.pid, signal.SIGCONT)
            wait(lambda: in_charge(world) == first.process.pid)
            os.kill(second.process.pid, signal.SIGCONT)
            synced_and_equal(world)
            assert first.process.poll() is None
            first.kill()
            wait(lambda: in_charge(world) == second.process.pid)
            world.sql("DELETE FROM public.lines WHERE id < 60")
            synced_and_equal(world)
    assert world.one("SELECT max(number) AS n FROM recordgate.generations") == 1


def wakes_with_an_old_batch(world: World, sink: str, point: str) -> None:
    sinks = (sink,)
    with WorkerProcess(world, sinks, RECORDGATE_TEST_CRASH_POINT=point,
                       RECORDGATE_TEST_CRASH_SIGNAL="SIGSTOP") as first:  # fmt: skip
        turn = 0
        while not is_stopped(first):
            world.sql(
                f"UPDATE public.products SET name = 'turn {turn}'",
                f"UPDATE public.lines SET quantity = {turn} WHERE id % 7 = {turn % 7}",
            )
            turn += 1
            assert turn < 2000, f"{point} was never reached"
            time.sleep(0.02)
        with WorkerProcess(world, sinks) as second:
            wait(lambda: in_charge(world) == second.process.pid)
            world.sql(
                "UPDATE public.products SET name = 'after'",
                "DELETE FROM public.lines WHERE id % 3 = 0",
                "UPDATE public.countries SET region_code = 'r1'",
            )
            synced_and_equal(world, sinks)
            marks, places = watermarks(world), asyncio.run(positions(world, sinks))
            os.kill(first.process.pid, signal.SIGCONT)
            # Until it has seen that it is not in charge, and has begun to wait.
            log = world.folder / "worker.log"
            waiting = f"{first.process.pid} sync.lease standing by behind".encode()
            wait(lambda: waiting in log.read_bytes())
            asyncio.run(world.assert_equal(sinks))
            assert all(watermarks(world)[s] >= at for s, at in marks.items())
            now = asyncio.run(positions(world, sinks))
            assert all(now[s] >= at for s, at in places.items())
            assert in_charge(world) == second.process.pid
            second.kill()
            wait(lambda: in_charge(world) == first.process.pid)
            world.sql("DELETE FROM public.lines WHERE id % 3 = 1")
            synced_and_equal(world, sinks)
    assert world.one("SELECT count(*) AS n FROM recordgate.generations WHERE number > 1") == 0


@pytest.mark.servers
@pytest.mark.parametrize("point", ["sending:12", "publishing:20"])
def test_an_old_batch_in_hand_changes_nothing_in_elasticsearch(
    world: World, elasticsearch_url: str, point: str
) -> None:
    # A place of the test's own: what another test has left says nothing about this database.
    place = f"{elasticsearch_url}/t{secrets.token_hex(8)}"
    world.stores = {"search": place}
    try:
        wakes_with_an_old_batch(world, "search", point)
    finally:
        remove_elasticsearch_indexes(place)


@pytest.mark.servers
@pytest.mark.parametrize("point", ["sending:12", "recorded:4", "before-activate:2"])
def test_an_old_batch_in_hand_changes_nothing_in_mongodb(
    world: World, mongodb_url: str, point: str
) -> None:
    world.stores = {"documents": f"{mongodb_url}/t{secrets.token_hex(8)}"}
    wakes_with_an_old_batch(world, "documents", point)
