"""`searchCities`: a search field's arguments in, its connection out, by field name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from graphql import GraphQLObjectType, GraphQLResolveInfo, get_named_type

from gateway.context.services import RequestContext
from gateway.query.records import RecordRef
from gateway.search import cursors as search_cursors
from gateway.search.search import (
    MAX_SUGGESTIONS,
    explained,
    facet_size,
    facets_of,
    ranges_of,
    run_search,
    run_suggest,
    shown_ranges,
    sort_of,
)
from gateway.shape.filters import parse_filter
from gateway.shape.names import field_of
from gateway.shape.orders import Direction
from gateway.shape.selection import selected_below
from gateway.shape.shaping import DEFAULT_FIRST, read_size
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import RecordType
from stores.errors import InputError
from stores.query import Match, SearchQuery
from stores.values import exact_in_json


async def resolve_search(
    info: GraphQLResolveInfo[Any], record_type: RecordType, args: dict[str, Any]
) -> dict[str, Any]:
    """The connection of a search field, by field name, with a RecordRef for each hit."""
    context: RequestContext = info.context
    services = context.services
    visibility = Visibility(services.contract, context.viewer.roles)
    asked = _asked(info)
    first = read_size("first", args.get("first"), record_type.expose.page_limit)
    query = SearchQuery(
        record_type.name,
        args["query"],
        parse_filter(record_type, args.get("filter"), visibility),
        facets_of(
            record_type,
            args.get("facets") or [],
            size=facet_size("facetFirst", args.get("facetFirst")),
            told=visibility if context.viewer.may_introspect else None,
        ),
        _all_highlights(record_type, visibility) if "highlights" in asked else (),
        sort_of(record_type, [_step(entry) for entry in args.get("sort") or []]),
        min(DEFAULT_FIRST, record_type.expose.page_limit) if first is None else first,
        suggestions="suggestions" in asked,
        match=args.get("match") or Match.AUTO,
        prefix=bool(args.get("prefix")),
        operators=bool(args.get("operators")),
        explain="explanation" in asked,
        ranges=ranges_of(
            record_type,
            [(one["field"], one["bounds"]) for one in args.get("facetRanges") or []],
        ),
    )
    secret = services.token_secret
    if args.get("after") is not None:
        query = replace(query, after=search_cursors.decode(query, args["after"], secret))
    found = await run_search(services, context.viewer, context.freshness, record_type, query)
    context.routes[str(info.path.key)] = found.report
    result = found.result
    edges = [
        {
            "node": RecordRef(record_type, hit.key, hit.document),
            "cursor": search_cursors.encode(query, hit.sort_values, secret),
            "score": hit.score,
            "explanation": explained(record_type, hit),
            "highlights": [
                {"field": field_of(record_type, record_type.by_name[n]), "fragments": fragments}
                for n, fragments in hit.highlights.items()
                if n in query.highlight
            ],
        }
        for hit in result.hits
    ]
    return {
        "edges": edges,
        "nodes": [edge["node"] for edge in edges],
        "pageInfo": {
            "hasNextPage": result.has_next,
            "hasPreviousPage": query.after is not None,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        },
        "totalCount": result.total,
        "totalIsLowerBound": result.total_is_lower_bound,
        "facets": [
            {
                "field": field_of(record_type, record_type.by_name[name]),
                "buckets": [{"value": exact_in_json(b.value), "count": b.count} for b in buckets],
                "others": result.others.get(name, 0),
            }
            for name, buckets in result.facets.items()
        ],
        "facetRanges": [
            {
                "field": name,
                "ranges": [{"low": r["from"], "high": r["to"], "count": r["count"]} for r in some],
            }
            for name, some in shown_ranges(record_type, result).items()
        ],
        "suggestions": result.suggestions,
        "corrected": result.corrected or None,
        "forgiven": [{"word": f.word, "near": list(f.near)} for f in result.forgiven],
    }


async def resolve_suggest(
    info: GraphQLResolveInfo[Any], record_type: RecordType, args: dict[str, Any]
) -> list[dict[str, Any]]:
    """Completions of a text, by field name."""
    context: RequestContext = info.context
    first = read_size("first", args.get("first"), MAX_SUGGESTIONS)
    found, told = await run_suggest(
        context.services,
        context.viewer,
        context.freshness,
        record_type,
        args["query"],
        10 if first is None else first,
    )
    context.routes[str(info.path.key)] = told
    return [{"text": s.text, "id": s.key, "count": round(s.score)} for s in found]


def _asked(info: GraphQLResolveInfo[Any]) -> set[str]:
    """Names of what is selected of the connection and of its edges."""
    kind = get_named_type(info.return_type)
    assert isinstance(kind, GraphQLObjectType)
    names: set[str] = set()
    for selected in selected_below(info, kind):
        names.add(selected.name)
        names |= {f.name for f in selected.fields} if selected.name == "edges" else set()
    return names


def _step(entry: Any) -> tuple[str, Direction]:
    """One entry of `sort`: exactly one field with a direction."""
    if not isinstance(entry, dict) or len(entry) != 1:
        raise InputError("each entry of sort must name exactly one field")
    ((name, direction),) = entry.items()
    if not isinstance(direction, Direction):
        raise InputError(f"sort.{name} must not be null")
    return name, direction


def _all_highlights(record_type: RecordType, visibility: Visibility) -> tuple[str, ...]:
    return tuple(
        p.name for p in record_type.properties if p.search.text and visibility.form(p) is Form.PLAIN
    )
