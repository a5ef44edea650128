"""The page of a type's records: words, conditions, facets, a table, the next page. Pure."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from gateway.browse.frame import Page, behind, shell, source_line, trouble
from gateway.browse.landing import Count, number_text
from gateway.browse.markup import Child, Markup, el
from gateway.browse.queries import COLUMNS, Asked, Errors, own_errors
from gateway.browse.seen import Seen
from gateway.browse.values import fragment, is_numeric, shown, written
from gateway.browse.views import SIZES, Condition, View, filter_of, record_address
from gateway.shape.visibility import Form
from stores.contract.model import Property
from stores.query import Op

FACET_VALUES = 12
WORDS = {
    Op.EQ: "is", Op.NEQ: "is not", Op.GT: "more than", Op.GTE: "at least", Op.LT: "less than",
    Op.LTE: "at most", Op.CONTAINS: "contains", Op.STARTS_WITH: "begins with",
    Op.IS_NULL: "has no value",
}  # fmt: skip


def listing(
    page: Page,
    seen: Seen,
    view: View,
    asked: Asked,
    answer: dict[str, Any],
    count: Count | None = None,
) -> str:
    """`answer` is GraphQL's; `count`: how many there are, where the answer does not say."""
    data = answer.get("data") or {}
    found = data.get(asked.rows)
    routes = answer.get("extensions", {}).get("recordgate", {}).get("fields", {})
    beside = data.get(seen.search_field) or {}
    errors = own_errors(answer, asked)
    uncounted = [e for e in answer.get("errors", []) if e not in errors]
    return shell(
        page,
        seen.type.plural,
        el("p", el("a", "Home", href="/"), " / ", seen.type.plural, class_="path"),
        el("h1", seen.type.plural),
        el("p", seen.type.description, class_="lead") if seen.type.description else None,
        _form(seen, view),
        _conditions(seen, view),
        trouble(errors),
        el(
            "div",
            _facets(seen, view, beside),
            el(
                "section",
                _total(seen, found, beside, count, view),
                _uncounted(uncounted),
                _suggestions(view, found),
                _table(seen, view, found),
                _pages(view, found),
                source_line(routes, asked.rows),
                aria_label="Records",
            )
            if found is not None
            else None,
            class_="columns" if seen.facets and beside.get("facets") else "",
        ),
        _downloads(seen, view),
        behind(page, asked),
    )


def _uncounted(errors: Errors) -> Child:
    if not errors:
        return None
    why = str(errors[0].get("message", "")).removeprefix("filter: ")
    return el("p", f"Without counts: {why}.", class_="dim")


def _form(seen: Seen, view: View) -> Markup:
    hidden = [el("input", type="hidden", name=n, value=v) for n, v in _kept(view)]
    fields = list(seen.comparisons)
    ops = [o for o in WORDS if any(o in c for c in seen.comparisons.values())]
    words: list[Child] = []
    if seen.may_search:
        words = [
            el("label", "Words", for_="q"),
            el("input", type="search", id="q", name="q", value=view.words, placeholder="any words"),
        ]
    adding: list[Child] = []
    if fields:
        adding = [
            el("label", "Field", for_="field"),
            el(
                "select",
                el("option", "add a condition", value=""),
                *(el("option", f, value=f) for f in fields),
                id="field",
                name="field",
            ),
            el("label", "Comparison", for_="op", class_="hidden"),
            el("select", *(el("option", WORDS[o], value=o.value) for o in ops), id="op", name="op"),
            el("label", "Value", for_="value", class_="hidden"),
            el("input", id="value", name="value", placeholder="value", autocomplete="off"),
        ]
    return el(
        "form",
        *hidden,
        el("div", *words, class_="group") if words else None,
        el("div", *adding, class_="group") if adding else None,
        el(
            "div",
            el("label", "Per page", for_="size"),
            el(
                "select",
                *(
                    el("option", size, value=size, selected=size == view.size)
                    for size in sorted({*SIZES, view.size})
                    if size <= seen.type.expose.page_limit
                ),
                id="size",
                name="size",
            ),
            el("button", "Show", type="submit"),
            class_="group",
        ),
        action=View(seen.type.name).address,
        class_="query",
        role="search",
        aria_label=f"Which {seen.type.plural}",
    )


