"""Elasticsearch killed, stopped, overloaded, blocked, or used by somebody else: nothing
acknowledged is lost, nothing of others is touched, and each is our error with a hint."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from compose.local import servers
from compose.local.process import Process
from stores.errors import RecordgateError, StoreLost, StoreRefused, StoreUnavailable
from stores.protocols import Outcome, Position, Write
from stores.query import SearchQuery
from stores.registry import open_store
from stores.search.elasticsearch.http import Http
from stores.search.elasticsearch.store import ElasticsearchStore
from stores.search.elasticsearch.tombstones import Purge
from stores.search.elasticsearch.url import parse
from tests.conformance.store_backends import held, run
from tests.conformance.store_contract import CONTRACT, author, delete, put
from tests.servers import fresh_folder, unless_it_cannot_be_had

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("elasticsearch_faults")]


@dataclass
class Server:
    """A server of these tests alone."""

    folder: Path
    process: Process
    url: str

    def start(self, settings: dict[str, str] | None = None) -> None:
        """Again, in its folder and at its port."""
        port = int(self.url.rpartition(":")[2])
        self.process, self.url = servers.start_elasticsearch(
            self.folder, settings=settings, port=port
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


NARROW = {"thread_pool.write.queue_size": "1", "thread_pool.write.size": "1"}
"""One thread for writes and a queue of one."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fresh_folder("elasticsearch-faults") as folder:
        with unless_it_cannot_be_had():
            process, url = servers.start_elasticsearch(folder)
        found = Server(folder, process, url)
        try:
            yield found
        finally:
            found.process.kill()


@pytest.fixture
def prefix() -> str:
    return "t" + secrets.token_hex(6)


@asynccontextmanager
async def opened(url: str, prefix: str, options: str = "") -> AsyncIterator[ElasticsearchStore]:
    store = open_store(f"{url}/{prefix}{options}".replace("http", "elasticsearch", 1), Path())
    assert isinstance(store, ElasticsearchStore)
    await store.open(CONTRACT, write=True)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def ready(url: str, prefix: str, options: str = "") -> AsyncIterator[ElasticsearchStore]:
    async with opened(url, prefix, options) as store:
        await store.create_generation("author", 1)
        await store.activate("author", 1)
        yield store


@asynccontextmanager
async def closing_http(url: str) -> AsyncIterator[Http]:
    http = Http(parse(url))
    try:
        yield http
    finally:
        await http.close()


async def insist(store: ElasticsearchStore, writes: Sequence[Write]) -> list[Outcome]:
    """Send as the writer's loop does: again what is to be sent again. The outcomes of every try."""
    seen: list[Outcome] = []
    left = list(writes)
    deadline = time.monotonic() + 90
    while left:
        assert time.monotonic() < deadline, "the server never took it"
        try:
            verdicts = await store.write("author", 1, left)
        except StoreUnavailable as error:
            await asyncio.sleep(error.retry_after or 0.2)
            continue
        seen += [v.outcome for v in verdicts]
        left = [w for w, v in zip(left, verdicts, strict=True) if v.outcome is Outcome.RETRY]
        await asyncio.sleep(0.02)
    return seen


def test_a_server_killed_in_a_bulk_loses_nothing_that_it_acknowledged(
    server: Server, prefix: str
) -> None:
    async def story() -> None:
        async with ready(server.url, prefix, "?timeout=5") as store:
            acknowledged: dict[str, int] = {}
            some = asyncio.Event()

            async def pour() -> None:
                for number in range(10_000):
                    part = [put(f"k{number:05}-{n}", 1) for n in range(50)]
                    verdicts = await store.write("author", 1, part)
                    acknowledged.update(
                        {w.key: 1 for w, v in zip(part, verdicts, strict=True)
                         if v.outcome is Outcome.APPLIED}
                    )  # fmt: skip
                    if number == 20:
                        some.set()

            pouring = asyncio.create_task(pour())
            await asyncio.wait_for(some.wait(), 60)
            server.process.kill()
            with pytest.raises(StoreUnavailable):
                await pouring
            with pytest.raises(StoreUnavailable):
                await store.publish(Position("s", 9, 9.0))
            assert not (await store.health()).ok
            await asyncio.to_thread(server.start)
            # The same store goes on: what it had is there, and what it sends again is not taken
            # twice.
            outcomes = await insist(store, [put(k, 1) for k in acknowledged])
            assert set(outcomes) <= {Outcome.STALE, Outcome.RETRY}
            await insist(store, [delete(k, 2) for k in list(acknowledged)[:100]])
            await store.publish(Position("s", 10, 10.0))
            assert set(list(acknowledged)[100:]) <= set(await held(store))
            assert not set(list(acknowledged)[:100]) & set(await held(store))
            position = await store.position()
            assert position
            assert position.lsn == 10

    run(story())


