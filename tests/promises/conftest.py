"""One stage for each pair of stores and each change source, shared by all promises and gone after
them; a case for each test. A stage's worker, which never rests, ends with each case."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from stores.canonical.publication import slot_name
from sync.sources.debezium import apply_connector
from tests.conftest import drop_database, url_of
from tests.debezium_stage import remove, source_url
from tests.histories.stage import SINKS, Stage, stage
from tests.histories.steps import begin
from tests.promises.case import Case
from tests.promises.front import Front, front
from tests.promises.table import SOURCES, STORES
from tests.servers import remove_elasticsearch_indexes

JUDGED = {"embedded": SINKS, "elasticsearch": ("search",), "mongodb": ("documents",)}
"""What a row of the table says something about."""
FIRST_LOAD = 200.0
"""Seconds for making the generations of all types, on a busy machine."""
Made = tuple[Stage, Front]


@contextmanager
def _made(
    postgres: str,
    folders: pytest.TempPathFactory,
    servers: tuple[str, str] | None = None,
    kafka: tuple[str, str] | None = None,
) -> Iterator[Made]:
    """`servers`: the URLs of Elasticsearch and MongoDB, `kafka` those of Kafka and Connect."""
    name = f"t{secrets.token_hex(8)}"
    stores, changes = None, "pgoutput:"
    with ExitStack() as exits:
        if servers:
            stores = {"search": f"{servers[0]}/{name}", "documents": f"{servers[1]}/{name}"}
            exits.callback(remove_elasticsearch_indexes, stores["search"])
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name}".encode())
        exits.callback(drop_database, postgres, name)
        if kafka:
            changes = source_url(*kafka, name)
            exits.callback(remove, *kafka, name)
        url = url_of(postgres, name)
        found = exits.enter_context(
            stage(url, folders.mktemp(name), stores=stores, changes=changes)
        )
        if kafka:
            apply_connector(changes, found.contract, url)
        found.start()
        found.wait(patience=FIRST_LOAD)
        yield found, exits.enter_context(front(found))


@pytest.fixture(scope="package")
def embedded_pgoutput(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    with _made(postgres, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="package")
def servers_pgoutput(
    postgres: str,
    elasticsearch_url: str,
    mongodb_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    with _made(postgres, tmp_path_factory, (elasticsearch_url, mongodb_url)) as made:
        yield made


@pytest.fixture(scope="package")
def embedded_debezium(
    postgres: str, kafka: str, connect: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    with _made(postgres, tmp_path_factory, None, (kafka, connect)) as made:
        yield made


@pytest.fixture(scope="package")
def servers_debezium(
    postgres: str,
    elasticsearch_url: str,
    mongodb_url: str,
    kafka: str,
    connect: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    servers = (elasticsearch_url, mongodb_url)
    with _made(postgres, tmp_path_factory, servers, (kafka, connect)) as made:
        yield made


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=[pytest.param(s, marks=() if s == "embedded" else pytest.mark.servers) for s in STORES]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(
    kind: str,
    source: str,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> Iterator[Case]:
    """An empty stage with a worker that is in step."""
    pair = "embedded" if kind == "embedded" else "servers"
    found, gateway = request.getfixturevalue(f"{pair}_{source}")
    begin(found)
    gateway.forget_cut_connections()
    slot = slot_name(found.contract, found.conn.info.dbname) if source == "pgoutput" else ""
    yield Case(found, gateway, JUDGED[kind], slot, lambda what: record_property("injected", what))
    found.stop()
