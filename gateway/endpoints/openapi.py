"""The OpenAPI 3.1 description of the endpoints beside GraphQL, made from the contract. It names
every status that an operation can have, and the values that each parameter takes."""

from __future__ import annotations

from typing import Any

from gateway.endpoints.openapi_types import (
    filter_name,
    filter_schema,
    record_name,
    record_schema,
    schema_ref,
)
from gateway.shape.names import field_of
from stores.contract.model import Contract, RecordType
from stores.query import Match

_STATUSES = {
    "400": "The request is not right, or asks for more than a limit allows.",
    "401": "The credential is missing or not valid.",
    "403": "The caller may not.",
    "404": "There is no such thing.",
    "408": "The request did not come in time.",
    "410": "The history behind the position is gone; Location says where to begin anew.",
    "413": "The body is too large.",
    "415": "The body is not JSON in UTF-8.",
    "416": "The range begins beyond the end.",
    "429": "The caller asks too often.",
    "431": "The head of the request is too large.",
    "500": "An error inside, with a reference that the log also has.",
    "503": "A store cannot answer, is too stale for what is asked, or too much is running;"
    " Retry-After says when to try again.",
    "504": "It took too long.",
}
_OPEN = ("400", "408", "431", "500", "503")
"""Statuses of every operation: what is wrong with a request's head, and what goes wrong inside."""
_GUARDED = (*_OPEN, "401", "403", "429", "504")
"""Statuses of those that ask who is there."""
_MOST_SUGGESTIONS = 50
_TEXT = {"type": "string", "pattern": "^[^\\u0000]*$"}
_DURATION = {"type": "string", "pattern": "^[0-9]{1,4}(\\.[0-9]{1,3})?(ms|s|m|h)?$"}


def _problem(code: str) -> dict[str, Any]:
    return {
        "description": _STATUSES[code],
        "content": {"application/problem+json": {"schema": schema_ref("Problem")}},
    }


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": schema or {"type": "string"},
    }


def _listed(name: str, description: str, names: list[str], *, least: int = 0) -> dict[str, Any]:
    """Names separated by commas."""
    schema: dict[str, Any] = {"type": "array", "items": _one_of(names), "minItems": least}
    return _query(name, description, schema) | {"style": "form", "explode": False}


def _one_of(names: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": names}


def _filter(t: RecordType) -> dict[str, Any]:
    return {
        "name": "filter",
        "in": "query",
        "description": "A filter as in GraphQL, as JSON.",
        "content": {"application/json": {"schema": schema_ref(filter_name(t))}},
    }


_FRESHNESS = [
    _header("Recordgate-Token", "The token that a write returned: the answer holds that write."),
    _header("Recordgate-Max-Staleness", 'How stale the answer may be: "2s", "500ms".', _DURATION),
    _header(
        "Recordgate-Wait-Up-To", "How long to wait for a store to be as fresh as that.", _DURATION
    ),
]
_IF_NONE_MATCH = _header("If-None-Match", "The ETag of an answer that is at hand.")
_UNCHANGED = {"304": {"description": "It is as the ETag says."}}
_JSON_OBJECT = {"application/json": {"schema": {"type": "object"}}}


def _roles(contract: Contract) -> list[dict[str, Any]]:
    if not contract.roles:
        return []
    text = "Some of the caller's roles, separated by commas: to ask as with no others."
    return [_header("Recordgate-Roles", text)]


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    media: dict[str, Any],
    statuses: tuple[str, ...],
    others: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """`others`: more answers that are no problems."""
    found = {"200": {"description": "The answer.", "content": media}, **(others or {})}
    found |= {code: _problem(code) for code in statuses if code not in found}
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": dict(sorted(found.items())),
    }


_FACET_FIRST = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}
_FACET_RANGES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {
        "type": "array",
        "minItems": 1,
        "maxItems": 50,
        "items": {"type": ["string", "number"]},
    },
}
_HOW: list[tuple[str, str, dict[str, Any]]] = [
    ("suggestions", "Whether to correct the text.", {"type": "boolean"}),
    (
        "match",
        "Whether misspelled words are forgiven.",
        {"type": "string", "enum": [m.value for m in Match], "default": Match.AUTO.value},
    ),
    ("prefix", "The last word may be the beginning of one.", {"type": "boolean"}),
    ("operators", "-word must not be there, name:word is of one field.", {"type": "boolean"}),
    ("explain", "Each hit says why it was found.", {"type": "boolean"}),
]
"""The parameters that say how a text is looked for."""


