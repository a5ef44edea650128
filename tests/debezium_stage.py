"""A connector of a test's own on the shared Kafka and Connect, and sources that read its topics."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import psycopg

from recordgate.demo.leftovers import remove_topics
from stores.contract.model import Contract
from sync.changes import ChangeSource
from sync.sources.debezium import DebeziumSource, KafkaLocation, connector_config, register
from sync.sources.debezium.connect_api import ConnectApi
from sync.sources.debezium.registration import on_the_network
from tests.change_tables import publish

PUBLICATION = "debezium"


def source_url(broker: str, connect: str, name: str, **more: str) -> str:
    """The setting `changes` of a test whose prefix, group, slot and connector are all `name`."""
    named = {"topic_prefix": name, "group": name, "connector": name, "slot": name}
    return f"kafka://{broker}/?{urlencode({**named, 'connect': connect, **more})}"


@contextmanager
def connector(
    url: str,
    contract: Contract,
    broker: str,
    connect: str,
    *more: str,
    **overrides: str,
) -> Iterator[Callable[[], ChangeSource]]:
    """Publish the contract's tables and `more`, and register a connector with the settings
    `overrides`: gives a maker of sources."""
    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as conn:
        publish(conn, PUBLICATION, contract, *more)
    changes = source_url(broker, connect, name)
    location = KafkaLocation.parse(changes)
    config = connector_config(contract, on_the_network(url), location, publication=PUBLICATION)
    try:
        register(connect, {**config, **overrides}, name)
        yield lambda: DebeziumSource(changes, contract, url, publication=PUBLICATION)
    finally:
        remove(broker, connect, name)


def remove(broker: str, connect: str, name: str) -> None:
    """The connector and its topics."""
    ConnectApi(connect, name).delete()
    remove_topics([broker], name)
