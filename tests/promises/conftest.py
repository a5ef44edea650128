"""One stage for each pair of stores and each change source, shared by all promises; a case for each test."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

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
EmptyStage = Callable[[bool, str], tuple[Stage, Front]]


@pytest.fixture(scope="session")
def stages(
    postgres: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[EmptyStage]:
    """Gives the stage of (real servers?, source), made when it is first asked for."""
    made: dict[tuple[bool, str], tuple[Stage, Front]] = {}
    with ExitStack() as exits:

        def get(servers: bool, source: str) -> tuple[Stage, Front]:
            if (servers, source) not in made:
                made[servers, source] = _make(
                    postgres, tmp_path_factory, request, exits, servers, source
                )
            return made[servers, source]

        yield get


def _make(
    postgres: str,
    folders: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    exits: ExitStack,
    servers: bool,
    source: str,
) -> tuple[Stage, Front]:
    name = f"t{secrets.token_hex(8)}"
    stores, changes, kafka = None, "pgoutput:", None
    if servers:
        stores = {
            "search": f"{request.getfixturevalue('elasticsearch_url')}/{name}",
            "documents": f"{request.getfixturevalue('mongodb_url')}/{name}",
        }
        exits.callback(remove_elasticsearch_indexes, stores["search"])
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    exits.callback(drop_database, postgres, name)
    if source == "debezium":
        kafka = request.getfixturevalue("kafka"), request.getfixturevalue("connect")
        changes = source_url(*kafka, name)
        exits.callback(remove, *kafka, name)
    url = url_of(postgres, name)
    found = exits.enter_context(stage(url, folders.mktemp(name), stores=stores, changes=changes))
    if kafka:
        apply_connector(changes, found.contract, url)
    found.start()
    found.wait()
    return found, exits.enter_context(front(found))


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
    kind: str, source: str, stages: EmptyStage, record_property: Callable[[str, object], None]
) -> Iterator[Case]:
    """An empty stage with a worker that is in step."""
    found, gateway = stages(kind != "embedded", source)
    begin(found)
    slot = slot_name(found.contract, found.conn.info.dbname) if source == "pgoutput" else ""
    yield Case(found, gateway, JUDGED[kind], slot, lambda what: record_property("injected", what))
    found.start()