def _search(t: RecordType, roles: list[dict[str, Any]]) -> dict[str, Any]:
    facets = [field_of(t, p) for p in t.properties if p.search.facet]
    sorts = [field_of(t, p) for p in t.properties if p.search.sort]
    texts = [field_of(t, p) for p in t.properties if p.search.text]
    steps = [*sorts, *(f"-{n}" for n in sorts)]
    first = {"type": "integer", "minimum": 0, "maximum": t.expose.page_limit}
    query = [
        _query("q", "The search text; empty matches every record.", _TEXT),
        _filter(t),
        *([_listed("facets", "Fields whose values are counted.", facets)] if facets else []),
        _query("facetFirst", "Values per facet.", _FACET_FIRST),
        {
            "name": "facetRanges",
            "in": "query",
            "description": "Bounds by field, as JSON: how many hits lie between them is counted.",
            "content": {"application/json": {"schema": _FACET_RANGES}},
        },
        _listed("highlight", "Fields of which the passages are shown that match.", texts),
        *(
            [_listed("sort", "Fields, with a minus before one that descends.", steps)]
            if sorts
            else []
        ),
        _query("first", "Hits per page.", first),
        _query("after", "The endCursor of the previous page.", {"type": "string"}),
        *(_query(name, text, schema) for name, text, schema in _HOW),
    ]
    answer = {"application/json": {"schema": schema_ref(f"{record_name(t)}SearchResult")}}
    headers = [*_FRESHNESS, *roles]
    get = _operation(
        f"Search {t.plural}.", [*query, *headers, _IF_NONE_MATCH], answer, _GUARDED, _UNCHANGED
    )
    post = _operation(f"Search {t.plural}.", headers, answer, (*_GUARDED, "413", "415"))
    body: dict[str, Any] = {
        "q": _TEXT,
        "filter": schema_ref(filter_name(t)),
        "highlight": {"type": "array", "items": _one_of(texts)},
        "first": first,
        "after": {"type": "string"},
        "facetFirst": _FACET_FIRST,
        "facetRanges": _FACET_RANGES,
        **{name: schema for name, _, schema in _HOW},
    }
    if facets:
        body["facets"] = {"type": "array", "items": _one_of(facets)}
    if sorts:
        body["sort"] = {"type": "array", "items": _one_of(steps)}
    post["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": False, "properties": body}
            }
        },
    }
    return {"get": get, "post": post}


def _suggest(t: RecordType, roles: list[dict[str, Any]]) -> dict[str, Any]:
    first = {"type": "integer", "minimum": 0, "maximum": _MOST_SUGGESTIONS}
    return _operation(
        f"Completions of a text, from {t.plural}.",
        [
            _query("q", "The text so far.", _TEXT),
            _query("first", "How many.", first),
            *_FRESHNESS,
            *roles,
            _IF_NONE_MATCH,
        ],
        {"application/json": {"schema": schema_ref("Suggestions")}},
        _GUARDED,
        _UNCHANGED,
    )


_SWITCH = _query("changes", "As of a position in the type's changes.", {"type": "boolean"})


def _changes(t: RecordType, roles: list[dict[str, Any]]) -> dict[str, Any]:
    names = [field_of(t, p) for p in t.properties]
    first = {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 1_000}
    after = _query("after", "The position behind which changes are asked for.", {"type": "string"})
    return _operation(
        f"Changes of {t.plural}, in the order in which they were seen.",
        [
            after | {"required": True},
            _query("first", "How many are looked through at most.", first),
            _query("wait", "How long to wait for the first one, 20 s at most.", _DURATION),
            _listed("fields", "All where left out.", names, least=1),
            *roles,
        ],
        {"application/x-ndjson": {"schema": schema_ref("Change")}},
        (*_GUARDED, "404", "410"),
    )


def _export(t: RecordType, roles: list[dict[str, Any]]) -> dict[str, Any]:
    names = [field_of(t, p) for p in t.properties]
    rows = {
        "application/x-ndjson": {},
        "text/csv": {},
        "application/vnd.apache.parquet": {},
        "application/json": {"schema": {"type": "object"}},
    }
    return _operation(
        f"All {t.plural}, from one snapshot, in the order of their keys.",
        [
            _query("format", "The default is ndjson.", _one_of(["ndjson", "csv", "parquet"])),
            _query(
                "spreadsheet", "Of csv: texts that are formulas made harmless.", {"type": "boolean"}
            ),
            _filter(t),
            _listed("fields", "All where left out.", names, least=1),
            _query("after", "The key after which to begin.", {"type": "string"}),
            *([_SWITCH] if t.changes else []),
            _query("snapshot", "The id of an export: the same bytes again.", {"type": "string"}),
            _query("manifest", "What is known of a snapshot, as JSON.", {"type": "boolean"}),
            _header("Range", "Bytes, with If-Range or of a snapshot."),
            _header("If-Range", "The ETag of the export that was cut."),
            *roles,
        ],
        rows,
        (*_GUARDED, "404", "416"),
        {"206": {"description": "A part of the export.", "content": rows}},
    )


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token (JWT) or an API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is an API key."},
}
_COMPONENTS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "hint": {"type": "string"},
            "requestId": {"type": "string"},
        },
    },
    "PageInfo": {
        "type": "object",
        "required": ["hasNextPage", "endCursor"],
        "properties": {
            "hasNextPage": {"type": "boolean"},
            "endCursor": {"type": ["string", "null"]},
        },
    },
    "Bucket": {
        "type": "object",
        "required": ["value", "count"],
        "properties": {"value": {}, "count": {"type": "integer"}},
    },
    "Change": {
        "description": "One line of the answer; the last one is `next`.",
        "type": "object",
        "required": ["op"],
        "properties": {
            "op": _one_of(["upsert", "delete", "next"]),
            "record": {"type": "object"},
            "next": {"type": "string"},
            "more": {"type": "boolean"},
            "position": {"type": "string"},
            "sourceAsOf": {"type": "string"},
            "sourceStalenessMs": {"type": "integer"},
        },
    },
    "Suggestions": {
        "type": "object",
        "required": ["suggestions", "recordgate"],
        "properties": {
            "suggestions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["text", "id"],
                    "properties": {
                        "text": {"type": "string"},
                        "id": {"type": ["string", "null"]},
                        "score": {"type": ["number", "null"]},
                    },
                },
            },
            "recordgate": {"type": "object"},
        },
    },
}


