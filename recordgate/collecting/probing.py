"""A look at one page of an API, and the `collect` block that it suggests. People read it; nothing
guesses at run time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recordgate.collecting.addresses import Allowed
from recordgate.collecting.fetching import Fetcher, json_of, place
from stores.errors import SourceError

_NEXT = ("next", "nextlink", "next_url", "nexturl", "@odata.nextlink")
_CURSOR = ("nextcursor", "next_cursor", "cursor", "nextpagetoken", "next_page_token", "endcursor")
_TOTAL = ("total", "totalcount", "total_count", "count", "numfound")


def probed(url: str, allowed: Allowed) -> str:
    """The block, as YAML. Raises SourceError where the page is none."""
    fetcher = Fetcher(allowed, timeout=30.0, max_bytes=32 << 20)
    try:
        answer = fetcher.get(url, {})
    finally:
        fetcher.close()
    if not 200 <= answer.status < 300:
        raise SourceError(f"{place(url)} answers {answer.status}", code="SOURCE_REFUSED")
    data = json_of(answer)
    found = sorted(_lists(data, "$"), key=lambda item: -len(item[1]))
    if not found:
        raise SourceError(f"{place(url)}: no list of objects is in the answer", code="BAD_PAGE")
    records, rows = found[0]
    fields = list(dict.fromkeys(name for row in rows[:100] for name in row))
    return "\n".join(
        [
            "- property: collect",
            "  vendor: recordgate",
            "  value:",
            "    http:",
            f"      url: {url}",
            f"      records: {records}[*]",
            f"      pages: {_pages(data, answer.headers.get('link', ''))}",
            "    deletes: {by: none}",
            "    every: 5m",
            f"# {len(rows)} records with the fields {', '.join(fields)}",
        ]
    )


def _lists(data: Any, path: str, depth: int = 4) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if isinstance(data, list) and data and all(isinstance(x, dict) for x in data):
        yield path, data
    elif isinstance(data, dict) and depth:
        for name, value in data.items():
            yield from _lists(value, f"{path}.{name}", depth - 1)


def _scalars(data: Any, path: str, depth: int = 4) -> Iterator[tuple[str, str, Any]]:
    if isinstance(data, dict) and depth:
        for name, value in data.items():
            yield from _scalars(value, f"{path}.{name}", depth - 1)
            if not isinstance(value, (dict, list)):
                yield name.lower(), f"{path}.{name}", value


def _pages(data: Any, link: str) -> str:
    named = list(_scalars(data, "$"))
    total = next((p for n, p, v in named if n in _TOTAL and isinstance(v, int)), "")
    tail = f", total: {total}" if total else ""
    if 'rel="next"' in link or "rel=next" in link:
        return f"{{by: link{tail}}}"
    for name, path, value in named:
        if isinstance(value, str) and value and name in _NEXT and ("/" in value or "?" in value):
            return f"{{by: next, next: {path}{tail}}}"
    for name, path, value in named:
        if value not in (None, "") and name in (*_CURSOR, "next"):
            return f"{{by: cursor, next: {path}, param: cursor{tail}}}"
    return f"{{by: none{tail}}}  # or offset, page: look at the API's own page on paging"
