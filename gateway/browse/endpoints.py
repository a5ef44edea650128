"""`/`, `/browse/{type}` and `/browse/{type}/{key}`. Their data come by GraphQL, as the viewer may
ask it: what a role does not see there is on no page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.browse import queries
from gateway.browse.counting import Counts
from gateway.browse.frame import POLICY, Page, shell, trouble
from gateway.browse.landing import landing
from gateway.browse.listing import listing
from gateway.browse.markup import Child, el
from gateway.browse.queries import Asked
from gateway.browse.record import record
from gateway.browse.seen import Seen, seen_types
from gateway.browse.views import View, read_view
from gateway.context.freshness import from_headers
from gateway.context.services import RequestContext, Services
from gateway.http.problems import STATUS, HttpProblem, outside
from gateway.query.compiled import respond
from gateway.query.execute import ServedSchema
from gateway.shape.visibility import Visibility
from stores.errors import ForbiddenError, InputError, RecordgateError

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?\Z", re.ASCII)
Endpoint = Callable[[Request], Awaitable[Response]]


class Browser:
    """The pages over `services`, whose data `schema` answers."""

    def __init__(self, services: Services, schema: ServedSchema) -> None:
        self.services, self.schema = services, schema
        self.counts = Counts(services, schema)

    def routes(self, seen: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """Return the routes of the pages; `seen` counts what an endpoint answers."""
        return [
            Route(path, self._in_words(seen(_open(endpoint))), methods=["GET"])
            for path, endpoint in (
                ("/", self.landing),
                ("/browse", self.home),
                ("/browse/{type}", self.listing),
                ("/browse/{type}/{key:path}", self.record),
            )
        ]

    async def home(self, request: Request) -> Response:
        return RedirectResponse("/", 303)

    async def landing(self, request: Request) -> Response:
        types = seen_types(self._visibility(request))
        counts = await self.counts.of(request.state.viewer, types)
        return _html(landing(self._page(request), types, counts))

    async def listing(self, request: Request) -> Response:
        seen = self._seen(request)
        if not seen.listed:
            raise HttpProblem("FORBIDDEN", f"you may not list {seen.type.plural}")
        request.state.operation = f"browse {seen.type.name}"
        view = read_view(seen, request.query_params.multi_items())
        if view.added:
            return RedirectResponse(view.at_start().address, 303)
        count = None
        if not seen.may_search and not view.conditions:
            counts = await self.counts.of(request.state.viewer, seen_types(seen.visibility))
            count = counts.get(seen.type.name)
        asked = queries.listing(seen, view)
        answer = await self._ask(request, asked)
        return _html(
            listing(self._page(request), seen, view, asked, answer, count),
            _status(answer, asked),
        )

    async def record(self, request: Request) -> Response:
        seen = self._seen(request)
        if not seen.may("get"):
            raise HttpProblem("FORBIDDEN", f"you may not read {seen.type.plural} one by one")
        request.state.operation = f"browse {seen.type.name}"
        if not request.path_params["key"] and not request.query_params and seen.listed:
            return RedirectResponse(View(seen.type.name).address, 303)
        key = _key(request)
        asked = queries.record(seen, key)
        answer = await self._ask(request, asked)
        if not answer.get("errors") and not (answer.get("data") or {}).get(asked.rows):
            raise HttpProblem("NOT_FOUND", f"there is no such {seen.type.single}")
        return _html(record(self._page(request), seen, key, asked, answer), _status(answer, asked))

    def _visibility(self, request: Request) -> Visibility:
        return Visibility(self.services.contract, request.state.viewer.roles)

    def _seen(self, request: Request) -> Seen:
        """Return the type that a path names. A type of which the viewer sees nothing is as one that
        is not there. Raises HttpProblem."""
        found = self.services.contract.type(request.path_params["type"])
        seen = Seen(found, self._visibility(request)) if found is not None else None
        if seen is None or not (seen.listed or seen.may("get")):
            raise HttpProblem(
                "NOT_FOUND", "no such record type", hint="the page at / names those that there are"
            )
        return seen

    def _page(self, request: Request) -> Page:
        return Page(
            self.services.contract, request.state.viewer, f"{request.url.scheme}://{_host(request)}"
        )

    async def _ask(self, request: Request, asked: Asked) -> dict[str, Any]:
        """Return GraphQL's answer; the request is counted as one of GraphQL is."""
        context = RequestContext(self.services, request.state.viewer, from_headers(request.headers))
        answer = await respond(self.schema, context, asked.query, asked.variables)
        request.state.stores = {str(route["store"]) for route in context.routes.values()}
        request.state.types = context.types
        found: dict[str, Any] = orjson.loads(answer.body)
        request.state.page_code = _code(found, asked)
        return found

    def _in_words(self, endpoint: Endpoint) -> Endpoint:
        """Return `endpoint`, whose refusals are pages as well."""

        async def run(request: Request) -> Response:
            try:
                return await endpoint(request)
            except RecordgateError as error:
                seen = outside(error)
                told = {"message": seen.message, "extensions": {"code": seen.code, **seen.extra}}
                title = _TITLES.get(seen.status, "This cannot be shown now")
                body = shell(
                    self._page(request), title, el("h1", title), trouble([told]), _back(request)
                )
                headers = dict(error.headers) if isinstance(error, HttpProblem) else {}
                return _html(body, seen.status, headers)

        return run


