"""The schema as a subgraph of Apollo Federation 2
(https://www.apollographql.com/docs/graphos, "Subgraph specification"):
`_service` with its SDL, `_entities` by key, and how fresh a record is, since gateways drop
`extensions`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLID,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    is_specified_directive,
    is_specified_scalar_type,
)
from graphql.utilities import print_directive, print_type
from strawberry.types.base import get_object_definition

from gateway.context.services import RequestContext
from gateway.query.introspection import Finished, FinishedList
from gateway.query.key_reads import read_by_keys
from gateway.schema import static
from gateway.schema.scalars import DATETIME
from gateway.shape.names import field_of
from gateway.shape.selection import NEEDED, NEEDS, Selected, selected_below
from stores.contract.model import Contract, ForeignRelation, RecordType
from stores.errors import LimitError
from stores.keys import encode_key
from stores.roles import StoreRole

LINK = (
    'extend schema @link(url: "https://specs.apollo.dev/federation/v2.3",'
    ' import: ["@key", "@shareable"])'
)
SHAREABLE = frozenset(
    ("Freshness", *(get_object_definition(kind, strict=True).name for kind in static.TYPES))
)
"""Value types that every recordgate shares."""
MAX_ENTITIES = 1000
TYPE = "__typename"
TYPE_KEY = ""
"""The key under which a record says its type; no response name is empty."""


def _any(value: Any) -> Any:
    return value


ANY = GraphQLScalarType(
    "_Any", parse_value=_any, description="A representation of an entity: its type and its key."
)
FRESHNESS = GraphQLObjectType(
    "Freshness",
    {
        "asOf": GraphQLField(
            DATETIME, description="The time up to which the answer is complete; null: now."
        ),
        "store": GraphQLField(GraphQLNonNull(GraphQLString)),
        "watermark": GraphQLField(
            GraphQLString, description="The position up to which the store contains every commit."
        ),
    },
    description="The freshness of a record, as extensions.recordgate reports it for the whole"
    " answer.",
)


def _freshness(_source: Any, info: GraphQLResolveInfo[Any]) -> dict[str, Any]:
    context: RequestContext = info.context
    path = info.path
    entity: str | None = None
    while path.prev is not None:
        entity = path.typename or entity
        path = path.prev
    key = _read_by(context.routes, str(path.key), entity)
    route = context.routes.get(key, {})
    staleness = route.get("stalenessMs")
    if staleness is not None and key not in context.as_of:
        context.as_of[key] = _moment(context.services.listener.now() - float(staleness) / 1000)
    return {
        "asOf": context.as_of.get(key),
        "store": route.get("store", "canonical"),
        "watermark": route.get("watermark"),
    }


def _read_by(routes: Mapping[str, Any], root: str, entity: str | None) -> str:
    """Return the key of the read that a record below the root field `root` came by. Reads of fields
    that a product adds are not told apart: the stalest counts, so that no record is called fresher
    than it is."""
    first = f"{root}#{entity}" if f"{root}#{entity}" in routes else root
    own = [key for key in routes if "#" in key and not key.startswith(f"{root}#")]
    known = [key for key in (first, *own) if key in routes]
    return max(known, key=lambda key: routes[key].get("stalenessMs") or 0, default=first)


def _moment(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}Z"


def as_subgraph(
    schema: GraphQLSchema, contract: Contract, objects: Mapping[str, GraphQLObjectType]
) -> GraphQLSchema:
    """The schema with what a federated gateway asks for. It must be one of its own: its types are
    changed."""
    types = {t.graphql: t for t in contract.types.values() if "get" in t.expose.operations}
    stubs: dict[str, GraphQLObjectType] = {}
    for record_type in types.values():
        kind = objects[record_type.name]
        if "freshness" not in kind.fields:
            kind.fields["freshness"] = GraphQLField(
                GraphQLNonNull(FRESHNESS), resolve=_freshness, extensions={NEEDS: ()}
            )
        for foreign in record_type.foreign:
            stub = stubs.get(foreign.graphql) or _stub(foreign.graphql)
            stubs[foreign.graphql] = stub
            if foreign.name not in kind.fields:
                kind.fields[foreign.name] = _foreign_field(record_type, foreign, stub)
    query = schema.query_type
    assert query is not None
    service = GraphQLObjectType("_Service", {"sdl": GraphQLField(GraphQLNonNull(GraphQLString))})
    sdl: list[str] = []
    query.fields["_service"] = GraphQLField(
        GraphQLNonNull(service), resolve=lambda *_: {"sdl": sdl[0]}
    )
    if types:
        entity = GraphQLUnionType(
            "_Entity",
            [objects[t.name] for t in types.values()],
            resolve_type=lambda value, *_: value[TYPE_KEY],
        )
        query.fields["_entities"] = GraphQLField(
            GraphQLNonNull(GraphQLList(entity)),
            {"representations": GraphQLArgument(GraphQLNonNull(GraphQLList(GraphQLNonNull(ANY))))},
            resolve=_entities_of(types),
        )
    made = GraphQLSchema(
        query=query,
        mutation=schema.mutation_type,
        subscription=schema.subscription_type,
        types=list(objects.values()),
        directives=schema.directives,
        extensions=schema.extensions,
    )
    sdl.append(print_subgraph(made, contract))
    return made


def _stub(name: str) -> GraphQLObjectType:
    """Return the type of another product's record, of which only the key is known here."""
    return GraphQLObjectType(name, {"id": GraphQLField(GraphQLNonNull(GraphQLID))})


