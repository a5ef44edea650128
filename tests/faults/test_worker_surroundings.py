"""What is around the worker fails under it: a store's answers, canonical's server, the disk. It
goes on by itself, and afterwards whole documents are equal."""

from __future__ import annotations

import asyncio
import http.client
import resource
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from tests.servers import remove_elasticsearch_indexes
from tests.sync_world import WorkerProcess, World, fill, shop

PATIENCE = 60.0
LATE = 5.0
"""Seconds; a write of the store's has four."""


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with shop(database, tmp_path) as found:
        fill(found)
        yield found


def change(world: World, turn: int) -> None:
    world.sql(
        f"UPDATE public.products SET name = 'turn {turn}' WHERE sku = 'sku,{1 + turn % 12}'",
        f"DELETE FROM public.lines WHERE id = {turn}",
        f"UPDATE public.countries SET region_code = 'r{1 + turn % 4}' WHERE iso = 'c{1 + turn % 9}'",
    )


# A store's answers ------------------------------------------------------------------------------------

FAULTS = ("429", "500", "half", "late", "garbage", "nothing")


class Proxy(ThreadingHTTPServer):
    """In front of a real server. While `fault` is set, each third request that is no GET meets it;
    `met` counts."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.server = urlsplit(server)
        self.fault: str | None = None
        self.met = 0
        self._asked = 0

    def handle_error(self, *_: object) -> None:
        """A client that has given up an answer is what some of the faults are for."""

    def fault_of(self, method: str) -> str | None:
        if self.fault is None or method in ("GET", "HEAD"):
            return None
        self._asked += 1
        if self._asked % 3:
            return None
        self.met += 1
        return self.fault


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        proxy = self.server
        assert isinstance(proxy, Proxy)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = proxy.fault_of(self.command)
        if fault == "429" or fault == "500":
            self._answer(int(fault), "application/json", b'{"error":{"type":"test"}}')
            return
        status, kind, answer = self._real(proxy, body)
        match fault:
            case "late":
                time.sleep(LATE)
                self.close_connection = True
            case "garbage":
                self._answer(200, "application/json", b"\x00\xff<html>" * 50)
            case "half":
                self._answer(status, kind, answer[: len(answer) // 2], len(answer))
                self.close_connection = True
            case "nothing":
                self.close_connection = True
            case _:
                self._answer(status, kind, answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

    def _real(self, proxy: Proxy, body: bytes) -> tuple[int, str, bytes]:
        server = http.client.HTTPConnection(
            proxy.server.hostname or "", proxy.server.port, timeout=60
        )
        headers = {
            k: v for k, v in self.headers.items() if k.lower() not in ("host", "accept-encoding")
        }
        server.request(self.command, self.path, body or None, headers)
        found = server.getresponse()
        answer = found.status, found.headers.get("content-type", ""), found.read()
        server.close()
        return answer

    def _answer(self, status: int, kind: str, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def proxy_of(server: str) -> Iterator[Proxy]:
    proxy = Proxy(server)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.servers
@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_answers_wrongly(world: World, elasticsearch_server: str, fault: str) -> None:
    sinks = ("search",)
    with proxy_of(elasticsearch_server) as proxy:
        place = f"elasticsearch://127.0.0.1:{proxy.server_port}/t{secrets.token_hex(8)}"
        world.stores = {"search": f"{place}?timeout=1"}

        async def main() -> None:
            proxy.fault = fault  # from the first load on
            async with world.running(sinks=sinks):
                deadline = time.monotonic() + PATIENCE
                turn = 0
                while proxy.met < (3 if fault == "late" else 8):
                    assert time.monotonic() < deadline, f"only {proxy.met} requests met {fault}"
                    await asyncio.to_thread(change, world, turn)
                    turn += 1
                    await asyncio.sleep(0.05)
                proxy.fault = None
                await world.synced(sinks)
                await world.assert_equal(sinks)
            assert world.one("SELECT count(*) AS n FROM recordgate.dead_letters") == 0

        try:
            asyncio.run(main())
        finally:
            proxy.fault = None
            remove_elasticsearch_indexes(place)


# Canonical --------------------------------------------------------------------------------------------


def test_canonical_is_killed_and_started_again_under_the_worker(
    own_server: Callable[..., str], tmp_path: Path
) -> None:
    """Every process of the server at once, in the middle of changes, twice; what was committed
    counts."""
    with shop(own_server(), tmp_path) as world:
        fill(world)

        async def main() -> None:
            async with world.running():
                await world.synced()
                for round_ in range(2):
                    for turn in range(20):
                        await asyncio.to_thread(change, world, 20 * round_ + turn)
                    await asyncio.to_thread(kill_the_server, world)
                    await asyncio.to_thread(connected_again, world)
                await world.synced()
                await world.assert_equal()

        asyncio.run(main())
        assert world.one("SELECT max(number) AS n FROM recordgate.generations") == 1


def kill_the_server(world: World) -> None:
    backend = psutil.Process(world.conn.info.backend_pid)
    postmaster = backend.parent()
    assert postmaster is not None
    for process in [postmaster, *postmaster.children(recursive=True)]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def connected_again(world: World) -> None:
    """The server's supervisor starts it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            world.conn = psycopg.connect(world.url, autocommit=True)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


# The disk ---------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_for_a_while(world: World) -> None:
    """No file of the worker may grow any more: its writes fail as on a full disk. Then there is
    room again."""
    with WorkerProcess(world) as worker:
        asyncio.run(world.synced())
        _, hard = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE)
        log = world.folder / "worker.log"
        # The log is a file of the worker, too: it must still say what is wrong.
        room = log.stat().st_size + 64 * 1024
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (room, hard))
        deadline = time.monotonic() + PATIENCE
        turn = 0
        while b"trying again" not in log.read_bytes():
            assert time.monotonic() < deadline
            assert worker.process.poll() is None
            change(world, turn)
            turn += 1
            time.sleep(0.05)
        change(world, turn)
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        asyncio.run(world.synced())
        asyncio.run(world.assert_equal())
        assert worker.process.poll() is None


# Others' locks ------------------------------------------------------------------------------------------


def test_a_reading_gives_way_to_who_locks_several_tables(world: World) -> None:
    """It holds the table of orders, and waits for that of products, when the table of orders is
    asked for: canonical would end the one that comes second, a truncate of the application's
    say."""
    with WorkerProcess(world):
        asyncio.run(world.synced())
        with psycopg.connect(world.url) as other:
            other.execute("LOCK TABLE public.products")
            world.sql("UPDATE public.lines SET quantity = 77")
            time.sleep(2.5)
            other.execute("LOCK TABLE public.orders, public.lines")
            other.execute("UPDATE public.products SET name = 'got them all'")
        asyncio.run(world.synced())
        asyncio.run(world.assert_equal())
        assert b"another transaction held" not in (world.folder / "worker.log").read_bytes()
