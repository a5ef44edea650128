"""JSON schemas of a contract's records and filters, for the OpenAPI document. Pure."""

from __future__ import annotations

from typing import Any

from gateway.shape.filters import MAX_DEPTH, MAX_LIST, operations
from gateway.shape.names import field_of
from stores.contract.model import Contract, Embed, Property, RecordType, Scalar
from stores.query import Op

_NO_NUL = "^[^\\u0000]*$"
_WHOLE = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
_BIG = {
    "type": ["integer", "string"],
    "pattern": "^-?[0-9]{1,18}$",
    "minimum": -(2**53) + 1,
    "maximum": 2**53 - 1,
}
_VALUES: dict[Scalar, dict[str, Any]] = {
    Scalar.STRING: {"type": "string", "pattern": _NO_NUL},
    Scalar.INT: _WHOLE,
    Scalar.BIGINT: _BIG,
    Scalar.FLOAT: {"type": "number"},
    Scalar.DECIMAL: {"type": "string", "pattern": "^-?[0-9]{1,30}(\\.[0-9]{1,20})?$"},
    Scalar.BOOLEAN: {"type": "boolean"},
    Scalar.DATE: {"type": "string", "format": "date"},
    Scalar.TIMESTAMP: {"type": "string", "format": "date-time"},
    Scalar.DATETIME: {"type": "string"},
    Scalar.TIME: {"type": "string"},
    Scalar.UUID: {"type": "string", "format": "uuid"},
    Scalar.BYTES: {"type": "string", "contentEncoding": "base64"},
    Scalar.JSON: {},
}
"""Values as they are given. In an answer one may also be null, and a hash where a role sees no
more."""


def schema_ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def filter_name(t: RecordType) -> str:
    return f"{t.graphql}Filter"


def record_name(t: RecordType) -> str:
    return t.graphql


def filter_schema(contract: Contract, t: RecordType) -> dict[str, Any]:
    """A filter as GraphQL has it: an object of conditions that must all hold, never empty."""
    found: dict[str, Any] = {field_of(t, p): _comparison(p) for p in t.properties if operations(p)}
    several = {
        "type": "array",
        "items": schema_ref(filter_name(t)),
        "minItems": 1,
        "maxItems": MAX_LIST,
    }
    found |= {"and": several, "or": several, "not": schema_ref(filter_name(t))}
    for relation in t.relations:
        target = contract.types[relation.target]
        found[relation.graphql] = schema_ref(filter_name(target))
    return {
        "type": "object",
        "description": f"At most {MAX_DEPTH} levels deep; of a relation to many, at least one"
        " record is so.",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": found,
    }


def _comparison(prop: Property) -> dict[str, Any]:
    value = _VALUES[prop.scalar]
    found: dict[str, Any] = {}
    for op in operations(prop):
        if op is Op.IS_NULL:
            found[op.value] = {"type": "boolean"}
        elif op in (Op.IN, Op.NOT_IN):
            found[op.value] = {"type": "array", "items": value, "maxItems": MAX_LIST}
        else:
            found[op.value] = value
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": found,
    }


def record_schema(contract: Contract, t: RecordType, embeds: tuple[Embed, ...]) -> dict[str, Any]:
    """Return the schema of a record as a search answers it: a value that a role does not see is
    null, or a part or a hash of it."""
    found: dict[str, Any] = {field_of(t, p): _answered(p) for p in t.properties}
    for embed in embeds:
        relation = t.relation_by_name[embed.relation]
        target = contract.types[relation.target]
        inner = record_schema(contract, target, embed.embeds)
        found[relation.graphql] = (
            {"type": "array", "items": inner}
            if relation.many
            else {"anyOf": [inner, {"type": "null"}]}
        )
    return {"type": "object", "additionalProperties": False, "properties": found}


def _answered(prop: Property) -> dict[str, Any]:
    kinds: dict[Scalar, list[str]] = {
        Scalar.INT: ["integer"],
        Scalar.BIGINT: ["integer", "string"],
        Scalar.FLOAT: ["number"],
        Scalar.BOOLEAN: ["boolean"],
    }
    if prop.scalar is Scalar.JSON:
        return {}
    kind = [*kinds.get(prop.scalar, ["string"]), "null"]
    if prop.masking and "string" not in kind:
        kind.append("string")
    if not prop.array:
        return {"type": kind}
    whole = ["array", "null", *(["string"] if prop.masking else [])]
    return {"type": whole, "items": {"type": kind}}
