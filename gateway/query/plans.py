"""Plans of query operations: what each root field is answered by, made once for a document, the
viewer's roles and the structure of the variables, and kept for the next request like it.

A plan covers key reads, lists and aggregates. Whatever it does not cover, or refuses, has no plan
and is executed in the ordinary way, which finds the same errors and says them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
from graphql import FieldNode, GraphQLError, GraphQLObjectType

from gateway.context.freshness import report
from gateway.context.services import RequestContext
from gateway.query.operations import Operation, RootField, slotted
from gateway.query.planner import CANONICAL
from gateway.query.prepare import Prepared, prepare
from gateway.shape.open_values import Features
from stores.errors import RecordgateError

BYTES_A_CHARACTER = 120
"""The memory that a parsed document, which a plan keeps, takes for each character of its text."""


@dataclass(frozen=True, slots=True)
class PlannedField:
    """One root field. `prepared` None: it is `__typename`. `head`: what stands before the value in
    the answer."""

    key: str
    nodes: list[FieldNode]
    head: bytes
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """`by_canonical`: it asks canonical alone. `extensions`: those of an answer that is canonical's
    alone, up to its cost, as they are without @freshness tokens and plans."""

    fields: tuple[PlannedField, ...]
    by_canonical: bool
    extensions: bytes
    size: int


def make_plan(
    operation: Operation, context: RequestContext, variables: Mapping[str, Any], features: Features
) -> QueryPlan | None:
    """The plan of an operation for a viewer and coerced `variables`; None where it has none."""
    query = cast(GraphQLObjectType, operation.schema.query_type)
    values = {n: slotted(operation.kinds[n], v, (n,), features) for n, v in variables.items()}
    fields: list[PlannedField] = []
    try:
        for key, field in operation.root_fields(query, values).items():
            planned = _field(key, field, query, context, first=not fields)
            if planned is None:
                return None
            fields.append(planned)
    except (RecordgateError, GraphQLError):
        return None
    prepared = [(f.key, f.prepared) for f in fields if f.prepared]
    routes = {key: report(CANONICAL, p.plan.candidates[-1].reason) for key, p in prepared}
    size = 500 + sum(len(p.statement.text) + 500 for _, p in prepared)
    if operation.node.loc:
        size += BYTES_A_CHARACTER * len(operation.node.loc.source.body)
    extensions = b'{"recordgate":{"fields":' + orjson.dumps(routes)
    return QueryPlan(tuple(fields), all(p.documents is None for _, p in prepared), extensions, size)


def _field(
    key: str, field: RootField, query: GraphQLObjectType, context: RequestContext, *, first: bool
) -> PlannedField | None:
    head = f'{"" if first else ","}"{key}":'.encode()
    if field.name == "__typename":
        return PlannedField(key, field.field_nodes, head + b'"Query"')
    root = field.root(query)
    if root is None:
        return None
    prepared = prepare(context, root, field, field.arguments(query), kept=True)
    return PlannedField(key, field.field_nodes, head, prepared) if prepared else None
