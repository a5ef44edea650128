"""`/search/{type}` and `/suggest/{type}`: parameters in, JSON out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.compiler.masks import MaskKey, masked
from gateway.context.freshness import from_headers, source_ages
from gateway.context.services import Services, Viewer
from gateway.http.bodies import json_parameter, parameters, read_json_object, switch
from gateway.http.problems import HttpProblem
from gateway.query.limits import check_value
from gateway.search import cursors as search_cursors
from gateway.search.search import (
    MAX_SUGGESTIONS,
    explained,
    facet_size,
    facets_of,
    highlights_of,
    ranges_of,
    run_search,
    run_suggest,
    shown_ranges,
    sort_of,
)
from gateway.shape.filters import parse_filter
from gateway.shape.names import field_of
from gateway.shape.orders import Direction
from gateway.shape.shaping import DEFAULT_FIRST, read_size
from gateway.shape.visibility import Visibility
from stores import json_numbers
from stores.contract.model import Embed, RecordType
from stores.query import Match, SearchQuery
from stores.roles import StoreRole
from stores.values import exact_in_json

_KNOWN = (
    "q",
    "filter",
    "facets",
    "facetFirst",
    "facetRanges",
    "highlight",
    "sort",
    "first",
    "after",
    "suggestions",
    "match",
    "prefix",
    "operators",
    "explain",
)
_KNOWN_OF_SUGGEST = ("q", "first")
_INTEGER = re.compile(r"-?\d{1,9}\Z", re.ASCII)
_READS = ("get", "list", "search", "aggregate", "export")


def record_type_of(services: Services, name: str, viewer: Viewer) -> RecordType:
    """The type that a path names. Raises HttpProblem (404), whose hint names those that the viewer
    may read, where the schema is open to them."""
    found = services.contract.type(name)
    if found is not None:
        return found
    visibility = Visibility(services.contract, viewer.roles)
    names = [
        t.name
        for t in services.contract.types.values()
        if any(o in t.expose.operations and visibility.may(t, o) for o in _READS)
    ]
    hint = "one of " + ", ".join(names) if names and viewer.may_introspect else ""
    raise HttpProblem("NOT_FOUND", "no such record type", hint=hint)


def _integer(value: Any, name: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**9:
        return int(value)  # what JSON calls an integer
    text = str(value)
    if not _INTEGER.match(text):
        raise HttpProblem("BAD_USER_INPUT", f"{name} must be an integer")
    return int(text)


def _names(value: Any, name: str) -> list[str]:
    """A list of names: from JSON as such, from a URL separated by commas."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(p, str) for p in parts):
        raise HttpProblem("BAD_USER_INPUT", f"{name} must be a list of names")
    return [p.strip() for p in parts if p.strip()]


def _match(value: Any) -> Match:
    if value is None:
        return Match.AUTO
    if not isinstance(value, str) or value not in tuple(Match):
        raise HttpProblem("BAD_USER_INPUT", "match must be one of " + ", ".join(Match))
    return Match(value)


def _ranges(value: Any) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, Mapping):
        raise HttpProblem(
            "BAD_USER_INPUT",
            "facetRanges must be an object",
            hint='for example {"population": [1000, 100000]}',
        )
    return [(str(name), bounds) for name, bounds in value.items()]


def read_query(
    values: Mapping[str, Any],
    record_type: RecordType,
    visibility: Visibility,
    secret: bytes,
    *,
    told: bool = True,
) -> SearchQuery:
    """The search that the parameters ask for. `told`: errors may name what there is. Raises
    HttpProblem, InputError, LimitError, ForbiddenError."""
    for name in values:
        if name not in _KNOWN:
            raise HttpProblem(
                "BAD_USER_INPUT",
                f"no parameter {name[:40]!r} is known",
                hint="known are " + ", ".join(_KNOWN),
            )
    text = values.get("q") or ""
    after = values.get("after")
    if not isinstance(text, str) or not isinstance(after, str | None):
        raise HttpProblem("BAD_USER_INPUT", "q and after must be strings")
    if "filter" in values and values["filter"] is None:
        raise HttpProblem("BAD_USER_INPUT", "filter must not be null", hint="leave it out")
    check_value(values.get("filter"))
    first = read_size(
        "first", _integer(values.get("first"), "first"), record_type.expose.page_limit
    )
    query = SearchQuery(
        record_type.name,
        text,
        parse_filter(record_type, values.get("filter"), visibility),
        facets_of(
            record_type,
            _names(values.get("facets"), "facets"),
            size=facet_size("facetFirst", _integer(values.get("facetFirst"), "facetFirst")),
            told=visibility if told else None,
        ),
        highlights_of(record_type, _names(values.get("highlight"), "highlight")),
        sort_of(
            record_type,
            [
                (n.lstrip("-"), Direction.DESC if n.startswith("-") else Direction.ASC)
                for n in _names(values.get("sort"), "sort")
            ],
        ),
        min(DEFAULT_FIRST, record_type.expose.page_limit) if first is None else first,
        suggestions=switch(values.get("suggestions"), "suggestions"),
        match=_match(values.get("match")),
        prefix=switch(values.get("prefix"), "prefix"),
        operators=switch(values.get("operators"), "operators"),
        explain=switch(values.get("explain"), "explain"),
        ranges=ranges_of(record_type, _ranges(values.get("facetRanges"))),
    )
    if after is None:
        return query
    return replace(query, after=search_cursors.decode(query, after, secret))


