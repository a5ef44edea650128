"""`/changes/{type}`: what changed behind a position, as NDJSON, and the position to go on from."""

from __future__ import annotations

import time
from functools import partial
from urllib.parse import quote, urlencode

import orjson
import psycopg
from starlette.requests import Request
from starlette.responses import Response

from gateway.changes.news import ChangeNews
from gateway.changes.page import Page, gone, read_page
from gateway.context.change_tokens import ChangePosition, digest, read_position, write_position
from gateway.context.freshness import parse_duration, source_ages
from gateway.context.services import Services
from gateway.export.endpoint import follows, view_of
from gateway.export.rows import Export, fields_of
from gateway.http.bodies import parameters
from gateway.http.problems import HttpProblem
from gateway.query.canonical import NO_CONNECTION, no_connection
from gateway.search.endpoint import record_type_of
from gateway.shape.visibility import Visibility
from stores.canonical.driver_errors import translate
from stores.errors import InputError, LimitError

MEDIA_TYPE = "application/x-ndjson"
FIRST = 1_000
MOST_FIRST = 10_000
"""Changes of a page."""
LONGEST_WAIT = 20.0
_KNOWN = frozenset(("after", "first", "wait", "fields"))


async def changes_endpoint(request: Request) -> Response:
    """A page of changes; with `wait` the request waits for the first that the caller may see."""
    services: Services = request.app.state.services
    news: ChangeNews = request.app.state.change_news
    given = parameters(request, _KNOWN)
    export = _read(request, services, given)
    request.state.operation = f"changes {export.record_type.name}"
    request.state.stores = {"canonical"}
    first = _first(given.get("first"))
    until = time.monotonic() + _wait(given.get("wait"), services)
    view = view_of(services, export)
    at = read_position(given["after"], services.token_secret)
    if (at.system, at.view) != (digest(services.system), view):
        raise gone(_baseline(request, export, given))
    place = request.state.place
    while True:
        page = await news.read((at, first), partial(_page, services, export, at, first))
        if page is None:
            raise gone(_baseline(request, export, given))
        at = page.position
        left = until - time.monotonic()
        waits = not page.count and request.method != "HEAD" and not news.ending
        if page.more and waits and left > 0:
            continue  # nothing of these is the caller's to see
        if not waits or left <= 0:
            return Response(_body(services, export, page), media_type=MEDIA_TYPE)
        news.require_room()
        # Who waits takes no place of those who work.
        place.leave()
        await news.wait(export.record_type.name, at.id, left)
        place.take()


def _read(request: Request, services: Services, given: dict[str, str]) -> Export:
    record_type = record_type_of(services, request.path_params["type"], request.state.viewer)
    visibility = Visibility(services.contract, request.state.viewer.roles)
    followed = follows(services, record_type, visibility)
    if "after" not in given:
        raise InputError(
            "after is missing: the position behind which changes are asked for",
            hint=f"/export/{record_type.name}?changes=1 gives all records and the position behind"
            " them, in the header Recordgate-Changes",
        )
    names = [n.strip() for n in given.get("fields", "").split(",") if n.strip()]
    if "fields" in given and not names:
        raise InputError("fields is empty", hint="leave it out for all")
    return Export(
        record_type,
        fields=fields_of(record_type, names),
        visibility=visibility,
        mask_key=services.mask_key,
        followed=followed,
    )


def _first(text: str | None) -> int:
    if text is None:
        return FIRST
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise InputError("first must be a whole number, 1 at least")
    if int(text) > MOST_FIRST:
        raise LimitError(f"first is more than {MOST_FIRST}")
    return int(text)


def _wait(text: str | None, services: Services) -> float:
    if text is None:
        return 0.0
    most = min(LONGEST_WAIT, services.limits.statement_timeout)
    return min(parse_duration(text, "wait"), most)


def _baseline(request: Request, export: Export, given: dict[str, str]) -> str:
    """Return where a follower begins anew."""
    before, _, _ = request.url.path.rpartition("/changes/")
    asked = {"changes": "1"} | ({"fields": given["fields"]} if "fields" in given else {})
    return f"{before}/export/{quote(export.record_type.name)}?{urlencode(asked)}"


async def _page(services: Services, export: Export, at: ChangePosition, first: int) -> Page | None:
    try:
        async with services.pool.connection() as conn:
            return await read_page(conn, export, at, first)
    except NO_CONNECTION:
        raise no_connection() from None
    except psycopg.errors.QueryCanceled:
        raise HttpProblem(
            "TIMEOUT", "canonical stopped the query: it took too long", hint="ask for fewer: first"
        ) from None
    except psycopg.Error as error:
        raise translate(error, services.contract) from error


def _body(services: Services, export: Export, page: Page) -> bytes:
    """The lines, and one that says how it goes on: an answer without it was cut off."""
    last = {
        "op": "next",
        "next": write_position(page.position, services.token_secret),
        "more": page.more,
        "position": page.lsn,
        **source_ages(services, (export.record_type.name,)).get(export.record_type.name, {}),
    }
    lines = page.lines.encode() + b"\n" if page.lines else b""
    return lines + orjson.dumps(last) + b"\n"
