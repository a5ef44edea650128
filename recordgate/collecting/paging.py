"""Decides which page comes next, and whether the pages go in a circle. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from stores.contract.collect import Pages
from stores.contract.json_paths import first
from stores.errors import SourceError

Position: TypeAlias = dict[str, Any]
"""The position of a walk: {} at its beginning, else what asks for the next page."""

EMPTY_PAGES = 100
"""Empty pages in a row that name a next one, after which a source goes nowhere."""
_LINK = re.compile(r"<([^>]*)>([^<]*)")


def address_of(url: str, pages: Pages, position: Position, more: dict[str, str]) -> str:
    """The URL that asks for the page at `position`; `more`: further parameters of the walk."""
    if "url" in position:
        return str(position["url"])
    given = dict(more)
    if pages.size_param:
        given[pages.size_param] = str(pages.size)
    if pages.by in ("offset", "page"):
        given[pages.param] = str(position.get("at", pages.start))
    elif pages.by == "cursor" and "at" in position:
        given[pages.param] = str(position["at"])
    return with_params(url, given)


def with_params(url: str, given: dict[str, str]) -> str:
    """The URL with parameters, in the place of those of their names."""
    if not given:
        return url
    parts = urlsplit(url)
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n not in given]
    return urlunsplit(parts._replace(query=urlencode([*kept, *given.items()])))


def next_position(
    pages: Pages, position: Position, url: str, link: str, data: Any, rows: int, seen: int
) -> Position | None:
    """Return the position of the next page, or None after the last.

    `link` is the header of that name; `rows` counts those of this page, `seen` those of the walk
    with it. Raises SourceError where an answer names no position that can be asked for.
    """
    if pages.by == "none":
        return None
    if pages.by == "link":
        target = _next_link(link)
        return None if target is None else {"url": urljoin(url, target)}
    if pages.by in ("next", "cursor"):
        assert pages.next is not None
        named = first(data, pages.next)
        if named is None or named == "" or named is False:
            return None
        if isinstance(named, (dict, list)) or named is True or len(str(named)) > 8192:
            raise SourceError("what names the next page is no text and no number", code="BAD_PAGE")
        return {"url": urljoin(url, str(named))} if pages.by == "next" else {"at": str(named)}
    total = first(data, pages.total) if pages.total else None
    if not rows or (isinstance(total, int) and not isinstance(total, bool) and seen >= total):
        return None
    step = 1 if pages.by == "page" else rows
    return {"at": int(position.get("at", pages.start)) + step}


def _next_link(header: str) -> str | None:
    for target, parameters in _LINK.findall(header):
        for name, value in re.findall(r';\s*(\w+)\s*=\s*"?([^";,]*)"?', parameters):
            if name.lower() == "rel" and "next" in value.lower().split():
                return str(target)
    return None


@dataclass(slots=True)
class Circle:
    """Notices that pages repeat: the same place asked again, a page equal to the one before, or
    only empty ones."""

    most: int
    pages: int = 0
    _places: set[bytes] = field(default_factory=set)
    _before: bytes = b""
    _empty: int = 0

    def page(self, position: Position, content: bytes, rows: int) -> None:
        """Take note of a page. Raises SourceError `PAGES_LOOP`, or `TOO_MANY_PAGES`."""
        self.pages += 1
        if self.pages > self.most:
            raise SourceError(
                f"more than {self.most:,} pages", hint="raise `atMost.pages`", code="TOO_MANY_PAGES"
            )
        place = blake2b(repr(sorted(position.items())).encode(), digest_size=12).digest()
        self._empty = 0 if rows else self._empty + 1
        if place in self._places or (rows and content == self._before) or self._empty > EMPTY_PAGES:
            raise SourceError(
                "the pages repeat, and would for ever",
                hint="look at `pages` with `recordgate collect probe`",
                code="PAGES_LOOP",
            )
        self._places.add(place)
        self._before = content
