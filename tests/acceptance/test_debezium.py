"""The whole way with changes from Kafka: the worker, its stores, and the commands."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recordgate.settings import Settings
from sync.sources.debezium import DebeziumSource, apply_connector
from sync.worker import Worker
from tests.debezium_stage import remove, source_url
from tests.sync_world import SINKS, World, fill, shop

pytestmark = pytest.mark.servers


@dataclass
class KafkaWorld(World):
    """The world of the sync tests with its changes from Kafka."""

    changes: str = ""

    def worker(self, sinks: tuple[str, ...] = SINKS, **options: object) -> Worker:
        return Worker(
            contract=self.contract,
            canonical_url=self.url,
            source=lambda: DebeziumSource(self.changes, self.contract, self.url),
            sinks={name: self.store(name) for name in sinks},
        )


@pytest.fixture
def world(database: str, tmp_path: Path, kafka: str, connect: str) -> Iterator[KafkaWorld]:
    name = f"t{secrets.token_hex(6)}"
    with shop(database, tmp_path) as made:
        try:
            yield KafkaWorld(
                made.contract,
                made.url,
                made.folder,
                made.conn,
                changes=source_url(kafka, connect, name),
            )
        finally:
            remove(kafka, connect, name)


def command(world: KafkaWorld, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "RECORDGATE_CONTRACT": str(world.folder / "shop.odcs.yaml"),
        "RECORDGATE_POSTGRES": world.url,
        "RECORDGATE_CHANGES": world.changes,
        "RECORDGATE_DATA_DIR": str(world.folder / "data"),
    }
    return subprocess.run(
        [sys.executable, "-m", "recordgate", *arguments],
        env=environment,
        cwd=world.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_stores_fed_by_debezium_equal_canonical(world: KafkaWorld) -> None:
    assert apply_connector(world.changes, world.contract, world.url) == "created"
    fill(world)

    async def run() -> None:
        async with world.running():
            await world.synced()
            await world.assert_equal()
            world.sql(
                "INSERT INTO public.orders VALUES ('new', 1, 3, 'n')",
                "INSERT INTO public.lines VALUES (9001, 'new', 1, 'sku,1', 2)",
                "UPDATE public.countries SET name = 'Renamed' WHERE iso = 'c2'",
                "UPDATE public.lines SET shop = 'new', number = 1 WHERE id IN (3, 4)",
                "INSERT INTO public.orders VALUES ('new', 2, 3, 'n')",
                "UPDATE public.orders SET number = 777 WHERE shop = 'new' AND number = 2",
                "DELETE FROM public.lines WHERE number IN (7, 8)",
                "DELETE FROM public.orders WHERE number IN (7, 8)",
                "UPDATE public.products SET price = price + 1",
            )
            await world.synced()
            await world.assert_equal()
            world.sql("TRUNCATE public.lines")
            await world.synced()
            await world.assert_equal()

    asyncio.run(run())


def test_a_worker_that_was_away_goes_on_from_its_offsets(world: KafkaWorld) -> None:
    apply_connector(world.changes, world.contract, world.url)
    fill(world)

    async def run() -> None:
        async with world.running():
            await world.synced()
        world.sql(
            "DELETE FROM public.lines WHERE number < 10",
            "DELETE FROM public.orders WHERE number < 10",
            "UPDATE public.cities SET name = 'while away' WHERE id < 5",
        )
        async with world.running() as worker:
            await world.synced()
            await world.assert_equal()
            generations = world.rows("SELECT count(*) FROM recordgate.generations")
            assert generations == before, "nothing was loaded anew"
            assert not worker.state()["problem"]

    fill_generations = "SELECT count(*) FROM recordgate.generations"

    async def first() -> list[dict[str, object]]:
        async with world.running():
            await world.synced()
        return world.rows(fill_generations)

    before = asyncio.run(first())
    asyncio.run(run())


def test_apply_registers_the_connector_once_and_plan_prints_it(world: KafkaWorld) -> None:
    first = command(world, "apply", "--yes", "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["connector"] == "created"
    again = command(world, "apply", "--yes")
    assert again.returncode == 0, again.stderr
    assert "connector: unchanged" in again.stdout
    printed = command(world, "plan", "--connector")
    config = json.loads(printed.stdout)
    assert config["snapshot.mode"] == "no_data"
    assert config["slot.name"] != "recordgate_shop"
    password = Settings(postgres=world.url).postgres.get_secret_value().split(":")[2].split("@")[0]
    assert password not in printed.stdout + first.stdout + first.stderr
