"""Service levels in a real Postgres: a gap is bad, a write that comes twice counts once, what is
old is kept by the hour, and a gateway that cannot write keeps what it saw."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psycopg
from prometheus_client import CollectorRegistry

from gateway.endpoints.health import examine
from gateway.endpoints.service_levels import ServiceLevelWriter
from gateway.http.service_levels import ServiceLevels
from recordgate.migrations.run import migrate
from stores.canonical.connect import connect, connect_async
from stores.canonical.service_minutes import Minute, Sums, read_sums, roll_up, write_minutes
from stores.contract.indicators import indicators
from tests.acceptance.gateway_rig import GEONAMES, gateway

DAY = 86400.0
GOOD = 0b1111_1111_1111
CONTRACT = GEONAMES.read_text("utf-8").replace(
    "slaProperties:\n",
    "slaProperties:\n"
    "  - {property: availability, value: 99.9}\n"
    "  - {property: availability, value: 99, element: city}\n"
    "  - {property: responseTime, value: 5, unit: s, element: city}\n"
    "  - {property: errorRate, value: 1}\n",
)


def written(database: str, *writes: tuple[uuid.UUID, Sequence[Minute]], old: bool = False) -> None:
    async def story() -> None:
        conn = await connect_async(database, application_name="test")
        try:
            for writer, minutes in writes:
                await write_minutes(conn, writer, minutes)
            if old:
                await roll_up(conn)
        finally:
            await conn.close()

    with connect(database) as conn:
        migrate(conn)
    asyncio.run(story())


def read(database: str, window: float, name: str = "a") -> Sums:
    with connect(database) as conn:
        (found,) = read_sums(conn, [name], [window])
    return found


def minutes_ago(count: int) -> float:
    now = time.time()
    return now - now % 60 - 60 * count


def test_minutes_in_which_nobody_wrote_are_bad(database: str) -> None:
    there = [Minute("a", minutes_ago(n), GOOD) for n in range(60, 1, -1) if not 20 <= n < 27]
    written(database, (uuid.uuid4(), there))
    found = read(database, 28 * DAY)
    # The last minute may be over, and counted, or not: it was not written.
    assert 420 <= found.seconds - found.good_seconds <= 540
    assert found.good_seconds == 52 * 60


def test_what_any_gateway_saw_good_is_good_and_a_write_that_comes_twice_counts_once(
    database: str,
) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    at = minutes_ago(5)
    mine = [Minute("a", at, 0b1111, 10, 12)]
    written(database, (one, mine), (one, mine), (other, [Minute("a", at, 0b110000, 5, 5)]))
    found = read(database, DAY)
    assert (found.good_seconds, found.good, found.total) == (30, 15, 17)


def test_a_first_minute_counts_from_when_the_gateway_was_there(database: str) -> None:
    written(database, (uuid.uuid4(), [Minute("a", minutes_ago(2), 0b1111_1100_0000)]))
    found = read(database, DAY)
    assert found.good_seconds == 30
    assert found.seconds in (30, 90)


def test_old_minutes_are_kept_by_the_hour_with_the_same_sums(database: str) -> None:
    hour = minutes_ago(0) - minutes_ago(0) % 3600 - 6 * DAY
    one, other = uuid.uuid4(), uuid.uuid4()
    mine = [Minute("a", hour + 60 * n, GOOD if n % 2 else 0b1, 1, 2) for n in range(60)]
    theirs = [Minute("a", hour + 60 * n, 0b11, 1, 1) for n in range(60)]
    written(database, (one, mine), (other, theirs))
    before = read(database, 28 * DAY)
    written(database, (one, []), old=True)
    after = read(database, 28 * DAY)
    assert before.good_seconds == 30 * 60 + 30 * 10
    assert (before.good, before.total) == (120, 180)
    assert (after.good_seconds, after.good, after.total) == (
        before.good_seconds, before.good, before.total,
    )  # fmt: skip
    with connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM recordgate.service_minutes").fetchone() == (0,)


def test_requests_are_counted_and_kept_while_canonical_takes_no_writes(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "geonames.odcs.yaml"
    path.write_text(CONTRACT, "utf-8")

    async def story() -> None:
        async with gateway(database, tmp_path, contract=path) as rig:
            counts: ServiceLevels = rig.levels
            writer = ServiceLevelWriter(rig.services, counts, None, CollectorRegistry())
            await rig.graphql('{ cities { nodes { name } } country(id: "FR") { name } }')
            await rig.graphql("{ cities(first: -1) { nodes { name } } }")
            await rig.client.get("/search/city", params={"q": "paris"})
            at = time.time() - time.time() % 5 - 5
            writer.note(at, await examine(rig.services, None))
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute("ALTER TABLE recordgate.service_minutes RENAME TO away")
                await writer.write()
                conn.execute("ALTER TABLE recordgate.away RENAME TO service_minutes")
            await writer.write()

    asyncio.run(story())
    with psycopg.connect(database) as conn:
        rows = conn.execute(
            "SELECT indicator, sum(good)::int, sum(total)::int, bit_or(slices) > 0"
            " FROM recordgate.service_minutes GROUP BY indicator ORDER BY indicator"
        ).fetchall()
    found = {row[0]: row[1:] for row in rows}
    assert found["availability"] == (0, 0, True)
    assert found["availability city"] == (0, 0, True)
    assert found["errorRate"] == (2, 2, False)
    assert found["responseTime city 5s"] == (2, 2, False)
    stores = [name for name in found if name.startswith("freshness")]
    assert len(stores) == 2
    assert all(found[name] == (0, 0, True) for name in stores)


def test_the_demo_promises_what_is_measured(tmp_path: Path) -> None:
    from stores.contract.load import load_contract

    path = tmp_path / "geonames.odcs.yaml"
    path.write_text(CONTRACT, "utf-8")
    assert {i.objective.name for i in indicators(load_contract(path))} == {
        "availability", "responseTime", "errorRate", "freshness",
    }  # fmt: skip
