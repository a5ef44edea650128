"""A server as a plain process: its own folder, its own log, a pid file; stopped by its id and
nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

UNPRIVILEGED = 65534
"""The account `nobody`: servers that refuse root run as it."""


class ServerProblem(RuntimeError):
    """A server could not be fetched or started; the message says why and where its log is."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def open_to_account(folder: Path) -> None:
    """Give `folder` and what is in it to the unprivileged account, where we are root."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, UNPRIVILEGED, UNPRIVILEGED)


@dataclass
class Process:
    """A started process; `folder` holds its `pid` and its `log`."""

    name: str
    folder: Path
    pid: int
    child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def alive(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            return False
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return False
        return state != "Z"

    def signal(self, number: int) -> None:
        if self.alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._wait(10)

    def stop(self, timeout: float = 20) -> None:
        """SIGTERM; SIGKILL after `timeout` seconds."""
        self.signal(signal.SIGTERM)
        if not self._wait(timeout):
            self.kill()
        (self.folder / "pid").unlink(missing_ok=True)

    def _wait(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "; ".join(text.strip().splitlines()[-3:]) or "it said nothing"


def spawn(
    name: str,
    folder: Path,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    unprivileged: bool = False,
) -> Process:
    """Start `argv` with `folder` as its working directory."""
    folder.mkdir(parents=True, exist_ok=True)
    drop = unprivileged and os.geteuid() == 0
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            list(argv),
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=UNPRIVILEGED if drop else None,
            group=UNPRIVILEGED if drop else None,
            extra_groups=[] if drop else None,
        )
    (folder / "pid").write_text(str(child.pid))
    return Process(name, folder, child.pid, child)


def wait_until(process: Process, ready: Callable[[], bool], timeout: float) -> None:
    """Wait until `ready`; a process that ends or is too slow is stopped, with its last words
    told."""
    deadline = time.monotonic() + timeout
    while not ready():
        if not process.alive():
            raise ServerProblem(f"{process.name} ended at start: {process.last_words()}")
        if time.monotonic() > deadline:
            process.kill()
            raise ServerProblem(
                f"{process.name} is not ready after {timeout:.0f} s: {process.last_words()}"
            )
        time.sleep(0.1)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
