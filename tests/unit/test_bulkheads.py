"""The bulkhead: who gets a place, who waits, who is refused."""

from __future__ import annotations

import asyncio

import pytest

from gateway.context import bulkheads
from gateway.context.bulkheads import Bulkhead


def test_a_place_goes_to_who_waits_longest_and_to_nobody_past_them() -> None:
    async def story() -> None:
        bulkhead = Bulkhead(1)
        assert bulkhead.try_enter()
        turns: list[int] = []

        async def call(number: int) -> None:
            assert await bulkhead.enter()
            turns.append(number)
            assert bulkhead.running == 1
            bulkhead.leave()

        calls = [asyncio.create_task(call(n)) for n in range(3)]
        await asyncio.sleep(0.01)
        bulkhead.leave()
        assert not bulkhead.try_enter(), "the place is handed over, not put back"
        await asyncio.gather(*calls)
        assert (turns, bulkhead.running) == ([0, 1, 2], 0)

    asyncio.run(story())


def test_a_call_beyond_those_that_may_wait_is_refused_at_once_and_one_that_waits_too_long_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulkheads, "PATIENCE", 0.05)
    monkeypatch.setattr(bulkheads, "WAITING", 1)

    async def story() -> None:
        bulkhead = Bulkhead(1)
        assert await bulkhead.enter()
        late = asyncio.create_task(bulkhead.enter())
        await asyncio.sleep(0.01)
        assert not await asyncio.wait_for(bulkhead.enter(), 0.02)
        assert not await late
        given_up = asyncio.create_task(bulkhead.enter())
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        bulkhead.leave()
        assert bulkhead.running == 0
        assert bulkhead.try_enter()

    asyncio.run(story())
