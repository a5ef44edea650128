"""Admits every request before its endpoint: who asks, whether they may ask here at all, and whether
not too often. The endpoint finds the viewer in `request.state.viewer`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.context.services import Viewer
from gateway.http.problems import HttpProblem, outside, problem_response
from gateway.security.authenticate import Authenticator
from gateway.security.callers import Callers
from gateway.security.credentials import PAGE_CHALLENGE, credential_of
from stores.errors import ForbiddenError, RecordgateError, StoreUnavailable

READY = "/health/ready"
OPEN = frozenset(("/health/live", READY))
"""Paths for everybody; what `READY` says beyond its status is for operators."""
ASSETS = "/assets/"
"""Style and scripts of pages, the same for everybody: a browser brings a password only to paths
beside the one that asked for it."""
OPERATORS = frozenset(("/metrics", "/console/state"))
DESCRIPTIONS = frozenset(
    ("/schema.graphql", "/openapi.json", "/graphiql/samples", "/product", "/contract")
)
"""Paths that show the schema; pages of records look themselves, to refuse as pages."""
LOOK_AGAIN = 2.0
"""Seconds between two looks at the credential of an open stream."""


def require_entry(viewer: Viewer, path: str) -> None:
    """Raise ForbiddenError where the viewer may not enter `path`."""
    if path in OPERATORS and not viewer.is_operator:
        raise ForbiddenError("only operators may read this")
    if path in DESCRIPTIONS and not viewer.may_introspect:
        raise ForbiddenError("the schema is not open to you")


@dataclass(frozen=True, slots=True)
class Access:
    """The rules of access and rates. `origins`: other sites whose pages may ask, "*" for all."""

    authenticator: Authenticator
    callers: Callers = field(default_factory=Callers)
    origins: tuple[str, ...] = ()


class StandingCredential:
    """The credential with which a stream was opened. It is looked at again while the stream is
    open: keys are revoked, tokens expire."""

    def __init__(self, authenticator: Authenticator, scope: Scope, viewer: Viewer) -> None:
        self._authenticator, self._viewer = authenticator, viewer
        self._headers, self._address = scope["headers"], _address(scope)

    async def holds(self) -> bool:
        """Return whether the credential still names the same viewer; True, too, where nobody can
        tell at the moment."""
        try:
            return await self._authenticator.viewer(self._headers, self._address) == self._viewer
        except StoreUnavailable:
            return True
        except RecordgateError:
            return False

    async def lost(self) -> None:
        """Returns when it holds no more."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            if not await self.holds():
                return


class AccessMiddleware:
    """ASGI middleware. `count` gets the code of each refusal."""

    def __init__(self, app: ASGIApp, *, access: Access, count: Callable[[str], None]) -> None:
        self.app, self.count = app, count
        self.authenticator, self.callers = access.authenticator, access.callers
        self.origins = access.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if scope["path"] in OPEN or scope["path"].startswith(ASSETS):
            if scope["path"] == READY:
                await self._recognize(scope)
            await self.app(scope, receive, send)
            return
        try:
            viewer = await self._viewer(scope)
            require_entry(viewer, scope["path"])
            if scope["type"] == "websocket":
                self._require_origin(scope)
            stream = _is_stream(scope)
            caller = self.callers.enter(viewer.caller, stream=stream)
        except RecordgateError as error:
            await self._refuse(error, scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["viewer"], state["callers"] = viewer, self.callers
        if stream:
            state["standing"] = StandingCredential(self.authenticator, scope, viewer)
        try:
            await self.app(scope, receive, send)
        finally:
            self.callers.leave(caller, stream=stream)

    async def _recognize(self, scope: Scope) -> None:
        """Note who asks, where that can be told, and let everybody in: operators see more."""
        with suppress(RecordgateError):
            if credential_of(scope["headers"]) is None:
                # A probe without a credential is no guess, and counts against nobody.
                viewer = await self.authenticator.viewer(scope["headers"], _address(scope))
            else:
                viewer = await self._viewer(scope)
            scope.setdefault("state", {})["viewer"] = viewer

    async def _viewer(self, scope: Scope) -> Viewer:
        """Raises HttpProblem: 401, and 429 for an address that keeps on guessing; ForbiddenError,
        StoreUnavailable."""
        address = _address(scope)
        try:
            return await self.authenticator.viewer(scope["headers"], address)
        except RecordgateError:
            self.callers.leave(self.callers.enter(f"address {address}"))
            raise

    def _require_origin(self, scope: Scope) -> None:
        """A browser lets any page connect a WebSocket to anywhere, and says only whose page it
        is."""
        given = dict(scope["headers"])
        origin = given.get(b"origin", b"").decode("latin-1")
        if not origin or origin in self.origins or "*" in self.origins:
            return
        if urlsplit(origin).netloc != given.get(b"host", b"").decode("latin-1"):
            raise ForbiddenError("pages of this origin may not connect")

    async def _refuse(
        self, error: RecordgateError, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.count(outside(error).code)
        if scope["type"] == "websocket":
            # Closed before it is accepted, which a client sees as status 403.
            await receive()
            await send({"type": "websocket.close", "code": 4401})
            return
        response = problem_response(error, scope.get("state", {}).get("request_id", ""))
        if isinstance(error, HttpProblem) and response.status_code == 401 and _is_browser(scope):
            response.headers["WWW-Authenticate"] = PAGE_CHALLENGE
        await response(scope, receive, send)


def _address(scope: Scope) -> str:
    """Return the address that a request comes from."""
    client = scope.get("client")
    return client[0] if client else ""


def _is_stream(scope: Scope) -> bool:
    """Return whether the request may stay open for hours, waiting most of the time."""
    if scope["type"] == "websocket":
        return True
    return scope["path"] == "/graphql" and any(
        n == b"accept" and b"text/event-stream" in v for n, v in scope["headers"]
    )


def _is_browser(scope: Scope) -> bool:
    return any(n == b"accept" and b"text/html" in v for n, v in scope["headers"])
