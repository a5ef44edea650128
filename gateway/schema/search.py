"""The types of `searchCities`: a connection with scores, highlights, facets and corrected texts."""

from __future__ import annotations

from typing import Any

from graphql import (
    ConstValueNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
    StringValueNode,
)

from gateway.schema import static
from gateway.schema.records import RecordTypes, field
from gateway.schema.scalars import BIGINT, JSON
from gateway.search.search import can_be_ranged
from gateway.shape.names import enum_name, field_of
from stores.contract.model import Property, RecordType


class FacetNames(GraphQLEnumType):
    """An enum whose values may also be written as strings, as they are in `GET /search`."""

    def coerce_input_literal(self, value_node: ConstValueNode, *rest: Any, **more: Any) -> Any:
        if isinstance(value_node, StringValueNode):
            return self.coerce_input_value(value_node.value)
        return super().coerce_input_literal(value_node, *rest, **more)


def connection(record_type: RecordType, records: RecordTypes) -> GraphQLObjectType:
    node = records.objects[record_type.name]
    highlight, facet = records.frame.object(static.Highlight), records.frame.object(static.Facet)
    forgiven = records.frame.object(static.ForgivenWord)
    ranges = records.frame.object(static.FacetRanges)
    edge = GraphQLObjectType(
        f"{record_type.graphql}SearchEdge",
        {
            "node": field(node, "Null if the record was deleted a moment ago."),
            "cursor": field(GraphQLNonNull(GraphQLString)),
            "score": field(
                GraphQLFloat, "Null if the hits are sorted, or if rows are hidden from the caller."
            ),
            "highlights": field(GraphQLNonNull(GraphQLList(GraphQLNonNull(highlight)))),
            "explanation": field(
                JSON,
                "Why the record was found: `matches` (field, found, word, how, distance), the "
                "fields"
                " that are all of the text (`whole`), and what boostBy adds to the score "
                "(`boost`).",
            ),
        },
    )
    return GraphQLObjectType(
        f"{record_type.graphql}SearchConnection",
        {
            "edges": field(GraphQLNonNull(GraphQLList(GraphQLNonNull(edge)))),
            "nodes": field(GraphQLNonNull(GraphQLList(node))),
            "pageInfo": field(GraphQLNonNull(records.page_info)),
            "totalCount": field(GraphQLNonNull(BIGINT)),
            "totalIsLowerBound": field(GraphQLNonNull(GraphQLBoolean)),
            "facets": field(GraphQLNonNull(GraphQLList(GraphQLNonNull(facet)))),
            "facetRanges": field(
                GraphQLNonNull(GraphQLList(GraphQLNonNull(ranges))),
                "How many records found lie in each range that was asked for.",
            ),
            "suggestions": field(
                GraphQLNonNull(GraphQLList(GraphQLNonNull(GraphQLString))),
                "Corrected search texts, the most likely first.",
            ),
            "corrected": field(
                GraphQLString,
                "The query with the likeliest word for each that was forgiven. Null if none was, or"
                " if nothing like it is known.",
            ),
            "forgiven": field(
                GraphQLNonNull(GraphQLList(GraphQLNonNull(forgiven))),
                "The words of the query that were forgiven.",
            ),
        },
    )


def arguments(record_type: RecordType, records: RecordTypes) -> dict[str, GraphQLArgument]:
    """`facets` holds GraphQL names of properties; `sort` entries look like those of orderBy."""
    found: dict[str, GraphQLArgument] = {
        "query": GraphQLArgument(GraphQLNonNull(GraphQLString)),
        "filter": GraphQLArgument(records.inputs.filters[record_type.name]),
        "first": GraphQLArgument(GraphQLInt),
        "after": GraphQLArgument(GraphQLString),
        "match": GraphQLArgument(
            records.frame.enum(static.SearchMatchEnum),
            description="How words are compared; AUTO where it is not given.",
        ),
        "prefix": GraphQLArgument(
            GraphQLBoolean, description="The last word may be the beginning of one."
        ),
        "operators": GraphQLArgument(
            GraphQLBoolean,
            description="`-word` must not be there, `name:word` is of one field alone.",
        ),
    }
    facets = _names(record_type, [p for p in record_type.properties if p.search.facet])
    if facets:
        kind = FacetNames(f"{record_type.graphql}Facet", facets)
        found["facets"] = GraphQLArgument(GraphQLList(GraphQLNonNull(kind)))
        found["facetFirst"] = GraphQLArgument(
            GraphQLInt, description="Values per facet, 1 to 1000; 10 if it is not given."
        )
    ranged = _names(record_type, [p for p in record_type.properties if can_be_ranged(p)])
    if ranged:
        kind = FacetNames(f"{record_type.graphql}RangeField", ranged)
        found["facetRanges"] = GraphQLArgument(
            GraphQLList(
                GraphQLNonNull(
                    GraphQLInputObjectType(
                        f"{record_type.graphql}FacetRanges",
                        {
                            "field": GraphQLInputField(GraphQLNonNull(kind)),
                            "bounds": GraphQLInputField(
                                GraphQLNonNull(GraphQLList(GraphQLNonNull(JSON))),
                                description="At most 50, that grow.",
                            ),
                        },
                    )
                )
            ),
            description="Count by ranges of a number, a day or a time.",
        )
    sorts = [p for p in record_type.properties if p.search.sort]
    if sorts:
        order = GraphQLInputObjectType(
            f"{record_type.graphql}SearchOrderBy",
            {field_of(record_type, p): GraphQLInputField(records.inputs.direction) for p in sorts},
            description="Exactly one field.",
        )
        found["sort"] = GraphQLArgument(GraphQLList(GraphQLNonNull(order)))
    return found


def _names(record_type: RecordType, props: list[Property]) -> dict[str, Any]:
    """Enum values."""
    names = [field_of(record_type, p) for p in props]
    return {enum_name(n): n for n in names}