def test_a_server_that_does_not_answer_is_unavailable_in_time(server: Server, prefix: str) -> None:
    async def story() -> None:
        async with ready(server.url, prefix, "?timeout=1") as store:
            server.process.signal(signal.SIGSTOP)
            try:
                for work, most in (
                    (store.position, 3.0),
                    (lambda: store.search(SearchQuery("author")), 3.0),
                    (lambda: store.write("author", 1, [put("a", 1)]), 6.0),
                ):
                    began = time.monotonic()
                    with pytest.raises(StoreUnavailable):
                        await work()
                    assert time.monotonic() - began < most
                began = time.monotonic()
                assert not (await store.health()).ok
                assert time.monotonic() - began < 2.5
            finally:
                server.process.signal(signal.SIGCONT)
            await insist(store, [put("a", 2)])
            await store.publish(None)
            assert await held(store) == {"a": 2}

    run(story())


@pytest.mark.parametrize("block", ["write", "read_only", "read_only_allow_delete"])
def test_a_block_is_waited_for_and_named(server: Server, prefix: str, block: str) -> None:
    index = f"/{prefix}-conformance-author-1/_settings"

    async def story() -> None:
        async with ready(server.url, prefix) as store:
            server.ask("PUT", index, {f"index.blocks.{block}": True})
            with pytest.raises(StoreUnavailable) as blocked:
                await store.write("author", 1, [put("a", 1)])
            assert "block" in blocked.value.message
            assert blocked.value.hint
            server.ask("PUT", index, {f"index.blocks.{block}": None})
            await insist(store, [put("a", 1)])
            await store.publish(None)
            assert await held(store) == {"a": 1}

    run(story())


def test_an_index_that_somebody_deleted_is_lost_and_not_made_by_a_write(
    server: Server, prefix: str
) -> None:
    async def story() -> None:
        async with ready(server.url, prefix) as store:
            await insist(store, [put("a", 1)])
            server.ask("DELETE", f"/{prefix}-conformance-author-1")
            with pytest.raises(StoreUnavailable):
                await store.publish(Position("s", 1, 1.0))
            with pytest.raises(StoreRefused):  # it is in no list any more
                await store.write("author", 1, [put("b", 1)])
            assert await store.position() is None
            assert await store.generations("author") == []
            server.ask("DELETE", f"/{prefix}-conformance")
            with pytest.raises(StoreLost):
                await store.publish(Position("s", 1, 1.0))
        found = server.ask("GET", f"/_cat/indices/{prefix}*?format=json")
        assert found == []

    run(story())


def test_a_missing_alias_means_not_loaded(server: Server, prefix: str) -> None:
    async def story() -> None:
        async with ready(server.url, prefix) as store:
            alias = f"{prefix}-conformance-author"
            server.ask("DELETE", f"/{alias}-1/_alias/{alias}")
            with pytest.raises(StoreUnavailable):
                await store.search(SearchQuery("author"))
            assert [g.state for g in await store.generations("author")] == ["retired"]
            await store.activate("author", 1)
            assert (await store.search(SearchQuery("author"))).total == 0

    run(story())


def _foreign(server: Server, name: str) -> None:
    server.ask("PUT", f"/{name}", {"settings": {"number_of_replicas": 0}})
    server.ask("PUT", f"/{name}/_doc/1?refresh=true", {"theirs": True})


def _untouched(server: Server, name: str) -> bool:
    found = server.ask("GET", f"/{name}/_search")["hits"]["hits"]
    return [h["_source"] for h in found] == [{"theirs": True}]


