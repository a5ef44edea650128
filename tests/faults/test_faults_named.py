"""The table fault × place: whatever keeps a type from being loaded, current or asked is named by
the same word in the log, `status`, `doctor`, readiness, metrics and console. `LACKS` says which
place does not, and why."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client import generate_latest

from gateway.app import make_app
from gateway.context.services import Services
from gateway.http.metrics import Metrics
from recordgate import overview
from recordgate.cli.status import as_text
from recordgate.examination import examine
from recordgate.overview import Overview, pooled, single
from recordgate.settings import Settings
from recordgate.sync_access import sync_access
from recordgate.sync_status import sync_status
from recordgate.worker_http import worker_app
from stores.canonical.conditions import Condition
from stores.canonical.connect import database_of, make_pool
from stores.canonical.publication import publication_name, slot_name
from stores.errors import RecordgateError
from stores.protocols import Store
from sync import building, durable_backlog, opening
from sync.session import open_session
from sync.worker import Worker
from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import World, fill, shop

PATIENCE = 40.0
PLACES = ("log", "status", "doctor", "ready", "metrics", "console")
NO_FAULT = "it is no fault of the product: they name the worker in charge; the one that stands by says it itself"
LACKS = {
    (
        "canonical-away",
        "status",
    ): "the command fails with canonical's own error, which says the same",
    ("canonical-away", "doctor"): "its first finding is canonical, with canonical's own error",
    **{("standing by behind", place): NO_FAULT for place in PLACES if place != "log"},
}


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        fill(found, 10)
        yield found


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(overview, "FRESH", 0.0)
    caplog.set_level(logging.INFO)


@dataclass
class Places:
    """Every place where an operator looks, of one product."""

    world: World
    settings: Settings
    client: httpx.AsyncClient
    search: Store
    log: pytest.LogCaptureFixture

    async def texts(self) -> dict[str, str]:
        found = {"ready": "", "metrics": "", "console": ""}
        for place, path in (
            ("ready", "/health/ready"), ("metrics", "/metrics"), ("console", "/console/state"),
        ):  # fmt: skip
            found[place] = (await self.client.get(path)).text
        try:
            async with sync_access(self.settings, self.world.contract) as access:
                found["status"] = as_text(await sync_status(self.world.contract, access))
        except RecordgateError as error:
            found["status"] = str(error)
        checks = await examine(self.settings, self.world.contract)
        found["doctor"] = "\n".join(f.as_text() for f in checks)
        found["log"] = self.log.text
        return found

    async def name(self, fault: str, *more: str) -> dict[str, str]:
        """Wait until every place names `fault` that is to; `more` is in every text of it but in
        metrics."""
        texts: dict[str, str] = {}
        deadline = time.monotonic() + PATIENCE
        while not texts or any(fault not in texts[p] for p in PLACES if (fault, p) not in LACKS):
            assert time.monotonic() < deadline, f"{fault} is not named: {texts}"
            texts = await self.texts()
            await asyncio.sleep(0.05)
        for place in PLACES:
            if (fault, place) in LACKS:
                assert fault not in texts[place], f"{place} names {fault}: take it out of LACKS"
            elif place != "metrics":
                for part in more:
                    assert part in texts[place], f"{place} does not say {part!r}: {texts[place]}"
        return texts

    async def forget(self, fault: str) -> None:
        """Wait until no place names it any more, the log aside."""
        deadline = time.monotonic() + PATIENCE
        while any(fault in t for p, t in (await self.texts()).items() if p != "log"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@asynccontextmanager
async def places(world: World, log: pytest.LogCaptureFixture) -> AsyncIterator[Places]:
    settings = Settings(
        postgres=world.url,
        data_dir=world.folder,
        **({"search": world.stores["search"]} if "search" in world.stores else {}),
    )
    async with AsyncExitStack() as exits:
        pool = make_pool(world.url, 3)
        await pool.open()
        exits.push_async_callback(pool.close)
        stores = [world.store("documents"), world.store("search")]
        for store in stores:
            with suppress(RecordgateError):
                await store.open(world.contract, write=False)
            exits.push_async_callback(store.close)
        system = world.one(
            "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || oid AS s"
            " FROM pg_database WHERE datname = current_database()"
        )
        services = Services(world.contract, pool, *stores, str(system), b"s" * 32)  # type: ignore[arg-type]
        metrics = Metrics()
        seen = Overview(world.contract, slot(world), pooled(pool), metrics.registry)
        app = make_app(services, metrics, look=seen.look)
        transport = httpx.ASGITransport(app=app)
        client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        await exits.enter_async_context(client)
        yield Places(world, settings, client, stores[1], log)


def slot(world: World) -> str:
    return slot_name(world.contract, database_of(world.url))


# Without a worker --------------------------------------------------------------------------------


def test_what_is_recorded_set_aside_or_waits_is_named_everywhere(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def nobody(_: object) -> None: ...

    async def story() -> None:
        session = await open_session(world.url, slot(world), ["search"], uuid.uuid4(), nobody)
        try:
            async with places(world, caplog) as look:
                await session.conditions.raise_(
                    Condition(
                        "type-not-readable", "a column is gone", "bring it back", "search", "line"
                    )
                )
                books = session.guard.conn
                await durable_backlog.add(books, "documents", "line", ["1", "2"], 0)
                world.sql(
                    "UPDATE recordgate.backlog SET queued_at = now() - interval '3 minutes'",
                    "INSERT INTO recordgate.dead_letters (kind, type, sink, key, code, reasons)"
                    " VALUES ('sink', 'line', 'search', '1', 'X', '[]')",
                )
                texts = await look.name("type-not-readable", "a column is gone", "bring it back")
                line = (
                    'recordgate_condition{code="type-not-readable",sink="search",type="line"} 1.0'
                )
                assert line in texts["metrics"]
                assert "recordgate_worker_up 1.0" in texts["metrics"]
                await look.name("backlog", "2 changed records wait", "3 min")
                await look.name("dead-letters", "1 record is set aside", "deadletters list")
                assert "worker-not-running" not in "".join(texts.values())
                await session.close()
                texts = await look.name("worker-not-running", f"process {os.getpid()}")
                assert "recordgate_worker_up 0.0" in texts["metrics"]
                assert "worker     not running" in texts["status"]
                await look.name("type-not-readable")
        finally:
            await session.close()

    asyncio.run(story())


def test_a_slot_that_is_lost_is_named_everywhere(
    own_server: Callable[..., str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = own_server(max_slot_wal_keep_size="1MB", fsync="off")

    async def story() -> None:
        async with places(world, caplog) as look:
            await look.name("slot-lost", f"the replication slot {slot(world)} has lost changes")

    with shop(url, tmp_path) as world:
        world.sql(f"SELECT pg_create_logical_replication_slot('{slot(world)}', 'pgoutput')")
        for _ in range(4):
            world.sql(
                "CREATE TABLE IF NOT EXISTS public.t (i int)", "INSERT INTO public.t SELECT 1"
            )
            world.sql("SELECT pg_switch_wal()")
        world.sql("CHECKPOINT")
        held = world.rows("SELECT wal_status, restart_lsn FROM pg_replication_slots")
        assert held == [{"wal_status": "lost", "restart_lsn": None}]
        asyncio.run(story())


# With one ----------------------------------------------------------------------------------------


def test_a_worker_that_waits_loads_fails_and_stands_by_is_named_everywhere(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "QUIET", 0.5)
    (world.folder / "search").write_text("no folder can be made here")
    # Nothing of a load gets on: its notes in the books wait.
    world.sql(
        "CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END $$",
        "CREATE TRIGGER slow BEFORE UPDATE ON recordgate.generations"
        " FOR EACH ROW EXECUTE FUNCTION public.slow()",
    )
    problem = building.problem

    async def wrong(*_: object) -> str:
        return "it holds 3 records, canonical 4"

    async def story() -> None:
        async with AsyncExitStack() as exits:
            look = await exits.enter_async_context(places(world, caplog))
            with psycopg.connect(world.url, application_name="a nightly job") as other:
                other.execute("INSERT INTO public.regions VALUES ('open', 'open')")
                pid = other.info.backend_pid
                worker = await exits.enter_async_context(world.running())
                texts = await look.name(
                    "waiting-for-transaction", f"process {pid} (a nightly job", "open for"
                )
                assert "recordgate_worker_up 1.0" in texts["metrics"]
                monkeypatch.setattr(building, "problem", wrong)
            second = await exits.enter_async_context(world.running())
            await until_it_says(second, "standing by behind the worker on")
            app = worker_app(second, second.metrics.registry, overview_of(world, second))
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://w") as client:
                ready = await client.get("/health/ready")
                assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
                assert f"process {os.getpid()}" in ready.json()["problem"]
                lag = 'recordgate_sink_lag_bytes{sink="documents"}'
                text = (await client.get("/metrics")).text
                assert lag in text, "a worker that stands by knows how far the sinks are"
                assert "recordgate_worker_up 1.0" in text
            standing_by = "standing by behind"
            for place, text in (await look.texts()).items():
                assert (standing_by in text) == ((standing_by, place) not in LACKS), place
            await second.stop()
            texts = await look.name("loading", "not complete in documents: ")
            assert "building generation 1" in texts["status"]
            assert '"status":"loading"' in texts["ready"] or '"status":"degraded"' in texts["ready"]
            await look.name("sink-failing")
            await look.name("load-failing", "it holds 3 records, canonical 4")
            monkeypatch.setattr(building, "problem", problem)
            (world.folder / "search").unlink()
            await look.search.open(world.contract, write=False)
            world.sql("DROP TRIGGER slow ON recordgate.generations")
            for fault in ("waiting-for-transaction", "load-failing", "sink-failing", "loading"):
                await look.forget(fault)
            ready = await look.client.get("/health/ready")
            assert ready.json()["status"] == "ready"
            assert worker.state()["problem"] == ""

    asyncio.run(story())


async def until_it_says(worker: Worker, problem: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while problem not in str(worker.state()["problem"]):
        assert time.monotonic() < deadline, worker.state()
        await asyncio.sleep(0.05)


def overview_of(world: World, worker: Worker) -> Overview:
    return Overview(world.contract, slot(world), single(world.url), worker.metrics.registry)


def test_a_worker_that_begins_again_and_canonical_that_is_away_are_named(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        name = database_of(world.url)
        world.sql(f"DROP PUBLICATION {publication_name(world.contract)}")
        async with places(world, caplog) as look, world.running() as worker:
            texts = await look.name("worker-retrying", "no publication")
            assert "worker     restarting on" in texts["status"] or "running" in texts["status"]
            assert "worker-not-running" not in texts["status"]
            with psycopg.connect(world.url, autocommit=True, dbname="postgres") as admin:
                admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
                try:
                    end_all = (
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                    )
                    admin.execute(end_all, (name,))
                    texts = await look.name("canonical-away")
                    assert "recordgate_worker_up NaN" in texts["metrics"]
                    assert "PROBLEM canonical" in texts["doctor"]
                    registry = worker.metrics.registry
                    deadline = time.monotonic() + PATIENCE
                    unknown = b"recordgate_slot_retained_bytes NaN"
                    while unknown not in generate_latest(registry):
                        assert time.monotonic() < deadline
                        await asyncio.sleep(0.1)
                finally:
                    admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

    asyncio.run(story())


@pytest.mark.servers
def test_a_write_block_of_elasticsearch_is_named_everywhere(
    world: World, elasticsearch_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"{elasticsearch_url}/t{uuid.uuid4().hex[:12]}"
    world.stores = {"search": place}

    def blocked(state: str) -> None:
        server, _, prefix = place.replace("elasticsearch:", "http:").rpartition("/")
        index = f"{server}/{prefix}*/_settings?expand_wildcards=all"
        body = f'{{"index.blocks.write": {state}}}'.encode()
        request = urllib.request.Request(
            index, data=body, method="PUT", headers={"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()

    async def story() -> None:
        async with places(world, caplog) as look, world.running():
            await world.synced()
            await asyncio.to_thread(blocked, "true")
            world.sql("UPDATE public.products SET name = 'blocked'")
            await look.name("sink-failing", "closed to writes by a block", "free disk space")
            await asyncio.to_thread(blocked, "false")
            await look.forget("sink-failing")

    try:
        asyncio.run(story())
    finally:
        remove_elasticsearch_indexes(place)
