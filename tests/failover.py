"""A primary with a standby made by pg_basebackup, of the embedded Postgres' programs: to be cut
off, killed, promoted, and put back from a base backup. Every server listens on a port of its own;
`Servers.url` leads to whichever takes writes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from compose.local.process import free_port
from recordgate.embedded.account import choose_account
from recordgate.embedded.binaries import find_binaries

USER = "recordgate"
PATIENCE = 30.0
SETTINGS = {
    "wal_level": "logical",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "hot_standby_feedback": "on",
    "wal_receiver_status_interval": "1",
    "wal_retrieve_retry_interval": "100ms",
    "logging_collector": "off",
}


class Servers:
    """Servers of one system, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._account = choose_account(None)
        self._programs = find_binaries(self._account)
        self._account.own(folder)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._ports.values())
        return f"postgresql://{USER}@{hosts}/postgres?target_session_attrs=read-write"

    def url_of(self, name: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self._ports[name]}/postgres"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs[program], *arguments],
            capture_output=True,
            cwd="/",
            timeout=60,
            check=False,
            **self._account.process_options(),
        )
        assert done.returncode == 0, done.stderr.decode()

    def make(self, name: str) -> None:
        """A new cluster."""
        self._run(
            "initdb", "-D", str(self.folder / name), "-U", USER, "-E", "UTF8", "--locale=C", "-A", "trust", "--no-sync"
        )  # fmt: skip
        self._ports.setdefault(name, free_port())

    def copy(self, source: str, name: str) -> None:
        """A base backup of `source`."""
        self._run(
            "pg_basebackup", "-D", str(self.folder / name), "-d", self.url_of(source), "-X", "stream", "-c", "fast", "--no-sync"
        )  # fmt: skip
        self._ports.setdefault(name, free_port())

    def sign(self, name: str, signal_file: str) -> None:
        """`standby.signal`, or `recovery.signal`."""
        file = self.folder / name / signal_file
        file.touch()
        self._account.own(file)

    def start(self, name: str, **settings: str) -> None:
        given = {**SETTINGS, "port": str(self._ports[name]), **settings}
        options = [part for n, v in given.items() for part in ("-c", f"{n}={v}")]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [self._programs["postgres"], "-D", str(self.folder / name), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._account.process_options(),
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(self.url_of(name)).close()
            except psycopg.OperationalError:
                assert self._running[name].poll() is None, self.log(name)
                assert time.monotonic() < deadline, self.log(name)
                time.sleep(0.02)
            else:
                return

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def kill(self, name: str) -> None:
        """As a machine that fails: nothing is flushed, nobody is told."""
        process = self._running.pop(name)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, check=False
        )
        for pid in (process.pid, *map(int, children.stdout.split())):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.send_signal(signal.SIGINT)
        process.wait(30)

    # The pair --------------------------------------------------------------------------------------

    def pair(self) -> None:
        """A primary `a` and its standby `b`."""
        self.make("a")
        self.start("a")
        self.standby("a", "b")

    def standby(self, source: str, name: str) -> None:
        with psycopg.connect(self.url_of(source), autocommit=True) as conn:
            conn.execute("SELECT pg_create_physical_replication_slot(%s, true)", (name,))
        self.copy(source, name)
        self.sign(name, "standby.signal")
        self.follow(source, name, start=True)

    def follow(self, source: str, name: str, *, start: bool = False) -> None:
        leader = f"host=127.0.0.1 port={self._ports[source]} user={USER} dbname=postgres"
        if start:
            self.start(name, primary_slot_name=name)
        self._set_primary(name, leader)

    def cut_off(self, name: str) -> None:
        """What is committed from now on does not reach the standby."""
        self._set_primary(name, "")
        with psycopg.connect(self.url_of(name), autocommit=True) as conn:
            _wait(conn, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)")

    def _set_primary(self, name: str, leader: str) -> None:
        with psycopg.connect(self.url_of(name), autocommit=True) as conn:
            conn.execute(f"ALTER SYSTEM SET primary_conninfo = '{leader}'".encode())
            conn.execute("SELECT pg_reload_conf()")

    def caught_up(self, source: str, name: str) -> None:
        """Wait until the standby has replayed all that `source` has committed."""
        with (
            psycopg.connect(self.url_of(source), autocommit=True) as one,
            psycopg.connect(self.url_of(name), autocommit=True) as other,
        ):
            row = one.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
            assert row is not None
            _wait(other, f"SELECT pg_last_wal_replay_lsn() >= '{row[0]}'")

    def sync_slot(self, source: str, name: str, slot: str) -> None:
        """Wait until the standby has the failover slot for good; one that nobody has read yet is
        moved on, for else the standby does not take it."""
        deadline = time.monotonic() + PATIENCE
        with psycopg.connect(self.url_of(name), autocommit=True) as conn:
            while True:
                assert time.monotonic() < deadline, self.log(name)
                self.caught_up(source, name)
                conn.execute("SELECT pg_sync_replication_slots()")
                row = conn.execute(
                    "SELECT temporary FROM pg_replication_slots WHERE slot_name = %s", (slot,)
                ).fetchone()
                if row is not None and not row[0]:
                    return
                with psycopg.connect(self.url_of(source), autocommit=True) as primary:
                    primary.execute("SELECT pg_log_standby_snapshot()")
                    primary.execute(
                        "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn())"
                        " FROM pg_replication_slots WHERE slot_name = %s AND active_pid IS NULL",
                        (slot,),
                    )
                time.sleep(0.05)

    def promote(self, name: str) -> None:
        with psycopg.connect(self.url_of(name), autocommit=True) as conn:
            conn.execute("SELECT pg_promote()")
            _wait(conn, "SELECT NOT pg_is_in_recovery()")


def _wait(conn: psycopg.Connection[tuple[bool]], question: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not (conn.execute(question.encode()).fetchone() or (False,))[0]:
        assert time.monotonic() < deadline, question
        time.sleep(0.02)


@contextmanager
def servers() -> Iterator[Servers]:
    fast = Path("/dev/shm")
    root = fast if os.access(fast, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="recordgate-failover-", dir=root))
    folder.chmod(0o755)
    found = Servers(folder)
    try:
        yield found
    finally:
        for name in list(found._running):
            found.kill(name)
        shutil.rmtree(folder, ignore_errors=True)
