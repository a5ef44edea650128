"""The stores under the conformance suite: a row for each, and what it lacks with the reason.

A new store joins by one row; a test of a promise that the row lacks is skipped with that reason.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from stores.contract.model import Contract
from stores.protocols import DocumentStore, Outcome, Position, SearchStore, Store, Write
from stores.registry import open_store
from tests.conformance.store_contract import CONTRACT
from tests.servers import remove_elasticsearch_indexes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backend:
    """`url` may hold {dir}, {server} and {name}, a name for this place alone. `lacks`: promise →
    why the store does not keep it. `server`: the fixture that gives the server's URL."""

    name: str
    role: str
    url: str
    local: bool
    """Its data is a folder of this machine: one writing process, files that can be damaged."""
    lacks: dict[str, str] = field(default_factory=dict)
    server: str = ""
    remove: Callable[[str], None] | None = None
    """Removes what a test has left at a URL."""


_ON_A_SERVER = "its files are a server's"
_MONGODB_LACKS = {
    "files of this machine": _ON_A_SERVER,
    "one writer": "versions alone decide; two writers do no harm",
    "a batch at once": "each document is replaced by itself; a reader may see a part of a batch",
}

BACKENDS = (
    Backend("sqlite", "documents", "sqlite:", local=True),
    Backend("tantivy", "search", "tantivy:", local=True),
    Backend(
        "elasticsearch",
        "search",
        "{server}/{name}",
        local=False,
        lacks={
            "files of this machine": _ON_A_SERVER,
            "one contract a place": "each contract has indexes of its own names",
            "one writer": "versions alone decide; two writers do no harm",
            "a batch at once": "a scan or refresh may come between two parts of a bulk",
        },
        server="elasticsearch_url",
        remove=remove_elasticsearch_indexes,
    ),
    Backend(
        "mongodb",
        "documents",
        "{server}/{name}",
        local=False,
        lacks=_MONGODB_LACKS,
        server="mongodb_url",
    ),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A store's place for one test: open it as often as needed."""

    backend: Backend
    folder: Path
    server: str = ""

    @property
    def url(self) -> str:
        name = "t" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:16]
        return self.backend.url.format(dir=self.folder, server=self.server, name=name)

    @asynccontextmanager
    async def open(
        self, *, write: bool = True, contract: Contract = CONTRACT
    ) -> AsyncIterator[Store]:
        store = open_store(self.url, self.folder)
        await store.open(contract, write=write)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def ready(self, *types: str, write: bool = True) -> AsyncIterator[Store]:
        """Open, with generation 1 of `types` active."""
        async with self.open(write=write) as store:
            for name in types:
                await store.create_generation(name, 1)
                await store.activate(name, 1)
            yield store


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def documents(store: Store) -> DocumentStore:
    return cast(DocumentStore, store)


def searches(store: Store) -> SearchStore:
    return cast(SearchStore, store)


async def outcomes(
    store: Store, writes: Sequence[Write], type_name: str = "author"
) -> list[Outcome]:
    return [v.outcome for v in await store.write(type_name, 1, writes)]


async def publish(store: Store, lsn: int = 1) -> None:
    await store.publish(Position("system/1", lsn, float(lsn)))


async def load(store: Store, type_name: str, writes: Sequence[Write]) -> None:
    """Write, all applied, and publish."""
    assert {v.outcome for v in await store.write(type_name, 1, writes)} <= {Outcome.APPLIED}
    await publish(store)


async def held(store: Store, type_name: str = "author", generation: int = 1) -> dict[str, int]:
    """Key → version of everything a generation holds."""
    found: dict[str, int] = {}
    after: str | None = None
    while True:
        page = await store.scan(type_name, generation, after, 100)
        found |= {s.key: s.version for s in page}
        if len(page) < 100:
            return found
        after = page[-1].key
