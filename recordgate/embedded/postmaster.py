"""The server's main process: its lock file, whether it lives and is ready, its command line, its
end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recordgate.embedded.account import Account
from recordgate.embedded.layout import Launch

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "wal_level": "logical",
    "max_connections": "100",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_slot_wal_keep_size": "4GB",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Sized for a laptop. `max_slot_wal_keep_size` bounds what a forgotten slot can hold back. The log
holds the server's own events only: errors of statements carry values of rows, and would make it
grow."""

STOP_FAST = 60.0
STOP_IMMEDIATE = 10.0
"""Seconds that a fast stop (with its checkpoint) and an immediate one may take."""


@dataclass(frozen=True, slots=True)
class LockFile:
    """The content of postmaster.pid (source: src/include/utils/pidfile.h)."""

    pid: int
    ready: bool


def read_lock_file(data: Path) -> LockFile | None:
    """Return the lock file of the cluster, or None."""
    return _read_lock_file(data / "postmaster.pid")


def _read_lock_file(file: Path) -> LockFile | None:
    """Parse the lock file of a cluster or of its socket, which begin alike."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
        pid = abs(int(lines[0]))
    except (OSError, ValueError, IndexError):
        return None
    return LockFile(pid, ready=len(lines) >= 8 and lines[7].strip() == "ready")


def running(data: Path) -> int | None:
    """Return the process id of the live server of the cluster in `data`, or None."""
    found = read_lock_file(data)
    return found.pid if found and lives(found.pid) and _works_in(found.pid, data) else None


def is_ready(data: Path) -> bool:
    found = read_lock_file(data)
    return bool(found and found.ready and lives(found.pid) and _works_in(found.pid, data))


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _works_in(pid: int, data: Path) -> bool:
    """Return whether the process has the cluster as its working folder, as all of Postgres'
    processes do. Ids are used again: without this, anybody's process could be taken for the
    server."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:
        return False


def remove_stale_lock_files(data: Path, socket: Path) -> None:
    """Remove the lock files of the cluster and of its socket whose process id belongs to somebody
    else by now, or to a dead process that nobody waits for (as in a container whose first
    process is no init), which Postgres cannot know. Only where no process works in the cluster
    any more: a killed server's children may outlive it."""
    if not sys.platform.startswith("linux"):
        return
    stale = [
        file
        for file in (data / "postmaster.pid", *socket.glob(".s.PGSQL.*.lock"))
        if (found := _read_lock_file(file)) and lives(found.pid) and not _works_in(found.pid, data)
    ]
    pids = (int(p) for p in os.listdir("/proc") if p.isdigit())
    if stale and not any(_works_in(pid, data) for pid in pids):
        for file in stale:
            file.unlink(missing_ok=True)


def start_process(launch: Launch, log: int) -> subprocess.Popen[bytes]:
    """Start the server; `log` is the descriptor its messages go to."""
    settings: Mapping[str, str] = {
        **SETTINGS,
        "unix_socket_directories": launch.socket,
        **launch.settings,
    }
    command = [str(Path(launch.binaries) / "postgres"), "-D", launch.data]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
        umask=0o077,
        start_new_session=True,
        **Account(launch.uid, launch.gid).process_options(),
    )


class Process:
    """A live server, our child or adopted from a supervisor that died."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self._child = child
        self._fd: int | None = None
        if hasattr(os, "pidfd_open"):
            with suppress(OSError):  # it has ended already, or the kernel is too old
                self._fd = os.pidfd_open(pid)

    def ended(self) -> bool:
        if self._child is not None:
            return self._child.poll() is not None
        if self._fd is not None:
            return bool(_readable([self._fd], 0))
        return not lives(self.pid)

    def wait(self, timeout: float | None, wake: int | None = None) -> bool:
        """Wait until it has ended, `wake` is readable, or `timeout` seconds; whether it has
        ended."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.ended():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            if self._fd is None:
                left = 0.2 if left is None else min(left, 0.2)
            fds = [fd for fd in (self._fd, wake) if fd is not None]
            if wake is not None and wake in _readable(fds, left):
                break
            if wake is None:
                _readable(fds, left)
        return self.ended()

    def stop(self) -> None:
        """End it: cleanly, else at once (the next start recovers), else by force."""
        for number, patience in (
            (signal.SIGINT, STOP_FAST),
            (signal.SIGQUIT, STOP_IMMEDIATE),
            (signal.SIGKILL, STOP_IMMEDIATE),
        ):
            with suppress(ProcessLookupError):
                if not self.ended():
                    os.kill(self.pid, number)
            if self.wait(patience):
                return


def _readable(fds: list[int], timeout: float | None) -> set[int]:
    if not fds:
        time.sleep(timeout or 0)
        return set()
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    return {fd for fd, _ in poller.poll(None if timeout is None else max(0, timeout * 1000))}
