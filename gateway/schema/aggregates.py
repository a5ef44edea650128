"""The types of `citiesAggregate`: groups, measures, and the inputs that choose among them."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
)

from gateway.compiler.float_measures import OUT_OF_RANGE
from gateway.schema.filters import Inputs
from gateway.schema.records import field
from gateway.schema.scalars import BIGINT, nullable_output
from gateway.shape.aggregates import (
    FUNCTIONS,
    PERCENTILE,
    group_name,
    group_type,
    has_function,
    result_of,
)
from gateway.shape.names import field_of, upper_first
from gateway.shape.orders import orderable
from stores.contract.model import Property, RecordType, Relation
from stores.errors import RecordgateError


def measure_field(kind: Any) -> GraphQLField:
    return GraphQLField(kind, resolve=_measured) if kind is GraphQLFloat else field(kind)


def _measured(source: Any, info: GraphQLResolveInfo[Any], **_args: Any) -> Any:
    value = source[info.path.key]
    if value == OUT_OF_RANGE:
        raise RecordgateError(
            "the result is a number that a Float cannot hold",
            hint="aggregate fewer records, or make the property a decimal",
            code="OUT_OF_RANGE",
        )
    return value


class Aggregates:
    """The output type and the arguments of one record type's aggregate field."""

    def __init__(self, record_type: RecordType, inputs: Inputs) -> None:
        self.type = record_type
        self.inputs = inputs
        self.groupable = [p for p in record_type.properties if orderable(p)]
        self.related = {r.graphql: self._related(r) for r in record_type.relations if not r.many}
        self.measured = {
            f: [p for p in record_type.properties if has_function(f, p)] for f in FUNCTIONS
        }

    def _related(self, relation: Relation) -> dict[str, Property]:
        """The properties of the related record that groups can be made of, by the name of their
        field."""
        target = self.inputs.contract.types[relation.target]
        return {field_of(target, p): p for p in target.properties if orderable(p)}

    def _named(self, props: list[Property]) -> list[tuple[str, Property]]:
        return [(field_of(self.type, p), p) for p in props]

    def output(self) -> GraphQLObjectType:
        fields = {"count": field(GraphQLNonNull(BIGINT), "Records in the group.")}
        name = self.type.graphql
        group = {n: field(nullable_output(p)) for n, p in self._named(self.groupable)}
        for relation, there in self.related.items():
            values = {n: field(nullable_output(p)) for n, p in there.items()}
            if values:
                kind = GraphQLObjectType(group_type(self.type, relation), values)
                group[relation] = field(GraphQLNonNull(kind))
        if group:
            fields["group"] = field(
                GraphQLNonNull(GraphQLObjectType(f"{name}Group", group)),
                "What the group's records have in common: the fields named in groupBy.",
            )
        for function, props in self.measured.items():
            values = {
                n: measure_field(nullable_output(result_of(function, p)))
                for n, p in self._named(props)
            }
            if values:
                kind = GraphQLObjectType(f"{name}{upper_first(function)}", values)
                fields[function] = field(GraphQLNonNull(kind))
        numbers = {
            n: measure_field(GraphQLFloat)
            for n, p in self._named(list(self.type.properties))
            if has_function(PERCENTILE, p)
        }
        if numbers:
            fields[PERCENTILE] = field(
                GraphQLNonNull(GraphQLObjectType(f"{name}Percentile", numbers)),
                "The interpolated value at this fraction of the ordered values: 0.5 is the median.",
                {"fraction": GraphQLArgument(GraphQLNonNull(GraphQLFloat))},
            )
        return GraphQLObjectType(f"{name}Aggregate", fields)

    def arguments(self) -> dict[str, GraphQLArgument]:
        name = self.type.graphql
        having: dict[str, Any] = {"count": GraphQLInputField(self._comparison("count", None))}
        order: dict[str, Any] = {"count": GraphQLInputField(self.inputs.direction)}
        group = {
            n: GraphQLInputField(self.inputs.direction) for n, _ in self._named(self.groupable)
        }
        for relation, there in self.related.items():
            if there:
                related = GraphQLInputObjectType(
                    f"{group_type(self.type, relation)}OrderBy",
                    {n: GraphQLInputField(self.inputs.direction) for n in there},
                )
                group[relation] = GraphQLInputField(related)
        if group:
            order["group"] = GraphQLInputField(GraphQLInputObjectType(f"{name}GroupOrderBy", group))
        for function, props in self.measured.items():
            named = self._named(props)
            if not named:
                continue
            compared = {n: GraphQLInputField(self._comparison(function, p)) for n, p in named}
            ordered = {n: GraphQLInputField(self.inputs.direction) for n, _ in named}
            at = f"{name}{upper_first(function)}"
            having[function] = GraphQLInputField(GraphQLInputObjectType(f"{at}Having", compared))
            order[function] = GraphQLInputField(GraphQLInputObjectType(f"{at}OrderBy", ordered))
        found = {
            "filter": GraphQLArgument(
                self.inputs.filters[self.type.name], description="Which records to aggregate."
            ),
            "having": GraphQLArgument(
                GraphQLInputObjectType(f"{name}Having", having),
                description="Which groups to return. All parts must hold.",
            ),
            "orderBy": GraphQLArgument(
                GraphQLList(
                    GraphQLNonNull(
                        GraphQLInputObjectType(
                            f"{name}AggregateOrderBy", order, description="Exactly one field."
                        )
                    )
                ),
                description="Default: by group. Ties are always ordered by group.",
            ),
            "first": GraphQLArgument(
                GraphQLInt,
                description=f"At most {self.type.expose.page_limit}, which is also the default.",
            ),
        }
        groups: dict[str, tuple[str, ...]] = {
            group_name(n): (n,) for n, _ in self._named(self.groupable)
        }
        for relation, there in self.related.items():
            for n in there:
                groups.setdefault(group_name(relation, n), (relation, n))
        if groups:
            kind = GraphQLEnumType(f"{name}GroupBy", groups)
            found["groupBy"] = GraphQLArgument(GraphQLList(GraphQLNonNull(kind)))
        return found

    def _comparison(self, function: str, prop: Property | None) -> GraphQLInputObjectType:
        return self.inputs.comparison(result_of(function, prop))
