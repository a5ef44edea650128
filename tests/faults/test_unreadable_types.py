"""One type, or one record, that canonical cannot read: it is set aside alone and named; all others
go on, the log is acknowledged, and once it can be read it catches up by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from stores.protocols import Position
from sync.failures import ends_the_session, is_about_a_value
from sync.verify import verify
from tests.sync_world import SINKS, World, fill

BREAK = "ALTER TABLE public.products RENAME COLUMN name TO title"
MEND = "ALTER TABLE public.products RENAME COLUMN title TO name"
BROKEN = {(sink, name) for sink in SINKS for name in ("product", "order")}
"""What embeds a product cannot be read either."""


def conditions(world: World) -> dict[tuple[str, str], str]:
    rows = world.rows(
        "SELECT sink, type, code, message FROM recordgate.conditions WHERE code NOT IN ('loading', 'table-differs')"
    )
    assert {r["code"] for r in rows} <= {"type-not-readable"}
    return {(r["sink"], r["type"]): r["message"] for r in rows}


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + 30
    while not await holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(0.05)


async def until_set_aside(world: World, expected: set[tuple[str, str]] = BROKEN) -> None:
    async def all_are() -> bool:
        return conditions(world).keys() == expected

    await until(all_are, f"{expected} and no other are set aside")


async def positions(world: World) -> dict[str, Position]:
    async with world.readers() as stores:
        found = {name: await store.position() for name, store in stores.items()}
    assert None not in found.values()
    return found  # type: ignore[return-value]


async def report(world: World, **options: Any) -> dict[str, dict[str, Any]]:
    async with world.readers() as stores:
        return (await verify(world.contract, world.url, stores, **options)).types


def acknowledged(world: World) -> int:
    return int(
        world.one(
            "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint AS n FROM pg_replication_slots"
            " WHERE database = current_database()"
        )
    )


def test_a_type_that_cannot_be_read_stops_no_other_and_catches_up_by_itself(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        fill(world)
        async with world.running():
            await world.synced()
            before = await positions(world)
            world.sql(BREAK, "UPDATE public.products SET price = 7 WHERE sku = 'sku,1'")
            await until_set_aside(world)
            for message in conditions(world).values():
                assert "name does not exist" in message
                assert "SQLSTATE 42703" in message
            assert any("cannot read product" in r.getMessage() for r in caplog.records)
            world.sql(
                "UPDATE public.cities SET name = 'Renamed' WHERE id = 3",
                "DELETE FROM public.products WHERE sku = 'sku,2' AND NOT EXISTS"
                " (SELECT FROM public.lines l WHERE l.sku = products.sku)",
                "TRUNCATE public.lines",
            )
            changed = world.lsn()
            await world.synced()
            for sink, position in (await positions(world)).items():
                assert position.of(["city"]) == position.of([])
                assert position.of(["city"]).lsn >= changed
                # Of the types that wait no more is said than what holds.
                assert position.of(["product"]).lsn < changed
                assert position.of(["city", "order"]).lsn >= before[sink].lsn
            assert (await world.held("search", "city"))["3"]["name"] == "Renamed"

            async def is_acknowledged() -> bool:
                return acknowledged(world) >= changed

            await until(is_acknowledged, "what waits holds no WAL")
            waiting = {r["type"] for r in world.rows("SELECT type FROM recordgate.backlog")}
            assert waiting == {"product", "order", "~all"} - (
                {"~all"} if "~all" not in waiting else set()
            )
            found = await report(world, patience=2.0)
            for name, sinks in found.items():
                for differences in sinks.values():
                    assert bool(differences.unreadable) == (name in ("product", "order"))
                    assert differences.total == (name in ("product", "order"))

        # The next worker knows what was set aside, and does not wait for it either.
        world.sql(
            "UPDATE public.cities SET name = 'Again' WHERE id = 4",
            "INSERT INTO public.products VALUES ('new', 'New', 1)",
        )
        async with world.running():
            await world.synced()
            assert (await world.held("documents", "city"))["4"]["name"] == "Again"
            assert conditions(world).keys() == BROKEN
            world.sql(MEND)
            await until_set_aside(world, set())

            async def all_is_told() -> bool:
                return not any(p.withheld for p in (await positions(world)).values())

            await until(all_is_told, "nothing is withheld any more")
            await world.synced()
            await world.assert_equal()
            assert world.one("SELECT count(*) AS n FROM recordgate.backlog") == 0

    asyncio.run(main())


def test_a_type_that_cannot_be_read_keeps_no_other_from_its_first_load(world: World) -> None:
    async def main() -> None:
        fill(world)
        world.sql(BREAK)
        async with world.running():
            await world.synced()
            await until_set_aside(world)
            for position in (await positions(world)).values():
                assert position.of(["order"]).lsn == 0
                assert position.of(["line", "city"]).lsn > 0
            expected = world.rows("SELECT id FROM public.lines")
            assert len(await world.held("documents", "line")) == len(expected)
            world.sql(MEND)
            await until_set_aside(world, set())

            async def all_is_loaded() -> bool:
                return not any(p.withheld for p in (await positions(world)).values())

            await until(all_is_loaded, "what was set aside is loaded")
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_where_it_cannot_be_asked_what_a_change_touched_all_of_the_type_is_read_again(
    world: World,
) -> None:
    """The roots of a changed country are found through cities, which canonical cannot read for a
    while."""

    async def main() -> None:
        fill(world)
        async with world.running():
            await world.synced()
            world.sql(
                "ALTER TABLE public.countries RENAME COLUMN region_code TO other",
                "UPDATE public.regions SET name = 'Touched' WHERE code = 'r2'",
            )
            broken = {(s, n) for s in SINKS for n in ("city", "region")}
            await until_set_aside(world, broken)
            world.sql("UPDATE public.products SET name = 'Goes on' WHERE sku = 'sku,3'")
            await world.synced()
            assert (await world.held("search", "product"))["sku,3"]["name"] == "Goes on"
            world.sql("ALTER TABLE public.countries RENAME COLUMN other TO region_code")
            await until_set_aside(world, set())

            async def all_is_told() -> bool:
                return not any(p.withheld for p in (await positions(world)).values())

            await until(all_is_told, "nothing is withheld any more")
            await world.synced()
            await world.assert_equal()

    asyncio.run(main())


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_the_others_go_on(
    world: World,
) -> None:
    async def main() -> None:
        fill(world)
        world.sql(
            "ALTER TABLE public.products DROP COLUMN price, ADD COLUMN stock int DEFAULT 1",
            "ALTER TABLE public.products"
            " ADD COLUMN price numeric(10,2) GENERATED ALWAYS AS (10.0 / stock) VIRTUAL",
            "UPDATE public.products SET stock = 0 WHERE sku = 'sku,5'",
        )
        letters = "SELECT sink, type, key, code, reasons FROM recordgate.dead_letters ORDER BY sink, type, key"
        async with world.running():
            await world.synced()
            world.sql("UPDATE public.products SET name = name || '!'")
            world.sql("UPDATE public.products SET stock = 0 WHERE sku = 'sku,6'")
            await world.synced()
            found = world.rows(letters)
            assert {(r["sink"], r["key"]) for r in found if r["type"] == "product"} == {
                (sink, key) for sink in SINKS for key in ("sku,5", "sku,6")
            }
            assert all("DivisionByZero" in r["reasons"][0] for r in found)
            assert conditions(world) == {}
            held = await world.held("documents", "product")
            assert held["sku,7"]["name"] == "Product 7!"
            assert len(held) == 11
            world.sql("UPDATE public.products SET stock = 2 WHERE sku IN ('sku,5', 'sku,6')")
            await world.synced()
            assert world.rows(letters) == []
            await world.assert_equal()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "session", "value"),
    [
        (psycopg.OperationalError("the connection is lost"), True, False),
        (psycopg.errors.AdminShutdown(), True, False),
        (psycopg.errors.CannotConnectNow(), True, False),
        (psycopg.errors.ReadOnlySqlTransaction(), True, False),
        (psycopg.errors.InvalidPassword(), True, False),
        (psycopg.errors.QueryCanceled(), False, False),
        (psycopg.errors.UndefinedColumn(), False, False),
        (psycopg.errors.UndefinedTable(), False, False),
        (psycopg.errors.InsufficientPrivilege(), False, False),
        (psycopg.errors.DiskFull(), False, False),
        (psycopg.errors.UndefinedFile(), False, False),
        (psycopg.errors.DivisionByZero(), False, True),
        (psycopg.errors.ProgramLimitExceeded(), False, True),
        (psycopg.errors.RaiseException(), False, True),
        (psycopg.errors.DataCorrupted(), False, True),
        (psycopg.errors.InternalError_(), False, True),
    ],
)
def test_a_lost_session_is_not_an_unreadable_type(
    error: psycopg.Error, session: bool, value: bool
) -> None:
    assert ends_the_session(error) is session
    assert is_about_a_value(error) is value
