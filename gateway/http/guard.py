"""The guard that every request passes first: a place among the running ones, a request id, a time
limit, an end when the client goes away, headers of security, and an answer for whatever goes wrong
inside."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.access_log import AccessLog
from gateway.http.deadlines import Limit
from gateway.http.draining import Drain
from gateway.http.metrics import Metrics
from gateway.http.problems import HttpProblem, problem_response
from gateway.http.service_levels import ServiceLevels
from gateway.http.trace_context import read_parent, response_header, trace_id

log = logging.getLogger("gateway")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""Headers of every answer that does not say else."""
_WHOLE = ("/graphql",)
"""Paths whose answers are never streamed."""
WATCH_AFTER = 0.05
"""Seconds after which it is watched whether the client of such a path is still there."""
_NO_TYPES: frozenset[str] = frozenset()
_EVENTS = b"text/event-stream"
STALL = 60.0
"""Seconds in which a streamed answer must move: a reader that stops holds a snapshot of
canonical."""
_UNCOUNTED = ("/health/", "/metrics", "/console")
_FILES = "/assets/"
"""Files of pages: the console's last requests are those that ask for something of the product."""
ARRIVING = 5
"""Times as many requests as run at once may have their bodies on the way."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of the console's list of last requests; never the request's own text."""

    at: float
    method: str
    path: str
    operation: str
    stores: list[str]
    status: int
    milliseconds: float
    code: str


def shown_path(path: str) -> str:
    """Return a path as the access log and the console show it. Keys of records are left out, since
    whoever reads those need not see the records."""
    parts = path.split("/", 3)
    if len(parts) == 4 and parts[1] == "browse":
        path = "/".join((*parts[:3], "{key}"))
    return path[:100]


class Recent:
    """The last requests, for the console."""

    def __init__(self, size: int = 50) -> None:
        self._last: deque[Answered] = deque(maxlen=size)

    def add(self, answered: Answered) -> None:
        self._last.append(answered)

    def listed(self) -> list[dict[str, object]]:
        return [asdict(a) for a in reversed(self._last)]


