"""Estimates the cost of an operation before it runs, by the semantics of @cost and @listSize
(https://ibm.github.io/graphql-specs/cost-spec.html): an object that the answer may hold counts 1, a
plain value nothing, a page as many as its `first` or `last` asks for. What makes a store work hard
counts more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    GraphQLUnionType,
    InlineFragmentNode,
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
"""The size of a page that does not say how long it is."""
SEARCH = 10
AGGREGATE = 50
TOTAL_COUNT = 10
WRITE = 10
"""The cost of each record that a mutation is given."""

_SUFFIXES = {"SearchConnection": SEARCH, "Aggregate": AGGREGATE}
_INTROSPECTION = ("__schema", "__type", "_service")

Parent: TypeAlias = "GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType"


@dataclass(frozen=True, slots=True)
class Size:
    """A number of objects: of values and variables the largest, or `least` where they say nothing.
    A list counts its entries."""

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
class Below:
    """The selection at one place: its fields that cost something, and all the fragments that are
    spread there, by their place in `Cost.fragments`, each once, as it is answered once."""

    parts: tuple[Part, ...] = ()
    fragments: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A field: what each of it costs, and how many of it there are: `size` (None: one), and where
    `paged` as many as the page of the connection that it is in. `page`: the page of the connection
    that it is."""

    weight: int
    below: Below = Below()
    size: Size | None = None
    paged: bool = False
    page: Size | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one operation. `fragments`: the fields of each, those first that are spread in
    later ones. `introspects`: it asks for the schema."""

    root: Below = Below()
    fragments: tuple[tuple[Part, ...], ...] = ()
    introspects: bool = False

    def estimate(self, variables: Mapping[str, Any]) -> int:
        """Return the estimate for these raw variables. Each field of the text is weighed once,
        however often it is spread."""
        weighed: list[_Sum] = []
        for parts in self.fragments:
            weighed.append(_weigh(Below(parts), variables, weighed))
        once, paged = _weigh(self.root, variables, weighed)
        return once + paged


_Sum: TypeAlias = "tuple[int, int]"
"""The cost of a place, once, and for each record of the page that it is in."""


def _weigh(below: Below, variables: Mapping[str, Any], fragments: Sequence[_Sum]) -> _Sum:
    once = paged = 0
    for part in below.parts:
        each = part.weight
        if part.below.parts or part.below.fragments:
            fixed, a_record = _weigh(part.below, variables, fragments)
            each += fixed
            if a_record:
                each += a_record * (1 if part.page is None else part.page.of(variables))
        if part.size is not None:
            each *= part.size.of(variables)
        if part.paged:
            paged += each
        else:
            once += each
    for number in below.fragments:
        fixed, a_record = fragments[number]
        once += fixed
        paged += a_record
    return once, paged


def cost_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> Cost:
    """The cost of an operation of a valid document, whose size is bounded already. Linear in its
    text."""
    root = schema.get_root_type(operation.operation)
    if root is None:
        return Cost()
    defaults = {
        v.variable.name.value: v.default_value
        for v in operation.variable_definitions or ()
        if v.default_value is not None
    }
    reader = _Reader(schema, defaults)
    found: list[tuple[Part, ...]] = []
    for name in _reached(operation.selection_set, fragments):
        fragment = fragments[name]
        kind = schema.type_map[fragment.type_condition.name.value]
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType)
        below = reader.below(kind, fragment.selection_set)
        reader.spread[name] = (len(found), *below.fragments)
        found.append(below.parts)
    return Cost(reader.below(root, operation.selection_set), tuple(found), reader.introspects)


def _reached(root: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> list[str]:
    """The fragments that are spread below `root`, each after all that are spread in it."""
    ordered: list[str] = []
    known: set[str] = set()
    path: list[tuple[str, Iterator[str]]] = [("", iter(_spreads(root)))]
    while path:
        name, inside = path[-1]
        for spread in inside:
            if spread not in known:
                known.add(spread)
                path.append((spread, iter(_spreads(fragments[spread].selection_set))))
                break
        else:
            path.pop()
            if name:
                ordered.append(name)
    return ordered


def _spreads(selection: SelectionSetNode) -> list[str]:
    """The fragments that are spread in a selection, at any depth of its own text."""
    found: list[str] = []
    pending = [selection]
    while pending:
        for node in pending.pop().selections:
            if isinstance(node, FragmentSpreadNode):
                found.append(node.name.value)
            elif isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set:
                pending.append(node.selection_set)
    return found


def _is_connection(kind: GraphQLNamedType) -> bool:
    return (
        isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
        and "edges" in kind.fields
        and "pageInfo" in kind.fields
    )


class _Reader:
    """`spread`: of each fragment that is read, its number and those of all that are spread in its
    own place."""

    def __init__(self, schema: GraphQLSchema, defaults: Mapping[str, ValueNode]) -> None:
        self.schema, self.defaults = schema, defaults
        self.spread: dict[str, tuple[int, ...]] = {}
        self.introspects = False

    def below(self, parent: Parent, selection: SelectionSetNode) -> Below:
        parts: list[Part] = []
        spread: dict[str, None] = {}
        pending: list[tuple[Parent, SelectionSetNode]] = [(parent, selection)]
        while pending:
            within, selection = pending.pop()
            for node in selection.selections:
                if isinstance(node, FieldNode):
                    part = self._field(within, node)
                    if part.weight or part.below.parts or part.below.fragments:
                        parts.append(part)
                elif isinstance(node, FragmentSpreadNode):
                    spread[node.name.value] = None
                elif isinstance(node, InlineFragmentNode):
                    condition = node.type_condition
                    kind = self.schema.type_map[condition.name.value] if condition else within
                    assert isinstance(
                        kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType
                    )
                    pending.append((kind, node.selection_set))
        numbers = {n for name in spread for n in self.spread[name]}
        return Below(tuple(parts), tuple(sorted(numbers)))

    def _field(self, parent: Parent, node: FieldNode) -> Part:
        name = node.name.value
        if name.startswith("__") or name == "_service":
            self.introspects |= name in _INTROSPECTION
            return Part(int(name in _INTROSPECTION))
        assert not isinstance(parent, GraphQLUnionType)  # it has no field but __typename
        definition = parent.fields[name]
        kind: GraphQLNamedType = get_named_type(definition.type)
        connected = _is_connection(parent)
        paged = connected and is_list_type(get_nullable_type(definition.type))
        if is_leaf_type(kind) or node.selection_set is None:
            return Part(TOTAL_COUNT if connected and name == "totalCount" else 0, paged=paged)
        assert isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType)
        weight = 1
        size: Size | None = None
        page: Size | None = None
        if parent is self.schema.mutation_type:
            weight = WRITE
            size = self._size(node, ("input", "max"), 1)
        elif _is_connection(kind):
            page = self._size(node, ("first", "last"), DEFAULT_SIZE)
        elif name == "_entities":
            size = self._size(node, ("representations",), 1)
        if parent is self.schema.query_type:
            weight += next((w for s, w in _SUFFIXES.items() if kind.name.endswith(s)), 0)
        return Part(weight, self.below(kind, node.selection_set), size, paged, page)

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
