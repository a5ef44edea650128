"""Plans of query operations: what each root field is answered by, made once for a document, the viewer's
roles and the structure of the variables, and kept for the next request like it.

A plan covers key reads, lists and aggregates. Whatever it does not cover, or refuses, has no plan and is
executed in the ordinary way, which finds the same errors and says them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
    is_leaf_type,
    type_from_ast,
)

from gateway.compiler import Statement
from gateway.compiler.aggregates import compile_aggregate
from gateway.context.freshness import report
from gateway.context.services import RequestContext
from gateway.query.costs import Cost, cost_of
from gateway.query.planner import AGGREGATES, CANONICAL, Plan, plan
from gateway.query.records import compiler_of, visibility_of
from gateway.query.roots import Root, RootKind
from gateway.shape.aggregates import aggregate_shape
from gateway.shape.arguments import arguments, coerced_variables, selected_fields
from gateway.shape.open_values import Features, Late, Slot, settled
from gateway.shape.selection import has_own_fields, selected_below
from gateway.shape.shapes import KeyShape
from gateway.shape.shaping import Shaper, key_shape
from stores.errors import RecordgateError
from stores.keys import encode_key

BYTES_A_CHARACTER = 120
"""What a parsed document takes, which a plan keeps, for each character of its text."""


@dataclass(frozen=True, slots=True)
class Field:
    """One root field. `statement` None: it is `__typename`. `documents`: the key read that the document
    store is asked for first. `head`: what stands before the value in the answer."""

    key: str
    nodes: list[FieldNode]
    head: bytes
    statement: Statement | None = None
    planned: Plan | None = None
    documents: KeyShape | None = None
    document_key: Late | str = ""


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """`extensions`: those of an answer that is canonical's alone, up to its cost, as they are without
    @freshness tokens and plans."""

    fields: tuple[Field, ...]
    extensions: bytes
    size: int


# Variables -------------------------------------------------------------------------------------


def structure(kind: GraphQLInputType, value: Any) -> Hashable:
    """What a plan is made for: all of a variable's value but its scalars."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if value is None:
        return None
    if isinstance(kind, GraphQLList):
        if _is_slot(kind.of_type):
            return "scalars"
        return tuple(structure(kind.of_type, v) for v in value)
    if isinstance(kind, GraphQLInputObjectType):
        return tuple((n, structure(kind.fields[n].type, v)) for n, v in value.items())
    return "scalar" if _is_slot(kind) else (value,)


def slotted(
    kind: GraphQLInputType, value: Any, path: tuple[str | int, ...], features: Features
) -> Any:
    """The value with slots for its scalars."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if value is None:
        return None
    if isinstance(kind, GraphQLList):
        if _is_slot(kind.of_type):
            return Slot(path, value, features)
        return [slotted(kind.of_type, v, (*path, i), features) for i, v in enumerate(value)]
    if isinstance(kind, GraphQLInputObjectType):
        return {n: slotted(kind.fields[n].type, v, (*path, n), features) for n, v in value.items()}
    return Slot(path, value, features) if _is_slot(kind) else value


def _is_slot(kind: Any) -> bool:
    """Scalars but booleans, which decide on what is asked; lists of lists do not occur."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    return is_leaf_type(kind) and not isinstance(kind, GraphQLEnumType) and kind.name != "Boolean"


# Making ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A root field of an operation, for `selected_below`."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDefinitionNode]
    variable_values: dict[str, Any]
    field_nodes: list[FieldNode]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document, ready to be planned. `covered`: it is a query."""

    schema: GraphQLSchema
    document: DocumentNode
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    kinds: dict[str, GraphQLInputType]

    cost: Cost
    parsers: dict[str, tuple[Callable[[Any], Any], bool]] | None
    """How scalars are read, and whether they must be there; None where more than that is to be done."""

    @property
    def covered(self) -> bool:
        return self.node.operation is OperationType.QUERY

    def coerced(self, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The variables as the schema takes them; None where it does not."""
        if self.parsers is not None:
            values: dict[str, Any] = {}
            for name, (parse, required) in self.parsers.items():
                if name in given:
                    value = given[name]
                    try:
                        values[name] = None if value is None else parse(value)
                    except Exception:  # execution finds it again, and says what is wrong
                        return None
                if required and values.get(name) is None:
                    return None
            return values
        found = coerced_variables(self.schema, self.node, given)
        return None if isinstance(found, list) else found

    @classmethod
    def of(
        cls, schema: GraphQLSchema, document: DocumentNode, node: OperationDefinitionNode
    ) -> Operation:
        fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        kinds = {
            v.variable.name.value: cast(GraphQLInputType, type_from_ast(schema, v.type))
            for v in node.variable_definitions or ()
        }
        cost = cost_of(schema, node, fragments)
        parsers: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        for definition in node.variable_definitions or ():
            name = definition.variable.name.value
            kind = kinds[name]
            inner = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
            if definition.default_value is not None or not isinstance(inner, GraphQLScalarType):
                return cls(schema, document, node, fragments, kinds, cost, None)
            parsers[name] = (inner.parse_value, inner is not kind)
        return cls(schema, document, node, fragments, kinds, cost, parsers)