def test_nothing_of_somebody_else_is_touched(server: Server, prefix: str) -> None:
    books, alias = f"{prefix}-conformance", f"{prefix}-conformance-author"

    async def story() -> None:
        _foreign(server, books)
        with pytest.raises(StoreLost) as lost:
            async with opened(server.url, prefix):
                pass
        assert lost.value.hint
        assert _untouched(server, books)
        server.ask("DELETE", f"/{books}")

        _foreign(server, f"{alias}-7")
        async with opened(server.url, prefix) as store:
            for call in (
                store.create_generation("author", 7),
                store.activate("author", 7),
                store.drop_generation("author", 7),
                store.write("author", 7, [put("a", 1)]),
                store.generations("author"),
            ):
                with pytest.raises(StoreLost) as lost:
                    await call
                assert lost.value.hint
            assert _untouched(server, f"{alias}-7")
        server.ask("DELETE", f"/{alias}-7")

        _foreign(server, alias)
        async with opened(server.url, prefix) as store:
            await store.create_generation("author", 1)
            with pytest.raises(StoreLost):
                await store.activate("author", 1)
            assert _untouched(server, alias)
        server.ask("DELETE", f"/{alias}")

        _foreign(server, f"{prefix}-theirs")
        server.ask("PUT", f"/{prefix}-theirs/_alias/{alias}")
        async with opened(server.url, prefix) as store:
            with pytest.raises(StoreLost):
                await store.activate("author", 1)
            with pytest.raises(StoreLost):
                await store.search(SearchQuery("author"))
            assert _untouched(server, alias)

    run(story())


def test_a_contract_with_the_same_slug_is_somebody_else(server: Server, prefix: str) -> None:
    other = type(CONTRACT)("Conformance!", "x", "1", CONTRACT.types)
    assert other.slug == CONTRACT.slug

    async def story() -> None:
        async with ready(server.url, prefix) as store:
            await insist(store, [put("a", 1)])
            await store.publish(None)
        url = f"{server.url}/{prefix}".replace("http", "elasticsearch", 1)
        for write in (True, False):
            with pytest.raises(StoreLost) as lost:
                await open_store(url, Path()).open(other, write=write)
            assert lost.value.hint
        async with opened(server.url, prefix) as store:
            assert await held(store) == {"a": 1}

    run(story())


def test_a_late_write_does_not_bring_a_deleted_record_back(server: Server, prefix: str) -> None:
    """Elasticsearch forgets its own deletes after `gc_deletes`; our tombstones are documents."""

    async def story() -> None:
        async with ready(server.url, prefix) as store:
            server.ask(
                "PUT", f"/{prefix}-conformance-author-1/_settings", {"index.gc_deletes": "10ms"}
            )
            await insist(store, [put("a", 1)])
            await insist(store, [delete("a", 5), delete("never there", 5)])
            await store.publish(None)
            await asyncio.sleep(1.5)
            late = await store.write("author", 1, [put("a", 4), put("never there", 4)])
            assert [v.outcome for v in late] == [Outcome.STALE] * 2
            await store.publish(None)
            assert await held(store) == {}
            assert (await store.search(SearchQuery("author"))).total == 0
            assert server.ask("GET", f"/{prefix}-conformance-author/_count")["count"] == 0

    run(story())


def test_old_tombstones_go_and_a_record_written_again_stays(server: Server, prefix: str) -> None:
    async def story() -> None:
        async with ready(server.url, prefix) as store:
            await insist(store, [delete("gone", 1), delete("back", 1), put("here", 1)])
            await store.publish(None)
            await insist(store, [put("back", 2)])
            # Before anything is refreshed, so that the tombstone of "back" is still what a search
            # finds.
            index = f"{prefix}-conformance-author-1"
            purge = Purge(keep_seconds=-5.0, every=0.0)
            async with closing_http(server.url) as http:
                await purge.some(http, [index])
                await purge.some(http, [index])
            await store.publish(None)
            server.ask("POST", f"/{prefix}-conformance-author-1/_refresh")
            assert await held(store) == {"back": 2, "here": 1}
            assert server.ask("GET", f"/{prefix}-conformance-author-1/_count")["count"] == 2

    run(story())


