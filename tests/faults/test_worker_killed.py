"""The worker killed at the dangerous lines, and at any line: nothing is lost, nothing comes back,
nothing is loaded again without need."""

from __future__ import annotations

import asyncio
import random
import signal
import time

import pytest

from tests.sync_world import WorkerProcess, World, fill


def change(world: World, turn: int) -> None:
    world.sql(
        f"UPDATE public.products SET name = 'turn {turn}' WHERE sku = 'sku,{1 + turn % 12}'",
        f"DELETE FROM public.lines WHERE id % 50 = {turn % 50}",
        f"INSERT INTO public.lines VALUES ({1000 + turn}, 'shop\\,1', 1, 'sku,2', {turn})",
        f"UPDATE public.countries SET region_code = 'r{1 + turn % 4}' WHERE iso = 'c{1 + turn % 9}'",
    )


IN_THE_FIRST_LOAD = (
    "source-opened", "load-written", "load-noted", "published:2", "before-activate", "before-activate:5",
    "after-activate", "after-activate:7", "recorded",
)  # fmt: skip
WHILE_FOLLOWING = ("written", "written:4", "published:3", "recorded:2")


@pytest.mark.parametrize("point", IN_THE_FIRST_LOAD)
def test_killed_in_the_first_load(world: World, point: str) -> None:
    fill(world)
    with WorkerProcess(world, RECORDGATE_TEST_CRASH_POINT=point) as first:
        deadline = time.monotonic() + 30
        turn = 0
        while first.process.poll() is None:
            assert time.monotonic() < deadline, f"{point} was never reached"
            change(world, turn)
            turn += 1
            time.sleep(0.02)
        assert first.process.returncode == -signal.SIGKILL

    async def main() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())
    assert world.one("SELECT count(*) AS n FROM recordgate.generations WHERE number > 1") == 0


@pytest.mark.parametrize("point", WHILE_FOLLOWING)
def test_killed_while_following(world: World, point: str) -> None:
    fill(world)

    async def load() -> None:
        async with world.running():
            await world.synced()

    asyncio.run(load())
    with WorkerProcess(world, RECORDGATE_TEST_CRASH_POINT=point) as second:
        deadline = time.monotonic() + 30
        turn = 0
        while second.process.poll() is None:
            assert time.monotonic() < deadline, f"{point} was never reached"
            change(world, turn)
            turn += 1
            time.sleep(0.02)

    async def main() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())
    assert world.one("SELECT max(number) AS n FROM recordgate.generations") == 1


def test_killed_again_and_again_under_load(world: World) -> None:
    fill(world, orders=1500)
    pick = random.Random(5)
    turn = 0
    for _ in range(8):
        with WorkerProcess(world):
            until = time.monotonic() + pick.uniform(0.7, 2.0)
            while time.monotonic() < until:
                change(world, turn)
                turn += 1

    async def main() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_clean_stop_publishes_and_ends_with_zero(world: World) -> None:
    fill(world)
    with WorkerProcess(world) as worker:
        asyncio.run(world.synced())
        change(world, 1)
        asyncio.run(world.synced())
        assert worker.stop() == 0
    asyncio.run(world.assert_equal())