def _result(t: RecordType) -> dict[str, Any]:
    hit = {
        "type": "object",
        "required": ["id", "score", "record", "highlights", "cursor"],
        "properties": {
            "id": {"type": "string"},
            "score": {"type": ["number", "null"]},
            "record": schema_ref(record_name(t)),
            "highlights": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            },
            "cursor": {"type": "string"},
            "explanation": {"type": ["object", "null"]},
        },
    }
    return {
        "type": "object",
        "required": ["total", "hits", "facets", "pageInfo", "recordgate"],
        "properties": {
            "total": {"type": "integer"},
            "totalIsLowerBound": {"type": "boolean"},
            "hits": {"type": "array", "items": hit},
            "facets": {
                "type": "object",
                "additionalProperties": {"type": "array", "items": schema_ref("Bucket")},
            },
            "facetRanges": {
                "type": "object",
                "additionalProperties": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["from", "to", "count"],
                        "properties": {
                            "from": {"type": ["string", "number", "null"]},
                            "to": {"type": ["string", "number", "null"]},
                            "count": {"type": "integer", "minimum": 0},
                        },
                    },
                },
            },
            "facetOthers": {
                "type": "object",
                "additionalProperties": {"type": "integer", "minimum": 0},
            },
            "suggestions": {"type": "array", "items": {"type": "string"}},
            "corrected": {"type": ["string", "null"]},
            "forgiven": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["word", "near"],
                    "properties": {
                        "word": {"type": "string"},
                        "near": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
            "pageInfo": schema_ref("PageInfo"),
            "recordgate": {"type": "object"},
        },
    }


def openapi_document(contract: Contract, *, authenticated: bool = False) -> dict[str, Any]:
    """Return the document that `/openapi.json` serves. `authenticated`: nobody may ask without a
    credential."""
    paths: dict[str, Any] = {}
    schemas, roles = dict(_COMPONENTS), _roles(contract)
    for t in contract.types.values():
        offered = t.expose.operations
        if t.searchable and "search" in offered:
            paths[f"/search/{t.name}"] = _search(t, roles)
            schemas[f"{record_name(t)}SearchResult"] = _result(t)
            schemas[record_name(t)] = record_schema(contract, t, t.embeds)
        if any(p.search.suggest for p in t.properties) and "search" in offered:
            paths[f"/suggest/{t.name}"] = {"get": _suggest(t, roles)}
        if "export" in offered:
            paths[f"/export/{t.name}"] = {"get": _export(t, roles)}
            if t.changes is not None:
                paths[f"/changes/{t.name}"] = {"get": _changes(t, roles)}
        # Filters lead to those of related types.
        schemas[filter_name(t)] = filter_schema(contract, t)
    for path, what in (
        ("/product", "The product, by ODPS."),
        ("/contract", "Its contract, by ODCS."),
    ):
        asked = [*roles, _IF_NONE_MATCH]
        paths[path] = {"get": _operation(what, asked, _JSON_OBJECT, _GUARDED, _UNCHANGED)}
    paths["/health/live"] = {"get": _operation("The process runs.", [], _JSON_OBJECT, _OPEN)}
    paths["/health/ready"] = {
        "get": _operation(
            "Whether anything can be answered; for operators the state of each store and type.",
            [],
            _JSON_OBJECT,
            _OPEN,
            {"503": {"description": "Nothing can be answered.", "content": _JSON_OBJECT}},
        )
    }
    for path in ("/health/live", "/health/ready"):
        paths[path]["get"]["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {"title": contract.name, "version": contract.version},
        "paths": paths,
        "security": [*({name: []} for name in _SCHEMES), *(() if authenticated else ({},))],
        "components": {"securitySchemes": _SCHEMES, "schemas": schemas},
    }
