"""The files that pages are made with, each under an address that changes with its content."""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from gateway.http.compression import coding, compressed
from gateway.http.problems import HttpProblem

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
NAMES = (
    "recordgate.css",
    "browse.js",
    "graphiql.js",
    "graphiql.css",
    "vendor/react.production.min.js",
    "vendor/react-dom.production.min.js",
    "vendor/graphiql.min.js",
    "vendor/graphiql.min.css",
)
"""All there are: a path is looked up here, and never on a disk."""


@cache
def content(name: str) -> tuple[bytes, str]:
    """Return a file's bytes and their digest."""
    place = files("gateway.endpoints") / "static"
    for part in name.split("/"):
        place = place / part
    found = place.read_bytes()
    return found, hashlib.sha256(found).hexdigest()[:16]


@cache
def packed(name: str, how: str) -> bytes:
    """Return a file's bytes in a content coding. They are made once: anybody may ask for them, and
    as often as they like."""
    return compressed(content(name)[0], how)


def asset_address(name: str) -> str:
    return f"/assets/{name}?v={content(name)[1]}"


async def asset_endpoint(request: Request) -> Response:
    """Return a file; for a year where the address has its digest. Raises HttpProblem."""
    name = request.path_params["name"]
    if name not in NAMES:
        raise HttpProblem("NOT_FOUND", "there is nothing at this path")
    body, digest = content(name)
    named = request.query_params.get("v") == digest
    tag = f'"{digest}"'
    headers = {
        "ETag": f"W/{tag}",
        "Vary": "Accept-Encoding",
        "Cache-Control": "private, max-age=31536000, immutable" if named else "private, no-cache",
    }
    asked = request.headers.get("if-none-match", "")
    if tag in asked or asked.strip() == "*":
        return Response(status_code=304, headers=headers)
    how = coding(request.headers.get("accept-encoding", "")[:200])
    if how:
        body = await asyncio.to_thread(packed, name, how)
        headers["Content-Encoding"] = how
    return Response(body, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])
