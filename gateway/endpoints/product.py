"""`/product` and `/contract`: the product and its contract as the caller may read them, in the
words of ODPS 1.0 and ODCS 3.2, made from the contract. What a caller sees nothing of stands in
neither."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.context.services import Services
from gateway.http.bodies import parameters
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import Contract, Property, RecordType, Relation, Scalar
from stores.contract.options import READS

_LOGICAL: dict[Scalar, str] = {
    Scalar.INT: "integer", Scalar.BIGINT: "integer", Scalar.FLOAT: "number",
    Scalar.DECIMAL: "number", Scalar.BOOLEAN: "boolean", Scalar.DATE: "date",
    Scalar.TIMESTAMP: "timestamp", Scalar.DATETIME: "timestamp", Scalar.TIME: "time",
    Scalar.JSON: "object",
}  # fmt: skip
"""The logical type of a value; of all others it is string."""


def _may(visibility: Visibility, t: RecordType, operation: str) -> bool:
    return operation in t.expose.operations and visibility.may(t, operation)


def read_types(contract: Contract, visibility: Visibility) -> list[RecordType]:
    """Return the types of which the viewer may read records."""
    return [t for t in contract.types.values() if any(_may(visibility, t, o) for o in READS)]


def odcs(contract: Contract, visibility: Visibility) -> dict[str, Any]:
    """Return the contract as data: the types and properties that the viewer may see, and how. Row
    filters, roles, sources and tables are the product's own affair."""
    shown = read_types(contract, visibility)
    return _head(contract, "v3.2.0", "DataContract") | {
        "schema": [_type(t, shown, visibility) for t in shown]
    }


def _head(contract: Contract, version: str, kind: str) -> dict[str, Any]:
    """Return the head that the contract and the product have alike: `version` is that of the
    format."""
    found: dict[str, Any] = {
        "apiVersion": version,
        "kind": kind,
        "id": contract.id,
        "name": contract.name,
        "version": contract.version,
        "status": "active",
    }
    if contract.description:
        found["description"] = {"purpose": contract.description}
    return found


def _type(t: RecordType, shown: list[RecordType], visibility: Visibility) -> dict[str, Any]:
    said: dict[str, Any] = {"name": t.name}
    if t.description:
        said["description"] = t.description
    seen = [p for p in t.properties if visibility.form(p) is not Form.NULL]
    return said | {"properties": [_property(t, p, shown, visibility) for p in seen]}


def _property(
    t: RecordType, p: Property, shown: list[RecordType], visibility: Visibility
) -> dict[str, Any]:
    plain = visibility.form(p) is Form.PLAIN
    logical = _LOGICAL.get(p.scalar, "string") if plain else "string"
    said: dict[str, Any] = {"name": p.name, "logicalType": "array" if p.array else logical}
    if p.array:
        said["items"] = {"logicalType": logical}
    elif plain:
        said["physicalType"] = p.sql_type
    if p.column in t.key:
        said |= {"primaryKey": True, "primaryKeyPosition": t.key.index(p.column) + 1}
    said["required"] = p.required and plain
    if p.unique and plain:
        said["unique"] = True
    if p.description:
        said["description"] = p.description
    relations = [r for r in t.relations if r.owner and r.columns == (p.column,)]
    links = [_link(r, visibility) for r in relations if _leads(r, t, shown, visibility)]
    return said | ({"relationships": links} if links else {})


def _leads(r: Relation, t: RecordType, shown: list[RecordType], visibility: Visibility) -> bool:
    return any(s.name == r.target for s in shown) and visibility.is_open(t, r)


def _link(r: Relation, visibility: Visibility) -> dict[str, Any]:
    target = visibility.contract.types[r.target]
    inverse = {"property": "inverse", "vendor": "recordgate", "value": r.inverse}
    to = f"{target.name}.{target.by_column[r.target_columns[0]].name}"
    return {"id": r.name, "to": to, "customProperties": [inverse]}


def odps(contract: Contract, visibility: Visibility) -> dict[str, Any]:
    """Return the product as data: an output port for each way to its records that the viewer may
    go. Sources have no contract that an input port could name."""
    ports = [_port(contract, "graphql", "graphql", "all types: POST /graphql")]
    for t in read_types(contract, visibility):
        doors = {"export": f"/export/{t.name}"} if _may(visibility, t, "export") else {}
        if doors and t.changes is not None:
            doors["changes"] = f"/changes/{t.name}"
        if t.searchable and _may(visibility, t, "search"):
            doors["search"] = f"/search/{t.name}"
        ports += [
            _port(contract, f"{t.name}-{door}", "rest", f"{t.plural}: GET {path}")
            for door, path in doors.items()
        ]
    return _head(contract, "v1.0.0", "DataProduct") | {
        "outputPorts": ports,
        "managementPorts": [
            {"name": "contract", "content": "dictionary", "type": "rest", "channel": "/contract"},
            {
                "name": "openapi", "content": "discoverability", "type": "rest",
                "channel": "/openapi.json",
            },
            {
                "name": "health", "content": "observability", "type": "rest",
                "channel": "/health/ready",
            },
        ],
    }  # fmt: skip


def _port(contract: Contract, name: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": description,
        "type": kind,
        "version": contract.version,
        "contractId": contract.id,
    }


def described(
    make: Callable[[Contract, Visibility], dict[str, Any]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that answers with what `make` says for the caller, with an ETag."""

    async def answer(request: Request) -> Response:
        parameters(request, frozenset())
        services: Services = request.app.state.services
        visibility = Visibility(services.contract, request.state.viewer.roles)
        body = orjson.dumps(make(services.contract, visibility), option=orjson.OPT_INDENT_2)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {
            "ETag": tag,
            "Cache-Control": "private, no-cache",
            "Vary": "Authorization, X-API-Key",
        }
        given = [
            t.strip().removeprefix("W/")
            for t in request.headers.get("if-none-match", "").split(",")
        ]
        if tag in given or given == ["*"]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    return answer
