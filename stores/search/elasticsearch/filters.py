"""The Elasticsearch query of a filter's plan."""

from __future__ import annotations

from typing import Any

from stores.patterns import LUCENE, Pattern
from stores.search.elasticsearch.fields import NULLS
from stores.search.filter_plan import (
    All,
    Both,
    Either,
    Missing,
    Node,
    OneOf,
    Part,
    Range,
    Regular,
    Without,
)

Query = dict[str, Any]
EVERYTHING: Query = {"match_all": {}}
NOTHING: Query = {"match_none": {}}


def query(node: Node) -> Query:
    match node:
        case All():
            return EVERYTHING
        case Both(parts=parts):
            return every([query(p) for p in parts])
        case Either(parts=parts):
            return any_of([query(p) for p in parts])
        case Without(part=All(), excluded=excluded):
            return {"bool": {"must_not": [query(excluded)]}}
        case Without(part=part, excluded=excluded):
            return {"bool": {"filter": [query(part)], "must_not": [query(excluded)]}}
        case Missing(path=path):
            return {"term": {NULLS: path}}
        case OneOf(field=field, values=(value,)):
            return {"term": {field.value: value}}
        case OneOf(field=field, values=values):
            return {"terms": {field.value: list(values)}}
        case Range(field=field, bound=bound, above=above, inclusive=inclusive):
            op = ("gt" if above else "lt") + ("e" if inclusive else "")
            return {"range": {field.value: {op: bound}}}
        case Regular(field=field, pattern=pattern):
            # Without flags, no sign but those that `LUCENE` writes is an operator.
            return {"regexp": {field.value: {"value": whole(pattern), "flags": "NONE"}}}
        case Part(field=field, text=text, start=True):
            return {"prefix": {field.value: {"value": text}}}
        case Part(field=field, text=text, end=end):
            escaped = "".join(f"\\{c}" if c in "*?\\" else c for c in text)
            return {"wildcard": {field.value: {"value": f"*{escaped}{'' if end else '*'}"}}}


def whole(pattern: Pattern) -> str:
    """Return a pattern as Lucene matches it: against the whole text."""
    return LUCENE.whole(pattern, ".*", ".*")


def every(queries: list[Query]) -> Query:
    if not queries:
        return EVERYTHING
    return queries[0] if len(queries) == 1 else {"bool": {"filter": queries}}


def any_of(queries: list[Query]) -> Query:
    if not queries:
        return NOTHING
    if len(queries) == 1:
        return queries[0]
    return {"bool": {"should": queries, "minimum_should_match": 1}}