def test_a_document_too_large_for_the_server_is_a_verdict_and_not_an_end(
    server: Server, prefix: str
) -> None:
    """A server of 512 MB takes some 6 MB at once; what is larger must not be tried for ever."""

    async def story() -> None:
        async with ready(server.url, prefix) as store:
            fits = author("fits", "x y " * 500_000)
            large = author("large", "x y " * 3_900_000)
            writes = [
                put("small", 1), Write("large", 1, large), put("after", 1), Write("fits", 1, fits),
                Write("huge", 1, author("huge", "x" * 20_000_000)),
            ]  # fmt: skip
            verdicts = await store.write("author", 1, writes)
            assert verdicts[1].outcome is Outcome.REJECT
            assert "indexing_pressure" in verdicts[1].reason
            assert verdicts[4].outcome is Outcome.REJECT
            await insist(store, [writes[0], writes[2], writes[3]])
            await store.publish(None)
            found = {s.key: s.document for s in await store.scan("author", 1, None, 10)}
            assert set(found) == {"small", "after", "fits"}
            assert found["fits"] == fits

    run(story())


def test_an_overloaded_server_asks_to_wait_and_everything_gets_in(
    server: Server, prefix: str
) -> None:
    server.process.kill()
    server.start(NARROW)

    async def story() -> None:
        async with ready(server.url, prefix) as store:
            parts = [[put(f"{n}-{k}", 1) for k in range(300)] for n in range(24)]
            refused = 0

            async def one(part: list[Write]) -> None:
                nonlocal refused
                refused += (await insist(store, part)).count(Outcome.RETRY)

            await asyncio.gather(*map(one, parts))
            await store.publish(None)
            assert await store.count("author", 1) == 24 * 300
            assert refused, "the server was never full: the test proves nothing"

    run(story())


# Places that are none -----------------------------------------------------------------------------


def test_nobody_there_is_unavailable_and_shows_no_password(prefix: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def story() -> None:
        with pytest.raises(StoreUnavailable) as error:
            async with opened(f"http://u:s3cret@127.0.0.1:{port}", prefix):
                pass
        assert "s3cret" not in str(error.value)
        assert error.value.hint

    run(story())


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str]) -> Iterator[str]:
    """A server that says the same to everything: what is not, or not yet, an Elasticsearch we speak
    to."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    found = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


JSON = {"content-type": "application/json"}
ELASTIC = JSON | {"x-elastic-product": "Elasticsearch"}
OLD_CLIENT = (
    b'{"error":{"type":"media_type_header_exception","reason":"Accept version"},"status":400}'
)


@pytest.mark.parametrize(
    ("status", "body", "headers", "says"),
    [
        (200, b'{"hello": 1}', JSON, "not Elasticsearch"),
        (200, b"<html>", {"content-type": "text/html"}, "not Elasticsearch"),
        (200, b'{"version": {"number": "8.11.0"}}', ELASTIC, "too old"),
        (400, OLD_CLIENT, ELASTIC, "older than the installed client"),
        (401, b'{"error":{"type":"security_exception","reason":"s3cret"}}', ELASTIC, "login"),
        (
            403,
            b'{"error":{"type":"security_exception","reason":"s3cret"}}',
            ELASTIC,
            "denies the request",
        ),
    ],
)
def test_a_server_we_cannot_work_with_is_refused_with_the_reason(
    prefix: str, status: int, body: bytes, headers: dict[str, str], says: str
) -> None:
    async def story(url: str) -> None:
        with pytest.raises(StoreRefused) as error:
            async with opened(url, prefix):
                pass
        assert says in error.value.message
        assert "s3cret" not in str(error.value)

    with answering(status, body, headers) as url:
        run(story(url))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_a_certificate_of_an_unknown_issuer_is_named(prefix: str, tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=x",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            listener.settimeout(0.2)
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                    with connection, context.wrap_socket(connection, server_side=True):
                        pass
                except OSError:
                    continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        async def story() -> None:
            with pytest.raises(RecordgateError) as error:
                async with opened(f"http+https://127.0.0.1:{listener.getsockname()[1]}", prefix):
                    pass
            assert isinstance(error.value, StoreUnavailable)
            assert "certificate" in error.value.message
            assert "ca=" in error.value.hint

        try:
            run(story())
        finally:
            stop.set()
            thread.join()
