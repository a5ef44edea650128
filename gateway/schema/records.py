"""The object types of records and their connections. A value is keyed by its name in the response, so that
aliases of one field can differ; resolvers only look it up."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLID,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLString,
)

from gateway.names import field_of, is_own_id, version_field
from gateway.schema.filters import Inputs
from gateway.schema.scalars import BIGINT, output
from stores.contract.model import Contract, RecordType, Relation


def by_key(source: Any, info: GraphQLResolveInfo, **_args: Any) -> Any:
    """The value that stands under the field's name in the response."""
    return source[info.path.key]


def field(
    kind: Any, description: str | None = None, args: dict[str, GraphQLArgument] | None = None
) -> GraphQLField:
    return GraphQLField(kind, args, resolve=by_key, description=description)


NODE = GraphQLInterfaceType(
    "Node",
    {
        "id": GraphQLField(GraphQLNonNull(GraphQLID)),
        "nodeId": GraphQLField(GraphQLNonNull(GraphQLID)),
    },
    resolve_type=lambda value, _info, _type: value[""],
    description="A record. `nodeId` is unique among all types: the argument of `node`.",
)
PAGE_INFO = GraphQLObjectType(
    "PageInfo",
    {
        "hasNextPage": field(GraphQLNonNull(GraphQLBoolean)),
        "hasPreviousPage": field(GraphQLNonNull(GraphQLBoolean)),
        "startCursor": field(GraphQLString),
        "endCursor": field(GraphQLString),
    },
)


class Records:
    """The object and connection types of a contract's record types, by type name."""

    def __init__(self, contract: Contract, inputs: Inputs) -> None:
        self.contract = contract
        self.inputs = inputs
        self.objects = {name: self._object(t) for name, t in contract.types.items()}
        self.connections = {name: self._connection(t) for name, t in contract.types.items()}

    def page_arguments(self, record_type: RecordType) -> dict[str, GraphQLArgument]:
        return {
            "filter": GraphQLArgument(self.inputs.filters[record_type.name]),
            "orderBy": GraphQLArgument(
                GraphQLList(GraphQLNonNull(self.inputs.orders[record_type.name])),
                description="By default, and at the end of every order, the key.",
            ),
            "first": GraphQLArgument(
                GraphQLInt,
                description=f"At most {record_type.expose.page_limit}; 20 when not given.",
            ),
            "after": GraphQLArgument(GraphQLString),
            "last": GraphQLArgument(GraphQLInt),
            "before": GraphQLArgument(GraphQLString),
        }

    def _object(self, record_type: RecordType) -> GraphQLObjectType:
        def fields() -> dict[str, GraphQLField]:
            found = {
                "id": field(GraphQLNonNull(GraphQLID), "The record's key."),
                "nodeId": field(GraphQLNonNull(GraphQLID)),
            }
            for prop in record_type.properties:
                if not is_own_id(record_type, prop):
                    found[field_of(record_type, prop)] = field(
                        output(prop), prop.description or None
                    )
            version = version_field(record_type)
            if version not in found and version not in record_type.relation_by_graphql:
                found[version] = field(
                    GraphQLNonNull(GraphQLString),
                    "Changes with the record: what `ifVersion` takes.",
                )
            for relation in record_type.relations:
                found[relation.graphql] = self._relation(relation)
            return found

        return GraphQLObjectType(
            record_type.graphql,
            fields,
            interfaces=[NODE],
            description=record_type.description or None,
        )

    def _relation(self, relation: Relation) -> GraphQLField:
        target = self.contract.types[relation.target]
        if relation.many:
            return field(
                GraphQLNonNull(self.connections[target.name]), args=self.page_arguments(target)
            )
        return field(self.objects[target.name])

    def _connection(self, record_type: RecordType) -> GraphQLObjectType:
        node = GraphQLNonNull(self.objects[record_type.name])
        edge = GraphQLObjectType(
            f"{record_type.graphql}Edge",
            {"node": field(node), "cursor": field(GraphQLNonNull(GraphQLString))},
        )
        return GraphQLObjectType(
            f"{record_type.graphql}Connection",
            {
                "edges": field(GraphQLNonNull(GraphQLList(GraphQLNonNull(edge)))),
                "nodes": field(GraphQLNonNull(GraphQLList(GraphQLNonNull(node.of_type)))),
                "pageInfo": field(GraphQLNonNull(PAGE_INFO)),
                "totalCount": field(GraphQLNonNull(BIGINT), "Counted only when asked for."),
            },
        )
