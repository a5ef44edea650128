"""What an operation may cost, estimated before it runs, by the semantics of @cost and @listSize
(https://ibm.github.io/graphql-specs/cost-spec.html): an object that the answer may hold counts 1, a plain value
nothing, a page as many as its `first` or `last` asks for. What makes a store work hard counts more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
)

DEFAULT_SIZE = 20
"""Of a page that does not say how long it is."""
SEARCH = 10
AGGREGATE = 50
TOTAL_COUNT = 10
WRITE = 10
"""For each record that a mutation is given."""

_SUFFIXES = {"SearchConnection": SEARCH, "Aggregate": AGGREGATE}
_INTROSPECTION = ("__schema", "__type")

Parent: TypeAlias = "GraphQLObjectType | GraphQLInterfaceType"


@dataclass(frozen=True, slots=True)
class Size:
    """How many: of values and variables the largest; `least` where they say nothing. A list counts its entries."""

    least: int
    values: tuple[int, ...] = ()
    variables: tuple[str, ...] = ()

    def of(self, variables: Mapping[str, Any]) -> int:
        given = [*self.values, *(_count(variables.get(name)) for name in self.variables)]
        known = [n for n in given if n is not None]
        return max(known) if known else self.least


def _count(value: Any) -> int | None:
    if isinstance(value, list):
        return len(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class Part:
    """A field: what each of it costs, how many of it there are (None: one), and what is inside."""

    weight: int
    size: Size | None
    below: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation. `introspects`: it asks for the schema."""

    parts: tuple[Part, ...] = ()
    introspects: bool = False

    def estimate(self, variables: Mapping[str, Any]) -> int:
        """For these raw variables."""
        return _sum(self.parts, variables)


def _sum(parts: tuple[Part, ...], variables: Mapping[str, Any]) -> int:
    total = 0
    for part in parts:
        each = part.weight + (_sum(part.below, variables) if part.below else 0)
        total += each if part.size is None else each * part.size.of(variables)
    return total


def cost_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Cost:
    """The cost of an operation of a valid document, whose size is bounded already."""
    root = schema.get_root_type(operation.operation)
    if root is None:
        return Cost()
    defaults = {
        v.variable.name.value: v.default_value
        for v in operation.variable_definitions or ()
        if v.default_value is not None
    }
    reader = _Reader(schema, fragments, defaults)
    return Cost(reader.parts(root, operation.selection_set, None), reader.introspects)


class _Reader:
    def __init__(
        self,
        schema: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        defaults: Mapping[str, ValueNode],
    ) -> None:
        self.schema, self.fragments, self.defaults = schema, fragments, defaults
        self.introspects = False

    def parts(
        self, parent: Parent, selection: SelectionSetNode, page: Size | None
    ) -> tuple[Part, ...]:
        """`page`: the size of the lists of the connection that `parent` is."""
        found: list[Part] = []
        for node in selection.selections:
            if isinstance(node, FieldNode):
                found.append(self._field(parent, node, page))
                continue
            if isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
                condition, inside = fragment.type_condition, fragment.selection_set
            else:
                condition, inside = node.type_condition, node.selection_set  # type: ignore[attr-defined]
            kind = self.schema.type_map[condition.name.value] if condition else parent
            assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
            found += self.parts(kind, inside, page)
        return tuple(p for p in found if p.weight or p.below)

    def _field(self, parent: Parent, node: FieldNode, page: Size | None) -> Part:
        name = node.name.value
        if name.startswith("__"):
            self.introspects |= name in _INTROSPECTION
            return Part(int(name in _INTROSPECTION), None, ())
        definition = parent.fields[name]
        kind: GraphQLNamedType = get_named_type(definition.type)
        size: Size | None = None
        if page is not None and is_list_type(get_nullable_type(definition.type)):
            size = page
        if is_leaf_type(kind) or node.selection_set is None:
            return Part(TOTAL_COUNT if page is not None and name == "totalCount" else 0, size, ())
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
        weight = 1
        inner: Size | None = None
        if parent is self.schema.mutation_type:
            weight = WRITE
            size = self._size(node, ("input", "max"), 1)
        elif "edges" in kind.fields:
            inner = self._size(node, ("first", "last"), DEFAULT_SIZE)
        if parent is self.schema.query_type:
            weight += next((w for s, w in _SUFFIXES.items() if kind.name.endswith(s)), 0)
        return Part(weight, size, self.parts(kind, node.selection_set, inner))

    def _size(self, node: FieldNode, names: tuple[str, ...], least: int) -> Size:
        values: list[int] = []
        variables: list[str] = []
        for argument in node.arguments or ():
            if argument.name.value not in names:
                continue
            value = argument.value
            if isinstance(value, VariableNode):
                variables.append(value.name.value)
                default = self.defaults.get(value.name.value)
                least = least if default is None else (_literal(default) or least)
            else:
                literal = _literal(value)
                values += [] if literal is None else [literal]
        return Size(least, tuple(values), tuple(variables))


def _literal(value: ValueNode) -> int | None:
    if isinstance(value, IntValueNode):
        return max(0, int(value.value))
    return len(value.values) if isinstance(value, ListValueNode) else None
