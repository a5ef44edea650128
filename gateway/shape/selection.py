"""Reads a field of a GraphQL document into the tree of its selection: aliases, fragments, @skip and
@include, merged fields and coerced arguments are resolved. Pure."""

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

from gateway.shape.arguments import arguments, selected_fields
from stores.errors import LimitError

NEEDS = "needs"
"""The key, in the extensions of a field that a product adds to a record type, of the names of the
properties that it reads."""
NEEDED = "+"
"""Begins the key of a property that is read for such a field: no name in a response begins so."""
MAX_KEY_BYTES = 63
"""Longest response key: statements and plans hold each of them."""


def has_own_fields(selected: tuple[Selected, ...]) -> bool:
    """Return whether anything is read for a field that the product adds: only execution can answer
    that one."""
    return any(s.key.startswith(NEEDED) or has_own_fields(s.fields) for s in selected)


class Place(Protocol):
    """The part of GraphQLResolveInfo from which the selection below a field is read."""

    @property
    def schema(self) -> GraphQLSchema: ...
    @property
    def fragments(self) -> dict[str, FragmentDefinitionNode]: ...
    @property
    def variable_values(self) -> Any: ...
    @property
    def field_nodes(self) -> list[FieldNode]: ...


@dataclass(frozen=True, slots=True)
class Selected:
    """One selected field. `key` is its name in the response; `args` holds only what was given, so
    an explicit null is there as None."""

    key: str
    name: str
    args: Mapping[str, Any]
    fields: tuple[Selected, ...] = ()


def selected_below(info: Place, object_type: GraphQLObjectType) -> tuple[Selected, ...]:
    """Return the selection below the field that `info` is about, whose value is of `object_type`.

    Raises GraphQLError for arguments that cannot be coerced, LimitError for a name too long.
    """
    return _select(info, object_type, info.field_nodes)


def _select(
    info: Place, object_type: GraphQLObjectType, nodes: list[FieldNode]
) -> tuple[Selected, ...]:
    grouped = selected_fields(
        info.fragments, info.variable_values, object_type, [n.selection_set for n in nodes]
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
        needs = (field.extensions or {}).get(NEEDS)
        if needs is not None:
            # Also where it needs nothing: what is selected says that there is such a field.
            for need, of in (("", "__typename"), *((n, n) for n in needs)):
                if not any(s.key == NEEDED + need for s in selected):
                    selected.append(Selected(NEEDED + need, of, {}))
            continue
        args = arguments(field, first, info.variable_values)
        below: tuple[Selected, ...] = ()
        kind = get_named_type(field.type)
        if isinstance(kind, GraphQLObjectType):
            below = _select(info, kind, same)
        selected.append(Selected(key, name, args, below))
    return tuple(selected)
