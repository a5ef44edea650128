"""The mutation fields of a record type, their inputs and payloads."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLFieldResolver,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLString,
)

from gateway.schema import static
from gateway.schema.records import RecordTypes, field
from gateway.schema.scalars import input_type
from gateway.shape.names import field_of, upper_first
from stores.contract.model import RecordType

IF_VERSION = GraphQLArgument(
    GraphQLString,
    description="The version that the record must still have; otherwise the error is CONFLICT.",
)
IDEMPOTENCY_KEY = GraphQLArgument(
    GraphQLString,
    description="Makes it safe to send the call again for a day, as the header Idempotency-Key"
    " does.",
)


class Mutations:
    """Builds the fields that `expose.operations` of a type allows; `resolver(type, operation)`
    gives their resolvers. Payloads: see `gateway.write.mutations`."""

    def __init__(self, record_type: RecordType, records: RecordTypes, resolver: Any) -> None:
        self.type = record_type
        self.records = records
        self.resolver = resolver
        self.one = upper_first(record_type.single)
        self.many = upper_first(record_type.plural)
        self.on_error = GraphQLArgument(
            GraphQLNonNull(records.frame.enum(static.OnError)), default_value="ABORT"
        )
        self.written = [p for p in record_type.properties if not p.generated]

    def fields(self) -> dict[str, GraphQLField]:
        allowed = self.type.expose.operations
        found: dict[str, GraphQLField] = {}
        record = {self.type.single: field(self.records.objects[self.type.name])}
        plain = GraphQLList(GraphQLNonNull(self.records.objects[self.type.name]))
        several = {
            self.type.plural: field(GraphQLNonNull(plain), "In the order of the input."),
            "errors": field(
                GraphQLNonNull(
                    GraphQLList(GraphQLNonNull(self.records.frame.object(static.RowError)))
                ),
                "The records that were not written, if `onError` is CONTINUE.",
            ),
        }
        if "create" in allowed or "upsert" in allowed:
            whole = self._input("Input", self.written, required=True)
            inputs = GraphQLArgument(GraphQLNonNull(GraphQLList(GraphQLNonNull(whole))))
        if "create" in allowed:
            one = {"input": GraphQLArgument(GraphQLNonNull(whole))}
            found[f"create{self.one}"] = self._field(f"Create{self.one}", record, one, "create")
            found[f"create{self.many}"] = self._field(
                f"Create{self.many}",
                several,
                {"input": inputs, "onError": self.on_error},
                "createMany",
            )
        if "upsert" in allowed:
            found[f"upsert{self.many}"] = self._field(
                f"Upsert{self.many}", several, {"input": inputs, "onError": self.on_error}, "upsert"
            )
        key = GraphQLArgument(GraphQLNonNull(GraphQLID))
        patched = [p for p in self.written if p.column not in self.type.key]
        if "update" in allowed and patched:
            patch = self._input("Patch", patched, required=False)
            found[f"update{self.one}"] = self._field(
                f"Update{self.one}",
                record,
                {
                    "id": key,
                    "input": GraphQLArgument(GraphQLNonNull(patch)),
                    "ifVersion": IF_VERSION,
                },
                "update",
            )
        if "delete" in allowed:
            deleted = {
                "id": field(GraphQLNonNull(GraphQLID)),
                "deleted": field(
                    GraphQLNonNull(GraphQLBoolean), "False if there was no such record."
                ),
                self.type.single: field(
                    self.records.objects[self.type.name], "The record as it was before the delete."
                ),
            }
            found[f"delete{self.one}"] = self._field(
                f"Delete{self.one}", deleted, {"id": key, "ifVersion": IF_VERSION}, "delete"
            )
        if "deleteMany" in allowed:
            found[f"delete{self.many}"] = self._field(
                f"Delete{self.many}",
                {"count": field(GraphQLNonNull(GraphQLInt))},
                {
                    "filter": GraphQLArgument(
                        GraphQLNonNull(self.records.inputs.filters[self.type.name])
                    ),
                    "max": GraphQLArgument(
                        GraphQLNonNull(GraphQLInt),
                        description="If more records match, none is deleted.",
                    ),
                },
                "deleteMany",
            )
        return found

    def _field(
        self,
        name: str,
        fields: dict[str, GraphQLField],
        args: dict[str, GraphQLArgument],
        operation: str,
    ) -> GraphQLField:
        payload = GraphQLObjectType(
            f"{name}Payload",
            {
                **fields,
                "token": field(
                    GraphQLNonNull(GraphQLString), "Pass it to @freshness to read this write."
                ),
            },
        )
        resolve: GraphQLFieldResolver = self.resolver(self.type, operation, payload)
        return GraphQLField(payload, {**args, "idempotencyKey": IDEMPOTENCY_KEY}, resolve=resolve)

    def _input(self, suffix: str, props: list[Any], *, required: bool) -> GraphQLInputObjectType:
        fields = {}
        for prop in props:
            kind = input_type(prop)
            if required and prop.required:
                kind = GraphQLNonNull(kind)
            fields[field_of(self.type, prop)] = GraphQLInputField(
                kind, description=prop.description or None
            )
        return GraphQLInputObjectType(f"{self.type.graphql}{suffix}", fields)
