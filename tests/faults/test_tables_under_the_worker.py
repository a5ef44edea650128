"""What DDL does to rows no change tells. Each case is noticed under a running worker and by one
that starts afterwards, mended as far as may be, and ends with stores that equal canonical, without
anybody's command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from recordgate.readiness import make_ready
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.canonical.steps import Phase
from stores.errors import SetupError
from sync import table_watch
from sync.verify import verify
from tests.conftest import drop_database, url_of
from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import SINKS, World, fill, shop

PATIENCE = 15.0
PUBLICATION = "recordgate_shop"
PARTITIONED = (
    "ALTER TABLE public.lines RENAME TO lines_0",
    "CREATE TABLE public.lines (LIKE public.lines_0 INCLUDING ALL) PARTITION BY RANGE (id)",
    "CREATE TABLE public.lines_a PARTITION OF public.lines FOR VALUES FROM (0) TO (20)",
    "CREATE TABLE public.lines_b PARTITION OF public.lines FOR VALUES FROM (20) TO (40)",
    "CREATE TABLE public.lines_c PARTITION OF public.lines FOR VALUES FROM (40) TO (1000)",
    "INSERT INTO public.lines SELECT * FROM public.lines_0",
    "DROP TABLE public.lines_0",
)
"""The shop's lines, which orders embed, as a partitioned table."""


@dataclass(frozen=True)
class Case:
    """`ddl`: transactions, each of statements. `then`: written a moment later."""

    ddl: tuple[tuple[str, ...], ...]
    then: tuple[str, ...] = ()


def once(*statements: str) -> tuple[tuple[str, ...], ...]:
    return (statements,)


