"""The process that owns an embedded server: `python -m recordgate.embedded.supervisor HOME
REPORT_FD`.

It starts the server (or adopts a live one whose supervisor was killed), starts it again when it
crashes, and stops it when nobody uses it any more. It learns of that by the exclusive lock on
users.lock, which it gets when the last user is gone, however that one ended. It needs the standard
library only, so that it starts fast.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from recordgate.embedded import locks, postmaster
from recordgate.embedded.layout import Launch, Layout, read_launch
from stores.errors import SetupError

log = logging.getLogger("recordgate.supervisor")

RETRY_FOR = 20.0
"""Seconds in which a start is tried again while a killed server's children give up its memory."""
CRASHES, CRASH_WINDOW = 5, 60.0
"""The server is given up after more than CRASHES crashes within CRASH_WINDOW seconds."""
TRANSIENT = ('lock file "', "shared memory block", "Address already in use")


class Supervisor:
    def __init__(self, layout: Layout, launch: Launch) -> None:
        self.layout, self.launch = layout, launch
        self.data = Path(launch.data)
        self.stopping = threading.Event()
        self._wake, self._waker = os.pipe()
        self._users = locks.open_lock(layout.users_lock)
        self._log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def stop_soon(self, *_: object) -> None:
        self.stopping.set()
        with suppress(OSError):
            os.write(self._waker, b".")

    def wait_for_no_users(self) -> None:
        locks.block_lock(self._users, exclusive=True)
        self.stop_soon()

    def run(self, report: int) -> None:
        """Serve until told to stop. Tells `report` once whether the server came up."""
        signal.signal(signal.SIGTERM, self.stop_soon)
        signal.signal(signal.SIGINT, self.stop_soon)
        try:
            server = self._adopt() or self._start()
        except SetupError as error:
            _tell(report, {"error": error.message, "hint": error.hint})
            raise
        _tell(report, {"pid": server.pid})
        threading.Thread(target=self.wait_for_no_users, daemon=True).start()
        crashes: deque[float] = deque(maxlen=CRASHES)
        while True:
            ended = server.wait(None, self._wake)
            if self.stopping.is_set():
                break
            if not ended:
                continue
            log.warning("the server ended unexpectedly; restarting it")
            if len(crashes) == CRASHES and time.monotonic() - crashes[0] < CRASH_WINDOW:
                raise SetupError(f"the server ended {CRASHES} times within {CRASH_WINDOW:.0f} s")
            crashes.append(time.monotonic())
            server = self._start()
        server.stop()

    def _adopt(self) -> postmaster.Process | None:
        """Return the live server that a killed supervisor left, after waiting for one that is
        ending; None if there is none."""
        pid = postmaster.running(self.data)
        if pid is None:
            return None
        found = postmaster.Process(pid, None)
        while not found.wait(0.02):
            if postmaster.is_ready(self.data):
                return found
        return None

    def _start(self) -> postmaster.Process:
        give_up = time.monotonic() + RETRY_FOR
        while True:
            before = os.fstat(self._log).st_size
            child = postmaster.start_process(self.launch, self._log)
            server = postmaster.Process(child.pid, child)
            while not server.wait(0.005):
                known = postmaster.read_lock_file(self.data)
                if known and known.ready and known.pid == child.pid:
                    return server
                if self.stopping.is_set():
                    return server  # told to end while it recovers
            said = self._said_since(before)
            if time.monotonic() > give_up or not any(t in said for t in TRANSIENT):
                raise SetupError(
                    f"Postgres did not start: {_reason(said)}", hint=f"see {self.layout.log}"
                )
            postmaster.remove_stale_lock_files(self.data, Path(self.launch.socket))
            time.sleep(0.1)

    def _said_since(self, offset: int) -> str:
        with self.layout.log.open("rb") as file:
            file.seek(offset)
            return file.read(100_000).decode("utf-8", errors="replace")


def _reason(said: str) -> str:
    for line in said.splitlines():
        for mark in ("FATAL:", "PANIC:", "postgres: "):
            if mark in line:
                return line.split(mark, 1)[1].strip()
    lines = said.strip().splitlines()
    return lines[-1] if lines else "no reason was given"


def _tell(report: int, what: dict[str, object]) -> None:
    """Answer the process that started us; it may be gone."""
    with suppress(OSError):
        os.write(report, json.dumps(what).encode() + b"\n")
    with suppress(OSError):
        os.close(report)


def main(home: str, report: int) -> int:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s supervisor: %(message)s")
    layout = Layout(Path(home))
    own = locks.open_lock(layout.supervisor_lock)
    # Users look at this lock by taking it shared for a moment.
    if not locks.wait_lock(own, exclusive=True, timeout=10):
        _tell(report, {"error": "another supervisor runs the server", "hint": ""})
        return 1
    os.ftruncate(own, 0)
    os.write(own, f"{os.getpid()}\n".encode())  # for people and tests; nothing of ours trusts it
    launch = read_launch(layout)
    if launch is None:
        _tell(report, {"error": f"{layout.launch} is missing", "hint": ""})
        return 1
    supervisor = Supervisor(layout, launch)
    try:
        supervisor.run(report)
    except SetupError as error:
        log.error("%s", error)
        return 1
    finally:
        shutil.rmtree(launch.socket, ignore_errors=True)
        os.close(own)  # before users.lock, which goes with the process: no user sees us half gone
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
