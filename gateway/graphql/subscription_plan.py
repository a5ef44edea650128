"""Plans a subscription: from its document to the record type, the filter, and the events that
changes become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_named_type,
)

from gateway.compiler.json_text import decode
from gateway.context.services import RequestContext, Services, Viewer
from gateway.context.tokens import sign_token
from gateway.graphql.subscription_memory import Memory, whole_shape
from gateway.query.canonical import fetch_json
from gateway.query.execute import ServedSchema, admit
from gateway.query.records import compiler_of, visibility_of
from gateway.shape.arguments import coerced_variables
from gateway.shape.filters import parse_filter
from gateway.shape.selection import Selected, has_own_fields, selected_below
from gateway.shape.shapes import RecordShape
from gateway.shape.shaping import MAX_RECORDS, Shaper, key_values
from stores.contract.model import RecordType
from stores.errors import InputError
from stores.query import EVERYTHING, Filter

MOST_AT_ONCE = 500
"""Changes of a type that are told one by one; more at once are told as one REFRESH."""


class Refused(Exception):
    """The document is not valid. `errors`: why, as GraphQL errors."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Changed:
    """A row of the feed. `key` None: any record of the type."""

    id: int
    lsn: int
    type: str
    key: str | None
    kind: str


@dataclass(frozen=True, slots=True)
class Event:
    """`body`: GraphQL's answer. `token`: where it stands in the changes."""

    body: bytes
    token: str


@dataclass(frozen=True, slots=True)
class SubscriptionPlan:
    """`shapes`: the record as each selection of it wants it, by response name. `deletions`: whether
    the viewer may be told that a record went. `memory`: what the viewer saw last, where something
    is hidden from them."""

    services: Services
    viewer: Viewer
    type: RecordType
    response_key: str
    selected: tuple[Selected, ...]
    shapes: Mapping[str, RecordShape]
    filter: Filter
    after: str | None
    deletions: bool
    most_at_once: int
    """The most records that are read at once: MOST_AT_ONCE, or so few that reading them stays
    within MAX_RECORDS."""
    memory: Memory | None = None

    async def events(self, changes: Sequence[Changed]) -> list[Event]:
        """The event of each change that the viewer is to see, in their order, as GraphQL's answer;
        one REFRESH for more than `most_at_once`. Each record is read as it is now. Raises
        RecordgateError."""
        if self.memory is None or not changes:
            return await self._told(changes)
        if any(c.key is None for c in changes):
            differs = await self.memory.take()
            return [self.refresh(changes[-1].lsn)] if differs else []
        changed = await self.memory.changed(
            dict.fromkeys(c.key for c in changes if c.key is not None)
        )
        events = await self._told([c for c in changes if c.key in changed])
        self.memory.remember(changed)
        return events

    async def _told(self, changes: Sequence[Changed]) -> list[Event]:
        if len({c.key for c in changes}) > self.most_at_once:
            return [self.refresh(changes[-1].lsn)]
        last = {c.key: c for c in changes if c.key is not None}
        keys = [k for k, c in last.items() if c.kind != "deleted" and k is not None]
        found: dict[str, dict[str, Any]] = {}
        for name, shape in (self.shapes or {"": RecordShape(self.type, ())}).items():
            found[name] = await self._read(shape, keys)
        some = next(iter(found.values()))
        events: list[Event] = []
        for change in changes:
            key = change.key
            if key is None:
                events.append(self._event("REFRESH", None, change.lsn, {}))
            elif change is not last[key]:
                continue
            elif key in some:
                records = {name: read.get(key) for name, read in found.items()}
                events.append(self._event(change.kind.upper(), key, change.lsn, records))
            elif change.kind == "deleted" and self.deletions:
                events.append(self._event("DELETED", key, change.lsn, {}))
        return events

    def refresh(self, lsn: int) -> Event:
        return self._event("REFRESH", None, lsn, {})

    async def _read(self, shape: RecordShape, keys: Sequence[str]) -> dict[str, Any]:
        if not keys:
            return {}
        values = [key_values(self.type, k) for k in keys]
        context = RequestContext(self.services, self.viewer)
        statement = compiler_of(context).several(shape, values, self.filter)
        raw = await fetch_json(self.services, statement, statement.filled({}))
        found: dict[str, Any] = decode(raw) if raw else {}
        return found

    def _event(self, kind: str, key: str | None, lsn: int, records: Mapping[str, Any]) -> Event:
        services = self.services
        token = sign_token(
            services.system,
            lsn,
            services.token_secret,
            timeline=services.timeline or services.first_timeline,
        )
        change: dict[str, Any] = {}
        for part in self.selected:
            if part.name == "kind":
                change[part.key] = kind
            elif part.name == "id":
                change[part.key] = key
            elif part.name == "token":
                change[part.key] = token
            elif part.name == "__typename":
                change[part.key] = f"{self.type.graphql}Change"
            else:
                change[part.key] = records.get(part.key)
        return Event(orjson.dumps({"data": {self.response_key: change}}), token)


