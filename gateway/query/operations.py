"""Operations of valid documents, ready to be planned: their fragments, variables, cost and root
fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    is_leaf_type,
    type_from_ast,
)

from gateway.query.costs import Cost, cost_of
from gateway.query.roots import RECORD_TYPE, Root
from gateway.shape.arguments import arguments, coerced_variables, selected_fields
from gateway.shape.open_values import Features, Slot

# Variables -------------------------------------------------------------------------------------


def structure(kind: GraphQLInputType, value: Any) -> Hashable:
    """Return the part of a variable's value that a plan is made for: all of it but its scalars."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if value is None:
        return None
    if isinstance(kind, GraphQLList):
        if _is_slot(kind.of_type):
            return "scalars"
        return tuple(structure(kind.of_type, v) for v in value)
    if isinstance(kind, GraphQLInputObjectType):
        return tuple((n, structure(kind.fields[n].type, v)) for n, v in value.items())
    return "scalar" if _is_slot(kind) else (value,)


def slotted(
    kind: GraphQLInputType, value: Any, path: tuple[str | int, ...], features: Features
) -> Any:
    """The value with slots for its scalars."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    if value is None:
        return None
    if isinstance(kind, GraphQLList):
        if _is_slot(kind.of_type):
            return Slot(path, value, features)
        return [slotted(kind.of_type, v, (*path, i), features) for i, v in enumerate(value)]
    if isinstance(kind, GraphQLInputObjectType):
        return {n: slotted(kind.fields[n].type, v, (*path, n), features) for n, v in value.items()}
    return Slot(path, value, features) if _is_slot(kind) else value


def _is_slot(kind: Any) -> bool:
    """Scalars but booleans, which decide on what is asked; lists of lists do not occur."""
    if isinstance(kind, GraphQLNonNull):
        kind = kind.of_type
    return is_leaf_type(kind) and not isinstance(kind, GraphQLEnumType) and kind.name != "Boolean"


# Operations ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RootField:
    """A root field of an operation: what of GraphQLResolveInfo its selection is read from."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDefinitionNode]
    variable_values: dict[str, Any]
    field_nodes: list[FieldNode]

    @property
    def name(self) -> str:
        return self.field_nodes[0].name.value

    def root(self, parent: GraphQLObjectType) -> Root | None:
        """Return what the contract says of the field; None where it is none of the contract's."""
        definition = parent.fields.get(self.name)
        root: Root | None = (definition.extensions or {}).get("root") if definition else None
        return root

    def arguments(self, parent: GraphQLObjectType) -> dict[str, Any]:
        """Return the arguments that the field is given. Raises GraphQLError."""
        return arguments(parent.fields[self.name], self.field_nodes[0], self.variable_values)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a valid document, ready to be planned. `types`: the record types that its
    root fields are about. `covered`: it is a query that may have a plan."""

    schema: GraphQLSchema
    document: DocumentNode
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    kinds: dict[str, GraphQLInputType]

    cost: Cost
    parsers: dict[str, tuple[Callable[[Any], Any], bool]] | None
    """The parsers of scalars, and whether each must be there; None where more than that is to be
    done."""
    types: frozenset[str]
    covered: bool

    def coerced(self, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The variables as the schema takes them; None where it does not."""
        if self.parsers is not None:
            values: dict[str, Any] = {}
            for name, (parse, required) in self.parsers.items():
                if name in given:
                    value = given[name]
                    try:
                        values[name] = None if value is None else parse(value)
                    except Exception:  # execution finds it again, and says what is wrong
                        return None
                if required and values.get(name) is None:
                    return None
            return values
        found = coerced_variables(self.schema, self.node, given)
        return None if isinstance(found, list) else found

    def root_fields(
        self, parent: GraphQLObjectType, values: dict[str, Any]
    ) -> dict[str, RootField]:
        """Return the fields that are selected of the root type `parent`, by response name. Raises
        GraphQLError."""
        grouped = selected_fields(self.fragments, values, parent, [self.node.selection_set])
        return {
            key: RootField(self.schema, self.fragments, values, nodes)
            for key, nodes in grouped.items()
        }

    @classmethod
    def of(
        cls, schema: GraphQLSchema, document: DocumentNode, node: OperationDefinitionNode
    ) -> Operation:
        fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        kinds = {
            v.variable.name.value: cast(GraphQLInputType, type_from_ast(schema, v.type))
            for v in node.variable_definitions or ()
        }
        cost = cost_of(schema, node, fragments)
        types = frozenset(
            _types(schema.get_root_type(node.operation), node.selection_set, fragments)
        )
        covered = _may_be_planned(schema, node)
        parsers: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        for definition in node.variable_definitions or ():
            name = definition.variable.name.value
            kind = kinds[name]
            inner = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
            if definition.default_value is not None or not isinstance(inner, GraphQLScalarType):
                return cls(schema, document, node, fragments, kinds, cost, None, types, covered)
            parsers[name] = (inner.parse_value, inner is not kind)
        return cls(schema, document, node, fragments, kinds, cost, parsers, types, covered)


def _may_be_planned(schema: GraphQLSchema, node: OperationDefinitionNode) -> bool:
    """Return whether an operation is a query of fields that the contract has a read for. Those of a
    product, of federation and `node` go the ordinary way, and their variables need not be read
    twice."""
    if node.operation is not OperationType.QUERY or schema.query_type is None:
        return False
    fields = schema.query_type.fields
    named = (s.name.value for s in node.selection_set.selections if isinstance(s, FieldNode))
    return all(
        name == "__typename" or (name in fields and "root" in (fields[name].extensions or {}))
        for name in named
    )


def _types(
    parent: GraphQLObjectType | None,
    selected: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
) -> frozenset[str]:
    """Return the names of the record types that the root fields of `selected` are about. Each
    fragment is looked at once, however often it is spread."""
    found: set[str] = set()
    spread: set[str] = set()
    waiting = [selected]
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                field = parent.fields.get(selection.name.value) if parent is not None else None
                name = field.extensions.get(RECORD_TYPE) if field is not None else None
                if name is not None:
                    found.add(name)
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name not in spread:
                    spread.add(name)
                    waiting.append(fragments[name].selection_set)
    return frozenset(found)
