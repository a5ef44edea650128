"""A shop for tests of sync: to-one, to-many and two-level embeds, a composite key, nullable and
moved foreign keys, a key with commas; a worker on real stores; `tests.oracle` says what they must
hold."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import Connection, connect
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import StoreUnavailable
from stores.protocols import Store
from stores.registry import open_store
from sync.sources.registry import open_source
from sync.worker import Worker
from tests import oracle

CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: shop
name: A shop
version: 1.0.0
status: active
schema:
  - name: region
    physicalName: regions
    customProperties: [{property: embed, vendor: recordgate, value: [countries]}]
    properties:
      - {name: code, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: name
        logicalType: string
        customProperties: [{property: search, vendor: recordgate, value: {text: true}}]
  - name: country
    physicalName: countries
    properties:
      - {name: iso, logicalType: string, physicalType: char(2), primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string}
      - name: regionCode
        physicalName: region_code
        logicalType: string
        relationships:
          - {id: region, to: region.code, customProperties: [{property: inverse, vendor: recordgate, value: countries}]}
  - name: city
    physicalName: cities
    customProperties: [{property: embed, vendor: recordgate, value: [country.region]}]
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - name: name
        logicalType: string
        customProperties: [{property: search, vendor: recordgate, value: {text: true}}]
      - name: iso
        logicalType: string
        physicalType: char(2)
        relationships:
          - {id: country, to: country.iso, customProperties: [{property: inverse, vendor: recordgate, value: cities}]}
      - name: parentId
        physicalName: parent_id
        logicalType: integer
        relationships:
          - {id: parent, to: city.id, customProperties: [{property: inverse, vendor: recordgate, value: parts}]}
  - name: product
    physicalName: products
    properties:
      - {name: sku, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: name, logicalType: string}
      - {name: price, logicalType: number, physicalType: "numeric(10,2)"}
  - name: order
    physicalName: orders
    customProperties: [{property: embed, vendor: recordgate, value: [{relation: lines, embed: [product]}, city]}]
    properties:
      - {name: shop, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: number, logicalType: integer, primaryKey: true, primaryKeyPosition: 2, required: true}
      - name: cityId
        physicalName: city_id
        logicalType: integer
        relationships:
          - {id: city, to: city.id, customProperties: [{property: inverse, vendor: recordgate, value: orders}]}
      - {name: note, logicalType: string}
  - name: line
    physicalName: lines
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: shop, logicalType: string}
      - {name: number, logicalType: integer}
      - name: sku
        logicalType: string
        relationships:
          - {id: product, to: product.sku, customProperties: [{property: inverse, vendor: recordgate, value: lines}]}
      - {name: quantity, logicalType: integer}
    relationships:
      - id: order
        from: [line.shop, line.number]
        to: [order.shop, order.number]
        customProperties: [{property: inverse, vendor: recordgate, value: lines}]
"""
SINKS = ("search", "documents")
PATIENCE = 60.0


def shop_contract(folder: Path) -> Contract:
    file = folder / "shop.odcs.yaml"
    file.write_text(CONTRACT, "utf-8")
    return load_contract(file)


