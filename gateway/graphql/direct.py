"""GraphQL's own way through the application: `POST /graphql` goes past routing to its endpoint,
with the headers read once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stores.errors import RecordgateError

Endpoint = Callable[[Request], Awaitable[Response]]
Refused = Callable[[Request, Exception], Awaitable[Response]]


class DirectRequest(Request):
    """A request whose headers are a plain dict by lower-case name; of a repeated one the first
    counts."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self._plain = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }

    @property
    def headers(self) -> Any:
        plain: Mapping[str, str] = self._plain
        return plain


class JsonResponse(Response):
    """A body that is JSON already, with its headers made in one piece. `headers`: more of them."""

    def __init__(
        self, body: bytes, status: int, headers: Mapping[str, str], media_type: str
    ) -> None:
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", media_type.encode("latin-1")),
            *((n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()),
        ]


class Direct:
    """ASGI middleware: `endpoint` answers what is posted to `path`, `refused` our errors of it."""

    def __init__(self, app: ASGIApp, *, path: str, endpoint: Endpoint, refused: Refused) -> None:
        self.app, self.path = app, path
        self.endpoint, self.refused = endpoint, refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != self.path
            or scope["method"] != "POST"
            or scope.get("root_path")
        ):
            await self.app(scope, receive, send)
            return
        request = DirectRequest(scope, receive)
        try:
            response = await self.endpoint(request)
        except RecordgateError as error:
            response = await self.refused(request, error)
        await response(scope, receive, send)
