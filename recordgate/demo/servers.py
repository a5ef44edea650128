"""The demo's stack of real servers: those that `make servers` started, as settings of a demo's
folder, and how one of them is killed and started again."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from stores.errors import SetupError
from sync.process_state import process_state

START = 240.0
"""Seconds that a killed server may take to be there again."""


class Stack(StrEnum):
    EMBEDDED = "embedded"
    SERVERS = "servers"
    KAFKA = "kafka"


SERVERS = {
    Stack.EMBEDDED: (),
    Stack.SERVERS: ("elasticsearch", "mongodb"),
    Stack.KAFKA: ("elasticsearch", "mongodb", "kafka", "connect"),
}


@dataclass(frozen=True)
class Server:
    """A server that can be killed. `pid` returns its process, None while there is none; `restart`
    starts it at its address with its data and returns once it answers."""

    name: str
    pid: Callable[[], int | None]
    restart: Callable[[], None]

    def kill(self) -> int:
        """SIGKILL; returns when the process is gone."""
        pid = self.pid()
        if pid is None:
            raise SetupError(f"{self.name} is not running")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while _lives(pid):
            if time.monotonic() > deadline:
                raise SetupError(f"{self.name} (pid {pid}) did not end after SIGKILL")
            time.sleep(0.02)
        return pid


@dataclass(frozen=True)
class _Entry:
    """A server's entry in `servers.json`; see compose/local."""

    pid: int
    url: str
    restart: list[str] = field(default_factory=list)
    folder: str = ""


def settings_of(stack: Stack) -> dict[str, str]:
    """The settings that differ from the embedded default. Raises SetupError where a server is
    missing."""
    if stack is Stack.EMBEDDED:
        return {}
    urls = {name: _entry(name).url for name in SERVERS[stack]}
    name = f"demo{secrets.token_hex(3)}"
    found = {
        "search": f"{urls['elasticsearch']}/{name}",
        "documents": f"{urls['mongodb'].rsplit('/', 1)[0]}/{name}",
    }
    if stack is Stack.KAFKA:
        broker, connect = urls["kafka"].rstrip("/"), urls["connect"]
        found["changes"] = (
            f"{broker}/?topic_prefix={name}&group={name}&connector={name}&connect={connect}"
        )
        # Connect is another process: it reaches Postgres over TCP only.
        found["postgres"] = f"embedded:?port={_free_port()}"
    return found


def servers_of(stack: Stack, data_dir: Path) -> list[Server]:
    """Return the servers that a tour may kill: the embedded Postgres of `data_dir`, and those of
    the stack."""
    return [_postgres(data_dir), *(_server(name) for name in SERVERS[stack])]


def _server(name: str) -> Server:
    entry = _entry(name)
    if not entry.restart:
        raise SetupError(
            f"there is no known way to restart {name}",
            hint="stop the servers with `make servers-stop`, and start them with `make servers`",
        )

    def restart() -> None:
        try:
            done = subprocess.run(
                entry.restart, cwd=entry.folder, capture_output=True, text=True, timeout=START
            )
        except subprocess.TimeoutExpired:
            raise SetupError(f"{name} did not restart within {START:.0f} s") from None
        if done.returncode:
            raise SetupError(f"{name} did not restart: {done.stderr.strip()[-300:]}")

    return Server(name, lambda: _entry(name).pid, restart)


def _postgres(data_dir: Path) -> Server:
    """The embedded one, which its supervisor starts again by itself."""
    from recordgate.embedded import postmaster
    from recordgate.embedded.layout import Layout, read_launch

    def data() -> Path:
        launch = read_launch(Layout.of(data_dir))
        if launch is None:
            raise SetupError(f"{data_dir} has no Postgres of its own")
        return Path(launch.data)

    def restart() -> None:
        deadline = time.monotonic() + START
        while not postmaster.is_ready(data()):
            if time.monotonic() > deadline:
                raise SetupError(f"Postgres did not restart within {START:.0f} s")
            time.sleep(0.05)

    return Server("postgres", lambda: postmaster.running(data()), restart)


def _entry(name: str) -> _Entry:
    """Return the entry that `make servers` wrote. Raise SetupError."""
    named = os.environ.get("RECORDGATE_TEST_SERVERS_DIR")
    from recordgate.embedded.binaries import SHARED

    kept = Path(named) if named else Path(".servers")
    if not named and not (kept / "run").is_dir():
        kept = SHARED / "servers"  # of root's project that only root may enter
    folder = Path(os.environ.get("RECORDGATE_TEST_SERVERS_RUN", kept / "run"))
    try:
        return _Entry(**json.loads((folder / "servers.json").read_text("utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError):
        raise SetupError(
            f"{name} is not running", hint="start the servers with `make servers`"
        ) from None


def _lives(pid: int) -> bool:
    """A process that has ended and was not waited for does not count."""
    from recordgate.embedded import postmaster

    state = process_state(pid)
    if state is not None or Path("/proc/self/stat").exists():
        return state not in (None, "Z")
    return postmaster.lives(pid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