def _kept(view: View) -> list[tuple[str, str]]:
    """Return the parameters that the form carries along: all but those that it has fields for, and
    the place in the pages."""
    left_out = ("q", "size", "after", "before")
    return [(n, v) for n, v in view.parameters() if n not in left_out]


def said(condition: Condition) -> str:
    if condition.op is Op.IS_NULL:
        return f"{condition.field} has {'no' if condition.text == 'true' else 'a'} value"
    return f"{condition.field} {WORDS[condition.op]} {condition.text}"


def _conditions(seen: Seen, view: View) -> Child:
    if not view.conditions and not view.words:
        return None
    chips: list[Child] = [
        el(
            "li",
            el("bdi", said(c)),
            " ",
            el("a", "×", href=view.without(c).address, aria_label=f"Remove: {said(c)}"),
        )
        for c in view.conditions
    ]
    if view.words:
        chips.insert(
            0,
            el(
                "li",
                el("bdi", f"words: {view.words}"),
                " ",
                el("a", "×", href=_without_words(view).address, aria_label="Remove the words"),
            ),
        )
    chips.append(el("li", el("a", "clear all", href=View(seen.type.name).address), class_="clear"))
    return el("ul", *chips, class_="chips", aria_label="Conditions")


def _without_words(view: View) -> View:
    return view.at_start(words="", sort=())


def _facets(seen: Seen, view: View, beside: dict[str, Any]) -> Child:
    found = beside.get("facets") or []
    boxes: list[Child] = []
    for facet in found:
        prop = seen.prop(facet["field"])
        if prop is None or not facet["buckets"]:
            continue
        op = Op.CONTAINS if prop.array else Op.EQ
        lines: list[Child] = []
        for bucket in facet["buckets"][:FACET_VALUES]:
            condition = Condition(facet["field"], op, written(bucket["value"]))
            on = condition in view.conditions
            lines.append(
                el(
                    "li",
                    el(
                        "a",
                        el("bdi", written(bucket["value"]) or "(empty)"),
                        href=(view.without if on else view.with_)(condition).address,
                        aria_current="true" if on else None,
                    ),
                    el("span", f"{bucket['count']:,}", class_="num dim"),
                )
            )
        boxes.append(
            el(
                "details",
                el("summary", facet["field"]),
                el("ul", *lines),
                class_="facet",
                open=True,
            )
        )
    return el("aside", *boxes, aria_label="Facets", class_="facets") if boxes else None


def _total(
    seen: Seen,
    found: dict[str, Any],
    beside: dict[str, Any],
    count: Count | None,
    view: View,
) -> Markup:
    total = found.get("totalCount", beside.get("totalCount"))
    if total is not None:
        source = found if "totalCount" in found else beside
        kind = "at least" if source.get("totalIsLowerBound") else "exact"
        count = Count(int(total), kind)
    elif view.conditions:
        count = None
    return el("p", number_text(count), class_="count", role="status", id="total")


def _suggestions(view: View, found: dict[str, Any]) -> Child:
    texts = found.get("suggestions") or []
    if not texts:
        return None
    links = [el("a", el("bdi", t), href=view.at_start(words=t).address) for t in texts[:3]]
    return el("p", "Did you mean ", *_between(links, " or "), "?")


def _between(parts: list[Markup], glue: str) -> list[Child]:
    found: list[Child] = []
    for part in parts:
        found += [glue, part] if found else [part]
    return found


