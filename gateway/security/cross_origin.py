"""Decides which pages of other sites may ask by a browser (CORS): none unless the settings name
them."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

_SENT = (
    "Authorization", "X-API-Key", "Content-Type", "Accept", "X-Request-Id", "Recordgate-Token",
    "Recordgate-Max-Staleness", "Recordgate-Wait-Up-To", "Recordgate-Explain", "Recordgate-Roles",
    "Idempotency-Key", "If-None-Match", "Range", "traceparent", "tracestate",
)  # fmt: skip
_READ = (
    "Recordgate-Token", "X-Request-Id", "Retry-After", "ETag", "WWW-Authenticate",
    "Content-Disposition",
    "Accept-Ranges", "Content-Range",
)  # fmt: skip
KEPT = 600
"""Seconds that a browser may keep the permission."""


def cors(origins: tuple[str, ...]) -> list[Middleware]:
    """The middleware that lets pages of `origins` ask; "*" is all. Never with a browser's own
    credentials: a page sends the token or key that it was given."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST"),
            allow_headers=_SENT,
            expose_headers=_READ,
            allow_credentials=False,
            max_age=KEPT,
        )
    ]