CASES = {
    "a table made anew": Case(
        once(
            "CREATE TABLE public.products_1 (LIKE public.products INCLUDING ALL)",
            "INSERT INTO public.products_1 SELECT sku, 'new', price FROM public.products WHERE price > 3",
            "DROP TABLE public.products CASCADE",
            "ALTER TABLE public.products_1 RENAME TO products",
        ),
        ("INSERT INTO public.products VALUES ('later', 'L', 1)",),
    ),
    "a partition": Case(
        once(
            "CREATE TABLE public.lines_d PARTITION OF public.lines FOR VALUES FROM (1000) TO (2000)"
        ),
        (
            "INSERT INTO public.lines VALUES (1000, 'shop\\,1', 1, 'sku,1', 5), (1001, 'shop\\,1', 1, 'sku,2', 5)",
            "UPDATE public.lines SET shop = 'shop\\,2', number = 2 WHERE id = 1000",
            "DELETE FROM public.lines WHERE id = 1001",
        ),
    ),
    "a partition whose children move at once": Case(
        (
            (
                "CREATE TABLE public.lines_e PARTITION OF public.lines FOR VALUES FROM (2000) TO (3000)",
                "INSERT INTO public.lines VALUES (2000, 'shop\\,1', 1, 'sku,1', 5)",
                "INSERT INTO public.lines VALUES (2001, 'shop\\,1', 1, 'sku,2', 5)",
            ),
            ("UPDATE public.lines SET shop = 'shop\\,2', number = 2 WHERE id = 2000",),
            ("DELETE FROM public.lines WHERE id = 2001",),
        )
    ),
    "a row filter": Case(
        once(f"ALTER PUBLICATION {PUBLICATION} SET TABLE public.products WHERE (sku > 'sku,5')"),
        ("UPDATE public.products SET name = 'filtered' WHERE sku < 'sku,5'",),
    ),
    "a column list": Case(
        once(f"ALTER PUBLICATION {PUBLICATION} SET TABLE public.orders (shop, number)"),
        ("UPDATE public.orders SET note = 'unseen', city_id = 3",),
    ),
    "kinds of change left out": Case(
        once(f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert')"),
        ("DELETE FROM public.lines WHERE id = 15",),
    ),
    "a partition emptied": Case(once("TRUNCATE public.lines_b")),
    "a partition dropped": Case(once("DROP TABLE public.lines_c")),
    "a partition detached": Case(once("ALTER TABLE public.lines DETACH PARTITION public.lines_b")),
    "a partition attached": Case(
        once(
            "CREATE TABLE public.lines_f (LIKE public.lines INCLUDING ALL)",
            "INSERT INTO public.lines_f VALUES (3000, 'shop\\,1', 1, 'sku,1', 5)",
            "ALTER TABLE public.lines ATTACH PARTITION public.lines_f FOR VALUES FROM (3000) TO (4000)",
        )
    ),
    "a value of an enum renamed": Case(
        once("ALTER TYPE public.mood RENAME VALUE 'sad' TO 'blue'"),
    ),
    "a column made anew": Case(
        once(
            "ALTER TABLE public.orders DROP COLUMN note",
            "ALTER TABLE public.orders ADD COLUMN note text DEFAULT 'anew'",
        )
    ),
    "a column rewritten": Case(
        once("ALTER TABLE public.products ALTER COLUMN name TYPE text USING upper(name)")
    ),
    "a generated column": Case(
        once(
            "ALTER TABLE public.products DROP COLUMN name",
            "ALTER TABLE public.products ADD COLUMN name text GENERATED ALWAYS AS (sku || '!') STORED",
        )
    ),
    "a column renamed and back": Case(
        (
            ("ALTER TABLE public.lines RENAME COLUMN shop TO shop_",),
            ("UPDATE public.lines SET shop_ = 'shop\\,0', number = 3 WHERE id = 1",),
            ("ALTER TABLE public.lines RENAME COLUMN shop_ TO shop",),
        )
    ),
    "a table renamed and back": Case(
        (
            ("ALTER TABLE public.products RENAME TO goods",),
            ("UPDATE public.goods SET price = price + 1",),
            ("ALTER TABLE public.goods RENAME TO products",),
        )
    ),
    "a table out of the publication": Case(
        once(f"ALTER PUBLICATION {PUBLICATION} DROP TABLE public.cities"),
        ("UPDATE public.cities SET name = 'unseen' WHERE id < 9",),
    ),
    "a table out of the publication and in again": Case(
        (
            (f"ALTER PUBLICATION {PUBLICATION} DROP TABLE public.cities",),
            ("UPDATE public.cities SET name = 'unseen' WHERE id < 9",),
            (f"ALTER PUBLICATION {PUBLICATION} ADD TABLE public.cities",),
        )
    ),
    "a replica identity": Case(
        (
            ("ALTER TABLE public.lines_a REPLICA IDENTITY DEFAULT",),
            ("DELETE FROM public.lines WHERE id < 3",),
            ("UPDATE public.lines SET shop = 'shop\\,0', number = 3 WHERE id = 4",),
        )
    ),
    "the schema renamed and back": Case(
        (
            ("ALTER SCHEMA public RENAME TO elsewhere",),
            ("UPDATE elsewhere.products SET price = price + 1",),
            ("ALTER SCHEMA elsewhere RENAME TO public",),
        )
    ),
}
# The publication's absence ends the stream: a gap, and everything is loaded anew.
ON_FOUR_TABLES = (
    "a value of an enum renamed",
    "a table out of the publication",
    "a table made anew",
    "a partition emptied",
)
GONE = "the publication gone"
CASES[GONE] = Case(
    once(f"DROP PUBLICATION {PUBLICATION}"), ("UPDATE public.products SET price = price + 1",)
)


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[Callable[[], str]]:
    """Makes a database."""
    names: list[str] = []

    def make() -> str:
        names.append(f"test_{secrets.token_hex(6)}")
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {names[-1]}".encode())
        return url_of(postgres, names[-1])

    yield make
    for name in names:
        drop_database(postgres, name)


@contextlib.contextmanager
def parted_shop(database: Callable[[], str], folder: Path) -> Iterator[World]:
    with shop(database(), folder) as found:
        fill(found, 20)
        found.sql(*PARTITIONED)
        apply_plan(found.conn, found.contract, make_plan(found.conn, found.contract))
        found.sql(
            "CREATE TYPE public.mood AS ENUM ('sad', 'glad')",
            "ALTER TABLE public.regions ALTER COLUMN name TYPE public.mood USING 'sad'",
        )
        yield found


@contextlib.contextmanager
def followed(database: Callable[[], str], folder: Path, **stores: str) -> Iterator[World]:
    """A worker follows this one through all the cases."""
    with pytest.MonkeyPatch.context() as patch, parted_shop(database, folder) as world:
        world.stores = stores
        patch.setattr(table_watch, "PACE", 0.1)
        patch.setattr(table_watch, "AGAIN", 0.2)
        worker, loop = world.worker(), asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_until_complete, args=(worker.run(),))
        thread.start()
        try:
            asyncio.run(equal(world))
            yield world
        finally:
            asyncio.run_coroutine_threadsafe(worker.stop(), loop)
            thread.join()
            loop.close()


