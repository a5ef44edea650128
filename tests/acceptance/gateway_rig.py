"""A gateway over a real Postgres and the embedded stores, for tests: countries and cities of the
demo's contract, some rows, and `publish` that brings the stores up to date as a sync worker
would."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette

from gateway.app import make_app
from gateway.context.services import Limits, Services
from gateway.http.metrics import Metrics
from gateway.http.service_levels import ServiceLevels
from gateway.schema.extensions import load
from gateway.security.access import Access
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect, make_pool, system_identity
from stores.canonical.plan import make_plan
from stores.contract.indicators import indicators
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.protocols import Position, Store, Write
from stores.registry import open_store
from stores.roles import StoreRole
from sync.projection import Projector, connect_for_reading

GEONAMES = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
SECRET = b"a secret of the tests, long enough"

ROWS = """
INSERT INTO countries (iso, iso3, name, capital, continent, population, area_km2, currency, languages)
VALUES ('FR', 'FRA', 'France', 'Paris', 'EU', 64768389, 547030.00, 'EUR', '{fr}'),
       ('US', 'USA', 'United States', 'Washington', 'NA', 327167434, 9629091.00, 'USD', '{en,es}');
INSERT INTO cities (geonameid, name, alternate_names, country_code, admin1, latitude, longitude, population, timezone)
VALUES (2988507, 'Paris', '{Lutetia,Paname}', 'FR', '11', 48.85341, 2.3488, 2138551, 'Europe/Paris'),
       (2996944, 'Lyon', '{Lugdunum}', 'FR', '84', 45.74846, 4.84671, 522969, 'Europe/Paris'),
       (4717560, 'Paris', '{}', 'US', 'TX', 33.66094, -95.55551, 24782, 'America/Chicago');
"""


@dataclass
class Rig:
    client: httpx.AsyncClient
    services: Services
    url: str
    metrics: Metrics
    app: Starlette
    levels: ServiceLevels

    async def graphql(
        self, query: str, variables: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        body = {"query": query, "variables": variables or {}}
        answer = await self.client.post("/graphql", json=body, headers=headers)
        found: dict[str, Any] = answer.json()
        return found

    async def publish(self, *, generation: int = 1) -> Position:
        """Bring both stores to what canonical is now."""
        conn = await connect_for_reading(self.url, "rig")
        try:
            projector = Projector(conn, self.services.contract)
            as_of = time.time()
            lsn = 0
            stores: list[Store] = [self.services.documents, self.services.search]
            for name in self.services.contract.types:
                page = await projector.page(name, None, 10_000)
                for store in stores:
                    await store.create_generation(name, generation)
                    there = {s.key for s in await store.scan(name, generation, None, 10_000)}
                    gone = [Write(k, page.version, None) for k in there - page.documents.keys()]
                    writes = [Write(k, page.version, d) for k, d in page.documents.items()]
                    await store.write(name, generation, writes + gone)
                lsn = lsn or page.version
            position = Position(self.services.system, lsn, as_of)
            for store in stores:
                await store.publish(position)
                for name in self.services.contract.types:
                    await store.activate(name, generation)
            return position
        finally:
            await conn.close()


def prepare(database: str, contract: Contract, rows: str) -> str:
    """Apply the contract and insert `rows`; the database's identity."""
    with connect(database) as conn:
        migrate(conn)
        apply_plan(conn, contract, make_plan(conn, contract), allow_destructive=False)
        identity = system_identity(conn)
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(rows.encode())
    return identity


@asynccontextmanager
async def gateway(
    database: str,
    folder: Path,
    *,
    contract: Path = GEONAMES,
    rows: str = ROWS,
    limits: Limits | None = None,
    published: bool = True,
    documents_url: str = "sqlite:",
    search_url: str = "tantivy:",
    access: Callable[[Contract], Access] | None = None,
    extensions: Sequence[str] = (),
    pages: bool = True,
) -> AsyncIterator[Rig]:
    loaded = load_contract(contract)
    system = prepare(database, loaded, rows)
    pool: AsyncConnectionPool[Any] = make_pool(database, 4)
    await pool.open()
    documents = open_store(documents_url, folder, role=StoreRole.DOCUMENTS)
    search = open_store(search_url, folder, role=StoreRole.SEARCH)
    await documents.open(loaded, write=True)
    await search.open(loaded, write=True)
    services = Services(loaded, pool, documents, search, system, SECRET, limits or Limits())  # type: ignore[arg-type]
    metrics = Metrics()
    levels = ServiceLevels(indicators(loaded))
    app = make_app(
        services,
        metrics,
        access=access(loaded) if access else None,
        extensions=load(extensions, loaded),
        levels=levels,
        pages=pages,
    )
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            rig = Rig(client, services, database, metrics, app, levels)
            if published:
                await rig.publish()
            yield rig
    finally:
        await search.close()
        await documents.close()
        await pool.close()
