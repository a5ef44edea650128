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
from gateway.schema.records import RecordTypes, field
from stores.contract.model import RecordType
from stores.errors import InputError


def _not_here(*_: Any, **__: Any) -> None:
    raise InputError(
        "a subscription needs a streaming transport",
        hint="send `Accept: text/event-stream`, or use a WebSocket (graphql-transport-ws)",
    )


def change_fields(record_type: RecordType, records: RecordTypes) -> dict[str, GraphQLField]:
    """`cityChanged`, by name."""
    payload = GraphQLObjectType(
        f"{record_type.graphql}Change",
        {
            "kind": field(GraphQLNonNull(records.frame.enum(static.ChangeKind))),
            "id": field(GraphQLID, "The record's key; null for REFRESH."),
            "token": field(
                GraphQLNonNull(GraphQLString),
                "The event's position among the changes; pass it as `after`, or to @freshness"
                " of a query.",
            ),
            record_type.single: field(
                records.objects[record_type.name],
                "The record as it is now; null if it no longer exists.",
            ),
        },
    )
    return {
        f"{record_type.single}Changed": GraphQLField(
            GraphQLNonNull(payload),
            {
                "filter": GraphQLArgument(records.inputs.filters[record_type.name]),
                "after": GraphQLArgument(
                    GraphQLString,
                    description="The token of the last event that the client has processed.",
                ),
            },
            description=(
                "Changes of records that satisfy the filter, each at least once. Without a"
                " filter also deletions, for callers who may see all rows."
            ),
            resolve=_not_here,
            extensions=extensions(RootKind.CHANGES, record_type),
        )
    }
