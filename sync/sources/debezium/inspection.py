"""Inspects Kafka, Kafka Connect and the connector for `doctor`. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from stores.canonical.connect import connect
from stores.contract.model import Contract
from stores.errors import RecordgateError
from sync.changes import tracked_columns
from sync.sources.debezium.connect_api import ConnectApi
from sync.sources.debezium.connector import connector_config, connector_name
from sync.sources.debezium.consumer import translated
from sync.sources.debezium.envelope import Poison, TableReader, read_transaction
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.places import Checkpoint
from sync.sources.debezium.reach import better
from sync.sources.debezium.registration import on_the_network
from sync.sources.debezium.source import topic
from sync.sources.debezium.tables import names_of_database, table_forms
from sync.sources.debezium.texts import Modes
from sync.sources.pgoutput.transactions import TrackedTable

OLDEST_KAFKA = (2, 8)
"""Older brokers have no ids of topics: one that was made again could be taken for the one before.
"""
OLDEST_DEBEZIUM = 2
"""Older ones name a transaction otherwise."""
HOWTO = "see docs/howto/debezium.md"
PATIENCE_MS = 5000


@dataclass(frozen=True, slots=True)
class Inspected:
    """A finding of the inspection. `hint` says how to correct it if it is not `ok`."""

    name: str
    ok: bool
    saw: str
    hint: str = ""


def inspect(changes: str, contract: Contract, canonical_url: str) -> list[Inspected]:
    """Return the findings about everything behind the setting `changes`. A fault is a finding and
    is not raised; only a URL that cannot be used raises SetupError."""
    location = KafkaLocation.parse(changes)
    seen = _kafka(location, contract, canonical_url)
    if not location.connect:
        return [
            *seen,
            Inspected("connector", True, "not managed by recordgate: `changes` has no connect="),
        ]
    return [*seen, *_connect(location, contract, canonical_url)]


def _told(name: str, look: Callable[[], Inspected]) -> Inspected:
    try:
        return look()
    except RecordgateError as error:
        return Inspected(name, False, error.message, error.hint)


# Kafka --------------------------------------------------------------------------------------------


def _kafka(location: KafkaLocation, contract: Contract, canonical_url: str) -> list[Inspected]:
    from kafka import KafkaConsumer  # type: ignore[import-untyped]

    consumer: Any = None
    try:
        consumer = KafkaConsumer(
            **location.client_options(),
            group_id=location.group,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            exclude_internal_topics=False,
            bootstrap_timeout_ms=PATIENCE_MS,
            request_timeout_ms=2 * PATIENCE_MS,
        )
        version = tuple(consumer._client.get_broker_version())[:2]
        there = set(consumer.topics())
        said = ".".join(map(str, version))
        broker = Inspected(
            "kafka", True, f"Kafka {said}, {len(location.bootstrap)} addresses named"
        )
        if version < OLDEST_KAFKA:
            oldest = ".".join(map(str, OLDEST_KAFKA))
            broker = Inspected(
                "kafka", False, f"Kafka {said} is too old", f"{oldest} or newer is needed"
            )
        return [
            broker,
            _told("topics", lambda: _topics(consumer, there, location, contract, canonical_url)),
            _told("consumer group", lambda: _group(consumer, there, location)),
        ]
    except Exception as error:
        found = better(translated(error), location)
        if not isinstance(found, RecordgateError):
            raise
        return [Inspected("kafka", False, found.message, found.hint)]
    finally:
        if consumer is not None:
            consumer.close(autocommit=False)


def _topics(
    consumer: Any,
    there: set[str],
    location: KafkaLocation,
    contract: Contract,
    canonical_url: str,
) -> Inspected:
    """Check each table's topic, and that its last record is a change of that table."""
    readers = _readers(location, contract, canonical_url)
    transactions = f"{location.topic_prefix}.transaction"
    wrong = []
    for name in sorted({*readers, transactions} & there):
        value = _last(consumer, name)
        try:
            if value is not None and name == transactions:
                read_transaction(value)
            elif value is not None:
                readers[name].read(value, ())
        except Poison as reason:
            wrong.append(f"{name} holds {reason}")
    if wrong:
        hint = "set another topic_prefix in `changes` to keep apart from topics of others"
        return Inspected("topics", False, "; ".join(wrong), hint)
    missing = sorted(set(readers) - there)
    saw = f"{len(readers) - len(missing)} of {len(readers)} tables have one"
    if missing:
        saw += ", the others get theirs with their first change"
    if transactions not in there and len(missing) < len(readers):
        return Inspected(
            "topics",
            False,
            f"{saw}, but there is no {transactions}",
            f"the connector needs provide.transaction.metadata = true; {HOWTO}",
        )
    return Inspected("topics", True, saw)


