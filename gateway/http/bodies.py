"""A request's body and parameters: read within the limit while it streams in, of the right type,
JSON."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any

import orjson
from starlette.requests import Request

from gateway.http.problems import HttpProblem


async def read_body(request: Request, most: int) -> bytes:
    """The body, at most `most` bytes (also after decompression). Raises HttpProblem."""
    too_large = HttpProblem(
        "BODY_TOO_LARGE", f"the body is larger than {most} bytes", hint="setting max_body_bytes"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise HttpProblem(
            "UNSUPPORTED_MEDIA_TYPE",
            "the body's encoding is not supported",
            hint="use gzip, or no encoding",
        )
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        piece = part
        if unpack is not None:
            try:
                piece = unpack.decompress(part, most + 1 - size)
            except zlib.error:
                raise HttpProblem("BAD_USER_INPUT", "the body is not valid gzip") from None
            if unpack.unconsumed_tail:
                raise too_large
        size += len(piece)
        if size > most:
            raise too_large
        parts.append(piece)
    if unpack is not None and not unpack.eof:
        raise HttpProblem("BAD_USER_INPUT", "the body is not valid gzip")
    return b"".join(parts)


def media_type(header: str) -> tuple[str, str]:
    """Type and charset of a Content-Type header, lower case; "utf-8" where none is said."""
    kind, _, rest = header.partition(";")
    charset = "utf-8"
    for parameter in rest.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset


async def read_json_object(request: Request, most: int) -> dict[str, Any]:
    """The body as a JSON object. Raises HttpProblem."""
    value = await read_json(request, most)
    if not isinstance(value, dict):
        raise HttpProblem("BAD_USER_INPUT", "the body must be a JSON object")
    return value


async def read_json(request: Request, most: int) -> Any:
    """The body as JSON. Only application/json is taken: a browser sends a form or plain text across
    sites without asking, JSON it does not. Raises HttpProblem."""
    kind, charset = media_type(request.headers.get("content-type", ""))
    if kind != "application/json" or charset not in ("utf-8", "utf8"):
        raise HttpProblem(
            "UNSUPPORTED_MEDIA_TYPE",
            "the body must be application/json in UTF-8",
            hint="send the header Content-Type: application/json",
        )
    raw = await read_body(request, most)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise HttpProblem("BAD_USER_INPUT", "the body is not valid JSON") from None


def parameters(request: Request, known: Collection[str] | None = None) -> dict[str, str]:
    """The parameters of a URL. Raises HttpProblem for one that is given twice, for of two filters
    one would be passed over, and for one that is not among `known`, where they are said."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if known is not None and name not in known:
            raise HttpProblem(
                "BAD_USER_INPUT",
                f"no parameter {name[:40]!r} is known",
                hint="known are " + ", ".join(sorted(known)),
            )
        if name in found:
            raise HttpProblem("BAD_USER_INPUT", f"{name} is given twice", hint="give it once")
        found[name] = value
    return found


def switch(value: object, name: str) -> bool:
    """Return whether a parameter that is on or off is on; one that is not given is off. Raises
    HttpProblem."""
    if value in (True, "1", "true"):
        return True
    if value not in (None, False, "0", "false"):
        raise HttpProblem("BAD_USER_INPUT", f"{name} must be true or false")
    return False


def json_parameter(text: str, name: str) -> Any:
    """A query parameter that holds JSON. Raises HttpProblem."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HttpProblem("BAD_USER_INPUT", f"{name} is not valid JSON") from None
