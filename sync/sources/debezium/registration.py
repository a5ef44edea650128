"""Makes Kafka Connect run the connector as configured; calling it again changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stores.canonical.connect import connect
from stores.canonical.driver_errors import translate
from stores.contract.model import Contract
from stores.errors import SetupError, StoreUnavailable
from sync.sources.debezium.connect_api import PATIENCE, STORE, ConnectApi
from sync.sources.debezium.connector import connector_config, connector_name
from sync.sources.debezium.location import KafkaLocation

RESTART = 5.0
"""Seconds in which a connector that was started again shows whether it works."""


class Outcome(StrEnum):
    """The outcome of `register`."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


def configured(changes: str, contract: Contract, canonical_url: str) -> dict[str, str]:
    """Return the connector's configuration for the setting `changes`."""
    return connector_config(contract, on_the_network(canonical_url), KafkaLocation.parse(changes))


def apply_connector(changes: str, contract: Contract, canonical_url: str) -> Outcome | None:
    """Register the connector if the setting `changes` names Kafka Connect, else return None. The
    publication must exist."""
    location = KafkaLocation.parse(changes)
    if not location.connect:
        return None
    name = location.connector or connector_name(contract)
    return register(location.connect, configured(changes, contract, canonical_url), name)


def register(connect_url: str, config: Mapping[str, str], name: str) -> Outcome:
    """Make Connect run the connector as configured, and wait until it runs. Calling it again
    changes nothing. Raises SetupError where Connect refuses it or the connector fails,
    StoreUnavailable where Connect is not reached or the connector does not start in time."""
    api = ConnectApi(connect_url, name)
    there = api.config()
    outcome = Outcome.UNCHANGED
    if there is None:
        outcome = Outcome.CREATED
    elif there.get("connector.class") != config["connector.class"] or (
        there.get("topic.prefix") != config["topic.prefix"]
    ):
        raise SetupError(
            f"Kafka Connect has a connector {name} that recordgate did not create",
            hint="set another name in `changes`: connector=NAME",
        )
    elif {k: v for k, v in there.items() if k != "name"} != dict(config):
        outcome = Outcome.CHANGED
    if outcome is not Outcome.UNCHANGED:
        api.put_config(config)
    wait_running(api)
    return outcome


def wait_running(api: ConnectApi, patience: float = PATIENCE) -> None:
    """Wait until the connector runs; one that has failed is started again once."""
    deadline = time.monotonic() + patience
    restarted: float | None = None
    while (status := api.status()).state != "RUNNING":
        now = time.monotonic()
        if status.state == "FAILED" and restarted is None:
            api.restart()
            restarted = now
        elif status.state == "FAILED" and restarted is not None and now > restarted + RESTART:
            raise SetupError(
                f"connector {api.connector} has failed: {status.trace}",
                hint="correct what the trace names, then run `recordgate apply` again",
            )
        if now > deadline:
            raise StoreUnavailable(
                f"connector {api.connector} is not running after {patience:.0f} s: {status.state}",
                store=STORE,
                hint="see the log of Kafka Connect",
            )
        time.sleep(0.05)


def on_the_network(canonical_url: str) -> str:
    """Return canonical's URL for Kafka Connect. If ours names a socket, the server is asked
    whether it also listens on this machine."""
    try:
        given = conninfo_to_dict(canonical_url)
    except psycopg.ProgrammingError:
        raise SetupError("the URL of canonical is not a valid Postgres connection URL") from None
    if not str(given.get("host") or "/").startswith(("/", "@")):
        return canonical_url
    try:
        with connect(canonical_url) as conn:
            row = conn.execute(
                "SELECT current_setting('listen_addresses'), current_setting('port')"
            ).fetchone()
    except psycopg.Error as error:
        raise translate(error) from None
    assert row is not None
    addresses = [a.strip() for a in str(row[0]).split(",") if a.strip()]
    if not addresses:
        return canonical_url  # refused, with the reason, when the configuration is made
    host = "127.0.0.1" if {"*", "0.0.0.0", "localhost"} & set(addresses) else addresses[0]
    user = f"{quote(str(given.get('user') or ''), safe='')}"
    password = f":{quote(str(given['password']), safe='')}" if given.get("password") else ""
    return urlunsplit(
        urlsplit("postgresql:")._replace(
            netloc=f"{user}{password}@{host}:{row[1]}", path=f"/{given.get('dbname') or ''}"
        )
    )
