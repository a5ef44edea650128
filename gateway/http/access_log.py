"""The access log: one line of JSON for each answered request, gathered and written a few times a
second.

Neither a query's text nor its values are in it, nor a path's parameters.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

EVERY = 0.25
"""Seconds between two writes."""


class AccessLog:
    """Writes to `out`, which is opened for appending."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lines: list[bytes] = []

    def note(self, at: float, entry: dict[str, Any]) -> None:
        """`at`: when it was answered, in seconds since the epoch."""
        if not self._lines:
            asyncio.get_running_loop().call_later(EVERY, self.flush)
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
        self._lines.append(orjson.dumps({"at": when, **entry}) + b"\n")

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._out.write(b"".join(lines))
            self._out.flush()
