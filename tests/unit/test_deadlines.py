"""A coarse limit ends a block as asyncio's own timeout does."""

from __future__ import annotations

import asyncio

import pytest

from gateway.http.deadlines import Limit


def test_a_block_that_takes_too_long_is_ended_with_a_timeout() -> None:
    async def go() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError), Limit(0.05):
            await asyncio.sleep(10)
        await asyncio.sleep(0)  # nothing is left of the cancellation
        return asyncio.get_running_loop().time() - began

    assert 0.05 <= asyncio.run(go()) < 1


def test_a_block_in_time_is_left_alone_and_the_next_limit_counts_anew() -> None:
    async def go() -> None:
        for _ in range(4):
            with Limit(0.1):
                await asyncio.sleep(0.06)

    asyncio.run(go())


def test_a_cancellation_from_outside_stays_one() -> None:
    async def inside() -> None:
        with Limit(5):
            await asyncio.sleep(10)

    async def go() -> None:
        task = asyncio.ensure_future(inside())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())


def test_an_inner_limit_ends_its_own_block_only() -> None:
    async def go() -> str:
        with Limit(5):
            try:
                with Limit(0.03):
                    await asyncio.sleep(10)
            except TimeoutError:
                await asyncio.sleep(0.01)
                return "went on"
        return "ended"

    assert asyncio.run(go()) == "went on"


def test_what_begins_late_begins_once_and_only_where_the_block_takes_long() -> None:
    begun: list[str] = []

    async def go() -> None:
        with Limit(5, after=0.03, begin=lambda: begun.append("long")):
            await asyncio.sleep(0.15)
        with Limit(5, after=0.5, begin=lambda: begun.append("short")):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.6)

    asyncio.run(go())
    assert begun == ["long"]


def test_an_error_of_the_block_is_its_error() -> None:
    async def go() -> None:
        with Limit(5):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        asyncio.run(go())