class Guard:
    """ASGI middleware. `seconds`: the most a request may take; a streamed export, once it has
    begun, must only move on; `most`: requests that run at once, health and metrics aside. A request
    whose body is on the way does not run yet: whoever sends slowly takes no place of those who do
    not."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        recent: Recent,
        drain: Drain,
        seconds: float,
        most: int,
        log: AccessLog | None = None,
        levels: ServiceLevels | None = None,
    ) -> None:
        self.log, self.levels = log, levels or ServiceLevels()
        self.app, self.metrics, self.recent, self.drain = app, metrics, recent, drain
        self.seconds, self.most = seconds, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = parent = b""
        streams = False
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = value
            elif name == b"traceparent":
                parent = value
            elif name == b"accept":
                streams = _EVENTS in value
        asked = given.decode("latin-1")
        request_id = asked if _REQUEST_ID.match(asked) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        answer = _Answer(send, request_id, bare=scope["method"] == "HEAD")
        if parent:
            trace, flags = read_parent(parent)
            trace_id.set(trace)
            state["trace_id"] = trace
            answer.trace = response_header(trace, flags) if trace else b""
        elif trace_id.get():
            trace_id.set("")
        endless = streams and scope["path"] in _WHOLE
        counted = not endless and not scope["path"].startswith(_UNCOUNTED)
        place = state["place"] = _Place(self.drain, self.most)
        if counted or endless:
            try:
                if self.drain.refusing:
                    raise HttpProblem(
                        "OVERLOADED",
                        "the gateway is shutting down",
                        headers={"Connection": "close"},
                    )
                if endless:
                    place.require_room()
                elif scope["method"] == "POST":
                    receive = place.when_whole(receive)
                else:
                    place.take()
            except HttpProblem as busy:
                await problem_response(busy, request_id)(scope, receive, answer.send)
                self.metrics.count("http", (), busy.detail_code)
                self.levels.note(_NO_TYPES, 0.0, busy.detail_code, 503)
                return
        started = time.perf_counter()
        try:
            if endless:
                await self._run_on(scope, receive, answer, request_id)
            elif scope["path"] in _WHOLE:
                await self._run_here(scope, receive, answer, request_id)
            else:
                await self._run(scope, receive, answer, request_id)
        finally:
            place.leave()
            seconds = time.perf_counter() - started
            if counted:
                self.metrics.seconds.observe(seconds)
                types = state.get("types")
                if types is not None or answer.status >= 500:
                    self.levels.note(
                        types or _NO_TYPES, seconds, state.get("code", "OK"), answer.status
                    )
                answered = Answered(
                    time.time(),
                    scope["method"],
                    shown_path(scope["path"]),
                    state.get("operation", ""),
                    sorted(state.get("stores", ())),
                    answer.status,
                    round(seconds * 1000, 1),
                    state.get("code", "OK" if 0 < answer.status < 400 else ""),
                )
                if not scope["path"].startswith(_FILES):
                    self.recent.add(answered)
                if self.log is not None:
                    self.log.note(answered.at, _line(answered, state, request_id))

    async def _run_here(
        self, scope: Scope, receive: Receive, answer: _Answer, request_id: str
    ) -> None:
        """Run as `_run` does, for answers that come whole: most are there before a task of their
        own would have begun, so that the client is only watched where one takes longer."""
        inbox = _Passed(receive)
        watch: asyncio.Task[None] | None = None
        gone = False
        error: BaseException | None = None

        async def watched() -> None:
            nonlocal gone
            await inbox.disconnected()
            gone = True
            limit.expire()

        def begin() -> None:
            nonlocal watch
            watch = asyncio.ensure_future(watched())

        limit = Limit(self.seconds, after=WATCH_AFTER, begin=begin)
        try:
            with limit:
                await self.app(scope, inbox.receive, answer.send)
        except Exception as caught:  # whatever it is, the client gets an answer
            error = caught
        finally:
            if watch is not None:
                watch.cancel()
        if error is None:
            return
        if gone:
            log.debug("request %s: the client is gone", request_id)
            return
        await self._failed(error, scope, receive, answer, request_id)

    async def _run_on(
        self, scope: Scope, receive: Receive, answer: _Answer, request_id: str
    ) -> None:
        """Run as `_run` does, for a stream of events, which may go on for ever and sees itself when
        its client is gone."""
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            await self._failed(error, scope, receive, answer, request_id)

    async def _failed(
        self,
        error: BaseException,
        scope: Scope,
        receive: Receive,
        answer: _Answer,
        request_id: str,
    ) -> None:
        if isinstance(error, ClientDisconnect):
            log.debug("request %s: the client is gone", request_id)
            return
        if answer.status and isinstance(error, TimeoutError):
            # The server closes the connection, for the answer is not whole.
            log.warning("request %s broke off: the client did not read the answer", request_id)
            return
        if answer.status:
            # Once an answer has begun an error can only cut it off, so that nobody takes it for
            # whole.
            log.error("request %s broke off", request_id, exc_info=error)
            raise error
        if isinstance(error, TimeoutError) and scope["state"]["place"].arriving:
            error = HttpProblem(
                "REQUEST_TIMEOUT",
                "the request's body was not received in time",
                hint="send the whole body without pauses",
                headers={"Connection": "close"},
            )
        known = error.detail_code if isinstance(error, HttpProblem) else "INTERNAL"
        self.metrics.count("http", (), "TIMEOUT" if isinstance(error, TimeoutError) else known)
        await problem_response(error, request_id)(scope, receive, answer.send)

    async def _run(self, scope: Scope, receive: Receive, answer: _Answer, request_id: str) -> None:
        """Run the app until it answers, the time is up, or the client is gone."""
        inbox = _Inbox(receive)
        work = asyncio.ensure_future(self.app(scope, inbox.receive, answer.send))
        gone = asyncio.ensure_future(inbox.watch())
        deadline = time.monotonic() + self.seconds
        try:
            while not work.done():
                until = answer.moved + STALL if answer.streaming else deadline
                left = until - time.monotonic()
                if left <= 0:
                    break
                await asyncio.wait((work, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not work.done():
                    log.debug("request %s: the client is gone", request_id)
                    return
            ended = work.done() and not work.cancelled()
            error = work.exception() if ended else TimeoutError()
            if error is not None:
                await self._failed(error, scope, receive, answer, request_id)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)


def _line(answered: Answered, state: dict[str, Any], request_id: str) -> dict[str, Any]:
    """Return the line of the access log for a request."""
    viewer = state.get("viewer")
    line = {
        "method": answered.method,
        "path": answered.path,
        "operation": answered.operation,
        "stores": answered.stores,
        "roles": sorted(viewer.roles) if viewer is not None else [],
        "status": answered.status,
        "code": answered.code,
        "ms": answered.milliseconds,
        "requestId": request_id,
    }
    if state.get("trace_id"):
        line["traceId"] = state["trace_id"]
    return line


class _Place:
    """A request's place among those that run, taken when there is work to do for it."""

    __slots__ = ("_drain", "_most", "_receive", "arriving", "taken")

    def __init__(self, drain: Drain, most: int) -> None:
        self._drain, self._most = drain, most
        self.arriving = self.taken = False

    def require_room(self) -> None:
        """Raise HttpProblem where as many run as may."""
        if self._drain.running >= self._most:
            raise HttpProblem("OVERLOADED", "too many requests are running", hint="try again")

    def take(self) -> None:
        """Raises HttpProblem where as many run as may."""
        self.require_room()
        self._drain.entered()
        self.taken = True

    def when_whole(self, receive: Receive) -> Receive:
        """`receive`, by which the place is taken as soon as the body is whole; HttpProblem is
        raised by it where there is no room then, and here where too many bodies are on the way."""
        if self._drain.arriving >= self._most * ARRIVING:
            raise HttpProblem(
                "OVERLOADED", "too many requests are being received", hint="try again"
            )
        self.arriving, self._receive = True, receive
        self._drain.begun_to_arrive()
        return self._next

    async def _next(self) -> Message:
        message = await self._receive()
        if self.arriving and not message.get("more_body"):
            self._arrived()
            if message["type"] == "http.request":
                self.take()
        return message

    def _arrived(self) -> None:
        self.arriving = False
        self._drain.arrived()

    def leave(self) -> None:
        if self.arriving:
            self._arrived()
        if self.taken:
            self.taken = False
            self._drain.left()


