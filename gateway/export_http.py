"""`/export/{type}`: the export as a streamed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from gateway.bodies import json_parameter
from gateway.export import MEDIA_TYPES, Export, Format, fields_of, stream
from gateway.filters import parse_filter
from gateway.problems import HttpProblem
from gateway.search_http import record_type_of
from gateway.services import Services, Viewer
from gateway.shaping import key_values
from gateway.visibility import Visibility
from stores.errors import InputError

MOST = 2
"""Exports that run at once: each holds one of canonical's connections for as long as its reader takes."""


def _read(request: Request, services: Services, viewer: Viewer) -> Export:
    record_type = record_type_of(services, request.path_params["type"])
    if "export" not in record_type.expose.operations:
        raise InputError(f"{record_type.plural} cannot be exported")
    given = request.query_params
    visibility = Visibility(services.contract, viewer.roles)
    visibility.require_may(record_type, "export")
    try:
        format_ = Format(given.get("format", "ndjson"))
    except ValueError:
        raise InputError("format must be ndjson or csv") from None
    raw = json_parameter(given["filter"], "filter") if "filter" in given else {}
    if raw is None:
        raise InputError("filter must not be null", hint="leave it out")
    names = [n.strip() for n in given.get("fields", "").split(",") if n.strip()]
    return Export(
        record_type,
        format_,
        fields_of(record_type, names),
        parse_filter(record_type, raw, visibility),
        key_values(record_type, given["after"]) if "after" in given else None,
        visibility,
        services.mask_key,
    )


async def export_endpoint(request: Request) -> Response:
    services: Services = request.app.state.services
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
    if given.get("manifest") in ("1", "true"):
        if found is None:
            raise InputError(
                "a manifest is of a snapshot", hint="take the URL that Link of the export gives"
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
        return Response(media_type=MEDIA_TYPES[export.format], headers={"Accept-Ranges": "bytes"})
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
    """What tells this query, by what this viewer may see of it, from all others."""
    text = copy_statement(services.contract, export).as_bytes(None)
    return hmac.new(
        services.token_secret, export.format.encode() + b"\0" + text, hashlib.sha256
    ).hexdigest()[:32]


async def _answer(request: Request, export: Export, found: Spooled, ranged: str) -> Response:
    name = f"{export.record_type.plural}.{export.format.value}"
    return _ExportResponse(
        first,
        blocks,
        media_type=MEDIA_TYPES[export.format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


class _ExportResponse(StreamingResponse):
    """Closes its blocks however it ends: an iterator that is only forgotten would hold its connection
    until it is collected."""

    def __init__(self, first: bytes, blocks: AsyncGenerator[bytes, None], **more: Any) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield first
            async for block in blocks:
                yield block

        super().__init__(body(), **more)
        self._blocks = blocks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._blocks.aclose()


async def _blocks(
    services: Services, export: Export, places: asyncio.Semaphore
) -> AsyncGenerator[bytes, None]:
    async with (
        places,
        services.pool.connection() as conn,
        aclosing(stream(conn, services.contract, export)) as blocks,
    ):
        async for block in blocks:
            yield block
