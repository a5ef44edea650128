"""GraphQL over Server-Sent Events, in the mode of distinct connections of the protocol graphql-sse
(https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md): one operation a request, `next`
events with its answers, `complete` at its end.

Each event has its token as id, so that a browser's EventSource goes on by itself where it was cut
off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.context.freshness import from_headers
from gateway.context.services import RequestContext
from gateway.graphql.protocol import checked, read_values
from gateway.graphql.streams import Failed, Streams
from gateway.graphql.subscription_plan import Event
from gateway.graphql.subscriptions import Ended
from gateway.graphql.trusted import TrustedDocuments
from gateway.http.problems import HttpProblem
from gateway.security.access import StandingCredential
from gateway.security.credentials import unauthenticated

MEDIA_TYPE = "text/event-stream"
KEEP_ALIVE = 12.0
"""Seconds without an event after which a comment is sent: proxies end what is silent."""
STALL = 30.0
"""Seconds in which a client must take what is sent."""
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_COMPLETE = b"event: complete\ndata:\n\n"


def wants_stream(request: Request) -> bool:
    return MEDIA_TYPE in request.headers.get("accept", "")


async def sse_response(request: Request, streams: Streams, documents: TrustedDocuments) -> Response:
    """The stream of the operation that `request` asks for. Raises HttpProblem for what is no
    request."""
    values = await read_values(request, streams.services.limits.max_body_bytes, 0)
    assert isinstance(values, dict)
    asked = checked(values, documents, read_only=request.method != "POST")
    request.state.operation = "stream"
    if request.method == "HEAD":
        return Response(media_type=MEDIA_TYPE, headers=_HEADERS)  # nothing is begun for it
    try:
        opened = await streams.open(
            request.state.viewer,
            asked,
            from_headers(request.headers),
            after=request.headers.get("last-event-id", ""),
        )
    except Failed as failed:
        request.state.code = failed.code
        return _EventStream(None, failed)
    except Ended:
        raise HttpProblem("OVERLOADED", "the gateway is shutting down") from None
    expired = Failed.by(
        RequestContext(streams.services, request.state.viewer),
        unauthenticated(
            "the credential is no longer valid", hint="subscribe again with a valid credential"
        ),
    )
    return _EventStream(opened.events, expired)


class _EventStream(Response):
    """`failed`: why there are no `events`, or why they end when the credential holds no more."""

    def __init__(self, events: AsyncGenerator[Event, None] | None, failed: Failed) -> None:
        self.status_code, self.background = 200, None
        self.media_type = MEDIA_TYPE
        self.body = b""
        self.init_headers(_HEADERS)
        self.raw_headers = [h for h in self.raw_headers if h[0] != b"content-length"]
        self._events, self._failed = events, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        if self._events is None:
            await send(_body(_errors(self._failed) + _COMPLETE, more=False))
            return
        work = asyncio.current_task()
        assert work is not None
        watch = asyncio.create_task(_gone(receive, work))
        try:
            await self._run(self._events, send, scope["state"]["standing"])
        except asyncio.CancelledError:
            if not watch.done():
                raise
            work.uncancel()
        finally:
            watch.cancel()
            await self._events.aclose()

    async def _run(
        self, events: AsyncGenerator[Event, None], send: Send, credential: StandingCredential
    ) -> None:
        await send(_body(b":\n\n"))
        last = _COMPLETE
        following: asyncio.Task[Event] | None = None
        lost = asyncio.create_task(credential.lost())
        try:
            while True:
                following = following or asyncio.ensure_future(_next(events))
                done, _ = await asyncio.wait(
                    {following, lost}, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED
                )
                if lost in done:
                    raise self._failed
                frame = b":\n\n"
                if done:
                    event, following = following.result(), None
                    frame = b"event: next\nid: %s\ndata: %s\n\n" % (
                        event.token.encode(),
                        event.body,
                    )
                async with asyncio.timeout(STALL):
                    await send(_body(frame))
        except _Over:
            pass
        except Failed as failed:
            last = _errors(failed) + _COMPLETE
        except Ended:
            last = b""  # no `complete`: the client is to come again
        finally:
            tasks = [lost] if following is None else [lost, following]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await send(_body(last, more=False))


async def _next(events: AsyncGenerator[Event, None]) -> Event:
    try:
        return await anext(events)
    except StopAsyncIteration:
        raise _Over from None


class _Over(Exception):
    """The stream has come to its end."""


async def _gone(receive: Receive, work: asyncio.Task[Any]) -> None:
    """Ends the work when the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


def _errors(failed: Failed) -> bytes:
    return b"event: next\ndata: %s\n\n" % orjson.dumps({"errors": failed.errors})


def _body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}