class _Inbox:
    """The request's messages, read ahead one at a time, so that a disconnect is seen at once."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: asyncio.Queue[Message | HttpProblem] = asyncio.Queue(1)

    async def watch(self) -> None:
        """Ends when the client is gone. A body is read no faster than the app takes it."""
        while True:
            message: Message | HttpProblem
            try:
                message = await self._receive()
            except HttpProblem as busy:
                message = busy
            else:
                if message["type"] == "http.disconnect":
                    return
            await self._messages.put(message)

    async def receive(self) -> Message:
        message = await self._messages.get()
        if isinstance(message, HttpProblem):
            raise message
        return message


class _Passed:
    """The request's messages as they come, until its body is whole; then only its end is
    awaited."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._whole = asyncio.Event()

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body"):
            self._whole.set()
        return message

    async def disconnected(self) -> None:
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Answer:
    """Sends with the headers that every answer has; knows what was sent. `bare`: without its
    body."""

    def __init__(self, send: Send, request_id: str, *, bare: bool = False) -> None:
        self._send, self._id, self._bare = send, request_id, bare
        self.status = 0
        self.streaming = False
        self.trace = b""
        """The header `traceresponse`."""
        self.moved = 0.0
        """The moment at which a part of the body was last taken."""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers += [header for header in _ALWAYS if header[0] not in given]
            headers.append((b"x-request-id", self._id.encode()))
            if self.trace:
                headers.append((b"traceresponse", self.trace))
            message = {**message, "headers": headers}
        else:
            if message.get("more_body"):
                self.streaming = True
            if self._bare:
                message = {**message, "body": b""}
        await self._send(message)
        self.moved = time.monotonic()
