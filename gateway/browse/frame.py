"""The parts that every page has: its head, the way to the other pages, and what is shown of the
query behind it. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.browse.markup import Child, Markup, document, el
from gateway.browse.queries import Asked
from gateway.context.services import Viewer
from gateway.endpoints.assets import asset_address
from stores.contract.model import Contract

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


@dataclass(frozen=True, slots=True)
class Page:
    """The product, and the one who reads. `base`: the gateway's address, as the browser named
    it."""

    contract: Contract
    viewer: Viewer
    base: str


def shell(page: Page, title: str, *content: Child) -> str:
    """Return the whole page."""
    links = [("/", "Home"), ("/graphql", "GraphiQL"), ("/openapi.json", "OpenAPI")]
    if page.viewer.is_operator:
        links.append(("/console", "Console"))
    return document(
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", f"{title} · {page.contract.name}" if title else page.contract.name),
            el("link", rel="stylesheet", href=asset_address("recordgate.css")),
            el("script", src=asset_address("browse.js"), defer=True),
        ),
        el(
            "body",
            el("a", "Skip to the content", class_="skip", href="#content"),
            el(
                "header",
                el("a", page.contract.name, class_="brand", href="/"),
                el("nav", *(el("a", t, href=h) for h, t in links), aria_label="Pages"),
            ),
            el("main", *content, id="content"),
            el("footer", _who(page.viewer)),
        ),
        lang="en",
    )


def _who(viewer: Viewer) -> list[Child]:
    roles = ", ".join(sorted(viewer.roles))
    return [
        "You are ",
        el("bdi", viewer.name),
        f" with the roles {roles}." if roles else ", without a role.",
    ]


def trouble(errors: list[dict[str, Any]]) -> Child:
    """Return errors in words, with their code and what to do."""
    return [
        el(
            "div",
            el("p", el("strong", str(e.get("message", "an error")))),
            el("p", hint) if (hint := str(e.get("extensions", {}).get("hint", ""))) else None,
            el("p", _code(e.get("extensions", {})), class_="dim"),
            class_="trouble",
            role="alert",
        )
        for e in errors
    ]


def _code(extensions: dict[str, Any]) -> str:
    reference = extensions.get("reference")
    return f"Code {extensions.get('code', 'INTERNAL')}" + (
        f", reference {reference}" if reference else ""
    )


def span(milliseconds: float) -> str:
    """Return a time in the unit that suits it."""
    for size, unit in _UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.1f} {unit}".replace(".0 ", " ")
    return f"{milliseconds:.0f} ms"


def source_line(routes: dict[str, Any], field: str) -> Child:
    """Return the line that says which store answered, why, and how stale it can be."""
    route = routes.get(field)
    if not route:
        return None
    store = str(route.get("store", ""))
    stale = route.get("stalenessMs")
    if isinstance(stale, int | float):
        age: Child = f"at most {span(stale)} old"
    else:
        age = "as it is now" if store == "canonical" else "of an age that is not known"
    reason = str(route.get("reason") or "")
    more = [
        f"{name} {route[name]}"
        for name in ("generation", "watermark")
        if route.get(name) is not None
    ]
    return el(
        "p",
        "Answered by ",
        el("span", store, class_="store"),
        ", ",
        age,
        f": {reason}. " if reason else ". ",
        el("span", ", ".join(more), class_="dim") if more else None,
        class_="source",
        id="source",
    )


def behind(
    page: Page, asked: Asked, title: str = "The query behind this page", *, alone: bool = False
) -> Markup:
    """Return the query behind a page: as GraphQL, where that is not `alone` on the page already,
    and as a command for a shell."""
    variables = plainly(json.dumps(asked.variables, ensure_ascii=False, indent=2))
    variables = variables if asked.variables else ""
    return el(
        "details",
        el("summary", title),
        None if alone else _copied("GraphQL", "graphql", asked.query),
        _copied("Variables", "variables", variables) if variables else None,
        _copied("curl", "curl", curl(page, asked)),
        el("p", el("a", "Open it in GraphiQL", href=graphiql_address(asked))),
        class_="behind",
    )


def _copied(title: str, name: str, content: str) -> Child:
    return [
        el(
            "div",
            el("h3", title),
            el(
                "button",
                "Copy",
                type="button",
                class_="copy",
                data_copies=f"code-{name}",
                aria_label=f"Copy {title}",
            ),
            class_="codehead",
        ),
        el("pre", el("code", content), id=f"code-{name}", tabindex=0, aria_label=title),
    ]


def graphiql_address(asked: Asked) -> str:
    """Return GraphiQL's address, with the query in the part of it that is sent to nobody."""
    given = f"/graphql#query={quote(asked.query, safe='')}"
    if asked.variables:
        given += f"&variables={quote(json.dumps(asked.variables, ensure_ascii=False), safe='')}"
    return given


def curl(page: Page, asked: Asked) -> str:
    """Return the query as a command. Whatever it holds stands in single quotes."""
    body: dict[str, Any] = {"query": " ".join(asked.query.split())}
    if asked.variables:
        body["variables"] = asked.variables
    sent = plainly(json.dumps(body, ensure_ascii=False))
    parts = [f"curl {_quoted(page.base + '/graphql')}", "-H 'Content-Type: application/json'"]
    if page.viewer.name != "anonymous":
        parts.append('-H "Authorization: Bearer $KEY"')
    parts.append(f"--data-raw {_quoted(sent)}")
    return " \\\n  ".join(parts)


def plainly(text: str) -> str:
    """Return JSON in which what is not seen, or turns what is seen around, is written as an escape:
    it is copied to a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c).strip('"') for c in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
