"""A gateway in front of a stage's stores, in the test's own process: what a caller sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx

from gateway.app import make_app
from gateway.context.services import Services
from stores.canonical.connect import Pool, make_pool, system_identity
from stores.protocols import DocumentStore, SearchStore
from stores.registry import open_store
from tests.histories.faulty import with_faults
from tests.histories.stage import Stage

SECRET = b"a secret of the promises, long enough"


@dataclass
class Front:
    """`ask` gives an answer whatever its status."""

    stage: Stage
    client: httpx.AsyncClient
    pool: Pool

    def forget_cut_connections(self) -> None:
        """Those that another promise has cut: a mutation is not sent twice by the gateway, so it
        would fail."""
        self.stage.run(self.pool.check())

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.stage.run(self.client.get(path, headers=_headers(headers)))

    def graphql(self, query: str, **headers: str) -> dict[str, Any]:
        answer = self.stage.run(
            self.client.post("/graphql", json={"query": query}, headers=_headers(headers))
        )
        found: dict[str, Any] = answer.json()
        return found

    def data(self, query: str, **headers: str) -> Any:
        answer = self.graphql(query, **headers)
        assert "errors" not in answer, answer
        return answer["data"]


def _headers(given: dict[str, str]) -> dict[str, str]:
    """`max_staleness="1s"` → Recordgate-Max-Staleness: 1s."""
    return {f"Recordgate-{n.replace('_', '-').title()}": v for n, v in given.items()}


@contextmanager
def front(stage: Stage) -> Iterator[Front]:
    """The stores as readers, with faults of their own: `tests.histories.faulty` by the names
    reader-search and reader-documents."""
    system = system_identity(stage.conn)
    stores = {
        sink: with_faults(open_store(url, stage.folder, role=sink), stage.folder, f"reader-{sink}")
        for sink, url in stage.spec.stores.items()
    }
    pool = make_pool(stage.spec.canonical, 2)

    async def open_all() -> httpx.AsyncClient:
        await pool.open()
        for store in stores.values():
            await store.open(stage.contract, write=False)
        services = Services(
            stage.contract,
            pool,
            cast(DocumentStore, stores["documents"]),
            cast(SearchStore, stores["search"]),
            system,
            SECRET,
        )
        transport = httpx.ASGITransport(app=make_app(services))
        return httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def close_all(client: httpx.AsyncClient) -> None:
        await client.aclose()
        for store in stores.values():
            await store.close()
        await pool.close()

    client = stage.run(open_all())
    try:
        yield Front(stage, client, pool)
    finally:
        stage.run(close_all(client))
