"""How good the first ten hits are: nDCG@10 and mean reciprocal rank of judged queries, by store.

Beside each stands what Elasticsearch's own `multi_match` with `fuzziness: AUTO` finds in the same
index by the same boosts. The half of the queries that is shown tuned nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from benchmarks.judged import (
    Judged,
    cities,
    city_queries,
    ndcg,
    reciprocal_rank,
    synset_queries,
    wordnet,
)
from benchmarks.results import Table
from compose.local.servers import start_elasticsearch
from stores.contract.model import (
    BoostBy,
    Contract,
    Logical,
    Property,
    RecordType,
    Scalar,
    SearchOptions,
)
from stores.protocols import Position, SearchStore, Store, Write
from stores.query import Match, SearchQuery
from stores.registry import open_store
from stores.search.elasticsearch.store import ElasticsearchStore
from stores.search.fields import levels, text_fields

CITIES, SYNSETS, QUERIES = 50_000, 40_000, 1_000
Ask = Callable[[str], Awaitable[list[str]]]


def _property(name: str, *, array: bool = False, number: bool = False, **search: Any) -> Property:
    scalar = Scalar.INT if number else Scalar.STRING
    logical = Logical.ARRAY if array else Logical.INTEGER if number else Logical.STRING
    sql = ("integer" if number else "text") + ("[]" if array else "")
    return Property(
        name, name, name, logical, scalar, sql, array=array, search=SearchOptions(**search)
    )


def _type(name: str, *properties: Property, **more: Any) -> RecordType:
    return RecordType(
        name,
        "public",
        name,
        name.capitalize(),
        name,
        name,
        (_property("id"), *properties),
        ("id",),
        **more,
    )


def contract(analyzer: str = "english") -> Contract:
    """`place`: names of cities; `synset`: words, and a gloss by `analyzer`."""
    place = _type(
        "place",
        _property("name", text=True, boost=4),
        _property("names", array=True, text=True),
        _property("population", number=True),
        boost_by=BoostBy("population", 2.0),
    )
    synset = _type(
        "synset",
        _property("words", array=True, text=True, boost=4),
        _property("gloss", text=True, analyzer=analyzer),
    )
    return Contract("relevance", "Relevance", "1", {"place": place, "synset": synset})


async def fill(store: Store, name: str, records: Sequence[Mapping[str, Any]]) -> None:
    await store.create_generation(name, 1)
    for start in range(0, len(records), 2_000):
        part = records[start : start + 2_000]
        await store.write(name, 1, [Write(r["id"], 1, orjson.dumps(r)) for r in part])
    await store.publish(Position("benchmark/1", 1, 1.0))
    await store.activate(name, 1)


def ours(store: Store, name: str, match: Match, *, boosted: bool = True) -> Ask:
    search = cast(SearchStore, store).search

    async def ask(text: str) -> list[str]:
        query = SearchQuery(name, text, first=10, match=match, boosted=boosted)
        return [hit.key for hit in (await search(query)).hits]

    return ask


def multi_match(store: Store, of: Contract, name: str, **more: Any) -> Ask:
    assert isinstance(store, ElasticsearchStore)
    fields = text_fields(levels(of, of.types[name]))
    weighed = [f"{f.text}^{f.prop.search.boost:g}" for f in fields]

    async def ask(text: str) -> list[str]:
        query = {"multi_match": {"query": text, "fields": weighed, "fuzziness": "AUTO", **more}}
        body = {"query": query, "size": 10, "sort": ["_score", {"k": "asc"}]}

        async def work(http: Any, index: Any) -> list[str]:
            found = await store._search(http, index, body)
            return [str(hit["sort"][-1]) for hit in found["hits"]["hits"]]

        return await store._read_active(name, work)

    return ask


async def measured(ask: Ask, queries: Sequence[Judged]) -> tuple[float, float]:
    """Return mean nDCG@10 and mean reciprocal rank."""
    gains, ranks = 0.0, 0.0
    for query in queries:
        found = await ask(query.text)
        gains += ndcg(found, query.right)
        ranks += reciprocal_rank(found, query.right)
    return gains / len(queries), ranks / len(queries)


async def measure(table: Table, address: str, folder: Path, *, tuning: bool = False) -> None:
    for analyzer in ("english", "standard"):
        declared = contract(analyzer)
        urls = {
            "tantivy": "tantivy:",
            "elasticsearch": f"elasticsearch://{address}/relevance_{analyzer}_{os.getpid()}",
        }
        for kind, url in urls.items():
            place = folder / f"{analyzer}-{kind}"
            place.mkdir()
            store = open_store(url, place, role="search")
            await store.open(declared, write=True)
            try:
                await _rows(table, store, kind, analyzer, declared, folder, tuning)
            finally:
                await store.close()
                if kind == "elasticsearch":
                    _remove(url)


def _remove(url: str) -> None:
    """Remove every index of a store's URL with a prefix, which is this run's own."""
    server, _, prefix = url.replace("elasticsearch", "http", 1).rpartition("/")
    with urllib.request.urlopen(f"{server}/_cat/indices/{prefix}-*?format=json&h=index") as answer:
        names = [i["index"] for i in orjson.loads(answer.read())]
    for name in names:
        request = urllib.request.Request(f"{server}/{name}", method="DELETE")
        urllib.request.urlopen(request).close()


async def _rows(
    table: Table,
    store: Store,
    kind: str,
    analyzer: str,
    declared: Contract,
    folder: Path,
    tuning: bool,
) -> None:
    sets: dict[str, tuple[list[dict[str, Any]], list[Judged]]] = {}
    if analyzer == "english":
        places = cities(CITIES)
        sets["place"] = places, city_queries(places, QUERIES)
    if shutil.which("npm"):
        synsets = list(wordnet(folder))[::2][:SYNSETS]
        sets["synset"] = synsets, synset_queries(synsets, QUERIES)
    for name, (records, queries) in sets.items():
        await fill(store, name, records)
        chosen = [q for q in queries if q.held_out is not tuning]
        parts = {
            "as written": [q for q in chosen if not q.misspelled],
            "misspelled": [q for q in chosen if q.misspelled],
            "all": chosen,
        }
        ways = {
            f"{kind}, AUTO": ours(store, name, Match.AUTO),
            f"{kind}, FORGIVING": ours(store, name, Match.FORGIVING),
        }
        if kind == "elasticsearch":
            ways["multi_match AUTO"] = multi_match(store, declared, name)
            ways["multi_match AUTO, and"] = multi_match(store, declared, name, operator="and")
        if declared.types[name].boost_by:
            ways[f"{kind}, AUTO, no boostBy"] = ours(store, name, Match.AUTO, boosted=False)
        for way, ask in ways.items():
            cells: list[str | float] = []
            for part in parts.values():
                gain, rank = await measured(ask, part)
                cells += [f"{gain:.3f}", f"{rank:.3f}"]
            of = "standard" if name == "place" else analyzer
            table.row(f"{name}, {of}: {way}", *cells)


def run() -> None:
    table = Table(
        "relevance",
        "Relevance: the first ten hits of judged queries",
        [
            f"{QUERIES // 2} queries each, held out",
            *("nDCG as written", "MRR", "nDCG misspelled", "MRR", "nDCG all", "MRR"),
        ],
    )
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as name:
        folder = Path(name)
        known = os.environ.get("RECORDGATE_TEST_ELASTICSEARCH_URL")
        if known:
            asyncio.run(measure(table, urlsplit(known).netloc, folder))
        else:
            folder.chmod(0o755)
            (folder / "elasticsearch").mkdir()
            server, address = start_elasticsearch(folder / "elasticsearch")
            try:
                asyncio.run(measure(table, urlsplit(address).netloc, folder))
            finally:
                server.stop()
    table.save()