def _open(endpoint: Endpoint) -> Endpoint:
    """Return `endpoint`, for those who may read the schema: pages show it."""

    async def run(request: Request) -> Response:
        request.state.operation = "landing" if request.url.path == "/" else "browse"
        if not request.state.viewer.may_introspect:
            raise ForbiddenError("the schema is not open to you, nor are pages that show it")
        return await endpoint(request)

    return run


_TITLES = {
    400: "This address cannot be understood",
    403: "This is not open to you",
    404: "There is nothing here",
}


def _back(request: Request) -> Child:
    """Return the way to what surely is there."""
    contract, viewer = request.app.state.services.contract, request.state.viewer
    if not viewer.may_introspect:
        return None
    found = contract.type(request.path_params.get("type", ""))
    if found is None or not Seen(found, Visibility(contract, viewer.roles)).listed:
        return el("p", el("a", "Go to the start", href="/"))
    return el("p", el("a", f"Go to all {found.plural}", href=View(found.name).address))


def _html(body: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    given = {"Content-Security-Policy": POLICY, "Cache-Control": "private, no-store"}
    return HTMLResponse(body, status, {**(headers or {}), **given})


def _status(answer: dict[str, Any], asked: Asked) -> int:
    """Return the status: a page whose records are there is whole, whatever stands beside them."""
    if (answer.get("data") or {}).get(asked.rows) is not None:
        return 200
    code = _code(answer, asked)
    return 200 if code == "OK" else STATUS.get(code, 500)


def _code(answer: dict[str, Any], asked: Asked) -> str:
    """Return the code of what went wrong with the page's rows; OK where nothing did."""
    errors = queries.own_errors(answer, asked)
    return str(errors[0].get("extensions", {}).get("code", "INTERNAL")) if errors else "OK"


def _key(request: Request) -> str:
    """Return the key in the path, or the parameter `key` where no path can hold it. Raises
    InputError."""
    given = request.query_params.multi_items()
    path = str(request.path_params["key"])
    if path and not given:
        return path
    if not path and [n for n, _ in given] == ["key"]:
        return str(given[0][1])
    raise InputError("the address of a record is /browse/TYPE/KEY", hint="or /browse/TYPE/?key=KEY")


def _host(request: Request) -> str:
    """Return the host that the browser asks, if it has the form of one; else localhost."""
    given = request.headers.get("host", "")
    return given if _HOST.match(given) else "localhost"
