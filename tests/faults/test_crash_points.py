"""A real SIGKILL of a real process at each named point of worker, load and rollback, and before and
after each statement of import and apply; with seeds, many in one world's life. Afterwards whole
documents are compared.

The processes are forked from the test's own, which has everything imported, so that a kill costs a
fraction of a second.
"""

from __future__ import annotations

import asyncio
import csv
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stores import crash_points
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.importing import ImportOptions, Mode, run_import
from stores.canonical.importing.options import RowLimit
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from sync import lease, requests, sweep, unit_reader, worker
from tests.import_target import Target, new_target
from tests.sync_world import SINKS, World, fill, shop

SEEDS = 20
LOADING = ("load-written", "load-noted", "before-activate", "after-activate")
ROLLING_BACK = ("rollback-noted", "rolled-back")
POINTS = (
    "source-opened", "sending", "written", "publishing", "published", "recorded", *LOADING, *ROLLING_BACK,
)  # fmt: skip
PATIENCE = 60.0
OPEN_REQUESTS = (
    "SELECT count(*) AS n FROM recordgate.sync_requests WHERE state IN ('asked', 'running')"
)

FORK = multiprocessing.get_context("fork")


# The worker -------------------------------------------------------------------------------------------


def work(url: str, folder: str, point: str, count: int) -> None:
    """In the forked process: a worker with short waits, until it is killed or told to stop."""
    crash_points.arm(point, count)
    worker.RECORD = requests.POLL = lease.RETRY = 0.05
    unit_reader.POLL = 0.2
    unit_reader.LOAD_PAGE = 5
    path = Path(folder)
    world = World(load_contract(path / "shop.odcs.yaml"), url, path, None)  # type: ignore[arg-type]

    async def main() -> None:
        made = world.worker(batch_size=50, sweep=sweep.SweepPace(rate=0))
        tasks: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGTERM, lambda: tasks.append(asyncio.create_task(made.stop()))
        )
        await made.run()

    asyncio.run(main())


def forked(world: World, point: str = "", count: int = 1) -> ForkProcess:
    process = FORK.Process(target=work, args=(world.url, str(world.folder), point, count))
    process.start()
    return process


def killed_at(world: World, point: str, pick: random.Random, turn: Iterator[int]) -> None:
    if point in ROLLING_BACK:
        ask(world, "rollback")
    # Once a start, a request or a load; the others come again and again.
    most = 1 if point == "source-opened" or point in (*LOADING, *ROLLING_BACK) else 4
    process = forked(world, point, pick.randint(1, most))
    deadline = time.monotonic() + PATIENCE
    try:
        while process.is_alive():
            assert time.monotonic() < deadline, f"{point} was never reached"
            if point in LOADING and not world.one(OPEN_REQUESTS):
                ask(world, "reload")  # one may have joined a load that was past the point
            disturb(world, pick, next(turn))
            process.join(pick.uniform(0.01, 0.2))
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL, point
    print(f"{point} {time.monotonic() - deadline + PATIENCE:.2f} s")


def ask(world: World, action: str) -> None:
    world.sql(f"INSERT INTO recordgate.sync_requests (action, type) VALUES ('{action}', 'product')")


def disturb(world: World, pick: random.Random, turn: int) -> None:
    """A transaction that touches several types; keys come, go, and come again."""
    line = pick.randrange(240)
    with world.conn.transaction():
        world.sql(
            f"UPDATE public.products SET name = 'turn {turn}' WHERE sku = 'sku,{pick.randint(1, 12)}'",
            f"DELETE FROM public.lines WHERE id = {line}",
            f"INSERT INTO public.lines VALUES ({(line + 7) % 240}, 'shop\\,1', 1, 'sku,2', {turn})"
            " ON CONFLICT (id) DO UPDATE SET quantity = excluded.quantity",
            f"UPDATE public.countries SET region_code = 'r{pick.randint(1, 4)}'"
            f" WHERE iso = 'c{pick.randint(1, 9)}'",
        )


def converges(world: World) -> None:
    """A worker that nobody kills makes everything right, finishes what was asked, and loads a
    generation to go back to."""
    process = forked(world)
    try:
        asyncio.run(world.synced())
        deadline = time.monotonic() + PATIENCE
        while world.one(OPEN_REQUESTS):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        asyncio.run(world.synced())
        asyncio.run(world.assert_equal())
        last_rollback_went_back_by_one(world)
        ask(world, "reload")
        while world.one(OPEN_REQUESTS):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.terminate()
        process.join(PATIENCE)
    assert process.exitcode == 0


def last_rollback_went_back_by_one(world: World) -> None:
    """What it noted before it acted is what it did, however often a worker died in it."""
    rows = world.rows(
        "SELECT action, state, targets, message FROM recordgate.sync_requests ORDER BY id DESC LIMIT 1"
    )
    if not rows or rows[0]["action"] != "rollback":
        return
    assert rows[0]["state"] == "done", rows[0]["message"]
    active = world.rows(
        "SELECT sink, number FROM recordgate.generations WHERE type = 'product' AND state = 'active'"
    )
    assert {a["sink"]: a["number"] for a in active} == rows[0]["targets"]
    kept = world.rows("SELECT sink, number FROM recordgate.generations WHERE type = 'product'")
    for sink in SINKS:
        numbers = sorted(k["number"] for k in kept if k["sink"] == sink)
        assert numbers.index(rows[0]["targets"][sink]) == len(numbers) - 2, numbers


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_every_point_of_the_worker(database: str, tmp_path: Path, seed: int) -> None:
    pick = random.Random(seed)
    turn = iter(range(10**9))
    with shop(database, tmp_path) as world:
        fill(world)
        # In the first load, and again later: the loads, in one order or another, then what follows.
        for point in pick.sample(POINTS[:-2], len(POINTS) - 2):
            killed_at(world, point, pick, turn)
        converges(world)
        for point in ROLLING_BACK:
            killed_at(world, point, pick, turn)
            converges(world)


