"""The demo's stack of real servers: those that `make servers` started, as settings of a demo's folder."""

from __future__ import annotations

import json
import os
import secrets
import socket
from enum import StrEnum
from pathlib import Path

from stores.errors import SetupError


class Stack(StrEnum):
    EMBEDDED = "embedded"
    SERVERS = "servers"
    KAFKA = "kafka"


def settings_of(stack: Stack) -> dict[str, str]:
    """The settings that differ from the embedded default. Raises SetupError where a server is missing."""
    if stack is Stack.EMBEDDED:
        return {}
    urls = _running()
    name = f"demo{secrets.token_hex(3)}"
    found = {
        "search": f"{_url(urls, 'elasticsearch')}/{name}",
        "documents": f"{_url(urls, 'mongodb').rsplit('/', 1)[0]}/{name}",
    }
    if stack is Stack.KAFKA:
        broker, connect = _url(urls, "kafka").rstrip("/"), _url(urls, "connect")
        found["changes"] = f"{broker}/?topic_prefix={name}&group={name}&connect={connect}"
        # Connect is another process: it reaches Postgres over TCP only.
        found["postgres"] = f"embedded:?port={_free_port()}"
    return found


def _running() -> dict[str, str]:
    """Server → URL, as `make servers` left it."""
    folder = Path(os.environ.get("RECORDGATE_TEST_SERVERS_DIR", ".servers"))
    try:
        entries = json.loads((folder / "run" / "servers.json").read_text("utf-8"))
    except (OSError, ValueError):
        entries = {}
    return {name: str(entry["url"]) for name, entry in entries.items()}


def _url(urls: dict[str, str], name: str) -> str:
    if name not in urls:
        raise SetupError(f"{name} is not running", hint="start the servers with `make servers`")
    return urls[name]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
