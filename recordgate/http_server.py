"""Serves an ASGI application with uvicorn: the socket is bound first, the URL is printed when
requests are answered, and a signal drains what is running before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Protocol

import uvicorn
from starlette.types import ASGIApp

from recordgate.http_protocol import HeadLimits, bounded
from stores.errors import SetupError

DRAIN = 10.0
"""Seconds that running requests have to end after a signal."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free one. Raises SetupError that names the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise SetupError(
                f"port {port} of {host} is in use", hint="choose another with --port, or 0 for any"
            ) from None
        raise SetupError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    except OverflowError:
        sock.close()
        raise SetupError(f"{port} is not a port number") from None
    return sock


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it answers, and leaves signals to the runtime, which also ends the worker."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._say = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._say()


class Draining(Protocol):
    """An object that is drained before the server ends."""

    async def run(self, *, delay: float, most: float) -> bool: ...


async def serve(
    app: ASGIApp,
    sock: socket.socket,
    stop: asyncio.Event,
    announce: Callable[[str], None],
    *,
    drain: Draining | None = None,
    drain_delay: float = 0.0,
    head: HeadLimits | None = None,
) -> None:
    """Serve until `stop` is set, then drain: `drain_delay` seconds in which it only says that it is
    not ready, and DRAIN for what runs. `head`: the limits of a request's head. `announce` is
    called with the URL once it answers."""
    config = uvicorn.Config(
        app,
        http=bounded(head or HeadLimits()),
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        backlog=2048,
        ws_max_size=1_000_000,
        ws_per_message_deflate=False,  # it takes more memory than an idle subscription
    )
    server = _Server(config, lambda: announce(url_of(sock)))
    running = asyncio.ensure_future(server.serve([sock]))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if drain is not None and not running.done():
            await drain.run(delay=drain_delay, most=DRAIN)
        stopped.cancel()
        server.should_exit = True
        await running
