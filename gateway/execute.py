"""One GraphQL request from its text to the answer: parse and validate (kept by text), apply @freshness, let
graphql-core run the root fields at once, and shape the errors and the extensions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import CoroutineType
from typing import Any
from weakref import WeakKeyDictionary

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    get_operation_ast,
    specified_rules,
    validate,
)
from graphql import execute as run
from graphql.execution.values import get_directive_values

from gateway.freshness import required_lsn, with_directive
from gateway.limits import parse_within, validation_rules
from gateway.problems import graphql_error
from gateway.services import Limits, RequestContext
from stores.errors import RecordgateError

KEPT_DOCUMENTS = 500
MAX_KEPT_LENGTH = 20_000
"""Characters of a document that is kept; a longer one is parsed each time."""
MAX_ERRORS = 20


class Documents:
    """Valid documents of one schema by their text, the last used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Limits], DocumentNode] = OrderedDict()

    def get(
        self, schema: GraphQLSchema, text: str, limits: Limits
    ) -> tuple[DocumentNode | None, list[GraphQLError]]:
        """The document, or why it is not valid. Raises GraphQLError (syntax) and LimitError."""
        kept = self._kept.get((text, limits))
        if kept is not None:
            self._kept.move_to_end((text, limits))
            return kept, []
        document = parse_within(text, limits)
        rules = [*specified_rules, *validation_rules(limits)]
        errors = validate(schema, document, rules, max_errors=MAX_ERRORS)
        if errors:
            return None, errors
        if len(text) <= MAX_KEPT_LENGTH:
            self._kept[(text, limits)] = document
            if len(self._kept) > KEPT_DOCUMENTS:
                self._kept.popitem(last=False)
        return document, []


_documents: WeakKeyDictionary[GraphQLSchema, Documents] = WeakKeyDictionary()


async def execute(
    schema: GraphQLSchema,
    context: RequestContext,
    query: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> dict[str, Any]:
    """The answer as GraphQL has it: `data` (absent where nothing ran), `errors`, `extensions`."""
    try:
        kept = _documents.setdefault(schema, Documents())
        document, errors = kept.get(schema, query, context.services.limits)
        if document is None:
            return _refused(errors)
        operation = get_operation_ast(document, operation_name)
        if operation is not None:
            context.operation = operation.operation.value
            _apply_freshness(schema, context, operation, dict(variables or {}))
    except (RecordgateError, GraphQLError) as error:
        return _refused([error])
    result = run(
        schema,
        document,
        context_value=context,
        variable_values=dict(variables or {}),
        operation_name=operation_name,
        is_awaitable=_is_coroutine,
    )
    if not isinstance(result, ExecutionResult):
        result = await result
    answer: dict[str, Any] = {}
    # Without data and without a path in any error nothing ran: the variables were refused.
    if result.data is not None or any(e.path for e in result.errors or ()):
        answer["data"] = result.data
    if result.errors:
        answer["errors"] = [graphql_error(e).formatted for e in result.errors]
    answer["extensions"] = {"recordgate": _extension(context)}
    return answer


def _is_coroutine(value: Any) -> bool:
    """Root fields alone are awaited; asked for every value, so it is no more than this."""
    return type(value) is CoroutineType


def _apply_freshness(
    schema: GraphQLSchema,
    context: RequestContext,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> None:
    """Take the operation's @freshness over the headers', and refuse a bad token at once."""
    directive = schema.get_directive("freshness")
    if directive is not None:
        given = get_directive_values(directive, operation, variables)
        context.freshness = with_directive(context.freshness, given)
    required_lsn(context.freshness, context.services)


def _refused(errors: list[Any]) -> dict[str, Any]:
    return {"errors": [graphql_error(e).formatted for e in errors]}


def _extension(context: RequestContext) -> dict[str, Any]:
    extension: dict[str, Any] = {"fields": context.routes}
    if context.token is not None:
        extension["token"] = context.token
    if context.explain:
        extension["plan"] = context.plans
    return extension
