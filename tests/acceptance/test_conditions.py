"""What stands in the way is recorded where everybody reads it, and goes when it is over."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from stores.canonical.conditions import Condition, read
from stores.canonical.connect import connect_async
from sync import conditions as module
from sync.session import Session, open_session
from tests.sync_world import World


@asynccontextmanager
async def session_of(world: World) -> AsyncIterator[Session]:
    async def waiting(_: object) -> None: ...

    session = await open_session(world.url, "nobody_reads_it", [], uuid.uuid4(), waiting)
    try:
        yield session
    finally:
        await session.close()


async def recorded(world: World) -> list[Condition]:
    conn = await connect_async(world.url)
    async with conn:
        return await read(conn)


FAULT = Condition("type-not-readable", "column gone", "mend it", "search", "works")


def test_a_condition_is_recorded_and_told_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with session_of(world) as session:
            with caplog.at_level(logging.INFO, logger="sync.conditions"):
                await session.conditions.raise_(FAULT)
                since = (await recorded(world))[0].since
                await session.conditions.raise_(FAULT)
                assert [(c.identity, c.message, c.hint) for c in await recorded(world)] == [
                    (FAULT.identity, "column gone", "mend it")
                ]
                await session.conditions.raise_(
                    Condition("type-not-readable", "table gone", "", "search", "works")
                )
                (now,) = await recorded(world)
                assert (now.message, now.since) == ("table gone", since)
                for _ in range(2):
                    await session.conditions.over(
                        code="type-not-readable", sink="search", type="works"
                    )
                assert await recorded(world) == []
        assert [r.message for r in caplog.records] == [
            "search: works: type-not-readable: column gone (mend it)",
            "search: works: type-not-readable: table gone",
            "search: works: type-not-readable: over",
        ]

    asyncio.run(scenario())


def test_what_a_former_session_raised_goes_unless_it_is_found_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Condition("type-not-readable", "row gone", "", "search", "authors")

    async def scenario() -> None:
        async with session_of(world) as session:
            await session.conditions.raise_(FAULT)
            await session.conditions.raise_(other)
        async with session_of(world) as session:
            await session.conditions.raise_(FAULT)
            await session.conditions.settle()
            assert len(await recorded(world)) == 2, "a restart alone has mended nothing"
            monkeypatch.setattr(module, "SETTLE", 0.0)
            await session.conditions.settle()
            assert [c.identity for c in await recorded(world)] == [FAULT.identity]
        async with session_of(world) as session:
            await session.conditions.over(code="type-not-readable", sink="search", type="works")
            assert await recorded(world) == []

    asyncio.run(scenario())
