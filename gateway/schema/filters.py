"""The input types of filters and orders, made once per contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLBoolean,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
)

from gateway.schema import static
from gateway.schema.scalars import SCALARS
from gateway.shape.filters import operations
from gateway.shape.names import field_of
from gateway.shape.orders import orderable
from stores.contract.model import Contract, Property, RecordType
from stores.query import Op

if TYPE_CHECKING:
    from gateway.schema.frame import RecordSchema


class Inputs:
    """The filter and order types of a contract's record types, by type name."""

    def __init__(self, contract: Contract, frame: RecordSchema) -> None:
        self.contract = contract
        self.direction = frame.enum(static.DirectionEnum)
        self._comparisons: dict[str, GraphQLInputObjectType] = {}
        self.filters = {name: self._filter(t) for name, t in contract.types.items()}
        self.orders = {name: self._order(t) for name, t in contract.types.items()}

    def comparison(self, prop: Property) -> GraphQLInputObjectType:
        """The comparisons of a property's type: `IntFilter`, `StringListFilter`, …"""
        scalar = SCALARS[prop.scalar]
        name = f"{scalar.name}{'List' if prop.array else ''}Filter"
        if name not in self._comparisons:
            fields: dict[str, GraphQLInputField] = {}
            for op in operations(prop):
                kind: Any = scalar
                if op is Op.IS_NULL:
                    kind = GraphQLBoolean
                elif op in (Op.IN, Op.NOT_IN):
                    kind = GraphQLList(GraphQLNonNull(scalar))
                fields[op.value] = GraphQLInputField(kind)
            self._comparisons[name] = GraphQLInputObjectType(name, fields)
        return self._comparisons[name]

    def _filter(self, record_type: RecordType) -> GraphQLInputObjectType:
        name = f"{record_type.graphql}Filter"

        def fields() -> dict[str, GraphQLInputField]:
            this = self.filters[record_type.name]
            found = {
                field_of(record_type, p): GraphQLInputField(self.comparison(p))
                for p in record_type.properties
            }
            for relation in record_type.relations:
                some = (
                    "At least one related record for which this holds." if relation.many else None
                )
                found[relation.graphql] = GraphQLInputField(
                    self.filters[relation.target], description=some
                )
            several = GraphQLList(GraphQLNonNull(this))
            found["and"] = GraphQLInputField(several)
            found["or"] = GraphQLInputField(several)
            found["not"] = GraphQLInputField(this)
            return found

        return GraphQLInputObjectType(
            name, fields, description="All parts must hold. A null operand is an error."
        )

    def _order(self, record_type: RecordType) -> GraphQLInputObjectType:
        def fields() -> dict[str, GraphQLInputField]:
            found = {
                field_of(record_type, p): GraphQLInputField(self.direction)
                for p in record_type.properties
                if orderable(p)
            }
            for relation in record_type.relations:
                if not relation.many:
                    found[relation.graphql] = GraphQLInputField(self.orders[relation.target])
            return found

        return GraphQLInputObjectType(
            f"{record_type.graphql}OrderBy", fields, description="Exactly one field."
        )
