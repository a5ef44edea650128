"""The landing page: what this product is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.browse.frame import Page, behind, shell
from gateway.browse.markup import Child, Markup, el
from gateway.browse.queries import Asked, first_query
from gateway.browse.seen import Seen
from gateway.browse.views import View
from stores.contract.model import RecordType


@dataclass(frozen=True, slots=True)
class Count:
    """The number of records that a viewer sees of a type; None: not counted, with the `reason`.
    `kind`: "exact", "at least", "about"."""

    number: int | None
    kind: str = "exact"
    reason: str = ""


def landing(page: Page, types: list[Seen], counts: dict[str, Count]) -> str:
    contract = page.contract
    return shell(
        page,
        "",
        el("h1", contract.name),
        el("p", contract.description, class_="lead") if contract.description else None,
        el(
            "p",
            f"Version {contract.version}" if contract.version else None,
            f" · owned by {contract.owner}" if contract.owner else None,
            class_="dim",
        ),
        el("h2", "What is in it"),
        el("ul", *(_card(s, counts.get(s.type.name)) for s in types), class_="cards")
        if types
        else el("p", "There is nothing here that you may read."),
        _first(page, types),
        el("h2", "Ways in"),
        _ways(page, types),
    )


def _card(seen: Seen, count: Count | None) -> Markup:
    t = seen.type
    title: Child = t.plural
    if seen.listed:
        title = el("a", t.plural, href=View(t.name).address)
    return el(
        "li",
        el("h3", title),
        el("p", number_text(count), class_="count"),
        el("p", t.description) if t.description else None,
        el("p", ", ".join(seen.name(p) for p in seen.shown[:8]) + _more(seen), class_="dim fields"),
        _search_form(t) if seen.may_search else None,
    )


def _more(seen: Seen) -> str:
    return f" and {len(seen.shown) - 8} more" if len(seen.shown) > 8 else ""


def _search_form(t: RecordType) -> Markup:
    return el(
        "form",
        el(
            "input",
            type="search",
            name="q",
            aria_label=f"Search {t.plural}",
            placeholder=f"search {t.plural}",
        ),
        el("button", "Search", type="submit"),
        action=View(t.name).address,
        role="search",
        class_="inline",
    )


def number_text(count: Count | None) -> str:
    if count is None or count.number is None:
        return count.reason if count and count.reason else "not counted"
    said = f"{count.number:,}"
    words = {"exact": said, "at least": f"at least {said}", "about": f"about {said}"}[count.kind]
    return f"{words} record{'' if count.number == 1 and count.kind == 'exact' else 's'}"


def _first(page: Page, types: list[Seen]) -> Child:
    best = next((s for s in types if s.may_search and s.may("list")), None)
    best = best or next((s for s in types if s.listed), None)
    if best is None:
        return None
    asked = Asked(first_query(best))
    return [
        el("h2", "A first query"),
        el("pre", el("code", asked.query), tabindex=0, aria_label="A first query"),
        behind(page, asked, "As a command for a shell", alone=True),
    ]


def _ways(page: Page, types: list[Seen]) -> Markup:
    found: list[tuple[str, str, str]] = [
        (
            "/graphql",
            "GraphiQL",
            "ask GraphQL queries by hand, with completion and the schema's own words",
        ),
        ("/schema.graphql", "GraphQL schema", "for programs that are made from it"),
        ("/openapi.json", "OpenAPI", "search, suggestions and export over plain HTTP"),
    ]
    if page.viewer.is_operator:
        found.append(("/console", "Console", "how the stores stand, and the last requests"))
    exported = next((s for s in types if s.may("export")), None)
    if exported is not None:
        found.append(
            (
                f"/export/{exported.type.name}?format=ndjson",
                "Download",
                f"all {exported.type.plural} as they are now; other types and formats on their"
                " pages",
            )
        )
    return el(
        "ul", *(el("li", el("a", t, href=h), f": {words}") for h, t, words in found), class_="ways"
    )