@dataclass
class World:
    """`conn` is canonical's, in autocommit mode; `folder` holds the stores, but those that `stores`
    (sink → URL) names."""

    contract: Contract
    url: str
    folder: Path
    conn: Connection
    stores: dict[str, str] = field(default_factory=dict)

    def sql(self, *statements: str) -> None:
        for statement in statements:
            self.conn.execute(statement.encode())

    def rows(self, query: str) -> list[dict[str, Any]]:
        cursor = self.conn.execute(query.encode())
        names = [c.name for c in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def one(self, query: str) -> Any:
        return next(iter(self.rows(query)[0].values()))

    def lsn(self) -> int:
        return int(self.one("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS n"))

    def store(self, sink: str) -> Store:
        embedded = "tantivy:" if sink == "search" else "sqlite:"
        return open_store(self.stores.get(sink, embedded), self.folder)

    def worker(self, sinks: tuple[str, ...] = SINKS, **options: Any) -> Worker:
        return Worker(
            contract=self.contract,
            canonical_url=self.url,
            source=lambda: open_source("pgoutput:", self.contract, self.url),
            sinks={name: self.store(name) for name in sinks},
            **options,
        )

    @contextlib.asynccontextmanager
    async def running(self, worker: Worker | None = None, **options: Any) -> AsyncIterator[Worker]:
        worker = worker or self.worker(**options)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.stop()
            await task

    @contextlib.asynccontextmanager
    async def readers(self, sinks: tuple[str, ...] = SINKS) -> AsyncIterator[dict[str, Store]]:
        stores = {name: self.store(name) for name in sinks}
        for store in stores.values():
            await store.open(self.contract, write=False)
        try:
            yield stores
        finally:
            for store in stores.values():
                await store.close()

    async def synced(self, sinks: tuple[str, ...] = SINKS, patience: float = PATIENCE) -> None:
        """Wait until the stores' own positions are past everything committed so far."""
        target = self.lsn()
        deadline = time.monotonic() + patience
        async with self.readers(sinks) as stores:
            for name, store in stores.items():
                position = None
                while position is None or position.lsn < target:
                    assert time.monotonic() < deadline, f"{name} is at {position}, not {target}"
                    await asyncio.sleep(0.02)
                    # A server that has just made its first index may not have it ready.
                    with contextlib.suppress(StoreUnavailable):
                        position = await store.position()

    async def held(self, sink: str, type_name: str) -> dict[str, Any]:
        """What the sink's active generation holds: key → parsed document."""
        async with self.readers((sink,)) as stores:
            store = stores[sink]
            active = [g for g in await store.generations(type_name) if g.state == "active"]
            assert len(active) == 1, f"{sink}/{type_name}: {await store.generations(type_name)}"
            found: dict[str, Any] = {}
            after: str | None = None
            while page := await store.scan(type_name, active[0].number, after, 500):
                found |= {s.key: orjson.loads(s.document) for s in page}
                after = page[-1].key
            assert len(found) == await store.count(type_name, active[0].number)
            return found

    async def assert_equal(self, sinks: tuple[str, ...] = SINKS) -> None:
        """Every store equals the oracle, record for record."""
        expected = self.oracle()
        for sink in sinks:
            for type_name in self.contract.types:
                held = await self.held(sink, type_name)
                want = expected[type_name]
                assert held.keys() == want.keys(), (
                    f"{sink}/{type_name}: missing {sorted(want.keys() - held.keys())[:5]},"
                    f" extra {sorted(held.keys() - want.keys())[:5]}"
                )
                wrong = [key for key in want if held[key] != want[key]]
                assert not wrong, (
                    f"{sink}/{type_name}/{wrong[0]}: {held[wrong[0]]} {want[wrong[0]]}"
                )

    def oracle(self) -> dict[str, dict[str, Any]]:
        """type → key → document, from plain SQL."""
        return oracle.expected(self.conn, self.contract.types)


@contextlib.contextmanager
def shop(database: str, folder: Path) -> Iterator[World]:
    """The contract applied to an empty database, no rows, no worker."""
    contract = shop_contract(folder)
    migrate(database)
    with connect(database) as conn:
        apply_plan(conn, contract, make_plan(conn, contract))
        yield World(contract, database, folder, conn)


def fill(world: World, orders: int = 60) -> None:
    world.sql(
        "INSERT INTO public.regions SELECT 'r' || i, 'Region ' || i FROM generate_series(1, 4) i",
        "INSERT INTO public.countries SELECT 'c' || i, 'Country ' || i,"
        " CASE WHEN i < 8 THEN 'r' || (1 + i % 4) END FROM generate_series(1, 9) i",
        "INSERT INTO public.cities SELECT i, 'City ' || i, CASE WHEN i % 7 > 0 THEN 'c' || (1 + i % 9) END,"
        " CASE WHEN i % 3 = 0 AND i > 3 THEN i - 3 END FROM generate_series(1, 40) i",
        "INSERT INTO public.products SELECT 'sku,' || i, 'Product ' || i, i * 1.5 FROM generate_series(1, 12) i",
        "INSERT INTO public.orders SELECT 'shop\\,' || i % 3, i, CASE WHEN i % 5 > 0 THEN 1 + i % 40 END, 'n'"
        f" FROM generate_series(1, {orders}) i",
        "INSERT INTO public.lines SELECT i, 'shop\\,' || (i / 3 + 1) % 3, i / 3 + 1, 'sku,' || (1 + i % 12), i"
        f" FROM generate_series(0, {3 * orders - 1}) i WHERE i / 3 + 1 <= {orders}",
    )


class WorkerProcess:
    """The worker in a process of its own, to be killed."""

    def __init__(self, world: World, sinks: tuple[str, ...] = SINKS, **environment: str) -> None:
        stores = orjson.dumps(world.stores).decode()
        arguments = [world.url, str(world.folder), stores, *sinks]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.sync_world", *arguments],
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[1],
            stderr=(world.folder / "worker.log").open("ab"),
        )

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def main() -> None:
    """A worker until SIGTERM: `python -m tests.sync_world URL FOLDER STORES SINK…`."""
    import logging

    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(name)s %(message)s")
    url, folder, stores = sys.argv[1], Path(sys.argv[2]), orjson.loads(sys.argv[3])
    contract = load_contract(folder / "shop.odcs.yaml")
    world = World(contract, url, folder, None, stores)  # type: ignore[arg-type]

    async def run() -> None:
        worker = world.worker(tuple(sys.argv[4:]))
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        loop.add_signal_handler(
            signal.SIGTERM, lambda: tasks.append(asyncio.create_task(worker.stop()))
        )
        await worker.run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
