"""How fast the MongoDB store takes a first load, against the driver alone with ready-made
operations.

The demo's cities with their countries inside, as canonical prints them. The driver's `bulk_write`
gets dictionaries that are decoded already, wrapped as the store wraps them: as the same guarded
replacements, and as bare inserts, which nobody could take twice. The store gets JSON and is asked
to publish after each batch. In turn, each into an empty collection; the best of each counts. Then
reads.
"""

from __future__ import annotations

import asyncio
import csv
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from bson.int64 import Int64
from pymongo import AsyncMongoClient, InsertOne, ReplaceOne, WriteConcern

from compose.local import servers
from recordgate.demo.data import make_files
from stores.contract.load import load_contract
from stores.contract.model import Contract, RecordType, Scalar
from stores.documents.mongodb.store import MongodbStore
from stores.protocols import Outcome, Position, Write
from stores.query import ChildrenQuery

CITIES = 60_000
BATCH = 2000
ROUNDS = 3
READS = 300
CONTRACT = Path(__file__).parents[1] / "recordgate" / "demo" / "geonames.odcs.yaml"


def cast(record_type: RecordType, row: dict[str, Any]) -> dict[str, Any]:
    """The values of a file as canonical's JSON has them."""
    found: dict[str, Any] = {}
    for prop in record_type.properties:
        value = row[prop.name]
        if value in ("", None):
            found[prop.name] = None
        elif prop.array:
            found[prop.name] = value if isinstance(value, list) else json.loads(value)
        elif prop.scalar in (Scalar.INT, Scalar.BIGINT):
            found[prop.name] = int(value)
        elif prop.scalar is Scalar.FLOAT:
            found[prop.name] = float(value)
        elif prop.scalar is Scalar.DECIMAL:
            found[prop.name] = f"{float(value):.2f}" if "," in prop.sql_type else str(value)
        else:
            found[prop.name] = value
    return found


def city_documents(contract: Contract, folder: Path) -> dict[str, bytes]:
    files = make_files(folder)
    country, city = contract.types["country"], contract.types["city"]
    with files.countries.open(encoding="utf-8") as lines:
        countries = {c["iso"]: cast(country, c) for c in map(json.loads, lines)}
    documents: dict[str, bytes] = {}
    with files.cities.open(encoding="utf-8", newline="") as source:
        for row in csv.DictReader(source):
            record = cast(city, row) | {"country": countries.get(row["countryCode"])}
            documents[row["geonameid"]] = orjson.dumps(record)
            if len(documents) == CITIES:
                break
    return documents


async def driver_seconds(
    url: str, documents: dict[str, bytes], operation: Callable[[str, dict[str, Any]], Any]
) -> float:
    async with AsyncMongoClient[dict[str, Any]](url) as client:
        await client.drop_database("bench_driver")
        db = client.get_database("bench_driver", write_concern=WriteConcern("majority", j=True))
        ready = [operation(key, orjson.loads(body)) for key, body in documents.items()]
        began = time.perf_counter()
        for start in range(0, len(ready), BATCH):
            await db["city"].bulk_write(ready[start : start + BATCH], ordered=False)
        return time.perf_counter() - began


def guarded(key: str, body: dict[str, Any]) -> ReplaceOne[dict[str, Any]]:
    held = {"v": Int64(1), "doc": body}
    return ReplaceOne({"_id": key, "v": {"$lt": Int64(1)}}, held, upsert=True)


def inserted(key: str, body: dict[str, Any]) -> InsertOne[dict[str, Any]]:
    return InsertOne({"_id": key, "v": Int64(1), "doc": body})


async def store_seconds(url: str, contract: Contract, documents: dict[str, bytes]) -> float:
    async with AsyncMongoClient[dict[str, Any]](url) as client:
        await client.drop_database("bench_store")
    store = MongodbStore(f"{url}/bench_store")
    await store.open(contract, write=True)
    try:
        await store.create_generation("city", 1)
        writes = [Write(key, 1, body) for key, body in documents.items()]
        began = time.perf_counter()
        for start in range(0, len(writes), BATCH):
            verdicts = await store.write("city", 1, writes[start : start + BATCH])
            assert all(v.outcome is Outcome.APPLIED for v in verdicts)
            await store.publish(Position("bench/1", start + 1, 0.0))
        took = time.perf_counter() - began
        await store.activate("city", 1)
        assert await store.count("city", 1) == len(documents)
        return took
    finally:
        await store.close()


async def reads(url: str, contract: Contract, documents: dict[str, bytes]) -> None:
    keys = list(documents)
    store = MongodbStore(f"{url}/bench_store")
    await store.open(contract, write=False)

    async def one_by_one() -> int:
        for key in keys[:READS]:
            found = await store.get("city", [key])
            assert found[key] == documents[key]
        return READS

    async def many() -> int:
        found = await store.get("city", keys[:1000])
        assert len(found) == 1000
        return 1000

    async def scanned() -> int:
        after: str | None = None
        for _ in range(5):
            after = (await store.scan("city", 1, after, 1000))[-1].key
        return 5000

    async def related(parents: list[str]) -> int:
        query = ChildrenQuery("city", ("countryCode",), [(p,) for p in parents], 20)
        found = await store.children(query)
        return sum(len(c.documents) for c in found.values())

    measured: dict[str, Callable[[], Awaitable[int]]] = {
        "get, one key": one_by_one,
        "get, 1000 keys": many,
        "scan, pages of 1000": scanned,
        "children, 1 parent": lambda: related(["AR"]),
        "children, 20 parents": lambda: related(
            [
                "AD",
                "AE",
                "AF",
                "AL",
                "AM",
                "AO",
                "AR",
                "AT",
                "AU",
                "AZ",
                "BA",
                "BD",
                "BE",
                "BG",
                "BO",
                "BR",
                "BY",
                "CA",
                "CH",
                "CL",
            ]
        ),
    }
    for name, work in measured.items():
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.perf_counter()
            number = await work()
            best = min(best, time.perf_counter() - began)
        print(f"{name:24} {number / best:>10,.0f} documents/s  {best * 1000:>8.1f} ms")
    await store.close()


def run() -> None:
    """Print the table."""
    contract = load_contract(CONTRACT)
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as folder:
        documents = city_documents(contract, Path(folder) / "data")
        process, url = servers.start_mongodb(Path(folder) / "server")
        try:
            loads: dict[str, Callable[[], float]] = {
                "driver, guarded": lambda: asyncio.run(driver_seconds(url, documents, guarded)),
                "store": lambda: asyncio.run(store_seconds(url, contract, documents)),
                "driver, inserts": lambda: asyncio.run(driver_seconds(url, documents, inserted)),
            }
            best = dict.fromkeys(loads, float("inf"))
            for _ in range(ROUNDS):
                for name, load in loads.items():
                    best[name] = min(best[name], load())
            ready = best["driver, guarded"]
            for name, seconds in best.items():
                rate = len(documents) / seconds
                print(f"{name:24} {rate:>10,.0f} documents/s {ready / seconds:>6.2f} of ready-made")
            asyncio.run(reads(url, contract, documents))
        finally:
            process.stop()


if __name__ == "__main__":
    run()
