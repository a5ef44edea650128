"""The configuration of Debezium's Postgres connector for a contract.

Its settings are those of Debezium's documentation, "Debezium connector for PostgreSQL". Why each is
as it is: docs/decisions/change-source-debezium.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stores.canonical.connect import database_of
from stores.canonical.publication import kafka_slot_name, publication_name, published_tables
from stores.contract.model import Contract
from stores.errors import SetupError
from sync.changes import tracked_columns
from sync.sources.debezium.location import KafkaLocation

JSON = "org.apache.kafka.connect.json.JsonConverter"
MARKER = "recordgate"
"""Prefix of our own messages in the log."""
HEARTBEAT_MS = 10_000
SECRETS = frozenset(("database.password",))


def debezium_slot(contract: Contract, database: str) -> str:
    """Return the name of the connector's slot, which differs from that of the pgoutput source."""
    return kafka_slot_name(contract, database)


def connector_name(contract: Contract) -> str:
    return f"recordgate-{contract.slug}"


def connector_config(
    contract: Contract,
    canonical_url: str,
    location: KafkaLocation,
    *,
    publication: str = "",
    partitions: int = 1,
    replication: int = -1,
) -> dict[str, str]:
    """Return the configuration for Kafka Connect. It contains canonical's password. `replication`:
    -1 is the brokers' default. Raise SetupError if canonical has no address that Kafka Connect
    can use."""
    at = _address(canonical_url)
    tables = published_tables(contract)
    columns = sorted(
        {
            "[.]".join(_pattern(name) for name in (t.schema, t.table, column))
            for t in contract.types.values()
            for column in tracked_columns(contract, t)
        }
    )
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        **at,
        "topic.prefix": location.topic_prefix,
        "plugin.name": "pgoutput",
        "publication.name": publication or publication_name(contract),
        "publication.autocreate.mode": "disabled",
        "slot.name": location.slot or debezium_slot(contract, database_of(canonical_url)),
        "slot.drop.on.stop": "false",
        "snapshot.mode": "no_data",
        "table.include.list": ",".join("[.]".join(map(_pattern, name)) for name in tables),
        "column.include.list": ",".join(columns),
        "message.prefix.include.list": re.escape(MARKER),
        "provide.transaction.metadata": "true",
        "skipped.operations": "none",
        "skip.messages.without.change": "false",
        "tombstones.on.delete": "true",
        "decimal.handling.mode": "string",
        "time.precision.mode": "microseconds",
        "interval.handling.mode": "string",
        "binary.handling.mode": "hex",
        "key.converter": JSON,
        "key.converter.schemas.enable": "false",
        "key.converter.replace.null.with.default": "false",
        "value.converter": JSON,
        "value.converter.schemas.enable": "false",
        "value.converter.replace.null.with.default": "false",
        "extended.headers.enabled": "false",
        "driver.options": "-c IntervalStyle=postgres -c bytea_output=hex -c extra_float_digits=3",
        "poll.interval.ms": "10",
        "status.update.interval.ms": "500",
        "heartbeat.interval.ms": str(HEARTBEAT_MS),
        "heartbeat.action.query": f"SELECT pg_logical_emit_message(true, '{MARKER}', 'heartbeat')",
        "errors.max.retries": "-1",
        "retriable.restart.connector.wait.ms": "1000",
        "topic.creation.default.replication.factor": str(replication),
        "topic.creation.default.partitions": str(partitions),
        "topic.creation.default.cleanup.policy": "delete",
    }


def shown(config: Mapping[str, str]) -> dict[str, str]:
    """Return the configuration for others to deploy, without secrets, which they fill in."""
    return {
        name: "${file:/run/secrets/recordgate.properties:password}" if name in SECRETS else value
        for name, value in config.items()
    }


def _pattern(name: str) -> str:
    """Return a Java regular expression that matches `name` inside a list with commas."""
    return re.escape(name).replace(",", "\\,")


def _address(canonical_url: str) -> dict[str, str]:
    """Return the address at which the connector reaches canonical: TCP, with a password."""
    try:
        given = conninfo_to_dict(canonical_url)
    except psycopg.ProgrammingError:
        raise SetupError("the URL of canonical is not a valid Postgres connection URL") from None
    host = str(given.get("host") or "")
    if not host or host.startswith(("/", "@")) or "," in host:
        raise SetupError(
            "the connector needs a network address of canonical, not a socket",
            hint="set `postgres` to postgresql://user@host:5432/database",
        )
    found = {
        "database.hostname": host,
        "database.port": str(given.get("port") or 5432),
        "database.user": str(given.get("user") or ""),
        "database.password": str(given.get("password") or ""),
        "database.dbname": str(given.get("dbname") or ""),
    }
    for name, ours in (("sslmode", "database.sslmode"), ("sslrootcert", "database.sslrootcert")):
        if given.get(name):
            found[ours] = str(given[name])
    return found
