"""Puts the schema together: the root fields that each type exposes, and the @freshness
directive."""

from __future__ import annotations

from typing import Any

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLDirective,
    GraphQLField,
    GraphQLID,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
)

from gateway.query.execute import ServedSchema
from gateway.query.roots import RECORD_TYPE, RootKind, extensions
from gateway.schema import search, static
from gateway.schema.aggregates import Aggregates
from gateway.schema.extension_faults import of_schema
from gateway.schema.extensions import Extensions
from gateway.schema.filters import Inputs
from gateway.schema.frame import RecordSchema
from gateway.schema.mutations import Mutations
from gateway.schema.records import RecordTypes
from gateway.schema.resolvers import (
    resolve_aggregate,
    resolve_get,
    resolve_list,
    resolve_write,
    search_resolver,
    suggest_resolver,
)
from gateway.schema.scalars import DURATION
from gateway.schema.subgraph import as_subgraph
from gateway.schema.subscriptions import change_fields
from gateway.shape.names import search_field, suggest_field
from stores.contract.model import Contract, RecordType
from stores.contract.names import RESERVED_TYPES, generated_names
from stores.errors import ContractError

FRESHNESS = GraphQLDirective(
    "freshness",
    [DirectiveLocation.QUERY, DirectiveLocation.MUTATION],
    {
        "after": GraphQLArgument(
            GraphQLString, description="The token of a write that the answer must contain."
        ),
        "maxStaleness": GraphQLArgument(DURATION, description="Maximum staleness of the answer."),
        "waitUpTo": GraphQLArgument(
            DURATION, description="Maximum time to wait for a store that is fresh enough."
        ),
    },
    description=(
        "The freshness that every answer of the operation must have. The request headers do the"
        " same."
    ),
)


def build_schema(
    contract: Contract, extensions: Extensions | None = None, *, subgraph: bool = False
) -> ServedSchema:
    """The schema that is served for a contract and what the product adds to it; `subgraph`: with
    what a federated gateway asks for. Raises ContractError where names of the contract collide in
    GraphQL, SetupError where an extension takes one."""
    frame = RecordSchema(extensions or Extensions())
    if frame.added:
        frame.require_free_types(_type_names(contract))
    records = RecordTypes(contract, Inputs(contract, frame), frame)
    query: dict[str, GraphQLField] = {}
    mutation: dict[str, GraphQLField] = {}
    subscription: dict[str, GraphQLField] = {}
    for record_type in contract.types.values():
        _add(record_type, query, _queries(record_type, records))
        if "get" in record_type.expose.operations:
            _add(record_type, subscription, change_fields(record_type, records))
        _add(record_type, mutation, Mutations(record_type, records, resolve_write).fields())
    try:
        records.join()
        types = {kind.name: kind for kind in records.objects.values()}
        frame.join(query, mutation, subscription, types, [FRESHNESS])
        if subgraph:
            frame.replace(as_subgraph(frame._schema, contract, records.objects))
    except (TypeError, ValueError) as error:
        if frame.added:
            raise of_schema(error, frame.added.modules, frame.added.places()) from None
        raise ContractError(f"the contract's names do not form a GraphQL schema: {error}") from None
    known = frozenset({*query, *mutation})
    return ServedSchema(frame, extended=bool(frame.added), contract_fields=known)


def _type_names(contract: Contract) -> set[str]:
    """Return the names of types that are the contract's, or may become so."""
    made = {
        name
        for t in contract.types.values()
        for space, name in generated_names(t.graphql, t.single, t.plural)
        if space == "type"
    }
    abroad = {f.graphql for t in contract.types.values() for f in t.foreign}
    return made | abroad | RESERVED_TYPES


def _add(
    record_type: RecordType, fields: dict[str, GraphQLField], more: dict[str, GraphQLField]
) -> None:
    for name, field in more.items():
        field.extensions = {**field.extensions, RECORD_TYPE: record_type.name}
        if name in fields:
            raise ContractError(
                f"two types of the contract lead to the GraphQL field {name}",
                hint="give one of them another name or plural",
            )
    fields.update(more)


def _queries(record_type: RecordType, records: RecordTypes) -> dict[str, Any]:
    allowed = record_type.expose.operations
    found: dict[str, GraphQLField] = {}
    if "get" in allowed:
        found[record_type.single] = GraphQLField(
            records.objects[record_type.name],
            {"id": GraphQLArgument(GraphQLNonNull(GraphQLID))},
            resolve=resolve_get(record_type),
            extensions=extensions(RootKind.GET, record_type),
        )
    if "list" in allowed:
        found[record_type.plural] = GraphQLField(
            records.connections[record_type.name],
            records.page_arguments(record_type),
            resolve=resolve_list(record_type),
            extensions=extensions(RootKind.LIST, record_type),
        )
    if "aggregate" in allowed:
        aggregates = Aggregates(record_type, records.inputs)
        found[f"{record_type.plural}Aggregate"] = GraphQLField(
            GraphQLList(GraphQLNonNull(aggregates.output())),
            aggregates.arguments(),
            resolve=resolve_aggregate(record_type),
            extensions=extensions(RootKind.AGGREGATE, record_type),
        )
    if "search" in allowed and record_type.searchable:
        kind = search.connection(record_type, records)
        found[search_field(record_type)] = GraphQLField(
            kind,
            search.arguments(record_type, records),
            resolve=search_resolver(record_type, kind),
        )
    if "search" in allowed and any(p.search.suggest for p in record_type.properties):
        suggested = records.frame.object(static.SearchSuggestion)
        found[suggest_field(record_type)] = GraphQLField(
            GraphQLNonNull(GraphQLList(GraphQLNonNull(suggested))),
            {
                "query": GraphQLArgument(GraphQLNonNull(GraphQLString)),
                "first": GraphQLArgument(GraphQLInt, description="At most 50; 10 if not given."),
            },
            resolve=suggest_resolver(record_type, suggested),
        )
    return found
