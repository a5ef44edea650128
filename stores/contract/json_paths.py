"""Paths into JSON data, of RFC 9535 the part that sources need: `$.data[*]`, `$.meta['next']`,
`$.rows[0]`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias

JsonPath: TypeAlias = tuple[str | int | None, ...]
"""Steps from the root: a member's name, an element's index, or None for each element."""

_STEP = re.compile(
    r"\.(?P<name>[\w@-]+)|\[(?P<index>-?\d{1,9})\]"
    r"|\[(?P<quote>['\"])(?P<quoted>[^'\"]+)(?P=quote)\]|(?P<each>\[\*\])"
)


def parse_path(text: str) -> JsonPath:
    """The steps of a path; the leading `$` may be left out. Raises ValueError."""
    rest = text.removeprefix("$") if text.startswith("$") else f".{text}"
    steps: list[str | int | None] = []
    at = 0
    while at < len(rest):
        found = _STEP.match(rest, at)
        if found is None:
            raise ValueError(f"{text!r} is not a path: `$.data[*]`, `$.meta.next`, `$['a b'][0]`")
        if found["index"] is not None:
            steps.append(int(found["index"]))
        elif found["each"]:
            steps.append(None)
        else:
            steps.append(found["name"] or found["quoted"])
        at = found.end()
    return tuple(steps)


def every(data: Any, path: JsonPath) -> Iterator[Any]:
    """Each value that the path leads to; none where a step leads nowhere."""
    if not path:
        yield data
        return
    step, rest = path[0], path[1:]
    if step is None:
        if isinstance(data, list):
            for item in data:
                yield from every(item, rest)
    elif isinstance(step, int):
        if isinstance(data, list) and -len(data) <= step < len(data):
            yield from every(data[step], rest)
    elif isinstance(data, dict) and step in data:
        yield from every(data[step], rest)


def first(data: Any, path: JsonPath) -> Any:
    """The first value that the path leads to, or None."""
    return next(every(data, path), None)
