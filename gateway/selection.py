"""From a field of a GraphQL document to the tree of what is selected below it: aliases, fragments,
@skip and @include, merged fields and coerced arguments are resolved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
)
from graphql.execution.collect_fields import collect_sub_fields
from graphql.execution.values import get_argument_values

from stores.errors import LimitError

MAX_KEY_BYTES = 63
"""Longest response key: statements and plans hold each of them."""


class Place(Protocol):
    """Where a field stands in a document: what of GraphQLResolveInfo the selection below it is read from."""

    @property
    def schema(self) -> GraphQLSchema: ...
    @property
    def fragments(self) -> dict[str, FragmentDefinitionNode]: ...
    @property
    def variable_values(self) -> dict[str, Any]: ...
    @property
    def field_nodes(self) -> list[FieldNode]: ...


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected field. `key` is its name in the response; `args` holds only what was given, so an
    explicit null is there as None."""

    key: str
    name: str
    args: Mapping[str, Any]
    fields: tuple[Selected, ...] = ()


def selected_below(info: Place, object_type: GraphQLObjectType) -> tuple[Selected, ...]:
    """What is selected below the field that `info` is about, whose value is of `object_type`.

    Raises GraphQLError for arguments that cannot be coerced, LimitError for a name too long.
    """
    return _select(info, object_type, info.field_nodes)


def _select(
    info: Place, object_type: GraphQLObjectType, nodes: list[FieldNode]
) -> tuple[Selected, ...]:
    grouped = collect_sub_fields(
        info.schema, info.fragments, info.variable_values, object_type, nodes
    )
    selected: list[Selected] = []
    for key, same in grouped.items():
        if len(key) > MAX_KEY_BYTES:
            raise LimitError(f"the name {key[:20]}… is longer than {MAX_KEY_BYTES} characters")
        first = same[0]
        name = first.name.value
        if name == "__typename":
            selected.append(Selected(key, name, {}))
            continue
        field = object_type.fields[name]
        args = get_argument_values(field, first, info.variable_values) if field.args else {}
        below: tuple[Selected, ...] = ()
        kind = get_named_type(field.type)
        if isinstance(kind, GraphQLObjectType):
            below = _select(info, kind, same)
        selected.append(Selected(key, name, args, below))
    return tuple(selected)
