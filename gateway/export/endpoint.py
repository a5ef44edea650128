"""`/export/{type}`: an export as a streamed answer that can be gone on with after a cut, with the
same bytes, and its manifest."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.context.change_tokens import ChangePosition, digest, write_position
from gateway.context.services import Services, Viewer
from gateway.export.rows import (
    MEDIA_TYPES,
    Export,
    Format,
    Written,
    copy_statement,
    fields_of,
    manifest,
    stream,
)
from gateway.export.spool import Spool, Spooled
from gateway.http.bodies import json_parameter, parameters, switch
from gateway.http.byte_ranges import Unsatisfiable, asked_range
from gateway.http.problems import HttpProblem
from gateway.search.endpoint import record_type_of
from gateway.shape.filters import parse_filter
from gateway.shape.shaping import key_values
from gateway.shape.visibility import Visibility
from stores.canonical.kept_changes import Followed, Head
from stores.contract.model import RecordType
from stores.errors import InputError

RESUME_WAIT = 20.0
"""Seconds that a range waits for its export to be whole."""
_KNOWN = frozenset(
    ("format", "filter", "fields", "after", "snapshot", "manifest", "spreadsheet", "changes")
)


def _read(request: Request, services: Services, viewer: Viewer) -> Export:
    record_type = record_type_of(services, request.path_params["type"], viewer)
    if "export" not in record_type.expose.operations:
        raise InputError(f"{record_type.plural} cannot be exported")
    given = parameters(request, _KNOWN)
    visibility = Visibility(services.contract, viewer.roles)
    visibility.require_may(record_type, "export")
    try:
        format_ = Format(given.get("format", "ndjson"))
    except ValueError:
        raise InputError("format must be ndjson, csv or parquet") from None
    raw = json_parameter(given["filter"], "filter") if "filter" in given else None
    if raw is None and "filter" in given:
        raise InputError("filter must not be null", hint="leave it out")
    names = [n.strip() for n in given.get("fields", "").split(",") if n.strip()]
    if "fields" in given and not names:
        raise InputError("fields is empty", hint="leave it out for all")
    followed = None
    if switch(given.get("changes"), "changes"):
        if "filter" in given or "after" in given:
            raise InputError(
                "changes are followed of all records", hint="leave filter and after out"
            )
        followed = follows(services, record_type, visibility)
    export = Export(
        record_type,
        format_,
        fields_of(record_type, names),
        parse_filter(record_type, raw, visibility),
        key_values(record_type, given["after"]) if "after" in given else None,
        visibility,
        services.mask_key,
        switch(given.get("spreadsheet"), "spreadsheet"),
        followed,
    )
    if followed is None:
        return export
    view = view_of(services, export)
    return replace(export, position=lambda head: _position(services, view, head))


def follows(services: Services, record_type: RecordType, visibility: Visibility) -> Followed:
    """Return what is kept of a type for those who follow it. Raises InputError where nothing is,
    and ForbiddenError where the viewer may not export it."""
    if "export" not in record_type.expose.operations:
        raise InputError(f"{record_type.plural} cannot be exported")
    visibility.require_may(record_type, "export")
    followed = services.followed.get(record_type.name)
    if followed is None:
        raise InputError(
            f"changes of {record_type.plural} are not kept",
            hint="`changes` of the type in the contract",
        )
    return followed


def view_of(services: Services, export: Export) -> bytes:
    """Return what tells a viewer's view of these fields from all else: a position is of one view
    only."""
    assert export.followed is not None
    plain = Export(
        export.record_type,
        fields=export.columns,
        visibility=export.visibility,
        followed=export.followed,
    )
    text = copy_statement(services.contract, plain).as_bytes(None)
    return digest(export.followed.shape, services.mask_key.inner, text)


def _position(services: Services, view: bytes, head: Head) -> str:
    return write_position(
        ChangePosition(
            digest(services.system), view, head.timeline, head.epoch, head.last, head.last_at
        ),
        services.token_secret,
    )


_BEGUN = {"Accept-Ranges": "bytes", "Cache-Control": "private, no-cache"}
"""The headers for a HEAD of an export that is not there yet: nothing is begun for it."""


async def export_endpoint(request: Request) -> Response:
    """Without `snapshot` and a range that knows its ETag: a new export. Else the one that is
    named."""
    services: Services = request.app.state.services
    spool: Spool = request.app.state.spool
    export = _read(request, services, request.state.viewer)
    request.state.operation = f"export {export.record_type.name}"
    request.state.stores = {"canonical"}
    key = _key(services, export)
    given = request.query_params
    named = given.get("snapshot")
    found: Spooled | None = None
    if named is not None:
        found = await spool.find(named, key)
        if found is None:
            raise HttpProblem(
                "NOT_FOUND", "there is no such snapshot of this export", hint="begin a new one"
            )
    if switch(given.get("manifest"), "manifest"):
        if found is None:
            raise InputError(
                "manifest requires a snapshot", hint="use the URL in the export's Link header"
            )
        return _manifest(services, export, found)
    ranged = request.headers.get("range", "")
    if found is None and ranged:
        condition = request.headers.get("if-range", "").strip()
        if condition.startswith('"') and condition.endswith('"'):
            found = await spool.find(condition.strip('"'), key)
        if found is None:
            ranged = ""  # the same bytes are not to be had: the whole, of a new snapshot
    if request.method == "HEAD" and found is None:
        return Response(media_type=MEDIA_TYPES[export.format], headers=_BEGUN)
    if found is None:
        if spool.full:
            raise HttpProblem("OVERLOADED", "too many exports are running", hint="try again later")
        found = await spool.begin(
            key,
            lambda written: _blocks(services, export, written),
            lambda written: manifest(services.contract, export, written),
        )
    return await _answer(request, export, found, ranged)


def _key(services: Services, export: Export) -> str:
    """Return a key that differs for each query, and for each view that a viewer may have of it."""
    text = copy_statement(services.contract, export).as_bytes(None)
    return hmac.new(
        services.token_secret,
        b"\0".join((export.format.encode(), services.mask_key.inner.encode(), text)),
        hashlib.sha256,
    ).hexdigest()[:32]


async def _answer(request: Request, export: Export, found: Spooled, ranged: str) -> Response:
    name = f"{export.record_type.plural}.{export.format.value}"
    place = _place(request, found)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Location": place,
        "ETag": f'"{found.id}"',
        "Link": f'<{place}&manifest=1>; rel="describedby"',
        "Vary": "Authorization, X-API-Key, Recordgate-Roles",
    }
    if changes := found.changes:
        headers["Recordgate-Changes"] = changes
    media_type = MEDIA_TYPES[export.format]
    start, end, status = 0, None, 200
    if ranged:
        try:
            async with asyncio.timeout(RESUME_WAIT):
                await found.until(lambda: found.ended)
        except TimeoutError:
            raise HttpProblem(
                "OVERLOADED",
                "the export is still being written",
                hint="ask for the range again in a moment",
                headers={"Retry-After": "5"},
            ) from None
        if found.error is not None:
            raise found.error
        try:
            part = asked_range(ranged, found.size)
        except Unsatisfiable:
            raise HttpProblem(
                "RANGE_NOT_SATISFIABLE",
                "the range begins beyond the end",
                headers={"Content-Range": f"bytes */{found.size}"},
            ) from None
        if part is not None:
            start, end, status = *part, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    if found.whole:
        end = found.size if end is None else end
        headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return _ExportResponse(found.read(start, end), status, headers, media_type)


def _place(request: Request, found: Spooled) -> str:
    """The URL that gives the same bytes again."""
    kept = [
        (k, v) for k, v in request.query_params.multi_items() if k not in ("snapshot", "manifest")
    ]
    return f"{request.url.path}?{urlencode([*kept, ('snapshot', found.id)])}"


def _manifest(services: Services, export: Export, found: Spooled) -> Response:
    """Return the manifest as far as it is known; `complete` says whether that is all."""
    body: dict[str, Any] = dict(
        found.manifest or manifest(services.contract, export, found.written)
    )
    body |= {"id": found.id, "complete": found.whole}
    return Response(orjson.dumps(body), media_type="application/json")


class _ExportResponse(StreamingResponse):
    """Closes its blocks however it ends: an iterator that is only forgotten would hold its file
    until it is collected."""

    def __init__(
        self,
        blocks: AsyncGenerator[bytes, None],
        status: int,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(blocks, status, headers, media_type)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._blocks.aclose()


async def _blocks(
    services: Services, export: Export, written: Written
) -> AsyncGenerator[bytes, None]:
    async with (
        services.pool.connection() as conn,
        aclosing(stream(conn, services.contract, export, written)) as blocks,
    ):
        async for block in blocks:
            yield block
