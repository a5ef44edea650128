"""The GraphQL that a page's data come from, which the page also shows as its query. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.browse.seen import Seen
from gateway.browse.views import View, filter_of

RELATED = 5
"""Records of a relation that a record's page shows."""
COLUMNS = 9
"""Columns of a table; a record's own page shows all."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its variables. `rows` names the root field that the page is about."""

    query: str
    variables: dict[str, Any] = field(default_factory=dict)
    rows: str = ""


Errors = list[dict[str, Any]]


def own_errors(answer: dict[str, Any], asked: Asked) -> Errors:
    """Return GraphQL's errors that are about the page's rows, or about the whole query; the others
    are about what is counted beside them."""
    errors: Errors = answer.get("errors") or []
    own = [e for e in errors if (e.get("path") or [asked.rows])[0] == asked.rows]
    return own if own or (answer.get("data") or {}).get(asked.rows) is not None else errors


def _arguments(pairs: list[tuple[str, str]]) -> str:
    return "(" + ", ".join(f"{n}: {v}" for n, v in pairs) + ")" if pairs else ""


def _facets(seen: Seen) -> str:
    return "[" + ", ".join(seen.facet_enum(f) for f in seen.facets) + "]"


def listing(seen: Seen, view: View) -> Asked:
    """Return the query of a page of records with the facets beside it."""
    kind = seen.type.graphql
    declared: list[str] = []
    variables: dict[str, Any] = {}
    given: list[tuple[str, str]] = []
    condition = filter_of(seen, view.conditions)
    if condition is not None:
        declared.append(f"$filter: {kind}Filter")
        variables["filter"] = condition
        given.append(("filter", "$filter"))
    searching = bool(view.words) or not seen.may("list")
    if searching:
        declared.insert(0, "$words: String!")
        variables["words"] = view.words
    beside = ""
    node = "\n        ".join(dict.fromkeys(("id", *(seen.name(p) for p in seen.columns[:COLUMNS]))))
    if searching:
        rows = _searched(seen, view, given, node)
    else:
        order = "" if not view.sort else _order(view)
        window = _window(view, declared, variables)
        arguments = _arguments([*given, *([("orderBy", order)] if order else []), *window])
        rows = (
            f"  {seen.type.plural}{arguments} {{\n"
            f"    edges {{\n      node {{\n        {node}\n      }}\n    }}\n"
            "    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }\n  }"
        )
        if seen.may_search:
            facets = [("facets", _facets(seen))] if seen.facets else []
            some = _arguments([("query", '""'), *given, *facets, ("first", "0")])
            counts = "facets { field buckets { value count } }" if seen.facets else ""
            beside = (
                f"\n  {seen.search_field}{some} {{\n"
                f"    totalCount\n    totalIsLowerBound\n    {counts}\n  }}"
            ).replace("\n    \n", "\n")
    if searching and view.after:
        declared.append("$after: String")
        variables["after"] = view.after
    head = f"query ({', '.join(declared)}) " if declared else ""
    name = seen.search_field if searching else seen.type.plural
    return Asked(f"{head}{{\n{rows}{beside}\n}}", variables, name)


def _searched(seen: Seen, view: View, given: list[tuple[str, str]], node: str) -> str:
    pairs = [("query", "$words"), *given]
    if seen.facets:
        pairs.append(("facets", _facets(seen)))
    if view.sort:
        pairs.append(("sort", _order(view)))
    pairs.append(("first", str(view.size)))
    if view.after:
        pairs.append(("after", "$after"))
    facets = "    facets { field buckets { value count } }\n" if seen.facets else ""
    return (
        f"  {seen.search_field}{_arguments(pairs)} {{\n"
        f"    totalCount\n    totalIsLowerBound\n    suggestions\n{facets}"
        f"    edges {{\n      highlights {{ field fragments }}\n"
        f"      node {{\n        {node}\n      }}\n    }}\n"
        "    pageInfo { hasNextPage endCursor }\n  }"
    )


def _order(view: View) -> str:
    return "[" + ", ".join(f"{{{n}: {'DESC' if down else 'ASC'}}}" for n, down in view.sort) + "]"


def _window(view: View, declared: list[str], variables: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the arguments that say which page of a list."""
    if view.before:
        declared.append("$before: String")
        variables["before"] = view.before
        return [("last", str(view.size)), ("before", "$before")]
    if view.after:
        declared.append("$after: String")
        variables["after"] = view.after
        return [("first", str(view.size)), ("after", "$after")]
    return [("first", str(view.size))]


def record(seen: Seen, key: str) -> Asked:
    """Return the query of one record, with the first records of each relation."""
    lines = list(seen.fields)
    for relation, target in seen.relations():
        chosen = " ".join(dict.fromkeys(("id", target.label)))
        if relation.many:
            rest = f"{{ nodes {{ {chosen} }} pageInfo {{ hasNextPage }} }}"
            lines.append(f"{relation.graphql}(first: {RELATED}) {rest}")
        else:
            lines.append(f"{relation.graphql} {{ {chosen} }}")
    inside = "\n    ".join(lines)
    return Asked(
        f"query ($id: ID!) {{\n  {seen.type.single}(id: $id) {{\n    {inside}\n  }}\n}}",
        {"id": key},
        seen.type.single,
    )


def counts(types: list[Seen], small: set[str]) -> Asked:
    """Return the query that counts the records of each type. A search store knows its number;
    canonical counts only the `small`."""
    lines = []
    for seen in types:
        if seen.may_search:
            lines.append(
                f'  {seen.search_field}(query: "", first: 0) {{ totalCount totalIsLowerBound }}'
            )
        elif seen.may("list") and seen.type.name in small:
            lines.append(f"  {seen.type.plural}(first: 1) {{ totalCount }}")
    return Asked("{\n" + "\n".join(lines) + "\n}" if lines else "")


def first_query(seen: Seen) -> str:
    """Return a query to begin with."""
    chosen = " ".join(seen.fields[:6])
    if seen.may("list"):
        return f"{{\n  {seen.type.plural}(first: 3) {{\n    nodes {{ {chosen} }}\n  }}\n}}"
    return f'{{\n  {seen.search_field}(query: "", first: 3) {{\n    nodes {{ {chosen} }}\n  }}\n}}'