@pytest.fixture(scope="module")
def live(database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with followed(database, tmp_path_factory.mktemp("live")) as world:
        yield world


@pytest.fixture(scope="module")
def live_on_servers(
    database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    elasticsearch_url: str,
    mongodb_url: str,
) -> Iterator[World]:
    name = f"t{secrets.token_hex(8)}"
    search = f"{elasticsearch_url}/{name}"
    stores = {"search": search, "documents": f"{mongodb_url}/{name}"}
    try:
        with followed(database, tmp_path_factory.mktemp("servers"), **stores) as world:
            yield world
    finally:
        remove_elasticsearch_indexes(search)


def change(world: World, case: Case) -> None:
    for statements in case.ddl:
        with world.conn.transaction():
            world.sql(*statements)


async def equal(world: World) -> None:
    """Wait until the stores equal canonical and no condition stands."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert not world.rows("SELECT * FROM recordgate.conditions")
            await world.synced(patience=5.0)
            await world.assert_equal()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            break
    async with world.readers() as stores:
        report = await verify(world.contract, world.url, stores)
    assert report.differences == 0
    steps = make_plan(world.conn, world.contract).steps
    assert not [s.text for s in steps if s.phase in (Phase.REPLICA_IDENTITY, Phase.PUBLICATION)]


@pytest.mark.parametrize("name", CASES)
def test_it_is_noticed_under_a_running_worker(live: World, name: str) -> None:
    change(live, CASES[name])
    live.sql(*CASES[name].then)
    asyncio.run(equal(live))


@pytest.mark.servers
@pytest.mark.parametrize(
    "name", CASES if os.environ.get("RECORDGATE_TEST_LONG") else ON_FOUR_TABLES
)
def test_it_is_noticed_on_servers(live_on_servers: World, name: str) -> None:
    """All the cases where RECORDGATE_TEST_LONG is set."""
    change(live_on_servers, CASES[name])
    live_on_servers.sql(*CASES[name].then)
    asyncio.run(equal(live_on_servers))


def test_it_is_noticed_by_a_worker_that_starts_afterwards(
    database: Callable[[], str], tmp_path: Path
) -> None:
    async def main(world: World) -> None:
        async with world.running():
            await equal(world)
        for name in ON_FOUR_TABLES:
            change(world, CASES[name])
            world.sql(*CASES[name].then)
        async with world.running():
            await equal(world)
        loaded = world.rows(
            "SELECT type, sink, number FROM recordgate.generations WHERE state = 'active'"
        )
        # Nothing embeds lines' products, orders and cities in a country: nothing of it was missed.
        assert {(r["type"], r["number"] > 1) for r in loaded} == {
            *((name, True) for name in ("region", "city", "product", "order", "line")),
            ("country", False),
        }

    with parted_shop(database, tmp_path) as world:
        asyncio.run(main(world))


def conditions(world: World) -> dict[tuple[str, str], str]:
    rows = world.rows("SELECT type, code, message FROM recordgate.conditions")
    return {(row["type"], row["code"]): row["message"] for row in rows}


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def until_held(world: World, type_name: str, key: str) -> None:
    deadline = time.monotonic() + PATIENCE
    for sink in SINKS:
        while key not in await world.held(sink, type_name):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def test_what_cannot_be_mended_is_named(live: World) -> None:
    """A column that the contract names is gone, and comes back; rows are hidden from the worker."""
    live.sql("ALTER TABLE public.countries RENAME COLUMN name TO title")
    gone = "table public.countries of type country has no column name (property name)"
    asyncio.run(until(lambda: conditions(live).get(("country", "table-differs")) == gone))
    live.sql("INSERT INTO public.products (sku, price) VALUES ('beside it', 1)")
    asyncio.run(until_held(live, "product", "beside it"))
    live.sql("ALTER TABLE public.countries RENAME COLUMN title TO name")
    asyncio.run(equal(live))


@dataclass(frozen=True)
class Named:
    """`ddl` cannot be mended: the condition of the type holds `said`. `written` then, by the
    application. `undo` ends it."""

    ddl: str
    type: str
    said: str
    written: tuple[str, ...]
    undo: str
    loaded: bool = False
    """The stores equal canonical nevertheless."""


NAMED = {
    "a table that inherits": Named(
        "CREATE TABLE public.rarities (more text) INHERITS (public.products)",
        "product",
        "public.rarities, which inherits from public.products",
        ("INSERT INTO public.rarities (sku) VALUES ('rare')",),
        "ALTER TABLE public.rarities NO INHERIT public.products",
    ),
    "an unlogged partition": Named(
        "CREATE UNLOGGED TABLE public.lines_u PARTITION OF public.lines FOR VALUES FROM (5000) TO (6000)",
        "line",
        "public.lines_u: changes of an unlogged table are not in the WAL",
        ("INSERT INTO public.lines VALUES (5000, 'shop\\,1', 1, 'sku,1', 5)",),
        "ALTER TABLE public.lines_u SET LOGGED",
    ),
    "a virtual column where identities are FULL": Named(
        "ALTER TABLE public.lines ADD COLUMN twice integer GENERATED ALWAYS AS (quantity * 2) VIRTUAL",
        "line",
        "its column twice is a virtual generated column",
        (
            "UPDATE public.lines SET shop = 'shop\\,1', number = 1 WHERE id = 5",
            "DELETE FROM public.lines WHERE id = 7",
        ),
        "ALTER TABLE public.lines DROP COLUMN twice",
        loaded=True,
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_nothing_tells_is_named_and_never_in_the_applications_way(
    live: World, name: str
) -> None:
    """Its writes go through, and once the cause is gone the stores equal canonical."""
    case = NAMED[name]
    live.sql(case.ddl)
    asyncio.run(
        until(lambda: case.said in conditions(live).get((case.type, "not-captured"), "")),
    )
    live.sql(*case.written)
    steps = make_plan(live.conn, live.contract).steps
    assert any(step.blocked and case.said in f"{step.text}: {step.blocked}" for step in steps)
    if case.loaded:
        asyncio.run(until_equal(live))
    live.sql(case.undo)
    asyncio.run(equal(live))


def test_a_key_that_is_dropped_leaves_the_applications_writes_alone(live: World) -> None:
    identity = "SELECT relreplident::text FROM pg_class WHERE oid = 'public.regions'::regclass"
    live.sql("ALTER TABLE public.regions DROP CONSTRAINT regions_pkey CASCADE")
    asyncio.run(until(lambda: live.one(identity) == "f"))
    live.sql(
        "UPDATE public.regions SET code = 'r9' WHERE code = 'r1'",
        "DELETE FROM public.regions WHERE code = 'r2'",
    )
    asyncio.run(until_equal(live))
    live.sql("ALTER TABLE public.regions ADD PRIMARY KEY (code)")
    asyncio.run(equal(live))
    assert live.one(identity) == "d"


async def until_equal(world: World) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            await world.synced(patience=5.0)
            await world.assert_equal()
        except AssertionError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            return


def test_a_start_refuses_no_capture_that_a_worker_followed_before(
    database: Callable[[], str], tmp_path: Path
) -> None:
    """A partition, made while nothing ran, stops no product."""
    with shop(database(), tmp_path) as world:
        world.sql(*PARTITIONED)
        apply_plan(world.conn, world.contract, make_plan(world.conn, world.contract))
        world.sql("CREATE TABLE public.lines_z PARTITION OF public.lines DEFAULT")
        with pytest.raises(SetupError, match=r"REPLICA IDENTITY FULL on public\.lines_z"):
            make_ready(world.url, world.contract, may_apply=False)
        world.sql("INSERT INTO recordgate.followed VALUES ('public', 'lines', NULL)")
        make_ready(world.url, world.contract, may_apply=False)


def test_plan_fails_where_a_step_cannot_be_carried_out(
    database: Callable[[], str], tmp_path: Path
) -> None:
    with shop(database(), tmp_path) as world:
        environment = {
            "RECORDGATE_CONTRACT": str(tmp_path / "shop.odcs.yaml"),
            "RECORDGATE_POSTGRES": world.url,
            "RECORDGATE_DATA_DIR": str(tmp_path / "data"),
        }
        assert CliRunner().invoke(build(), ["plan"], env=environment).exit_code == 0
        world.sql(
            "ALTER TABLE public.products RENAME TO goods",
            "CREATE VIEW public.products AS SELECT * FROM public.goods",
        )
        done = CliRunner().invoke(build(), ["plan"], env=environment)
        assert done.exit_code == 1
        assert "public.products already exists and is not a table" in done.output


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{role}@{parts.netloc.rpartition('@')[2]}"))


def test_hidden_rows_are_not_deleted(database: Callable[[], str], tmp_path: Path) -> None:
    """A worker whose account row level security applies to."""
    with parted_shop(database, tmp_path) as world:
        role = "hidden_" + secrets.token_hex(4)
        world.sql(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{role}'")
        try:
            whole = replace(world, url=as_role(world.url, role))
            asyncio.run(_rows_are_hidden(whole, role))
        finally:
            world.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


async def _rows_are_hidden(world: World, role: str) -> None:
    async with world.running():
        await equal(world)
    held = await world.held("documents", "country")
    world.sql(
        f"GRANT ALL ON SCHEMA public, recordgate TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA recordgate TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA recordgate TO {role}",
        f"GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}",
        f"ALTER ROLE {role} NOSUPERUSER REPLICATION",
        "ALTER TABLE public.countries ENABLE ROW LEVEL SECURITY",
        "UPDATE public.countries SET name = 'changed'",
    )
    async with world.running():
        await until(lambda: ("country", "not-captured") in conditions(world))
        with connect(world.url) as conn:
            plan = make_plan(conn, world.contract)
            assert [s.table for s in plan.blocked] == ["public.countries"]
        assert (await world.held("documents", "country")).keys() == held.keys()
        world.sql("ALTER TABLE public.countries DISABLE ROW LEVEL SECURITY")
        await equal(world)
