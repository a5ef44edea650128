"""The JSON schema of a contract for editors: that of ODCS, with recordgate's custom properties.

The keys are `options`', which the linter refuses others by; `_FORMS` says of each what it may hold.
A key without a form, or a form without a key, is an error when the schema is made. What depends on
the rest of the contract (a role that is declared, a relation that there is) only the linter sees.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from stores.contract import collect, route, sla, vocabulary
from stores.contract.boosts import MAX_WEIGHT
from stores.contract.extensions import (
    ANALYZERS,
    MAX_BOOST,
    MAX_FORGIVE_FROM,
    MAX_GENERATIONS,
    MAX_PAGE,
    MAX_SHOWN,
    VENDOR,
)
from stores.contract.kept_changes import MAX_KEPT
from stores.contract.model import Expose, Masking
from stores.contract.options import (
    CARDINALITIES,
    DELETED_BY,
    DRIFTS,
    KNOWN,
    OPTIONS,
    PAGED_BY,
    ROUTED_TO,
    SECRETS,
)
from stores.contract.promises import SEVERITIES
from stores.contract.schema_check import odcs_schema

Schema = dict[str, Any]

NAME = "Data contract of recordgate (ODCS 3.2)"


def contract_schema() -> Schema:
    """The schema (draft 2019-09). Raises KeyError where a key of `options` has no form."""
    schema = copy.deepcopy(odcs_schema())
    schema["title"] = NAME
    defs = schema["$defs"]
    for place in KNOWN:
        defs[_definition(place)] = _custom_properties(place)
    for name in (*OPTIONS, *_MORE):
        defs[_definition(name)] = _MORE[name] if name in _MORE else _mapping(name)
    _and(schema["properties"], "customProperties", _ref("contract"))
    _and(defs["SchemaObject"]["properties"], "customProperties", _ref("schema"))
    _and(defs["SchemaProperty"].setdefault("properties", {}), "customProperties", _ref("property"))
    _and(defs["RelationshipBase"]["properties"], "customProperties", _ref("relationship"))
    promised = defs["ServiceLevelAgreementProperty"]["properties"]
    _and(promised, "customProperties", _ref("service level"))
    _and(promised, "property", _service_levels())
    # The short form of a property of another product, which ODCS has no word for.
    base = defs["RelationshipBase"]["properties"]
    base["to"] = {"anyOf": [base["to"], {"type": "string", "pattern": "^https?://.+#.+"}]}
    return schema


def _definition(name: str) -> str:
    """`service level` → RecordgateServiceLevel."""
    words = re.split(r"[ .]", name)
    return "Recordgate" + "".join(w[:1].upper() + w[1:] for w in words)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{_definition(name)}"}


def _and(properties: Schema, key: str, more: Schema) -> None:
    """Require `more` of `key`, beside what is required of it already."""
    properties[key] = {"allOf": [properties[key], more]} if key in properties else more


def _custom_properties(place: str) -> Schema:
    """A list of custom properties, of which those of ours keep to their forms. Others may be
    anything."""
    ours: Schema = {"properties": {"vendor": {"const": VENDOR}}, "required": ["vendor"]}
    names = list(KNOWN[place])
    rules: list[Schema] = [{"if": ours, "then": {"properties": {"property": {"enum": names}}}}]
    for name, form in _forms(place, KNOWN[place]):
        this = {"properties": ours["properties"] | {"property": {"const": name}}}
        rules.append(
            {
                "if": this | {"required": ["vendor", "property"]},
                "then": {"properties": {"value": form}},
            }
        )
    return {"type": "array", "items": {"type": "object", "allOf": rules}}


def _mapping(name: str) -> Schema:
    found: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict(_forms(name, OPTIONS[name])),
    }
    return found | _REQUIRED.get(name, {})


def _forms(name: str, keys: tuple[str, ...]) -> Iterator[tuple[str, Schema]]:
    forms = _FORMS[name]
    surplus = forms.keys() - set(keys)
    if surplus:
        raise KeyError(f"{name} has no {', '.join(sorted(surplus))}")
    for key in keys:
        yield key, forms[key]


def _service_levels() -> Schema:
    """The names are taken in any letter case."""
    names = [*sla.KNOWN, *sla.SYNONYMS]
    letters = (
        "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in n) for n in sla.KNOWN
    )
    return {"anyOf": [{"enum": names}, {"pattern": f"^({'|'.join(letters)})$"}]}


def _one_of(*words: Any) -> Schema:
    return {"enum": list(words)}


def _whole(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _each(value: Schema) -> Schema:
    return {"type": "object", "additionalProperties": value}


def _said(form: Schema, description: str) -> Schema:
    return form | {"description": description}


_TEXT: Schema = {"type": "string", "minLength": 1}
_FLAG: Schema = {"type": "boolean"}
_ROLES: Schema = _list({"type": "string"})
_DURATION: Schema = {"type": "string", "pattern": f"^{collect.DURATION.pattern}$"}
_REFERENCE: Schema = {
    "type": "string",
    "pattern": rf"^({collect.REFERENCE.pattern}|\$\{{[A-Za-z_][A-Za-z0-9_]*\}})$",
}
_LIMIT: Schema = {
    "anyOf": [
        _whole(0, 999_999_999),
        {"type": "string", "pattern": f"^({collect.LIMIT.pattern})$"},
    ]
}
_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_WORDS = {"type": "string", "pattern": r"\S", "maxLength": vocabulary.MAX_CHARACTERS}
_MASKS = [None, *(m.value for m in Masking)]

_MORE: dict[str, Schema] = {
    "embeds": _list({"anyOf": [_TEXT, _ref("embed")]}),
    "filter": {
        "type": "object",
        "minProperties": 1,
        "properties": {
            "and": _list(_ref("filter"), minItems=1),
            "or": _list(_ref("filter"), minItems=1),
            "not": _ref("filter"),
        },
        "additionalProperties": {"type": "object", "minProperties": 1},
    },
}
"""Definitions beside those of the mappings."""

_REQUIRED: dict[str, Schema] = {
    "embed": {"required": ["relation"]},
    "collect": {"oneOf": [{"required": ["http"]}, {"required": ["file"]}]},
    "http": {"required": ["url"]},
    "file": {"required": ["path"]},
    "since": {"required": ["field", "param"]},
    "auth": {
        "allOf": [
            {
                "if": {"properties": {"by": {"const": by}}, "required": ["by"]},
                "then": {"required": list(secrets)},
            }
            for by, secrets in SECRETS.items()
            if secrets
        ]
    },
}

_FORMS: dict[str, dict[str, Schema]] = {
    "contract": {
        "managed": _said(_FLAG, "false: attached to tables that are there already"),
        "schema": _said(_TEXT, "the Postgres schema of the tables; default public"),
    },
    "schema": {
        "singular": _said(_TEXT, "the GraphQL field of one record"),
        "plural": _said(_TEXT, "the GraphQL field of many records"),
        "embed": _said(_ref("embeds"), "relations whose records are inside the document"),
        "expose": _ref("expose"),
        "rowFilter": _said(_each(_ref("filter")), "role → the rows that it sees"),
        "generations": _said(_whole(1, MAX_GENERATIONS), "how many are kept"),
        "search": _said(_ref("vocabulary"), "what words mean in searches of the type"),
        "boostBy": _said(
            {"anyOf": [_TEXT, _ref("boostBy")]}, "a number or a day by which hits rank higher"
        ),
        "gate": _said(_one_of(*SEVERITIES), "imports that break a rule as grave are refused"),
        "collect": _said(_ref("collect"), "where the records come from"),
        "route": _said(_ref("route"), "who is asked first, by which indexes"),
        "changes": _said(_ref("changes"), "changes are kept for those who follow the type"),
    },
    "property": {
        "search": _said(_ref("search"), "how the property takes part in search"),
        "masking": _said(
            _each(
                {
                    "anyOf": [
                        _one_of(*_MASKS),
                        {
                            "type": "object",
                            "properties": {"partial": _ref("partial")},
                            "required": ["partial"],
                            "additionalProperties": False,
                        },
                    ]
                }
            ),
            "role → what it sees in place of the value",
        ),
        "readRoles": _said(_ROLES, "the roles that may see it; an empty list is nobody"),
        "generated": _said(_FLAG, "Postgres computes it; it is never written"),
    },
    "relationship": {
        "inverse": _said(_TEXT, "the name of the other direction"),
        "cardinality": _one_of(*CARDINALITIES),
    },
    "service level": {
        "percentile": _said(_SCALAR, "of responseTime: the share of requests that are as fast"),
        "window": _said({"type": "string", "pattern": r"^\s*\d{1,3}d\s*$"}, "as 28d"),
    },
    "expose": {
        "operations": _list(_one_of(*sorted(Expose().operations))),
        "pageLimit": _whole(1, MAX_PAGE),
        "roles": _said(_ref("expose.roles"), "operation → the roles that may"),
    },
    "expose.roles": dict.fromkeys(OPTIONS["expose.roles"], _ROLES),
    "embed": {"relation": _TEXT, "embed": _ref("embeds")},
    "vocabulary": {
        "synonyms": _list(
            _list(_WORDS, minItems=2, maxItems=vocabulary.MAX_MEMBERS),
            maxItems=vocabulary.MAX_GROUPS,
        ),
        "stopWords": _list(_WORDS, maxItems=vocabulary.MAX_STOP_WORDS),
    },
    "search": dict.fromkeys(("text", "suggest", "facet", "sort", "forgive"), _FLAG)
    | {
        "analyzer": _one_of(*ANALYZERS),
        "boost": {"type": "number", "minimum": 0.001, "maximum": MAX_BOOST},
        "forgiveFrom": _said(_whole(3, MAX_FORGIVE_FROM), "characters of the words it forgives"),
    },
    "boostBy": {
        "property": _TEXT,
        "weight": {"type": "number", "minimum": 0.01, "maximum": MAX_WEIGHT},
    },
    "route": {
        "prefer": _list(_one_of(*ROUTED_TO), minItems=1, uniqueItems=True),
        "index": _list(
            {
                "anyOf": [
                    _TEXT,
                    _list(_TEXT, minItems=1, maxItems=route.MAX_COLUMNS, uniqueItems=True),
                ]
            },
            maxItems=route.MAX_INDEXES,
        ),
        "maxStaleness": _said(_DURATION, "how old an answer may be that only this allows"),
    },
    "partial": dict.fromkeys(("first", "last"), _whole(0, MAX_SHOWN)),
    "collect": {
        "http": _ref("http"),
        "file": _ref("file"),
        "since": _said(_ref("since"), "a walk asks only for what changed"),
        "deletes": _said(_ref("deletes"), "how deleted records are told"),
        "map": _said(
            _each({"anyOf": [{"type": "string"}, _ref("map")]}),
            "property → where it is in what comes",
        ),
        "every": _DURATION,
        "staleAfter": _DURATION,
        "drift": _said(_ref("drift"), "what is done where records have another shape"),
        "maxRejects": _LIMIT,
        "maxDeletes": _LIMIT,
    },
    "http": {
        "url": {"type": "string", "pattern": r"^[hH][tT][tT][pP][sS]?://."},
        "records": _said(_TEXT, "the path to the records in an answer"),
        "pages": _ref("pages"),
        "auth": _ref("auth"),
        "headers": _each(_SCALAR),
        "atMost": _ref("atMost"),
    },
    "pages": {
        "by": _one_of(*PAGED_BY),
        "next": _said(_TEXT, "the path to what names the next page"),
        "param": _TEXT,
        "sizeParam": _TEXT,
        "size": _whole(0, 1_000_000),
        "start": _whole(0, 1_000_000_000),
        "total": _said(_TEXT, "the path to how many records there are"),
    },
    "auth": {
        "by": _one_of(*SECRETS),
        **dict.fromkeys(("token", "key", "user", "password", "client", "secret"), _REFERENCE),
        **dict.fromkeys(("header", "param", "tokenUrl", "scope"), _TEXT),
    },
    "atMost": {
        "requests": {"type": "string", "pattern": r"^\d+/(s|m|h)$"},
        "pages": _whole(1, 10_000_000),
        "bytes": _whole(1000, 1 << 30),
        "timeout": _DURATION,
    },
    "file": {"path": _said(_TEXT, "a file, or a glob"), "format": _TEXT},
    "changes": {
        "keep": _said(_DURATION, "how long; default 7d"),
        "records": _said(_whole(1, MAX_KEPT), "how many changes at most; default 1000000"),
    },
    "since": {"field": _TEXT, "param": _TEXT, "overlap": _DURATION},
    "deletes": {
        "by": _one_of(*DELETED_BY),
        "every": _DURATION,
        "field": {"type": "object", "minProperties": 1, "maxProperties": 1},
    },
    "drift": dict.fromkeys(("added", "missing", "type"), _one_of(*DRIFTS)),
    "map": {
        "from": _TEXT,
        "trim": _FLAG,
        "nulls": _list({}),
        "default": {},
        "date": _TEXT,
        "times": {"type": ["string", "number"]},
    },
}
"""The schema of the value of each key."""
