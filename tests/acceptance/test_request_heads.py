"""What anybody can send before it is known who asks is bounded: the bytes of a request's head, its
fields, the time until it is whole, and how long a connection may say nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect

from recordgate.http_protocol import HeadLimits
from recordgate.http_server import bind, serve

LIMITS = HeadLimits(most=4_000, seconds=0.5)
PATIENCE = 8.0


async def echo(request: Request) -> Response:
    """The size of the body, and the names of the fields as they are when it is whole."""
    size = len(await request.body())
    return JSONResponse({"body": size, "fields": sorted(request.headers.keys())})


async def refuse(_: Request) -> Response:
    return Response(status_code=413)


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, int]]:
    app = Starlette(
        routes=[
            Route("/", echo, methods=["GET", "POST"]),
            Route("/refuse", refuse, methods=["POST"]),
            WebSocketRoute("/socket", socket),
        ]
    )
    sock, stop, up = bind("127.0.0.1", 0), asyncio.Event(), asyncio.Event()
    served = asyncio.ensure_future(serve(app, sock, stop, lambda _: up.set(), head=LIMITS))
    await up.wait()
    try:
        yield sock.getsockname()[:2]
    finally:
        stop.set()
        await served


class Line:
    """One connection, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(PATIENCE):
            status = int((await self.reader.readline()).split()[1])
            headers: dict[str, str] = {}
            while line := (await self.reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            return (
                status,
                headers,
                await self.reader.readexactly(int(headers["content-length"])),
            )

    async def closed(self) -> bytes:
        """What still came until the other side closed."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def until_refused(self, data: bytes, pause: float) -> None:
        """Send again and again. Raises ConnectionError once the other side has closed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                await self.send(data)
                await asyncio.sleep(pause)


def run(go: Callable[[Line, tuple[str, int]], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving() as place:
            line = Line(*await asyncio.open_connection(*place))
            try:
                await go(line, place)
            finally:
                line.writer.close()

    asyncio.run(main())


def fields(count: int, value: bytes = b"v") -> bytes:
    return b"".join(b"f%d: %s\r\n" % (i, value) for i in range(count))


TOO_LARGE = {
    "a long field": b"GET / HTTP/1.1\r\nx: " + b"a" * 5_000 + b"\r\n\r\n",
    "a long name": b"GET / HTTP/1.1\r\n" + b"a" * 5_000 + b": x\r\n\r\n",
    "a long path": b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n",
    "a long query": b"GET /?query=" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n",
    "many fields": b"GET / HTTP/1.1\r\n" + fields(101) + b"\r\n",
    "many long fields": b"GET / HTTP/1.1\r\n" + fields(50, b"v" * 100) + b"\r\n",
    "a field without end": b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000,
    "empty lines": b"\r\n" * 5_000,
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("piece", [100_000, 700])
def test_a_head_that_is_too_large_is_refused_and_its_connection_closed(
    name: str, piece: int
) -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        data = TOO_LARGE[name]
        for at in range(0, len(data), piece):
            await line.send(data[at : at + piece])
            await asyncio.sleep(0.001)
        status, headers, body = await line.answer()
        assert status == 431, body
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "HEAD_TOO_LARGE"
        await line.closed()

    run(go)


def test_what_is_within_the_limits_is_answered_on_one_connection() -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        small = b"GET / HTTP/1.1\r\nhost: x\r\n" + fields(90) + b"\r\n"
        for _ in range(3):
            await line.send(small)
            assert (await line.answer())[0] == 200
        # A body is none of the head, in one piece with it or not, also one with the next head
        # behind it.
        large = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + b"b" * 100_000
        await line.send(large)
        assert json.loads((await line.answer())[2])["body"] == 100_000
        await line.send(large + small[:40])
        assert json.loads((await line.answer())[2])["body"] == 100_000
        await line.send(small[40:] + small)
        assert (await line.answer())[0] == 200
        assert (await line.answer())[0] == 200
        chunks = b"".join(b"1\r\nb\r\n" for _ in range(5_000)) + b"0\r\n\r\n"
        await line.send(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
        )
        assert json.loads((await line.answer())[2])["body"] == 5_000

    run(go)


def test_a_head_that_does_not_come_is_not_waited_for() -> None:
    async def go(line: Line, place: tuple[str, int]) -> None:
        silent = [Line(*await asyncio.open_connection(*place)) for _ in range(50)]
        slow = Line(*await asyncio.open_connection(*place))
        started = time.monotonic()
        # A byte now and then does not make it longer.
        for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx: aaaaaaaaaaa":
            await slow.send(bytes([byte]))
            await asyncio.sleep(0.02)
        status, _, body = await slow.answer()
        assert status == 408
        assert json.loads(body)["code"] == "REQUEST_TIMEOUT"
        assert time.monotonic() - started < PATIENCE / 2
        for one in silent:
            assert await one.closed() == b""
        # Also after a request that was answered.
        fresh = Line(*await asyncio.open_connection(*place))
        await fresh.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await fresh.answer())[0] == 200
        await fresh.send(b"GET / HTT")
        assert (await fresh.answer())[0] == 408
        await fresh.closed()
        for one in (*silent, slow, fresh):
            one.writer.close()

    run(go)


def test_a_body_whose_answer_is_given_already_is_not_taken_for_ever() -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(b"POST /refuse HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        assert (await line.answer())[0] == 413
        with pytest.raises(ConnectionError):
            await line.until_refused(b"b", 0.02)

    run(go)


TRAILED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n"


def test_fields_that_trail_a_body_are_not_the_requests() -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(TRAILED + b"x-api-key: of another\r\n\r\n")
        status, _, body = await line.answer()
        assert status == 200
        assert json.loads(body) == {"body": 1, "fields": ["host", "transfer-encoding"]}

    run(go)


@pytest.mark.parametrize(
    "trailer", [b"x: " + b"a" * 10_000, b"x: a\r\n" * 200], ids=["long", "many"]
)
def test_what_trails_a_body_is_bounded_as_a_head_is(trailer: bytes) -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(TRAILED)
        with pytest.raises(ConnectionError):
            await line.until_refused(trailer, 0.001)

    run(go)


def test_what_is_no_http_is_refused_as_all_else_is() -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        status, headers, body = await line.answer()
        assert status == 400
        assert headers["connection"] == "close"
        assert json.loads(body)["code"] == "BAD_USER_INPUT"

    run(go)


def test_a_websocket_stays_open_beyond_the_time_of_a_head() -> None:
    async def go(_line: Line, place: tuple[str, int]) -> None:
        async with connect(f"ws://{place[0]}:{place[1]}/socket") as opened:
            await asyncio.sleep(LIMITS.seconds * 3)
            await opened.send("still")
            assert await opened.recv() == "still"

    run(go)


AMBIGUOUS = {
    "no host": b"GET / HTTP/1.1\r\nx: y\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "the same host twice": b"GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n",
    "a coding that is not undone": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n",
    "chunks twice": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nbb",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_head_that_a_proxy_may_read_otherwise_is_refused(name: str) -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(AMBIGUOUS[name])
        status, headers, body = await line.answer()
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["code"] == "BAD_USER_INPUT"

    run(go)


def test_an_older_request_needs_no_host() -> None:
    async def go(line: Line, _place: tuple[str, int]) -> None:
        await line.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await line.answer())[0] == 200

    run(go)
