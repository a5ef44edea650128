"""Compresses answers that come whole, are text and not small, in the way that the caller takes:
zstd or gzip.

Streams go as they are: an export's ranges count its own bytes, an event must leave at once.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from functools import lru_cache

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST = 1400
"""Bytes: a smaller answer fits into one packet anyway."""
LONG = 256 * 1024
"""Bytes from which on it is done off the event loop."""
_TEXT = re.compile(rb"(application/([a-z-]+\+)?json|text/|image/svg)")
_QUALITY = re.compile(r";\s*q=(0(?:\.0*)?)\s*\Z")


@lru_cache(maxsize=256)
def coding(accepted: str) -> str:
    """The content coding for an Accept-Encoding header; "" for none."""
    names = {
        name.strip()
        for entry in accepted.lower().split(",")
        if not _QUALITY.search(entry) and (name := entry.partition(";")[0])
    }
    return next((c for c in ("zstd", "gzip") if c in names), "")


def compressed(body: bytes, how: str) -> bytes:
    if how == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(body)
    return gzip.compress(body, compresslevel=5, mtime=0)


class Compression:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = b""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"accept-encoding":
                    given = value
        how = coding(given.decode("latin-1")[:200]) if given else ""
        if not how:
            await self.app(scope, receive, send)
            return
        held: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _worth(message):
                held = message
                return
            if held is None:
                await send(message)
                return
            start, held = held, None
            if not message.get("more_body"):
                body = message["body"]
                if len(body) >= LONG:
                    body = await asyncio.to_thread(compressed, body, how)
                else:
                    body = compressed(body, how)
                start = {**start, "headers": _headers(start, how, len(body))}
                message = {**message, "body": body}
            await send(start)
            await send(message)

        await self.app(scope, receive, sending)


def _worth(start: Message) -> bool:
    length = kind = b""
    for name, value in start["headers"]:
        lower = name.lower()
        if lower == b"content-length":
            length = value
        elif lower == b"content-type":
            kind = value
        elif lower in (b"content-encoding", b"content-range"):
            return False
    return length.isdigit() and int(length) >= LEAST and _TEXT.match(kind) is not None


def _headers(start: Message, how: str, size: int) -> list[tuple[bytes, bytes]]:
    found = []
    vary = b"Accept-Encoding"
    for name, value in start["headers"]:
        lower = name.lower()
        if lower == b"vary":
            vary = value + b", " + vary
        elif lower != b"content-length":
            found.append((name, value))
    return [
        *found,
        (b"content-length", b"%d" % size),
        (b"content-encoding", how.encode()),
        (b"vary", vary),
    ]