def make_plan(
    operation: Operation, context: RequestContext, variables: Mapping[str, Any], features: Features
) -> QueryPlan | None:
    """The plan of an operation for a viewer and coerced `variables`; None where it has none."""
    schema = operation.schema
    query = cast(GraphQLObjectType, schema.query_type)
    values = {n: slotted(operation.kinds[n], v, (n,), features) for n, v in variables.items()}
    try:
        grouped = selected_fields(
            operation.fragments, values, query, [operation.node.selection_set]
        )
        fields: list[Field] = []
        for key, nodes in grouped.items():
            place = Place(schema, operation.fragments, values, nodes)
            made = _field(place, query, key, context, first=not fields)
            if made is None:
                return None
            fields.append(made)
    except (RecordgateError, GraphQLError):
        return None
    routes = {
        f.key: report(CANONICAL, f.planned.candidates[-1].reason) for f in fields if f.planned
    }
    size = 500 + sum(len(f.statement.text) + 500 for f in fields if f.statement)
    if operation.node.loc:
        size += BYTES_A_CHARACTER * len(operation.node.loc.source.body)
    extensions = b'{"recordgate":{"fields":' + orjson.dumps(routes)
    return QueryPlan(tuple(fields), extensions, size)


def _field(
    place: Place, query: GraphQLObjectType, key: str, context: RequestContext, *, first: bool
) -> Field | None:
    node = place.field_nodes[0]
    name = node.name.value
    head = f'{"" if first else ","}"{key}":'.encode()
    if name == "__typename":
        return Field(key, place.field_nodes, head + b'"Query"')
    root: Root | None = (
        (query.fields[name].extensions or {}).get("root") if name in query.fields else None
    )
    if root is None:
        return None
    definition = query.fields[name]
    args = arguments(definition, node, place.variable_values)
    kind = cast(GraphQLObjectType, get_named_type(definition.type))
    selected = selected_below(place, kind)
    if has_own_fields(selected):
        return None
    visibility = visibility_of(context)
    visibility.require_may(root.type, root.kind.value)
    services = context.services
    compiler = compiler_of(context)
    if root.kind is RootKind.AGGREGATE:
        given = {n: v if n == "filter" else settled(v) for n, v in args.items()}
        shape = aggregate_shape(root.type, given, selected, visibility)
        return Field(key, place.field_nodes, head, compile_aggregate(compiler, shape), AGGREGATES)
    shaper = Shaper(visibility)
    asked: Any
    if root.kind is RootKind.LIST:
        asked = shaper.page(root.type, args, selected)
    else:
        asked = key_shape(shaper.record(root.type, selected), args["id"])
    planned = plan(
        asked,
        visibility,
        services.documents.capabilities,
        bytewise=services.text_order_is_bytewise,
    )
    if not isinstance(asked, KeyShape):
        return Field(key, place.field_nodes, head, compiler.page(asked), planned)
    by_documents = planned.candidates[0].store != CANONICAL
    return Field(
        key,
        place.field_nodes,
        head,
        compiler.one_or_many(asked),
        planned,
        asked if by_documents else None,
        _document_key(asked.values),
    )


def _document_key(values: tuple[str | Late, ...]) -> Late | str:
    if all(isinstance(v, str) for v in values):
        return encode_key(cast(tuple[str, ...], values))
    return Late(
        lambda variables: encode_key(
            [v.resolve(variables) if isinstance(v, Late) else v for v in values]
        )
    )
