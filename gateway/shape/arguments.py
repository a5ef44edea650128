"""Reads a document outside of an execution: variables, arguments, directives, and the fields that
are selected. The one place that knows how graphql-core wants to be asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLDirective,
    GraphQLError,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)
from graphql.execution.values import (
    VariableValues,
    get_argument_values,
    get_directive_values,
    get_variable_values,
)


def coerced_variables(
    schema: GraphQLSchema, operation: OperationDefinitionNode, given: Mapping[str, Any]
) -> dict[str, Any] | list[GraphQLError]:
    """The variables of an operation as the schema takes them, defaults filled in, or what is wrong
    with them."""
    found = get_variable_values(schema, operation.variable_definitions or (), dict(given))
    return found if isinstance(found, list) else found.coerced


def arguments(
    definition: GraphQLField | GraphQLDirective,
    node: FieldNode | DirectiveNode,
    variables: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments that a field or directive is given; what is left out and has no default is not
    in it. Raises GraphQLError."""
    return get_argument_values(definition, node, _values(variables)) if definition.args else {}


def directive_arguments(
    directive: GraphQLDirective, node: OperationDefinitionNode, variables: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The arguments of a directive on an operation; None where it is not there. Raises
    GraphQLError."""
    return get_directive_values(directive, node, _values(variables))


def _values(variables: Mapping[str, Any]) -> VariableValues:
    return VariableValues({}, cast("dict[str, Any]", variables))


def selected_fields(
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
    object_type: GraphQLObjectType,
    selections: Iterable[SelectionSetNode | None],
) -> dict[str, list[FieldNode]]:
    """The fields that are selected of an object, by their names in the response, in the order of
    the document: fragments are resolved, each once, and @skip and @include applied (GraphQL,
    section 6.3.2)."""
    found: dict[str, list[FieldNode]] = {}
    _collect(
        fragments, variables, object_type, [s for s in selections if s is not None], found, set()
    )
    return found


def _collect(
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
    object_type: GraphQLObjectType,
    selections: Sequence[SelectionSetNode],
    found: dict[str, list[FieldNode]],
    visited: set[str],
) -> None:
    for selection_set in selections:
        for node in selection_set.selections:
            if node.directives and not _included(node, variables):
                continue
            if isinstance(node, FieldNode):
                key = node.alias.value if node.alias else node.name.value
                found.setdefault(key, []).append(node)
                continue
            fragment: Any = node
            if node.kind == "fragment_spread":
                name = node.name.value  # type: ignore[attr-defined]
                if name in visited or name not in fragments:
                    continue
                visited.add(name)
                fragment = fragments[name]
            if _applies(fragment.type_condition, object_type):
                _collect(
                    fragments, variables, object_type, [fragment.selection_set], found, visited
                )


def _applies(condition: Any, object_type: GraphQLObjectType) -> bool:
    if condition is None:
        return True
    name = condition.name.value
    return name == object_type.name or any(i.name == name for i in object_type.interfaces)


def _included(node: SelectionNode, variables: Mapping[str, Any]) -> bool:
    for directive in node.directives or ():
        if directive.name.value == "skip":
            if arguments(GraphQLSkipDirective, directive, variables)["if"]:
                return False
        elif (
            directive.name.value == "include"
            and not arguments(GraphQLIncludeDirective, directive, variables)["if"]
        ):
            return False
    return True
