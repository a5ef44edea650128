"""Every key that a mapping of recordgate's custom properties may have, by mapping.

The linter refuses a key that is not here, `json_schema` makes the editors' schema of these, and a
test holds the cookbook against them: what one of them knows, all know.
"""

from __future__ import annotations

KNOWN: dict[str, tuple[str, ...]] = {
    "contract": ("managed", "schema"),
    "schema": (
        "singular",
        "plural",
        "embed",
        "expose",
        "rowFilter",
        "generations",
        "search",
        "boostBy",
        "gate",
        "collect",
        "route",
        "changes",
    ),
    "property": ("search", "masking", "readRoles", "generated"),
    "relationship": ("inverse", "cardinality"),
    "service level": ("percentile", "window"),
}
"""The custom properties that are allowed, by place in the contract."""

WRITES = ("create", "upsert", "update", "delete", "deleteMany")
READS = ("get", "list", "aggregate", "search", "export")
GROUPS = {"read": READS, "write": WRITES}
"""Words of `expose.roles` for several operations."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "expose": ("operations", "pageLimit", "roles"),
    "expose.roles": (*READS, *WRITES, *GROUPS),
    "embed": ("relation", "embed"),
    "vocabulary": ("synonyms", "stopWords"),
    "search": (
        "text", "suggest", "facet", "sort", "analyzer", "boost", "forgive", "forgiveFrom",
    ),
    "boostBy": ("property", "weight"),
    "route": ("prefer", "index", "maxStaleness"),
    "partial": ("first", "last"),
    "collect": (
        "http", "file", "since", "deletes", "map", "every", "staleAfter", "drift", "maxRejects",
        "maxDeletes",
    ),
    "http": ("url", "records", "pages", "auth", "headers", "atMost"),
    "pages": ("by", "next", "param", "sizeParam", "size", "start", "total"),
    "auth": (
        "by", "token", "key", "user", "password", "client", "secret", "header", "param", "tokenUrl",
        "scope",
    ),
    "atMost": ("requests", "pages", "bytes", "timeout"),
    "file": ("path", "format"),
    "changes": ("keep", "records"),
    "since": ("field", "param", "overlap"),
    "deletes": ("by", "every", "field"),
    "drift": ("added", "missing", "type"),
    "map": ("from", "trim", "nulls", "default", "date", "times"),
}  # fmt: skip
"""The keys of a mapping, by its name. `vocabulary` is `search` of a type."""

SECRETS = {
    "none": (), "bearer": ("token",), "apiKey": ("key",), "basic": ("user", "password"),
    "oauth2": ("client", "secret"),
}  # fmt: skip
"""`auth.by` → the secrets that it needs."""
PAGED_BY = ("none", "link", "next", "cursor", "offset", "page")
DELETED_BY = ("full", "field", "none")
ROUTED_TO = ("documents", "canonical")
"""The stores that `route.prefer` may name."""
DRIFTS = ("note", "freeze", "quarantine")
CARDINALITIES = ("many-to-one", "one-to-one")
