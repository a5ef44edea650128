"""The OpenAPI 3.1 description of the endpoints beside GraphQL, made from the contract."""

from __future__ import annotations

from typing import Any

from stores.contract.model import Contract, RecordType
from stores.query import Match

_PROBLEM = {
    "description": "A problem (RFC 9457) with a `code`.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_FRESHNESS = [
    ("Recordgate-Token", "A token that a write returned; the answer contains that write."),
    ("Recordgate-Max-Staleness", 'Maximum staleness of the answer: "2s", "500ms".'),
    ("Recordgate-Wait-Up-To", "Maximum time to wait for a store that is fresh enough."),
]


def _query(name: str, description: str, kind: str | dict[str, Any] = "string") -> dict[str, Any]:
    schema = {"type": kind} if isinstance(kind, str) else kind
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
    }


_IF_NONE_MATCH = _header("If-None-Match", "The ETag of an answer that the caller has already.")
_UNCHANGED = {"304": "The answer has not changed since the ETag."}


def _operation(
    summary: str,
    parameters: list[dict[str, Any]],
    media: dict[str, Any],
    others: dict[str, str] | None = None,
) -> dict[str, Any]:
    """`others`: more statuses, without a body of their own."""
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer.", "content": media},
            **{code: {"description": text} for code, text in (others or {}).items()},
            "default": _PROBLEM,
        },
    }


_MATCH = {"type": "string", "enum": [m.value for m in Match], "default": Match.AUTO.value}
_FACET_FIRST = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10}


def _search(t: RecordType) -> dict[str, Any]:
    facets = ", ".join(p.graphql for p in t.properties if p.search.facet) or "none"
    sorts = ", ".join(p.graphql for p in t.properties if p.search.sort) or "none"
    texts = ", ".join(p.graphql for p in t.properties if p.search.text)
    fields: list[tuple[str, str, str | dict[str, Any]]] = [
        ("q", "The search text; empty matches every record.", "string"),
        ("filter", "A filter as in GraphQL, as JSON.", "string"),
        ("facets", f"Comma-separated names, of: {facets}.", "string"),
        ("facetFirst", "Values per facet; 10 if it is not given.", _FACET_FIRST),
        ("highlight", f"Comma-separated names, of: {texts}.", "string"),
        (
            "sort",
            f"Comma-separated names, with a minus before a descending one, of: {sorts}.",
            "string",
        ),
        ("first", f"Hits per page, at most {t.expose.page_limit}.", "integer"),
        ("after", "The endCursor of the previous page.", "string"),
        ("suggestions", "Corrected texts, too.", "boolean"),
        ("match", "Whether misspelled words are forgiven.", _MATCH),
        ("prefix", "The last word may be the beginning of one.", "boolean"),
        ("operators", "-word must not be there, name:word is of one field.", "boolean"),
        ("explain", "Each hit says why it was found.", "boolean"),
    ]
    headers = [_header(name, text) for name, text in _FRESHNESS]
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/SearchResult"}}}
    get = _operation(
        f"Search {t.plural}.",
        [*(_query(n, d, k) for n, d, k in fields), *headers, _IF_NONE_MATCH],
        answer,
        _UNCHANGED,
    )
    post = _operation(f"Search {t.plural}.", headers, answer)
    post["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "q": {"type": "string"},
                        "filter": {"type": "object"},
                        "facets": {"type": "array", "items": {"type": "string"}},
                        "facetFirst": _FACET_FIRST,
                        "highlight": {"type": "array", "items": {"type": "string"}},
                        "sort": {"type": "array", "items": {"type": "string"}},
                        "first": {"type": "integer", "minimum": 0},
                        "after": {"type": "string"},
                        "suggestions": {"type": "boolean"},
                        "match": _MATCH,
                        "prefix": {"type": "boolean"},
                        "operators": {"type": "boolean"},
                        "explain": {"type": "boolean"},
                    },
                }
            }
        },
    }
    return {"get": get, "post": post}


_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token (JWT), or an API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The password is an API key."},
}


def openapi_document(contract: Contract, *, authenticated: bool = False) -> dict[str, Any]:
    """The document that `/openapi.json` serves. `authenticated`: nobody may ask without a
    credential."""
    paths: dict[str, Any] = {}
    for t in contract.types.values():
        if t.searchable and "search" in t.expose.operations:
            paths[f"/search/{t.name}"] = _search(t)
        if any(p.search.suggest for p in t.properties) and "search" in t.expose.operations:
            paths[f"/suggest/{t.name}"] = {
                "get": _operation(
                    f"Completions of a text from {t.plural}.",
                    [
                        _query("q", "The text typed so far."),
                        _query("first", "How many.", "integer"),
                        _IF_NONE_MATCH,
                    ],
                    {"application/json": {"schema": {"type": "object"}}},
                    _UNCHANGED,
                )
            }
        if "export" in t.expose.operations:
            paths[f"/export/{t.name}"] = {
                "get": _operation(
                    f"All {t.plural} of one snapshot, in key order.",
                    [
                        _query("format", "ndjson (the default), csv or parquet."),
                        _query(
                            "spreadsheet",
                            "1: in csv, put an apostrophe before each text that a spreadsheet"
                            " would run as a formula.",
                        ),
                        _query("filter", "A filter as in GraphQL, as JSON."),
                        _query("fields", "Comma-separated property names; default: all."),
                        _query("after", "The key after which to begin."),
                        _query(
                            "snapshot", "The id of an earlier export, to get the same bytes again."
                        ),
                        _query("manifest", "1: return the manifest of the snapshot, as JSON."),
                        _header("Range", "Byte range, with If-Range or for a snapshot."),
                        _header("If-Range", "The ETag of the interrupted export."),
                    ],
                    {
                        "application/x-ndjson": {},
                        "text/csv": {},
                        "application/vnd.apache.parquet": {},
                        "application/json": {},
                    },
                    {"206": "Part of the export."},
                )
            }
    paths["/health/live"] = {
        "get": _operation("The process is running.", [], {"application/json": {}})
    }
    paths["/health/ready"] = {
        "get": _operation(
            "Whether the gateway can answer queries; for operators, also the state of each"
            " store and type.",
            [],
            {"application/json": {}},
        )
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": contract.name, "version": contract.version},
        "paths": paths,
        "security": [*({name: []} for name in _SCHEMES), *(() if authenticated else ({},))],
        "components": {
            "securitySchemes": _SCHEMES,
            "schemas": {
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
                "SearchResult": {
                    "type": "object",
                    "required": ["total", "hits", "facets", "pageInfo", "recordgate"],
                    "properties": {
                        "total": {"type": "integer"},
                        "totalIsLowerBound": {"type": "boolean"},
                        "hits": {"type": "array", "items": {"type": "object"}},
                        "facets": {"type": "object"},
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
                        "pageInfo": {"type": "object"},
                        "recordgate": {"type": "object"},
                    },
                },
            },
        },
    }
