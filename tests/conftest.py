"""Fixtures that all tests share: an embedded Postgres for each worker of the test run, a fresh
database in it.

`postgres` is the superuser's URL of the server, `database` the URL of an empty database that is
dropped afterwards, with its replication slots, `world` a small data product in it.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from compose.local.process import free_port
from recordgate.embedded import EmbeddedPostgres
from tests.promises.table import pytest_addoption, pytest_terminal_summary  # noqa: F401
from tests.servers import (  # noqa: F401
    connect,
    elasticsearch_server,
    elasticsearch_url,
    kafka,
    mongodb_url,
)

if TYPE_CHECKING:
    from tests.sync_world import World


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "promise(name): what of a store is tested; a backend's row may lack it"
    )


FAST = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as the product does, and not on Trio too."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    # Not under tmp_path: root's is closed to the account that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
    folder.chmod(0o711)
    # On the network too, for Kafka Connect.
    port = free_port()
    server = EmbeddedPostgres(folder, {**FAST, "listen_addresses": "127.0.0.1", "port": str(port)})
    try:
        yield server.start()
    finally:
        server.release()
        server.wait_stopped()
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    """A shop's contract applied to `database`, and a folder for its stores; see
    tests.sync_world."""
    from tests.sync_world import shop  # most tests need nothing of it

    with shop(database, tmp_path) as found:
        yield found


def url_of(server: str, database: str) -> str:
    """`server`'s URL with another database."""
    return urlunsplit(urlsplit(server)._replace(path=f"/{database}"))


def drop_database(server: str, name: str) -> None:
    """Drop a database, its sessions and its replication slots."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        )
        conn.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
            " WHERE database = %s",
            (name,),
        )
        conn.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


@contextmanager
def fresh_database(postgres: str) -> Iterator[str]:
    """The URL of an empty database of a server, which is dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield url_of(postgres, name)
    finally:
        drop_database(postgres, name)


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    with fresh_database(postgres) as url:
        yield url
