"""HTML that is made of elements, never of text: whatever is not an element is escaped. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

Child: TypeAlias = "Markup | str | int | Iterable[Child] | None"

_EMPTY = frozenset(("meta", "link", "input", "br", "hr"))


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def el(name: str, /, *children: Child, **attributes: str | int | bool | None) -> Markup:
    """Return an element. An underscore at the end of an attribute's name is dropped, others become
    dashes; True is an attribute without a value, None and False are none."""
    given = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        written = key.rstrip("_").replace("_", "-")
        given.append(f" {written}" if value is True else f' {written}="{escape(str(value))}"')
    head = f"<{name}{''.join(given)}>"
    if name in _EMPTY:
        return Markup(head)
    return Markup(f"{head}{text(children)}</{name}>")


def text(child: Child) -> str:
    """Return children as they stand in HTML."""
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int):
        return escape(str(child))
    return "".join(text(part) for part in child)


def document(*children: Child, **attributes: str | None) -> str:
    return "<!doctype html>\n" + el("html", *children, **attributes)
