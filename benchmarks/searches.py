"""Searches by the gateway against the same requests sent to Elasticsearch itself, 16 connections
each.

The demo's 234,908 cities in a server of this run. The raw side posts what the store would send,
word for word; the gateway's side asks `searchCities` for the same page. In turn, medians; totals
are compared.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson

from benchmarks import http_load
from benchmarks.gateway import CONTRACT, Side, fill, gateway, in_turn, load_documents, post, show
from benchmarks.results import Table
from compose.local.servers import start_elasticsearch
from recordgate.embedded import EmbeddedPostgres
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.query import EVERYTHING, SearchQuery
from stores.registry import open_store
from stores.search.elasticsearch.store import ElasticsearchStore

WORDS = [
    "paris",
    "london",
    "berlin",
    "madrid",
    "springfield",
    "san",
    "new",
    "saint",
    "porto",
    "villa",
    "santa",
    "river",
    "lake",
    "mount",
    "york",
    "krakow",
    "zurich",
    "goteborg",
    "munchen",
    "lodz",
    "bergen",
    "hill",
    "park",
    "beach",
    "north",
]
QUERY = (
    "query ($q: String!) { searchCities(query: $q, first: 20)"
    " { totalCount edges { score node { geonameid name population countryCode timezone } } } }"
)


def run() -> None:
    if not http_load.available():
        print("left out: wrk is not installed (Debian's package wrk)")
        return
    with tempfile.TemporaryDirectory(prefix="recordgate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "elasticsearch").mkdir()
        server, address = start_elasticsearch(folder / "elasticsearch")
        try:
            with EmbeddedPostgres(folder / "postgres") as postgres:
                contract = load_contract(CONTRACT)
                fill(postgres.url, contract, folder)
                (folder / "gateway").mkdir()
                store = address.replace("http", "elasticsearch", 1)
                asyncio.run(load_documents(postgres.url, contract, folder / "gateway", store))
                place, bodies = asyncio.run(raw_requests(store, contract, folder))
                with gateway(postgres.url, folder / "gateway", CONTRACT, search=store) as ours:
                    raw = Side(f"{address}/{place}/_search", server.pid)
                    measure(ours, raw, bodies)
            postgres.wait_stopped()
        finally:
            server.stop()


def measure(ours: Side, raw: Side, bodies: list[bytes]) -> None:
    asked = [orjson.dumps({"query": QUERY, "variables": {"q": w}}) for w in WORDS]
    for own, other in zip(asked, bodies, strict=True):
        found = post(ours.address, own)["data"]["searchCities"]["totalCount"]
        if found != post(raw.address, other)["hits"]["total"]["value"] or not found:
            raise RuntimeError("the answers differ")
    table = Table(
        "searches",
        "Searches by the gateway, and the same requests to Elasticsearch itself",
        ["", "requests/s", "ratio", "p50 ms", "p99 ms", "CPU us"],
    )
    loads = in_turn({"raw": (raw, bodies), "gateway": (ours, asked)})
    for side, loaded in loads.items():
        show(table, "search", side, loaded, loads["raw"].rate)
    table.save()


class _Recorder(ElasticsearchStore):
    """Keeps what is searched for, and where."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.sent: list[tuple[str, bytes]] = []

    async def _search(self, http: Any, index: Any, body: Any, *more: Any) -> dict[str, Any]:
        self.sent.append((index.name, orjson.dumps(body)))
        return await super()._search(http, index, body, *more)

    async def _searches(self, http: Any, index: Any, body: Any, *more: Any) -> Any:
        self.sent.append((index.name, orjson.dumps(body)))
        return await super()._searches(http, index, body, *more)


async def raw_requests(url: str, contract: Contract, folder: Path) -> tuple[str, list[bytes]]:
    """The index, and the body of the search for each of WORDS."""
    store = open_store(url, folder, role="search")
    store.__class__ = _Recorder
    assert isinstance(store, _Recorder)
    store.sent = []
    await store.open(contract, write=False)
    try:
        for word in WORDS:
            await store.search(SearchQuery("city", word, EVERYTHING, first=20))
    finally:
        await store.close()
    return store.sent[0][0], [body for _, body in store.sent]
