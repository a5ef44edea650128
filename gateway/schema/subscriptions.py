"""The subscription fields of a record type: its changes, one event a record."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLField,
    GraphQLID,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
)

from gateway.query.roots import RootKind, extensions
from gateway.schema import static
from gateway.schema.records import Records, field
from stores.contract.model import RecordType
from stores.errors import InputError


def _not_here(*_: Any, **__: Any) -> None:
    raise InputError(
        "a subscription is a stream of answers",
        hint="ask with `Accept: text/event-stream`, or by WebSocket (graphql-transport-ws)",
    )


def change_fields(record_type: RecordType, records: Records) -> dict[str, GraphQLField]:
    """`cityChanged`, by name."""
    payload = GraphQLObjectType(
        f"{record_type.graphql}Change",
        {
            "kind": field(GraphQLNonNull(records.frame.enum(static.ChangeKind))),
            "id": field(GraphQLID, "The record's key; null for REFRESH."),
            "token": field(
                GraphQLNonNull(GraphQLString),
                "Where this stands in the changes: for `after`, and for @freshness of queries.",
            ),
            record_type.single: field(
                records.objects[record_type.name], "The record as it is now; null where it is gone."
            ),
        },
    )
    return {
        f"{record_type.single}Changed": GraphQLField(
            GraphQLNonNull(payload),
            {
                "filter": GraphQLArgument(records.inputs.filters[record_type.name]),
                "after": GraphQLArgument(
                    GraphQLString, description="The token of the last event that was seen."
                ),
            },
            description="Changes of records that satisfy the filter, each at least once. Without a filter"
            " also deletions, for who may see all rows.",
            resolve=_not_here,
            extensions=extensions(RootKind.CHANGES, record_type),
        )
    }
