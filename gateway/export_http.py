"""`/export/{type}`: the export as a streamed answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

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
        services.mask_salt,
    )


async def export_endpoint(request: Request) -> Response:
    services: Services = request.app.state.services
    export = _read(request, services, request.state.viewer)
    request.state.operation = f"export {export.record_type.name}"
    request.state.stores = {"canonical"}
    places: asyncio.Semaphore = request.app.state.exports
    if places.locked():
        raise HttpProblem("OVERLOADED", "too many exports are running", hint="try again later")
    blocks = _blocks(services, export, places)
    try:
        # What is wrong shows in the first block, while it can still be answered as a problem.
        first = await anext(blocks, b"")
    except BaseException:
        await blocks.aclose()
        raise

    async def body() -> AsyncIterator[bytes]:
        try:
            yield first
            async for block in blocks:
                yield block
        finally:
            await asyncio.shield(blocks.aclose())

    name = f"{export.record_type.plural}.{export.format.value}"
    return StreamingResponse(
        body(),
        media_type=MEDIA_TYPES[export.format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _blocks(
    services: Services, export: Export, places: asyncio.Semaphore
) -> AsyncGenerator[bytes, None]:
    async with places, services.pool.connection() as conn:
        async for block in stream(conn, services.contract, export):
            yield block
