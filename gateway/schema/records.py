"""The object types of records and their connections. A value is keyed by its name in the response,
so that aliases of one field can differ; resolvers only look it up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLID,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLString,
)

from gateway.schema import static
from gateway.schema.filters import Inputs
from gateway.schema.scalars import BIGINT, output
from gateway.shape.names import field_of, is_own_id, version_field
from stores.contract.model import Contract, RecordType, Relation

if TYPE_CHECKING:
    from gateway.schema.frame import RecordSchema


def by_key(source: Any, info: GraphQLResolveInfo[Any], **_args: Any) -> Any:
    """The value that stands under the field's name in the response."""
    return source[info.path.key]


def field(
    kind: Any, description: str | None = None, args: dict[str, GraphQLArgument] | None = None
) -> GraphQLField:
    return GraphQLField(kind, args, resolve=by_key, description=description)


def _kept(record_type: RecordType) -> frozenset[str]:
    """Return the names of fields that a record has by itself, or has in a federation."""
    return frozenset(("id", "nodeId", "freshness", *(f.name for f in record_type.foreign)))


class RecordTypes:
    """The object and connection types of a contract's record types, by type name."""

    def __init__(self, contract: Contract, inputs: Inputs, frame: RecordSchema) -> None:
        self.contract = contract
        self.inputs = inputs
        self.frame = frame
        self.node = frame.interface(static.Node)
        self.page_info = frame.object(static.PageInfo)
        self.objects = {name: self._object(t) for name, t in contract.types.items()}
        self.connections = {name: self._connection(t) for name, t in contract.types.items()}

    def page_arguments(self, record_type: RecordType) -> dict[str, GraphQLArgument]:
        return {
            "filter": GraphQLArgument(self.inputs.filters[record_type.name]),
            "orderBy": GraphQLArgument(
                GraphQLList(GraphQLNonNull(self.inputs.orders[record_type.name])),
                description="Default: by key. Ties are always ordered by key.",
            ),
            "first": GraphQLArgument(
                GraphQLInt,
                description=f"At most {record_type.expose.page_limit}; default: 20.",
            ),
            "after": GraphQLArgument(GraphQLString),
            "last": GraphQLArgument(GraphQLInt),
            "before": GraphQLArgument(GraphQLString),
        }

    def _object(self, record_type: RecordType) -> GraphQLObjectType:
        extended = self.frame.extended(record_type.graphql)
        if extended is not None:
            extended.description = extended.description or record_type.description or None
            return extended
        return GraphQLObjectType(
            record_type.graphql,
            lambda: self._fields(record_type),
            interfaces=[self.node],
            description=record_type.description or None,
        )

    def join(self) -> None:
        """Bring the contract's fields to the types that the product extends, once all types are
        there."""
        for record_type in self.contract.types.values():
            if self.frame.extended(record_type.graphql) is not None:
                self.frame.join_record(
                    record_type.graphql, self._fields(record_type), _kept(record_type)
                )

    def _fields(self, record_type: RecordType) -> dict[str, GraphQLField]:
        found = {
            "id": field(GraphQLNonNull(GraphQLID), "The record's key."),
            "nodeId": field(GraphQLNonNull(GraphQLID)),
        }
        for prop in record_type.properties:
            if not is_own_id(record_type, prop):
                found[field_of(record_type, prop)] = field(output(prop), prop.description or None)
        version = version_field(record_type)
        if version not in found and version not in record_type.relation_by_graphql:
            found[version] = field(
                GraphQLNonNull(GraphQLString),
                "Changes whenever the record changes; pass it as `ifVersion`.",
            )
        for relation in record_type.relations:
            found[relation.graphql] = self._relation(relation)
        return found

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
                "pageInfo": field(GraphQLNonNull(self.page_info)),
                "totalCount": field(GraphQLNonNull(BIGINT), "Counted only if selected."),
            },
        )
