"""One record's page, with what it is related to. Pure."""

from __future__ import annotations

from typing import Any

from gateway.browse.frame import Page, behind, shell, source_line, trouble
from gateway.browse.markup import Child, el
from gateway.browse.queries import Asked
from gateway.browse.seen import Seen
from gateway.browse.values import short, shown, written
from gateway.browse.views import Condition, View, record_address
from gateway.shape.visibility import Form
from stores.contract.model import Relation
from stores.query import Op


def record(page: Page, seen: Seen, key: str, asked: Asked, answer: dict[str, Any]) -> str:
    """`answer` is GraphQL's."""
    node = (answer.get("data") or {}).get(asked.rows)
    routes = answer.get("extensions", {}).get("recordgate", {}).get("fields", {})
    name = short(str(node.get(seen.label) or key) if node else key)
    listed = el("a", seen.type.plural, href=View(seen.type.name).address)
    return shell(
        page,
        name,
        el(
            "p",
            el("a", "Home", href="/"),
            " / ",
            listed if seen.listed else seen.type.plural,
            " / ",
            el("bdi", key),
            class_="path",
        ),
        el("h1", el("bdi", name)),
        trouble(answer.get("errors", [])),
        _values(seen, node) if node else None,
        _relations(seen, node) if node else None,
        source_line(routes, asked.rows),
        behind(page, asked),
    )


def _values(seen: Seen, node: dict[str, Any]) -> Child:
    rows: list[Child] = []
    for prop in seen.shown:
        masked = seen.visibility.form(prop) is not Form.PLAIN
        rows.append(
            el(
                "div",
                el(
                    "dt",
                    seen.name(prop),
                    el("span", " masked", class_="dim") if masked else None,
                    el("span", prop.description, class_="dim about") if prop.description else None,
                ),
                el("dd", shown(seen, prop, node[seen.name(prop)], whole=True), dir="auto"),
            )
        )
    return el("dl", *rows, class_="record")


def _relations(seen: Seen, node: dict[str, Any]) -> Child:
    sections: list[Child] = []
    for relation, target in seen.relations():
        found = node.get(relation.graphql)
        nodes = found["nodes"] if relation.many and found else [found] if found else []
        items = [el("li", _linked(target, n)) for n in nodes]
        every = _all(relation, seen, target, node) if relation.many and nodes else None
        has_more = bool(relation.many and found and found["pageInfo"]["hasNextPage"])
        sections.append(
            el(
                "section",
                el(
                    "h3",
                    relation.graphql,
                    _of(relation, target),
                ),
                el("ul", *items) if items else el("p", "none", class_="dim"),
                el("p", el("a", "all of them" if has_more else "as a table", href=every))
                if every
                else None,
                el("p", "and more", class_="dim") if has_more and not every else None,
            )
        )
    if not sections:
        return None
    return [el("h2", "Related"), el("div", *sections, class_="related")]


def _of(relation: Relation, target: Seen) -> Child:
    name = target.type.plural if relation.many else target.type.single
    return el("span", f" {name}", class_="dim") if name != relation.graphql else None


def _linked(target: Seen, node: dict[str, Any]) -> Child:
    key = str(node["id"])
    label = node.get(target.label)
    text: list[Child] = [el("bdi", short(written(label) if label not in (None, "") else key))]
    said: Child = text
    if target.may("get"):
        said = el("a", *text, href=record_address(target.type.name, key))
    return [said, el("span", f" {key}", class_="dim") if written(label) != key else None]


def _all(relation: Relation, seen: Seen, target: Seen, node: dict[str, Any]) -> str | None:
    """Return the address of all records of a to-many relation: those whose columns have this
    record's values."""
    conditions: list[Condition] = []
    for own, other in zip(relation.columns, relation.target_columns, strict=True):
        mine, theirs = seen.type.by_column.get(own), target.type.by_column.get(other)
        if mine is None or theirs is None or theirs not in target.plain or mine not in seen.plain:
            return None
        value = node.get(seen.name(mine))
        if value is None or Op.EQ not in target.comparisons.get(target.name(theirs), ()):
            return None
        conditions.append(Condition(target.name(theirs), Op.EQ, written(value)))
    return View(target.type.name, conditions=tuple(conditions)).address if target.listed else None
