"""Reads by key that go together: each caller gets its own record, and none suffers for
another's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from stores.canonical.connect import Pool, make_pool
from stores.canonical.joint_reads import JointReads, JointStatement

ONE = "SELECT v FROM public.things WHERE id = $1::bigint"
JOINT = JointStatement(
    ONE,
    "SELECT k.place, (SELECT v FROM public.things WHERE id = k.k0::bigint)"
    " FROM unnest($1::text[]) WITH ORDINALITY AS k(k0, place)",
)


class Counting(JointReads):
    """Counts what is sent to canonical."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool.readers)
        self.sent: list[int] = []
        one, rows = pool.readers.read, pool.readers.rows

        async def read(*args: object, **options: object) -> bytes | None:
            self.sent.append(1)
            return await one(*args, **options)  # type: ignore[arg-type]

        async def read_rows(text: str, columns: list[list[str]], *, wait: float) -> object:
            self.sent.append(len(columns[0]))
            return await rows(text, columns, wait=wait)  # type: ignore[arg-type]

        pool.readers.read, pool.readers.rows = read, read_rows  # type: ignore[method-assign, assignment]


@pytest.fixture
def url(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE public.things (id bigint PRIMARY KEY, v text)")
        conn.execute("INSERT INTO public.things SELECT i, 'v' || i FROM generate_series(1, 100) i")
    return database


def run(url: str, work: Callable[[Counting], Awaitable[None]]) -> None:
    async def inside() -> None:
        pool = make_pool(url, 4)
        await pool.open()
        try:
            await work(Counting(pool))
        finally:
            await pool.close()

    asyncio.run(inside())


def test_each_gets_its_own_and_they_go_in_few_statements(url: str) -> None:
    async def work(reads: Counting) -> None:
        keys = [*range(1, 101), 777, 1, 1]
        found = await asyncio.gather(
            *(reads.read(JOINT, [str(k)], wait=5, seconds=5) for k in keys)
        )
        assert found == [f"v{k}".encode() if k <= 100 else None for k in keys]
        assert sum(reads.sent) == len(keys)
        assert len(reads.sent) <= 4  # two at once, and then the rest together
        assert not reads._kinds

    run(url, work)


def test_a_refused_value_fails_its_own_caller_only(url: str) -> None:
    async def work(reads: Counting) -> None:
        keys = ["1", "2", "3", "x'; DROP TABLE public.things --", "4", "9" * 40]
        found = await asyncio.gather(
            *(reads.read(JOINT, [k], wait=5, seconds=5) for k in keys), return_exceptions=True
        )
        assert [found[i] for i in (0, 1, 2, 4)] == [b"v1", b"v2", b"v3", b"v4"]
        assert isinstance(found[3], psycopg.DataError)
        assert isinstance(found[5], psycopg.DataError)
        assert await reads.read(JOINT, ["5"], wait=5, seconds=5) == b"v5"

    run(url, work)


def test_a_caller_that_goes_away_leaves_the_others_alone(url: str) -> None:
    async def work(reads: Counting) -> None:
        tasks = [
            asyncio.ensure_future(reads.read(JOINT, [str(k)], wait=5, seconds=5))
            for k in range(1, 21)
        ]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for k, value in enumerate(found, 1):
            if (k - 1) % 3:
                assert value == f"v{k}".encode()
            else:
                assert isinstance(value, asyncio.CancelledError)
        assert await reads.read(JOINT, ["5"], wait=5, seconds=5) == b"v5"

    run(url, work)


def test_what_takes_too_long_together_is_given_up_and_the_next_read_works(url: str) -> None:
    async def work(reads: Counting) -> None:
        slow = JointStatement(
            "SELECT pg_sleep(1)::text || $1",
            JOINT.many.replace("SELECT v", "SELECT v || pg_sleep(30)::text"),
        )
        tasks = [
            asyncio.ensure_future(reads.read(slow, [str(k)], wait=5, seconds=2))
            for k in range(1, 6)
        ]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(f, TimeoutError) for f in found] == [False, False, True, True, True]
        assert await reads.read(JOINT, ["5"], wait=5, seconds=5) == b"v5"

    run(url, work)


def test_lost_connections_are_told_to_all_and_the_next_read_works(url: str) -> None:
    async def work(reads: Counting) -> None:
        async def ended() -> None:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
                )

        slow = JointStatement(
            "SELECT pg_sleep(30)::text || $1",
            JOINT.many.replace("SELECT v", "SELECT v || pg_sleep(30)::text"),
        )
        tasks = [
            asyncio.ensure_future(reads.read(slow, [str(k)], wait=5, seconds=5))
            for k in range(1, 6)
        ]
        await asyncio.sleep(0.3)
        await ended()
        await asyncio.sleep(0.3)
        await ended()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(f, psycopg.OperationalError) for f in found)
        assert await reads.read(JOINT, ["5"], wait=5, seconds=5) == b"v5"

    run(url, work)