def _foreign_field(
    record_type: RecordType, foreign: ForeignRelation, stub: GraphQLObjectType
) -> GraphQLField:
    column = field_of(record_type, record_type.by_column[foreign.column])

    def resolve(source: Mapping[str, Any], *_: Any) -> dict[str, str] | None:
        value = source.get(NEEDED + column)
        return None if value is None else {"id": encode_key((str(value),))}

    return GraphQLField(
        stub,
        resolve=resolve,
        extensions={NEEDS: (column,)},
        description=f"A record of the product at {foreign.contract}.",
    )


def _entities_of(types: Mapping[str, RecordType]) -> Any:
    async def resolve(
        _source: Any, info: GraphQLResolveInfo[Any], representations: Sequence[Any]
    ) -> list[Any]:
        """The records in the order of their representations: one read a type; null for one that is
        not there, or that the caller may not see."""
        if len(representations) > MAX_ENTITIES:
            raise LimitError(f"more than {MAX_ENTITIES} entities are asked for at once")
        wanted: dict[str, list[str]] = {}
        places: list[tuple[str, str]] = []
        for one in representations:
            name = one.get(TYPE) if isinstance(one, Mapping) else None
            if not isinstance(name, str):
                raise GraphQLError("a representation is an object with a __typename")
            key = one.get("id")
            if name not in types:
                raise GraphQLError(f"{name[:60]} is not an entity of this subgraph")
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise GraphQLError(f"a representation of {name} has its id, as text or a number")
            places.append((name, str(key)))
            wanted.setdefault(name, []).append(str(key))
        context: RequestContext = info.context
        path = str(info.path.key)
        fields = {
            name: selected_below(info, info.schema.type_map[name])  # type: ignore[arg-type]
            for name in wanted
        }
        # Each type may be read by another store, and says which.
        paths = {name: f"{path}#{name}" if len(wanted) > 1 else path for name in wanted}
        read = await asyncio.gather(
            *(
                read_by_keys(context, paths[name], types[name], keys, fields[name])
                for name, keys in wanted.items()
            )
        )
        found = dict(zip(wanted, read, strict=True))
        finished = {
            name
            for name in wanted
            if context.routes.get(paths[name], {}).get("store") == StoreRole.DOCUMENTS
            and _is_finished(fields[name])
        }
        if len(finished) == len(wanted):
            return FinishedList([found[name].get(key) for name, key in places])
        return [_entity(found[name].get(key), name, name in finished) for name, key in places]

    return resolve


def _is_finished(selected: Sequence[Selected]) -> bool:
    """Return whether the answer is exactly what is read of a record: no resolver has to add to
    it."""
    return all(not s.key.startswith(NEEDED) and _is_finished(s.fields) for s in selected)


def _entity(record: dict[str, Any] | None, name: str, finished: bool) -> dict[str, Any] | None:
    if record is None:
        return None
    return Finished(record) if finished else {**record, TYPE_KEY: name}


def print_subgraph(schema: GraphQLSchema, contract: Contract) -> str:
    """The SDL that a federated gateway composes: without `node`, which no two subgraphs resolve
    alike, and without what the specification itself brings."""
    entities = {t.graphql for t in contract.types.values() if "get" in t.expose.operations}
    stubs = {f.graphql for t in contract.types.values() for f in t.foreign}
    parts = [LINK]
    parts += [print_directive(d) for d in schema.directives if not is_specified_directive(d)]
    for name, kind in schema.type_map.items():
        if name.startswith("_") or is_specified_scalar_type(kind):
            continue
        if name == "Query":
            assert isinstance(kind, GraphQLObjectType)
            fields = {
                n: f for n, f in kind.fields.items() if n not in ("node", "_service", "_entities")
            }
            if not fields:
                continue
            kind = GraphQLObjectType("Query", fields, description=kind.description)
        text = print_type(kind)
        if name in stubs and name not in entities:
            text = _with(text, name, '@key(fields: "id", resolvable: false)')
        elif name in entities:
            text = _with(text, name, '@key(fields: "id")')
        elif name in SHAREABLE:
            text = _with(text, name, "@shareable")
        parts.append(text)
    return "\n\n".join(parts) + "\n"


def _with(text: str, name: str, directive: str) -> str:
    """A type's SDL with a directive at its head."""
    lines = text.split("\n")
    for i, line in reversed(list(enumerate(lines))):  # a description before it may say the same
        if line.startswith(f"type {name} ") and line.endswith("{"):
            lines[i] = f"{line[:-1]}{directive} {{"
            break
    return "\n".join(lines)
