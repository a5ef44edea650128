"""GraphQL over WebSocket by the protocol graphql-transport-ws
(https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md): several operations on one
connection.

Who asks is settled by the headers of the handshake; what `connection_init` carries is not looked
at.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing, suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gateway.context.freshness import from_headers
from gateway.context.services import RequestContext, Viewer
from gateway.graphql.protocol import checked
from gateway.graphql.streams import Failed, Streams
from gateway.graphql.subscription_plan import Event
from gateway.graphql.subscriptions import Ended
from gateway.graphql.trusted import TrustedDocuments
from gateway.security.callers import Callers

PROTOCOL = "graphql-transport-ws"
INIT_WAIT = 10.0
"""Seconds in which a client must begin."""
STALL = 30.0
"""Seconds in which a client must take what is sent."""
MOST_OPERATIONS = 100
"""The most operations at once on one connection."""
OPENING = 20
"""The number of operations that are being answered or subscribed at a time. The others wait, so
that a client that comes back with all its subscriptions is not refused for it."""
MOST_ID = 100
"""Characters of an operation's id."""

BAD_REQUEST = 4400
UNAUTHORIZED = 4401
BAD_PROTOCOL = 4406
INIT_TIMEOUT = 4408
ALREADY_THERE = 4409
TOO_MANY_INITS = 4429
GOING_AWAY = 1001
TRY_AGAIN = 1013


class _Close(Exception):
    def __init__(self, code: int, reason: str) -> None:
        self.code, self.reason = code, reason


_GOES = _Close(GOING_AWAY, "the gateway is shutting down")
_EXPIRED = _Close(UNAUTHORIZED, "the credential is no longer valid")


class Socket:
    """One connection."""

    def __init__(self, socket: WebSocket, streams: Streams, documents: TrustedDocuments) -> None:
        self._socket, self._streams, self._documents = socket, streams, documents
        self._running: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Semaphore(OPENING)
        self._begun = self._ending = False
        self._closing: asyncio.Future[_Close] = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """Close once nothing is running: another gateway answers from now on."""
        self._ending = True
        if not self._running:
            self._close(_GOES)

    async def run(self) -> None:
        socket = self._socket
        if PROTOCOL not in socket.scope.get("subprotocols", ()):
            await socket.accept()
            await socket.close(BAD_PROTOCOL, "Subprotocol not acceptable")
            return
        await socket.accept(subprotocol=PROTOCOL)
        reading = asyncio.create_task(self._read())
        lost = asyncio.create_task(socket.state.standing.lost())
        try:
            ends: set[asyncio.Future[Any]] = {reading, self._closing, lost}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                self._close(_EXPIRED)
            close = self._closing.result() if self._closing.done() else None
            if reading.done():
                reading.result()
        except _Close as error:
            close = error
        except WebSocketDisconnect:
            close = None
        finally:
            tasks = [reading, lost, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if close is not None and socket.application_state is WebSocketState.CONNECTED:
            with suppress(Exception):  # it may be gone by now
                await socket.close(close.code, close.reason)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(INIT_WAIT):
                await self._take(await self._message())
                while not self._begun:
                    await self._take(await self._message())
        except TimeoutError:
            raise _Close(INIT_TIMEOUT, "Connection initialisation timeout") from None
        while True:
            await self._take(await self._message())

    async def _message(self) -> dict[str, Any]:
        try:
            text = await self._socket.receive_text()
            found = orjson.loads(text)
        except (orjson.JSONDecodeError, KeyError):
            raise _Close(BAD_REQUEST, "Invalid message received") from None
        if not isinstance(found, dict):
            raise _Close(BAD_REQUEST, "Invalid message received")
        return found

    async def _take(self, message: dict[str, Any]) -> None:
        kind, id = message.get("type"), message.get("id")
        if kind == "connection_init":
            if self._begun:
                raise _Close(TOO_MANY_INITS, "Too many initialisation requests")
            self._begun = True
            await self._send(b'{"type":"connection_ack"}')
        elif kind == "ping":
            await self._send(b'{"type":"pong"}')
        elif kind == "pong":
            pass
        elif kind == "complete" and isinstance(id, str):
            task = self._running.pop(id, None)
            if task is not None:
                task.cancel()
        elif kind == "subscribe" and isinstance(id, str) and 0 < len(id) <= MOST_ID:
            if not self._begun:
                raise _Close(UNAUTHORIZED, "Unauthorized")
            if id in self._running:
                raise _Close(ALREADY_THERE, f"Subscriber for {id} already exists")
            if len(self._running) >= MOST_OPERATIONS:
                raise _Close(BAD_REQUEST, "Too many operations")
            payload = message.get("payload")
            if not isinstance(payload, dict):
                raise _Close(BAD_REQUEST, "Invalid message received")
            self._running[id] = asyncio.create_task(self._operate(id, payload))
        else:
            raise _Close(BAD_REQUEST, "Invalid message received")

    async def _operate(self, id: str, payload: dict[str, Any]) -> None:
        name = orjson.dumps(id)
        viewer = self._socket.state.viewer
        try:
            if not await self._socket.state.standing.holds():
                self._close(_EXPIRED)
                return
            try:
                await self._answer(name, viewer, payload)
            except (Failed, Ended):
                raise
            except Exception as error:  # it is told, and what it hides is logged
                raise Failed.by(RequestContext(self._streams.services, viewer), error) from None
            await self._send(b'{"id":%s,"type":"complete"}' % name)
        except Failed as failed:
            errors = orjson.dumps(failed.errors)
            await self._send(b'{"id":%s,"type":"error","payload":%s}' % (name, errors))
        except Ended:
            self._close(_GOES)
        finally:
            if self._running.get(id) is asyncio.current_task():
                del self._running[id]
            if self._ending and not self._running:
                self._close(_GOES)

    async def _answer(self, name: bytes, viewer: Viewer, payload: dict[str, Any]) -> None:
        """Answer an operation. It counts against the caller's limits until it has its answer, or is
        subscribed."""
        callers: Callers = self._socket.state.callers
        asked, freshness = checked(payload, self._documents), from_headers(self._socket.headers)
        with ExitStack() as place:
            await self._opening.acquire()
            place.callback(self._opening.release)
            place.callback(callers.leave, callers.enter(viewer.caller))
            opened = await self._streams.open(viewer, asked, freshness)
            if opened.lasting:
                place.close()
            async with aclosing(opened.events) as events:
                async for event in events:
                    await self._send(_next(name, event))

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(STALL):
                await self._socket.send_text(message.decode())
        except TimeoutError:
            self._close(_Close(TRY_AGAIN, "the client does not read answers"))
        except (WebSocketDisconnect, RuntimeError):
            self._close(_Close(GOING_AWAY, ""))

    def _close(self, why: _Close) -> None:
        if not self._closing.done():
            self._closing.set_result(why)


def _next(name: bytes, event: Event) -> bytes:
    return b'{"id":%s,"type":"next","payload":%s}' % (name, event.body)