def shown(
    visibility: Visibility,
    record_type: RecordType,
    embeds: tuple[Embed, ...],
    document: Any,
    key: MaskKey,
) -> dict[str, Any]:
    """A stored document as a caller sees it: names of GraphQL, masks on, and related records whose
    rows are filtered left out. So is what an earlier contract's document does not have: it is not
    null."""
    record: dict[str, Any] = {}
    for prop in record_type.properties:
        if prop.name not in document:
            continue
        value = document[prop.name]
        record[field_of(record_type, prop)] = masked(prop, value, visibility.form(prop), key)
    for embed in embeds:
        relation = record_type.relation_by_name[embed.relation]
        target = visibility.contract.types[relation.target]
        if visibility.row_filters(target) is not None or not visibility.is_open(
            record_type, relation
        ):
            continue
        if relation.name not in document:
            continue
        inner = document[relation.name]
        if isinstance(inner, list):
            record[relation.graphql] = [
                shown(visibility, target, embed.embeds, i, key) for i in inner
            ]
        else:
            record[relation.graphql] = (
                None if inner is None else shown(visibility, target, embed.embeds, inner, key)
            )
    return record


async def search_endpoint(request: Request) -> Response:
    services: Services = request.app.state.services
    viewer: Viewer = request.state.viewer
    record_type = record_type_of(services, request.path_params["type"], request.state.viewer)
    visibility = Visibility(services.contract, viewer.roles)
    if request.method == "POST":
        values: Mapping[str, Any] = await read_json_object(request, services.limits.max_body_bytes)
    else:
        values = dict(parameters(request, _KNOWN))
        in_json = [name for name in ("filter", "facetRanges") if name in values]
        values |= {name: json_parameter(values[name], name) for name in in_json}
    query = read_query(
        values, record_type, visibility, services.token_secret, told=viewer.may_introspect
    )
    request.state.operation = f"search {record_type.name}"
    request.state.types = frozenset((record_type.name,))
    found = await run_search(services, viewer, from_headers(request.headers), record_type, query)
    request.state.stores = {StoreRole.SEARCH}
    result = found.result
    hits = [
        {
            "id": hit.key,
            "score": hit.score,
            "record": shown(
                visibility,
                record_type,
                record_type.embeds,
                json_numbers.loads(hit.document),
                services.mask_key,
            ),
            "highlights": {
                field_of(record_type, record_type.by_name[n]): fragments
                for n, fragments in hit.highlights.items()
                if n in query.highlight
            },
            "cursor": search_cursors.encode(query, hit.sort_values, services.token_secret),
            **({"explanation": explained(record_type, hit)} if query.explain else {}),
        }
        for hit in result.hits
    ]
    body = {
        "total": result.total,
        "totalIsLowerBound": result.total_is_lower_bound,
        "hits": hits,
        "facets": {
            field_of(record_type, record_type.by_name[name]): [
                {"value": exact_in_json(bucket.value), "count": bucket.count} for bucket in buckets
            ]
            for name, buckets in result.facets.items()
        },
        "facetOthers": {
            field_of(record_type, record_type.by_name[name]): others
            for name, others in result.others.items()
        },
        "facetRanges": shown_ranges(record_type, result),
        "suggestions": result.suggestions,
        "corrected": result.corrected or None,
        "forgiven": [{"word": f.word, "near": f.near} for f in result.forgiven],
        "pageInfo": {
            "hasNextPage": result.has_next,
            "endCursor": hits[-1]["cursor"] if hits else None,
        },
        "recordgate": found.report
        | source_ages(services, (record_type.name,)).get(record_type.name, {}),
    }
    return Response(orjson.dumps(body), media_type="application/json")


async def suggest_endpoint(request: Request) -> Response:
    services: Services = request.app.state.services
    viewer: Viewer = request.state.viewer
    record_type = record_type_of(services, request.path_params["type"], request.state.viewer)
    given = parameters(request, _KNOWN_OF_SUGGEST)
    first = read_size("first", _integer(given.get("first"), "first"), MAX_SUGGESTIONS)
    request.state.operation = f"suggest {record_type.name}"
    request.state.types = frozenset((record_type.name,))
    found, report = await run_suggest(
        services,
        viewer,
        from_headers(request.headers),
        record_type,
        given.get("q", ""),
        10 if first is None else first,
    )
    request.state.stores = {StoreRole.SEARCH}
    body = {
        "suggestions": [{"text": s.text, "id": s.key, "score": s.score} for s in found],
        "recordgate": report | source_ages(services, (record_type.name,)).get(record_type.name, {}),
    }
    return Response(orjson.dumps(body), media_type="application/json")
