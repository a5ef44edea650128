"""A user of the embedded server: starts it, or joins those who use it already, and lets it go."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from recordgate.embedded import cluster, locks, postmaster
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries
from recordgate.embedded.layout import (
    DATABASE,
    SUPERUSER,
    Launch,
    Layout,
    read_launch,
    write_launch,
)
from stores.errors import SetupError

log = logging.getLogger(__name__)

PATIENCE = 600.0
"""Seconds a start may take: a crash with much WAL behind it means a long recovery."""
SUPERVISOR = (sys.executable, "-S", "-P", "-m", "recordgate.embedded.supervisor")
"""Interpreter options of the supervisor: without site packages and the current folder it starts
faster and imports nothing foreign."""
HEALS = 10
"""The number of times that a user mends a lost supervisor before it gives up."""


class EmbeddedPostgres:
    """One user's hold on the server of `data_dir`, which runs while anybody holds it.

    `extra_settings` are settings of Postgres; they count if this user starts the server.
    """

    def __init__(self, data_dir: Path, extra_settings: Mapping[str, str] | None = None) -> None:
        self.layout = Layout.of(data_dir)
        self._extra = dict(extra_settings or {})
        self._users: int | None = None
        self._url = ""

    def start(self) -> str:
        """Make sure that the server runs and accepts connections; its URL, with the password.
        Raises SetupError. Safe to call from several processes at once, and again after any
        crash."""
        if self._users is not None:
            return self._url
        self.layout.make()
        with self._starting():
            users = locks.open_lock(self.layout.users_lock)
            try:
                # Not free only while a supervisor that has seen the last user go stops the server.
                if not locks.wait_lock(users, exclusive=False, timeout=PATIENCE):
                    raise SetupError(f"the server of {self.layout.home} did not stop in time")
                launch = self._ensure()
                secret = cluster.password(self.layout, new=False)
            except BaseException:
                os.close(users)
                raise
        self._users = users
        self._url = (
            f"postgresql://{SUPERUSER}:{quote(secret, safe='')}@/{DATABASE}"
            f"?host={quote(launch.socket, safe='')}"
        )
        if "port" in self._extra:  # part of the socket's name
            self._url += f"&port={self._extra['port']}"
        threading.Thread(
            target=self._mend, args=(users,), name="embedded-postgres", daemon=True
        ).start()
        return self._url

    def release(self) -> None:
        """Stop using the server. The last user to do so, or to die, has the server stopped; nobody
        waits for it."""
        users, self._users = self._users, None
        if users is not None:
            os.close(users)

    def wait_stopped(self, timeout: float = 60.0) -> bool:
        """Wait until the server has stopped (all users gone, its supervisor too)."""
        deadline = time.monotonic() + timeout
        while not locks.is_free(self.layout.supervisor_lock):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def remove(self) -> None:
        """Remove the server's data for good. Raises SetupError while somebody uses them."""
        self.release()
        if not self.layout.home.is_dir():
            return
        with self._starting():
            users = locks.open_lock(self.layout.users_lock)
            try:
                # The supervisor first: it waits for the lock that we are about to ask for.
                gone = self.wait_stopped(10)
                if not gone or not locks.wait_lock(users, exclusive=True, timeout=10):
                    raise SetupError(
                        f"{self.layout.home} is in use", hint="stop the other processes first"
                    )
                launch = read_launch(self.layout)
                if launch is not None and Path(launch.data).parent != self.layout.home:
                    shutil.rmtree(Path(launch.data).parent, ignore_errors=True)
                shutil.rmtree(self.layout.home, ignore_errors=True)
            finally:
                os.close(users)

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def url(self) -> str:
        """The URL of `start`; empty before."""
        return self._url

    # ------------------------------------------------------------------------------------------

    def _starting(self) -> AbstractContextManager[None]:
        refusal = SetupError(
            f"another process is starting the server of {self.layout.home} and has not"
            " finished in time",
            hint=f"see {self.layout.log}",
        )
        return locks.exclusive(self.layout.start_lock, PATIENCE, refusal)

    def _ensure(self) -> Launch:
        """Return the launch of a server that has a supervisor and is ready. Called under start.lock
        and with a shared users.lock. Raises SetupError where the server does not become ready in
        time."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if locks.is_free(self.layout.supervisor_lock):
                return self._launch()
            launch = read_launch(self.layout)
            if launch is not None and postmaster.is_ready(Path(launch.data)):
                return launch
            time.sleep(0.01)
        raise SetupError(
            f"the server of {self.layout.home} did not become ready in time",
            hint=f"see {self.layout.log}",
        )

    def _launch(self) -> Launch:
        launch = self._prepare()
        write_launch(self.layout, launch)
        log_file = self.layout.log
        if log_file.exists():  # the last run's is kept, so two runs bound the size
            log_file.replace(log_file.with_name("log.previous"))
        read, write = os.pipe()
        try:
            with open(
                os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb"
            ) as out:
                root = str(Path(__file__).parents[2])
                subprocess.Popen(
                    [*SUPERVISOR, str(self.layout.home), str(write)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd="/",
                    env={**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
                    pass_fds=(write,),
                    start_new_session=True,
                )
            os.close(write)
            write = -1
            with open(read, "rb") as answers:
                read = -1
                answer = answers.readline()
        finally:
            for fd in (read, write):
                if fd >= 0:
                    os.close(fd)
        told = (
            json.loads(answer) if answer else {"error": "its supervisor process ended", "hint": ""}
        )
        if "error" in told:
            raise SetupError(told["error"], hint=told["hint"] or f"see {log_file}")
        return launch

    def _prepare(self) -> Launch:
        """Make what a supervisor needs and is missing (programs, cluster, socket), and return the
        launch."""
        known = read_launch(self.layout)
        data = Path(known.data) if known else self.layout.data
        account = choose_account(data)
        binaries = find_binaries(account)
        if known and postmaster.running(data) is not None:
            return known  # its supervisor was killed: the next one adopts it as it is
        settings = self._extra
        if not data.is_dir():
            if not known:
                data = cluster.place_data(self.layout, account)
            secret = cluster.password(self.layout, new=True)
            sync = settings.get("fsync", "on") != "off"
            cluster.make_cluster(data, binaries, account, secret, sync=sync)
        cluster.claim_data(self.layout, data)
        cluster.check_version(data, binaries)
        socket = cluster.socket_folder(account, known.socket if known else None)
        return Launch(
            str(data), socket, str(binaries.folder), account.uid, account.gid, dict(settings)
        )

    def _mend(self, users: int) -> None:
        """Give the server a new supervisor whenever the last one was killed. Runs in a thread."""
        for attempt in range(HEALS):
            watch = locks.open_lock(self.layout.supervisor_lock)
            locks.block_lock(watch, exclusive=False)
            os.close(watch)
            if self._users != users:
                return
            with suppress(SetupError):
                with self._starting():
                    if self._users == users:
                        log.warning(
                            "the supervisor of the embedded Postgres is gone; restarting it"
                        )
                        self._ensure()
                continue
            time.sleep(min(2.0**attempt, 30))
        log.error("the embedded Postgres cannot be kept running; see %s", self.layout.log)
