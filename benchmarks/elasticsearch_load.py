"""How fast the Elasticsearch store takes a first load, against the client alone with ready-made
bulk bodies.

The demo's cities with their countries inside. The client gets the very bodies that the store would
make, made beforehand, into an index with the same mapping and settings, and refreshes once at the
end. The store gets JSON documents, gives a verdict on each, and publishes every PUBLISH_EVERY
batches. In turn, each into an empty index; the best of each counts. Then 20 records at a time into
what is loaded, each published: the time from write to visible; and searches.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import cast

from elasticsearch import AsyncElasticsearch

from benchmarks.first_load import cities, city_contract
from compose.local import servers
from stores.contract.model import Contract
from stores.protocols import Outcome, Position, SearchStore, Write
from stores.query import Compare, Facet, Op, Order, SearchQuery
from stores.registry import open_store
from stores.search import fields as search_fields
from stores.search.elasticsearch import bulk as elasticsearch_bulk
from stores.search.elasticsearch import fields as elasticsearch_fields
from stores.search.elasticsearch.documents import DocumentBuilder
from stores.search.elasticsearch.fields import PRESENCE

CITIES = int(os.environ.get("CITIES", "60000"))
BATCH = 1000
PUBLISH_EVERY = 10
ROUNDS = 3
SMALL_WRITES = 100
SEARCHES = 200


def batches(writes: list[Write]) -> list[list[Write]]:
    return [writes[start : start + BATCH] for start in range(0, len(writes), BATCH)]


async def client_alone(url: str, contract: Contract, writes: list[Write]) -> float:
    """Seconds."""
    level = search_fields.levels(contract, contract.types["city"])
    builder = DocumentBuilder(level, frozenset(search_fields.marks(level)))
    bodies = [
        b"".join(item.lines for item in elasticsearch_bulk.items_of(builder, part)[0])
        for part in batches(writes)
    ]
    async with AsyncElasticsearch(url, request_timeout=60) as client:
        await client.indices.delete(index="alone", ignore_unavailable=True)
        await client.indices.create(
            index="alone",
            mappings={"dynamic": "strict", "properties": elasticsearch_fields.mapping(level)},
            settings={
                "number_of_replicas": 0,
                "refresh_interval": "-1",
                "similarity": {PRESENCE: {"type": "BM25", "k1": 0.0, "b": 0.0}},
                "analysis": elasticsearch_fields.analysis(level),
            },
        )
        began = time.perf_counter()
        for body in bodies:
            answer = await client.bulk(index="alone", operations=cast("list[object]", body))
            assert not answer["errors"]
        await client.indices.refresh(index="alone")
        took = time.perf_counter() - began
        assert (await client.count(index="alone"))["count"] == len(writes)
        await client.indices.delete(index="alone")
        return took


async def store_alone(url: str, contract: Contract, writes: list[Write], round_: int) -> float:
    store = open_store(f"{url}/bench{round_}".replace("http", "elasticsearch", 1), Path())
    await store.open(contract, write=True)
    try:
        await store.create_generation("city", 1)
        began = time.perf_counter()
        for number, part in enumerate(batches(writes), 1):
            verdicts = await store.write("city", 1, part)
            assert all(v.outcome is Outcome.APPLIED for v in verdicts)
            if number % PUBLISH_EVERY == 0:
                await store.publish(None)
        await store.publish(Position("bench/1", len(writes), 0.0))
        took = time.perf_counter() - began
        await store.activate("city", 1)
        assert await store.count("city", 1) == len(writes)
        return took
    finally:
        await store.close()


async def afterwards(url: str, contract: Contract, writes: list[Write], round_: int) -> None:
    store = cast(
        SearchStore,
        open_store(f"{url}/bench{round_}".replace("http", "elasticsearch", 1), Path()),
    )
    await store.open(contract, write=True)
    version = len(writes)

    async def small_write() -> None:
        nonlocal version
        part = [Write(w.key, version := version + 1, w.document) for w in writes[:20]]
        await store.write("city", 1, part)
        await store.publish(Position("bench/1", version, 0.0))

    texts = ["paris", "new york", "springfeild", "san", "münchen"]

    def query(**more: object) -> Callable[[int], Awaitable[object]]:
        return lambda n: store.search(SearchQuery("city", texts[n % 5], **more))  # type: ignore[arg-type]

    shown: list[tuple[str, int, Callable[[int], Awaitable[object]]]] = [
        ("20 records, write to visible", SMALL_WRITES, lambda n: small_write()),
        ("position", SEARCHES, lambda n: store.position()),
        ("search", SEARCHES, query()),
        (
            "search, filter, 2 facets, highlights, corrections",
            SEARCHES,
            query(
                filter=Compare("population", Op.GTE, 1000),
                facets=(Facet("countryCode"), Facet("timezone")),
                highlight=("name", "alternateNames"),
                suggestions=True,
            ),
        ),
        (
            "browse by population",
            SEARCHES,
            lambda n: store.search(SearchQuery("city", sort=(Order("population", True),))),
        ),
        (
            "suggest",
            SEARCHES,
            lambda n: store.suggest("city", ["s", "sa", "san", "ber"][n % 4], 10),
        ),
    ]
    for what, times, work in shown:
        took = []
        for number in range(times):
            began = time.perf_counter()
            await work(number)
            took.append((time.perf_counter() - began) * 1000)
        took.sort()
        p95 = took[int(len(took) * 0.95)]
        print(f"{what:50} p50 {statistics.median(took):6.1f} ms   p95 {p95:6.1f} ms")
    await store.close()


async def measure(url: str) -> None:
    contract = city_contract()
    writes = [Write(k, n, d) for n, (k, d) in enumerate(islice(cities(), CITIES), 1)]
    client, store = [], []
    for round_ in range(ROUNDS):
        client.append(len(writes) / await client_alone(url, contract, writes))
        store.append(len(writes) / await store_alone(url, contract, writes, round_))
    print(f"{len(writes)} cities; documents a second, best of {ROUNDS}")
    print(f"client alone, ready-made bodies {max(client):9,.0f}")
    print(f"store                           {max(store):9,.0f}   {max(store) / max(client):.2f}")
    await afterwards(url, contract, writes, ROUNDS - 1)


def run() -> None:
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as folder:
        Path(folder).chmod(0o755)
        process, url = servers.start_elasticsearch(Path(folder) / "elasticsearch", heap="1g")
        try:
            asyncio.run(measure(url))
        finally:
            process.stop()
