"""The part of a schema that a client is made of: records, inputs, enums, and how each type is
asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.type import GraphQLInputType, GraphQLType

from stores.contract.model import Contract


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a record or an input. `type`: as the schema has it."""

    name: str
    type: GraphQLType
    description: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A record type. The names of roots are empty where callers may not use them."""

    name: str
    description: str
    members: tuple[Member, ...]
    get: str = ""
    list: str = ""
    search: str = ""
    create: str = ""
    upsert: str = ""
    update: str = ""
    delete: str = ""
    shown: str = ""
    """The field of a payload that has the record."""
    filter: str = ""
    order: str = ""
    input: str = ""
    patch: str = ""


@dataclass(slots=True)
class ClientModel:
    records: list[Record] = field(default_factory=list)
    inputs: dict[str, tuple[Member, ...]] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)


def model_of(schema: GraphQLSchema, contract: Contract) -> ClientModel:
    """Return what a client needs, in the order of the contract."""
    found = ClientModel()
    for record_type in contract.types.values():
        for record in _records(schema, record_type.graphql):
            found.records.append(record)
            for name in (record.filter, record.order, record.input, record.patch):
                if name:
                    _collect(schema.type_map[name], found)
            for member in record.members:
                _collect(get_named_type(member.type), found)
    return found


def _records(schema: GraphQLSchema, kind: str) -> Iterator[Record]:
    """Yield the record of a type that GraphQL names so; nothing where no operation is exposed."""
    roots: dict[str, GraphQLField] = dict(schema.query_type.fields if schema.query_type else {})
    writes = schema.mutation_type.fields if schema.mutation_type else {}
    record = schema.type_map.get(kind)
    if not isinstance(record, GraphQLObjectType):
        return
    named = {name: get_named_type(f.type).name for name, f in roots.items()}
    lists = next((n for n, t in named.items() if t == f"{kind}Connection"), "")
    searched = next((n for n, t in named.items() if t == f"{kind}SearchConnection"), "")
    key = next((n for n, t in named.items() if t == kind and set(roots[n].args) == {"id"}), "")
    create, update = (f"{verb}{kind}" for verb in ("create", "update"))
    upsert = next((n for n, f in writes.items() if _takes(f, kind) and n.startswith("upsert")), "")
    delete = f"delete{kind}"
    payload = next((get_named_type(writes[n].type) for n in (create, update) if n in writes), None)
    yield Record(
        kind,
        record.description or "",
        tuple(_leaves(record)),
        key,
        lists,
        searched,
        create if create in writes else "",
        upsert,
        update if update in writes else "",
        delete if delete in writes else "",
        _shown(payload, kind),
        f"{kind}Filter" if lists or searched else "",
        f"{kind}OrderBy" if lists else "",
        f"{kind}Input" if create in writes or upsert else "",
        f"{kind}Patch" if update in writes else "",
    )


def _takes(found: GraphQLField, kind: str) -> bool:
    given = found.args.get("input")
    return given is not None and get_named_type(given.type).name == f"{kind}Input"


def _shown(payload: GraphQLNamedType | None, kind: str) -> str:
    if not isinstance(payload, GraphQLObjectType):
        return ""
    names = (n for n, f in payload.fields.items() if get_named_type(f.type).name == kind)
    return next(names, "")


def _leaves(record: GraphQLObjectType) -> Iterator[Member]:
    for name, found in record.fields.items():
        required = any(is_non_null_type(a.type) for a in found.args.values())
        if is_leaf_type(get_named_type(found.type)) and not required:
            yield Member(name, found.type, found.description or "")


def _collect(found: GraphQLNamedType, into: ClientModel) -> None:
    """Take in an input or an enum, and all that it is made of."""
    if isinstance(found, GraphQLEnumType):
        into.enums[found.name] = tuple(found.values)
    if not isinstance(found, GraphQLInputObjectType) or found.name in into.inputs:
        return
    members = tuple(Member(n, f.type, f.description or "") for n, f in found.fields.items())
    into.inputs[found.name] = members
    for member in members:
        _collect(get_named_type(member.type), into)


def unwrapped(
    found: GraphQLType | GraphQLOutputType | GraphQLInputType,
) -> tuple[bool, GraphQLType | None, str]:
    """Return whether null may stand there, the type of the items of a list, and the name of what is
    no list."""
    optional = not is_non_null_type(found)
    inner = found if optional else found.of_type  # type: ignore[union-attr]
    if is_list_type(inner):
        return optional, inner.of_type, ""
    return optional, None, get_named_type(inner).name
