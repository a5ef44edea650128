"""Removes what a demo has made in servers that others use too, by the name in its settings file."""

from __future__ import annotations

import json
import re
import tomllib
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stores.errors import RecordgateError

NAME = re.compile(r"demo[0-9a-f]{6}")
"""Matches the name of the demo's index prefix, database, topic prefix and connector."""
SECONDS = 10.0


def remove_leftovers(config: Path) -> None:
    """Remove everything of the demo with this settings file. A server that is away keeps what it
    has."""
    settings = tomllib.loads(config.read_text("utf-8"))
    remove_connector(config)
    for setting, remove in (
        ("search", _indexes),
        ("documents", _database),
        ("changes", _topics),
    ):
        url = str(settings.get(setting, ""))
        name = _name(url)
        if name:
            with suppress(Exception):
                remove(url, name)


def remove_connector(config: Path) -> None:
    """The connector: without its Postgres it would try for ever. `apply` and `up` make it again."""
    from sync.sources.debezium.connect_api import ConnectApi
    from sync.sources.debezium.location import KafkaLocation

    changes = str(tomllib.loads(config.read_text("utf-8")).get("changes", ""))
    if not changes.startswith("kafka:"):
        return
    with suppress(RecordgateError):
        at = KafkaLocation.parse(changes)
        if at.connect and NAME.fullmatch(at.connector):
            ConnectApi(at.connect, at.connector).delete()


def _name(url: str) -> str:
    found = NAME.findall(url)
    return found[0] if found else ""


def _indexes(url: str, name: str) -> None:
    server = f"http://{urlsplit(url).netloc}"
    for entry in _http("GET", f"{server}/_cat/indices/{name}-*?format=json&h=index"):
        _http("DELETE", f"{server}/{entry['index']}")


def _database(url: str, name: str) -> None:
    from pymongo import MongoClient

    options = {"serverSelectionTimeoutMS": round(SECONDS * 1000)}
    with MongoClient[dict[str, Any]](url, **options) as client:  # type: ignore[arg-type]
        client.drop_database(name)


def _topics(url: str, name: str) -> None:
    remove_topics(urlsplit(url).netloc.split(","), name)


def remove_topics(brokers: list[str], name: str) -> None:
    """Delete the topics with the prefix `name`, and the heartbeat's, which ends with it."""
    from kafka import KafkaAdminClient  # type: ignore[import-untyped]

    admin = KafkaAdminClient(bootstrap_servers=brokers)
    try:
        topics = [t for t in admin.list_topics() if t.startswith(f"{name}.") or t.endswith(name)]
        if topics:
            admin.delete_topics(topics)
    finally:
        admin.close()


def _http(method: str, url: str) -> Any:
    request = urllib.request.Request(url, method=method)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)
