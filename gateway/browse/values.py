"""Values as they look on a page. Pure."""

from __future__ import annotations

import json
from html import unescape
from typing import Any

from gateway.browse.markup import Child, Markup, el
from gateway.browse.seen import Seen
from gateway.browse.views import record_address
from gateway.shape.visibility import Form
from stores.contract.model import Property, Scalar

LONGEST = 120
"""Characters of a value in a table; a record's own page shows all."""
ITEMS = 4
"""Items that a table shows of a list."""
_NUMERIC = (Scalar.INT, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL)


def is_numeric(prop: Property) -> bool:
    return prop.scalar in _NUMERIC and not prop.array


def written(value: Any) -> str:
    """Return a value as text: what a condition on it would be given."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def short(text: str) -> str:
    """Return a text, cut where it is too long for a line."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def shown(seen: Seen, prop: Property, value: Any, *, whole: bool = False) -> Child:
    """Return a value as it is shown; where it is the key of another record, as a link to that."""
    if not whole and isinstance(value, list) and len(value) > ITEMS:
        return [
            shown(seen, prop, value[:ITEMS]),
            el("span", f" and {len(value) - ITEMS} more", class_="dim"),
        ]
    if value is None:
        return el("span", "–", class_="dim", title="no value", aria_label="no value")
    if isinstance(value, list) and not any(isinstance(v, list | dict) for v in value):
        text = ", ".join("–" if v is None else written(v) for v in value)
        text = text or "(empty list)"
    else:
        text = written(value)
    if not whole:
        text = short(text)
    if text == "":
        return el("span", "(empty)", class_="dim")
    bare: Child = el("bdi", text)
    if isinstance(value, dict) or (isinstance(value, list) and text.startswith(("[", "{"))):
        return el("code", bare)
    target = seen.leads_to(prop) if seen.visibility.form(prop) is Form.PLAIN else None
    if target is not None:
        return el("a", bare, href=record_address(target.type.name, written(value)))
    return bare


def fragment(text: str) -> Markup:
    """Return a highlight: escaped text of a record with `<em>` around what was found. Nothing else
    of it is taken as HTML."""
    parts: list[Child] = []
    for place, part in enumerate(text.split("<em>")):
        found, end, rest = part.partition("</em>") if place else ("", "", part)
        if place and not end:
            found, rest = "", part
        if found:
            parts.append(el("mark", unescape(found)))
        parts.append(unescape(rest))
    return el("bdi", *parts)