@dataclass(frozen=True, slots=True)
class OwnSubscription:
    """A subscription field that the product adds: Strawberry runs it."""

    document: DocumentNode


def make_subscription(
    served: ServedSchema,
    context: RequestContext,
    query: str,
    variables: Mapping[str, Any],
    operation_name: str | None,
) -> SubscriptionPlan | OwnSubscription | None:
    """The plan; None where the operation is no subscription. Raises Refused, RecordgateError,
    GraphQLError."""
    services = context.services
    schema, kept, limits = served.graphql, served.parsed, services.limits
    document, errors = kept.get(schema, query, limits)
    if document is None:
        raise Refused(errors)
    operation = kept.operation(schema, query, operation_name, limits, document)
    if operation is None:
        raise InputError("the document has no such operation", hint="name one by operationName")
    node = operation.node
    if node.operation is not OperationType.SUBSCRIPTION:
        return None
    admit(context, operation, variables)
    root_type = cast(GraphQLObjectType, schema.subscription_type)
    fields = operation.root_fields(root_type, _values(schema, node, variables))
    if len(fields) != 1:
        raise InputError("a subscription selects exactly one field")
    ((response_key, field),) = fields.items()
    if field.name not in root_type.fields:
        raise InputError("a subscription selects exactly one field, and not __typename alone")
    root = field.root(root_type)
    if root is None:
        return OwnSubscription(document)
    record_type = root.type
    args = field.arguments(root_type)
    kind = cast(GraphQLObjectType, get_named_type(root_type.fields[field.name].type))
    selected = selected_below(field, kind)
    if has_own_fields(selected):
        raise InputError(
            "a subscription to changes has no fields that the product adds",
            hint="ask for them by a query with the event's token",
        )
    visibility = visibility_of(context)
    visibility.require_may(record_type, "get")
    shaper = Shaper(visibility)
    shapes = {
        s.key: shaper.record(record_type, s.fields)
        for s in selected
        if s.name == record_type.single
    }
    most_at_once = min(MOST_AT_ONCE, MAX_RECORDS // max(1, shaper.records))
    asked = parse_filter(record_type, args.get("filter"), visibility)
    whole = whole_shape(visibility, record_type)
    return SubscriptionPlan(
        services,
        context.viewer,
        record_type,
        response_key,
        selected,
        shapes,
        asked,
        args.get("after"),
        asked == EVERYTHING and visibility.row_filters(record_type) is None,
        most_at_once,
        Memory(services, context.viewer, whole, asked) if whole is not None else None,
    )


def _values(
    schema: GraphQLSchema, operation: OperationDefinitionNode, variables: Mapping[str, Any]
) -> dict[str, Any]:
    values = coerced_variables(schema, operation, variables)
    if isinstance(values, list):
        raise Refused(values)
    return values