# Import -----------------------------------------------------------------------------------------------


def dies_at(number: int, *, after: bool) -> None:
    """In the forked process: SIGKILL before the `number`-th statement, or when it has been carried
    out."""
    left = number

    def guarded(name: str) -> None:
        plain = getattr(psycopg.Cursor, name)

        def wrapped(self: Any, *given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = plain(self, *given, **more)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(psycopg.Cursor, name, wrapped)

    guarded("execute")
    guarded("copy")


def imports(url: str, contract: str, file: str, number: int, after: bool) -> None:
    if number:
        dies_at(number, after=after)
    run_import(
        url,
        load_contract(Path(contract)),
        "item",
        [Path(file)],
        ImportOptions(mode=Mode.REPLACE, max_deletes=RowLimit.parse("100%")),
    )


@pytest.fixture
def target(postgres: str, tmp_path: Path) -> Iterator[Target]:
    with new_target(postgres, tmp_path) as found:
        yield found


OLD, NEW = range(120), range(60, 200)


def items(target: Target) -> list[tuple[Any, ...]]:
    return target.rows("SELECT id, name FROM items ORDER BY id")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_statement_of_an_import(target: Target, after: bool) -> None:
    """Mode replace, which inserts, updates and deletes: all of it is there or nothing, and the same
    command ends what was begun."""
    target.do("INSERT INTO makers VALUES ('AB', 'x')")
    file = target.file("new.csv", "id,name,weight,makerCode\n")
    with file.open("a", newline="") as out:
        csv.writer(out).writerows([i, f"new {i}", 1, "AB"] for i in NEW)
    new = [(i, f"new {i}") for i in NEW]
    old = [(i, f"old {i}") for i in OLD]
    contract = str(target.folder / "imports.odcs.yaml")
    number, seen = 0, set()
    while True:
        number += 1
        target.do("TRUNCATE items CASCADE")
        target.do(
            "INSERT INTO items (id, name, weight, maker_code)"
            f" SELECT i, 'old ' || i, 1, 'AB' FROM generate_series(0, {max(OLD)}) AS i"
        )
        target.do("TRUNCATE recordgate.import_batches, recordgate.dead_letters")
        for name in target.staging_tables():
            target.do(f"DROP TABLE recordgate.{name}")
        process = FORK.Process(
            target=imports, args=(target.url, contract, str(file), number, after)
        )
        process.start()
        process.join(PATIENCE)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        there = items(target)
        assert there in (old, new), number
        seen.add(there == new)
        again = FORK.Process(target=imports, args=(target.url, contract, str(file), 0, after))
        again.start()
        again.join(PATIENCE)
        assert again.exitcode == 0, number
        assert items(target) == new, number
        assert target.staging_tables() == []
    assert items(target) == new
    assert number > 20
    assert seen == {False, True}


# Apply ------------------------------------------------------------------------------------------------

BEFORE = """
apiVersion: v3.2.0
kind: DataContract
id: kept
name: Kept
version: 1.0.0
status: active
schema:
  - name: item
    physicalName: items
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: size, logicalType: integer}
"""
AFTER = (
    BEFORE.replace("{name: size, logicalType: integer}", "{name: size, logicalType: string}")
    + """      - {name: colour, logicalType: string}
  - name: part
    physicalName: parts
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: itemId
        physicalName: item_id
        logicalType: integer
        relationships: [{id: item, to: item.id}]
"""
)


def applies(url: str, contract: str, number: int, after: bool) -> None:
    if number:
        dies_at(number, after=after)
    with connect(url) as conn:
        loaded = load_contract(Path(contract))
        apply_plan(conn, loaded, make_plan(conn, loaded), allow_destructive=True)


def kinds(url: str, contract: Path) -> list[str]:
    with connect(url) as conn:
        return [s.kind for s in make_plan(conn, load_contract(contract)).steps]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_statement_of_apply(database: str, tmp_path: Path, after: bool) -> None:
    old, new = tmp_path / "old.odcs.yaml", tmp_path / "new.odcs.yaml"
    old.write_text(BEFORE)
    new.write_text(AFTER)
    applies(database, str(old), 0, after)
    with connect(database) as conn:
        conn.execute("INSERT INTO public.items VALUES (1, 5)")
    everything = kinds(database, new)
    assert len(everything) >= 4
    number, exitcode = 0, None
    while exitcode != 0:
        number += 1
        process = FORK.Process(target=applies, args=(database, str(new), number, after))
        process.start()
        process.join(PATIENCE)
        exitcode = process.exitcode
        assert exitcode in (0, -signal.SIGKILL)
        left = kinds(database, new)
        assert left in (everything, []), number
        if not left and exitcode != 0:  # killed when it was done
            applies(database, str(old), 0, after)
    assert number > 10
    assert kinds(database, new) == []
    with connect(database) as conn:
        assert conn.execute("SELECT id, size FROM public.items").fetchall() == [(1, "5")]
