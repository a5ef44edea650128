"""A MongoDB server of a test's own, to be killed and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from compose.local import servers
from compose.local.process import Process, ServerProblem
from stores.documents.mongodb.store import MongodbStore
from tests.conformance.store_contract import CONTRACT


@dataclass
class Server:
    """A server of the test's own, to be killed and started again on the same port."""

    folder: Path
    process: Process
    url: str

    @property
    def store(self) -> MongodbStore:
        return MongodbStore(f"{self.url}/records?serverSelectionTimeoutMS=1000")

    def kill(self) -> None:
        self.process.kill()

    def start_again(self) -> None:
        port = int(self.url.rpartition(":")[2])
        self.process, _ = servers.start_mongodb(self.folder, port=port)

    def client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.url, serverSelectionTimeoutMS=3000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    try:
        process, url = servers.start_mongodb(tmp_path / "mongodb")
    except ServerProblem as problem:
        if os.environ.get("CI"):
            pytest.fail(str(problem))
        pytest.skip(str(problem))
    found = Server(tmp_path / "mongodb", process, url)
    try:
        yield found
    finally:
        found.process.signal(signal.SIGCONT)
        found.process.kill()


async def opened(server: Server, *, write: bool = True) -> MongodbStore:
    store = server.store
    await store.open(CONTRACT, write=write)
    return store


async def loaded(store: MongodbStore, *types: str) -> None:
    for name in types or ("author",):
        await store.create_generation(name, 1)
        await store.activate(name, 1)
