"""W3C Trace Context (https://www.w3.org/TR/trace-context/): the trace that a request belongs to,
for logs, errors and the answer's `traceresponse`."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request at hand; empty where the caller named none."""


def read_parent(header: bytes) -> tuple[str, str]:
    """Trace id and flags of a `traceparent` header; empty ones where it is not valid."""
    found = _PARENT.match(header)
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5]):
        return "", ""
    if found[2] == b"0" * 32 or found[3] == b"0" * 16:
        return "", ""
    return found[2].decode(), found[4].decode()


def response_header(trace: str, flags: str) -> bytes:
    """`traceresponse`, with a new id for our part of the work."""
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}".encode()
