"""Makes the fields that a product adds fields of a served schema: their resolvers are watched and
given what they need, and the records that they return are read as they are selected."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_abstract_type,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from gateway.query.record_access import Record
from gateway.schema.blocking import LoopWatch
from gateway.schema.native_values import converter
from gateway.schema.resolvers import TYPE
from gateway.shape.names import camel_case
from gateway.shape.selection import NEEDED, selected_below
from stores.errors import ForbiddenError

WATCH = LoopWatch()


class Source:
    """The object that a resolver of a record's own field gets as `self`: it has the properties that
    the resolver needs."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        for asked in (name, camel_case(name)):
            if NEEDED + asked in self._values:
                return self._values[NEEDED + asked]
        raise AttributeError(
            f"{name} is not among the properties that the extension reads: add it to `needs`"
        )


@dataclass(frozen=True, slots=True)
class Joined:
    """The parts of a schema that its own resolvers are made with. `records`: the record types by
    their names; `named`: gives an argument's GraphQL name."""

    schema: GraphQLSchema
    records: Mapping[str, GraphQLObjectType]
    named: Callable[[Any], str]

    def records_in(self, definition: GraphQLField) -> frozenset[str]:
        """Return the record types whose records a field may give: its own type, or those that its
        interface or union has."""
        kind = get_named_type(definition.type)
        possible = self.schema.get_possible_types(kind) if is_abstract_type(kind) else [kind]
        return frozenset(k.name for k in possible) & self.records.keys()


def wrap(definition: GraphQLField, name: str, joined: Joined, *, on_record: bool = False) -> None:
    """Make a Strawberry field one of a served schema: a record's resolver is given what it needs,
    arguments are of the Python types that it declares, records that it returns are read as they are
    selected, and one that blocks the loop is named in the log."""
    resolve = definition.resolve
    assert resolve is not None
    converted = _converted(definition, joined.named)
    filler = _Filler.of(definition, joined)

    def watched(source: Any, info: Any, arguments: dict[str, Any]) -> Any:
        given = converted(arguments)
        return WATCH.call(name, lambda: resolve(source, info, **given))

    if filler is None:

        def plain(source: Any, info: Any, **arguments: Any) -> Any:
            return watched(Source(source) if on_record else source, info, arguments)

        definition.resolve = plain
        return

    async def filled(source: Any, info: Any, **arguments: Any) -> Any:
        value = watched(Source(source) if on_record else source, info, arguments)
        if inspect.isawaitable(value):
            value = await value
        return await filler.fill(info, value)

    definition.resolve = filled


def wrap_mutation(definition: GraphQLField, name: str, joined: Joined) -> None:
    """Do as `wrap` does for a field of the root Mutation: whoever may only read runs none, as of
    the contract's."""
    wrap(definition, name, joined)
    resolve = definition.resolve
    assert resolve is not None

    def allowed(source: Any, info: Any, **arguments: Any) -> Any:
        if not info.context.viewer.may_write:
            raise ForbiddenError("you may only read")
        return resolve(source, info, **arguments)

    definition.resolve = allowed


def wrap_subscription(definition: GraphQLField, name: str, joined: Joined) -> None:
    """Do as `wrap` does for a field of the root Subscription, each of whose events is watched."""
    subscribe = definition.subscribe
    assert subscribe is not None
    converted = _converted(definition, joined.named)
    filler = _Filler.of(definition, joined)

    async def begun(source: Any, info: Any, **arguments: Any) -> Any:
        given = converted(arguments)
        events = WATCH.call(name, lambda: subscribe(source, info, **given))
        if inspect.isawaitable(events):
            events = await events
        if not isinstance(events, AsyncIterable):
            raise TypeError(f"{name} gives no events: it must be an async generator")
        return WATCH.stream(name, aiter(events))

    definition.subscribe = begun
    if filler is not None:

        async def filled(event: Any, info: Any, **_: Any) -> Any:
            return await filler.fill(info, event)

        definition.resolve = filled


def wrap_type(kind: GraphQLObjectType, joined: Joined) -> None:
    """Make a type that a product declares one of a served schema: its resolvers are watched, and
    the records that it holds are read as they are selected."""
    for name, definition in kind.fields.items():
        own = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
        has_resolver = own is not None and own.base_resolver is not None
        if has_resolver or joined.records_in(definition):
            wrap(definition, f"{kind.name}.{name}", joined)


def wrap_abstract(kind: GraphQLUnionType | GraphQLInterfaceType) -> None:
    """Let an interface or a union that a product declares hold records, too."""
    resolve = kind.resolve_type

    def resolve_type(value: Any, info: Any, abstract: Any) -> Any:
        if isinstance(value, Mapping) and TYPE in value:
            return value[TYPE]
        return resolve(value, info, abstract) if resolve else None

    kind.resolve_type = resolve_type


@dataclass(frozen=True, slots=True)
class _Filler:
    """Reads the records that a field gives, as they are selected. `possible`: their types; `says`:
    a record says which."""

    possible: frozenset[str]
    says: bool

    @classmethod
    def of(cls, definition: GraphQLField, joined: Joined) -> _Filler | None:
        """Return the filler of a field, or None where it gives no records."""
        possible = joined.records_in(definition)
        says = is_abstract_type(get_named_type(definition.type))
        return cls(possible, says) if possible else None

    async def fill(self, info: Any, value: Any) -> Any:
        """Return `value` with what is read in the place of each record. Raises TypeError for one of
        another type."""
        if isinstance(value, list | tuple):
            return list(await asyncio.gather(*(self.fill(info, v) for v in value)))
        if not isinstance(value, Record):
            return value
        name = value.type.graphql
        if name not in self.possible:
            raise TypeError(f"a {name} was returned where the schema has {sorted(self.possible)}")
        selected = selected_below(info, info.schema.type_map[name])
        found = await info.context.records.read(value.type, value.key, selected)
        return found if found is None or not self.says else {**found, TYPE: name}


def _converted(
    definition: GraphQLField, named: Callable[[Any], str]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the conversion of a field's arguments into those that its resolver declares. It raises
    InputError where one is none."""
    own = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    found = {named(a): converter(a.type, named) for a in own.arguments} if own else {}
    converters = {name: each for name, each in found.items() if each is not None}
    if not converters:
        return lambda arguments: arguments

    def convert(arguments: dict[str, Any]) -> dict[str, Any]:
        return {
            name: converters[name](value, name)
            if value is not None and name in converters
            else value
            for name, value in arguments.items()
        }

    return convert
