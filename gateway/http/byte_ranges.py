"""One range of bytes of an HTTP request (RFC 9110, section 14). Pure."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\Z", re.ASCII)


class Unsatisfiable(Exception):
    """The range begins beyond the end."""


def asked_range(header: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of what `header` asks of `size` bytes; None for what is no single
    range of bytes, which is to be passed over. Raises Unsatisfiable."""
    found = _RANGE.match(header.replace(" ", ""))
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        if int(suffix) == 0 or size == 0:
            raise Unsatisfiable
        return max(0, size - int(suffix)), size
    start = int(first)
    end = int(last) + 1 if last else size
    if last and end <= start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, min(end, size)