def _readers(
    location: KafkaLocation, contract: Contract, canonical_url: str
) -> dict[str, TableReader]:
    tables = {
        (t.schema, t.table): TrackedTable(t.name, t.key, tracked_columns(contract, t))
        for t in contract.types.values()
    }
    modes = location.modes or Modes()
    with connect(canonical_url) as conn:
        forms = table_forms(conn, tables)
        databases = names_of_database(conn)
    return {
        topic(location.topic_prefix, *name): TableReader(form, modes, databases)
        for name, form in forms.items()
    }


def _last(consumer: Any, name: str) -> bytes | None:
    """Return the last record's value, or None if there is none or it is a tombstone."""
    from kafka import TopicPartition

    partitions = [TopicPartition(name, n) for n in consumer.partitions_for_topic(name) or ()]
    starts, ends = consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
    for partition in partitions:
        if ends[partition] <= starts[partition]:
            continue
        consumer.assign([partition])
        consumer.seek(partition, ends[partition] - 1)
        for records in consumer.poll(timeout_ms=PATIENCE_MS, max_records=1).values():
            if records:
                value: bytes | None = records[-1].value
                return value
    return None


def _group(consumer: Any, there: set[str], location: KafkaLocation) -> Inspected:
    """Check that the offsets of the consumer group are ours."""
    from kafka import TopicPartition

    name = location.group
    known = 0
    for topic_name in sorted(t for t in there if t.startswith(f"{location.topic_prefix}.")):
        found = consumer.committed(TopicPartition(topic_name, 0), metadata=True)
        if not found:
            continue
        if Checkpoint.parse(found.metadata) is None:
            return Inspected(
                "consumer group",
                False,
                f"{name} holds offsets of {topic_name} that recordgate did not commit",
                "set a group of recordgate's own in `changes`: group=NAME",
            )
        known += 1
    saw = f"holds recordgate's offsets of {known} topics" if known else "has no offsets yet"
    return Inspected("consumer group", True, f"{name} {saw}")


# Kafka Connect ------------------------------------------------------------------------------------


def _connect(location: KafkaLocation, contract: Contract, canonical_url: str) -> list[Inspected]:
    api = ConnectApi(location.connect, location.connector or connector_name(contract))
    server = _told("kafka connect", lambda: _server(api))
    if not server.ok:
        return [server]
    return [server, _told("connector", lambda: _connector(api, location, contract, canonical_url))]


def _server(api: ConnectApi) -> Inspected:
    version = api.version()
    found = api.plugin("io.debezium.connector.postgresql.PostgresConnector")
    if found is None:
        return Inspected(
            "kafka connect",
            False,
            f"Kafka Connect {version} has no Debezium connector for Postgres",
            "add debezium-connector-postgres to the plugin.path of Kafka Connect and restart it",
        )
    major = found.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST_DEBEZIUM:
        return Inspected(
            "kafka connect",
            False,
            f"Debezium {found} is too old",
            f"{OLDEST_DEBEZIUM}.0 or newer is needed",
        )
    return Inspected("kafka connect", True, f"Kafka Connect {version}, Debezium {found}")


def _connector(
    api: ConnectApi, location: KafkaLocation, contract: Contract, canonical_url: str
) -> Inspected:
    there = api.config()
    if there is None:
        return Inspected(
            "connector", False, f"{api.connector} is not registered", "run `recordgate apply`"
        )
    if there.get("topic.prefix") != location.topic_prefix:
        return Inspected(
            "connector",
            False,
            f"{api.connector} was not created by recordgate",
            "set another name in `changes`: connector=NAME",
        )
    status = api.status()
    if status.state == "FAILED":
        return Inspected(
            "connector",
            False,
            f"{api.connector} has failed: {status.trace}",
            "correct what the trace names; the worker restarts the connector, `recordgate apply`"
            " does so at once",
        )
    try:
        config = connector_config(contract, on_the_network(canonical_url), location)
    except psycopg.Error:
        config = {}
    other = sorted(k for k, v in config.items() if there.get(k) != v)
    if other:
        return Inspected(
            "connector",
            False,
            f"{api.connector} is {status.state} and its configuration differs from the"
            f" contract's: {', '.join(other)}",
            "run `recordgate apply`",
        )
    return Inspected(
        "connector",
        status.state == "RUNNING",
        f"{api.connector} is {status.state}",
        "" if status.state == "RUNNING" else "see its status in Kafka Connect",
    )