def _table(seen: Seen, view: View, found: dict[str, Any]) -> Markup:
    edges = found["edges"]
    if not edges:
        return el("p", "No record is like that.", class_="none")
    columns = seen.columns[:COLUMNS]
    searching = bool(view.words) or not seen.may("list")
    allowed = seen.sortable(searching=searching)
    head = el("tr", *(_heading(seen, view, p, allowed, p is columns[0]) for p in columns))
    rows: list[Child] = []
    for edge in edges:
        node = edge["node"]
        cells = [
            el(
                "td",
                _cell(seen, p, node, linked=place == 0),
                class_="num" if place and is_numeric(p) else None,
                dir=None if is_numeric(p) else "auto",
            )
            for place, p in enumerate(columns)
        ]
        rows.append(el("tr", *cells))
        marks = [
            el("span", f"{h['field']}: ", *(fragment(t) for t in h["fragments"][:1]))
            for h in edge.get("highlights") or []
        ]
        if marks:
            rows.append(
                el("tr", el("td", *_between(marks, " · "), colspan=len(columns)), class_="marks")
            )
    return el(
        "div",
        el(
            "table",
            el("caption", f"Records of {seen.type.plural}", class_="hidden"),
            el("thead", head),
            el("tbody", *rows),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=f"Table of {seen.type.plural}",
    )


def _heading(
    seen: Seen, view: View, prop: Property, allowed: tuple[str, ...], first: bool
) -> Markup:
    name = seen.name(prop)
    masked = seen.visibility.form(prop) is not Form.PLAIN
    note = el("span", " masked", class_="dim") if masked else None
    how = next((down for field, down in view.sort if field == name), None)
    place = {None: None, False: "ascending", True: "descending"}[how]
    content: Child = name
    if name in allowed:
        arrow = {None: "", False: " ↑", True: " ↓"}[how]
        content = el(
            "a", name, el("span", arrow, aria_hidden="true"), href=view.sorted_by(name).address
        )
    return el(
        "th",
        content,
        note,
        scope="col",
        class_="num" if is_numeric(prop) and not first else None,
        aria_sort=place,
        title=prop.description or None,
    )


def _cell(seen: Seen, prop: Property, node: dict[str, Any], *, linked: bool) -> Child:
    value = node[seen.name(prop)]
    if linked and seen.may("get"):
        inner = el("bdi", str(node["id"]) if value is None else written(value) or "(empty)")
        return el("a", inner, href=record_address(seen.type.name, str(node["id"])), class_="key")
    return shown(seen, prop, value)


def _pages(view: View, found: dict[str, Any]) -> Child:
    info = found["pageInfo"]
    links: list[Child] = []
    if view.after or view.before:
        links.append(el("a", "« First page", href=view.at_start().address))
    if info.get("hasPreviousPage") and info.get("startCursor"):
        address = view.at_start(before=info["startCursor"]).address
        links.append(el("a", "‹ Previous page", href=address, rel="prev"))
    if info.get("hasNextPage") and info.get("endCursor"):
        links.append(
            el("a", "Next page ›", href=view.at_start(after=info["endCursor"]).address, rel="next")
        )
    return el("nav", *links, aria_label="Pages of records", class_="pages") if links else None


def _downloads(seen: Seen, view: View) -> Child:
    if not seen.may("export"):
        return None
    condition = filter_of(seen, view.conditions)
    more = [("filter", json.dumps(condition, ensure_ascii=False))] if condition else []
    links = []
    for text, given in (
        ("CSV", [("format", "csv")]),
        ("CSV for spreadsheets", [("format", "csv"), ("spreadsheet", "1")]),
        ("NDJSON", [("format", "ndjson")]),
        ("Parquet", [("format", "parquet")]),
    ):
        address = f"/export/{quote(seen.type.name, safe='')}?{urlencode([*given, *more])}"
        links.append(el("a", text, href=address))
    what = "what the conditions leave" if condition else f"all {seen.type.plural}"
    note = " The words are not taken into account." if view.words else ""
    return el("p", f"Download {what}: ", *_between(links, ", "), f".{note}", class_="downloads")
