"""One GraphQL request from its text to the answer: parse and validate (kept by text), apply
@freshness, let graphql-core run the root fields at once, and shape the errors and the
extensions."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    get_operation_ast,
    validate,
)
from graphql.validation.validate import ValidationAbortedError
from strawberry import Schema
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError

from gateway.context.freshness import required_commit, source_ages, with_directive
from gateway.context.services import Limits, RequestContext
from gateway.http.problems import graphql_error
from gateway.query.introspection import TOO_MUCH_OF_THE_SCHEMA, most_fields
from gateway.query.limits import parse_within, validation_rules
from gateway.query.operations import Operation
from gateway.shape.arguments import directive_arguments
from stores.errors import ForbiddenError, LimitError, RecordgateError

KEPT_DOCUMENTS = 500
MAX_KEPT_LENGTH = 20_000
"""Characters of a document that is kept; a longer one is parsed each time."""
MAX_ERRORS = 20
LONG = 2_000
"""Characters from which on a document that is not known is parsed and validated off the event
loop."""
KEPT_OUTCOMES = 16
"""The number of long documents, valid or not, whose outcome is kept, so that each is read once for
its request."""
_SUGGESTION = re.compile(r" Did you mean [^?]*\?")
"""Matches the part of a message that would tell names of a schema that is not open."""


_Outcome: TypeAlias = "tuple[DocumentNode | None, list[GraphQLError]] | Exception"
"""The outcome of reading a text: what `ParsedDocuments.get` returns, or what it raises."""

_reader = ThreadPoolExecutor(1, thread_name_prefix="graphql-documents")


def _outcome(schema: GraphQLSchema, text: str, limits: Limits) -> _Outcome:
    try:
        document = parse_within(text, limits)
        errors = validate(schema, document, validation_rules(limits), max_errors=MAX_ERRORS)
        if not errors:
            return document, []
        if isinstance(errors[-1], ValidationAbortedError) and len(errors) <= MAX_ERRORS:
            raise LimitError("the document has too many fields and fragments to compare")
    except (LimitError, GraphQLError) as error:
        return error.with_traceback(None)
    return None, errors


def _checked(
    schema: GraphQLSchema, text: str, limits: Limits, known: _Outcome | None
) -> tuple[DocumentNode | None, list[GraphQLError]]:
    found = known or _outcome(schema, text, limits)
    if isinstance(found, Exception):
        raise found.with_traceback(None)
    return found


class ParsedDocuments:
    """Valid documents of one schema by their text, the last used ones."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Limits], DocumentNode] = OrderedDict()
        self._read: OrderedDict[tuple[str, Limits], _Outcome] = OrderedDict()
        self._operations: OrderedDict[tuple[str, str | None, Limits], Operation] = OrderedDict()

    async def read(self, schema: GraphQLSchema, text: str, limits: Limits) -> None:
        """Prepare the outcome that `get` returns for a long text, without holding up the event
        loop: parsing and validating one can take a tenth of a second. One is read at a time, so
        that those who send many wait for each other."""
        key = (text, limits)
        if len(text) < LONG or key in self._kept or key in self._read:
            return
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(_reader, _outcome, schema, text, limits)
        self._read[key] = found
        if len(self._read) > KEPT_OUTCOMES:
            self._read.popitem(last=False)

    def get(
        self, schema: GraphQLSchema, text: str, limits: Limits
    ) -> tuple[DocumentNode | None, list[GraphQLError]]:
        """The document, or why it is not valid. Raises GraphQLError (syntax) and LimitError."""
        kept = self._kept.get((text, limits))
        if kept is not None:
            self._kept.move_to_end((text, limits))
            return kept, []
        document, errors = _checked(schema, text, limits, self._read.get((text, limits)))
        if document is None:
            return None, errors
        if len(text) <= MAX_KEPT_LENGTH:
            self._kept[(text, limits)] = document
            if len(self._kept) > KEPT_DOCUMENTS:
                self._kept.popitem(last=False)
        return document, []

    def operation(
        self,
        schema: GraphQLSchema,
        text: str,
        name: str | None,
        limits: Limits,
        document: DocumentNode | None = None,
    ) -> Operation | None:
        """The operation that is asked for; None where the document is not valid or has none such.
        `document`: the text's, where it is at hand. Raises as `get` does."""
        key = (text, name, limits)
        kept = self._operations.get(key)
        if kept is not None:
            self._operations.move_to_end(key)
            return kept
        if document is None:
            document, _ = self.get(schema, text, limits)
        node = get_operation_ast(document, name) if document is not None else None
        if document is None or node is None:
            return None
        made = Operation.of(schema, document, node)
        if len(text) <= MAX_KEPT_LENGTH:
            self._operations[key] = made
            if len(self._operations) > KEPT_DOCUMENTS:
                self._operations.popitem(last=False)
        return made


class ServedSchema:
    """The schema that a gateway serves: Strawberry's, as graphql-core has it, and the documents
    kept for it. `extended`: a product adds to it; `contract_fields`: fields of Query and Mutation
    that are the contract's."""

    def __init__(
        self,
        strawberry: Schema,
        *,
        extended: bool = False,
        contract_fields: frozenset[str] = frozenset(),
    ) -> None:
        self.strawberry = strawberry
        self.extended, self.contract_fields = extended, contract_fields
        self.graphql = strawberry._schema
        self.parsed = ParsedDocuments()


class KeptDocument(SchemaExtension):
    """Hands Strawberry the document that was parsed, validated and admitted before."""

    def on_operation(self) -> Iterator[None]:
        execution = self.execution_context
        execution.graphql_document = execution.context.document
        execution.pre_execution_errors = []
        yield


async def execute(
    schema: ServedSchema,
    context: RequestContext,
    query: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> dict[str, Any]:
    """The answer as GraphQL has it: `data` (absent where nothing ran), `errors`, `extensions`."""
    try:
        kept = schema.parsed
        document, errors = kept.get(schema.graphql, query, context.services.limits)
        if document is None:
            return _refused(context, errors)
        limits = context.services.limits
        operation = kept.operation(schema.graphql, query, operation_name, limits, document)
        if operation is not None:
            context.operation = operation.node.operation.value
            admit(context, operation, variables or {})
            apply_freshness(schema.graphql, context, operation.node, dict(variables or {}))
    except (RecordgateError, GraphQLError) as error:
        return _refused(context, [error])
    context.document = document
    context.introspects = operation is not None and operation.cost.introspects
    if schema.extended and context.records is None:
        from gateway.query.record_access import Records

        context.records = Records(schema, context)
    try:
        result = await schema.strawberry.execute(
            query,
            variable_values=dict(variables or {}),
            context_value=context,
            operation_name=operation_name,
        )
    except CannotGetOperationTypeError as error:
        return _refused(context, [GraphQLError(error.as_http_error_reason())])
    if context.introspects and context.schema_fields > most_fields(schema.graphql):
        return _refused(context, [TOO_MUCH_OF_THE_SCHEMA])
    answer: dict[str, Any] = {}
    # Without data and without a path in any error nothing ran: the variables were refused.
    if result.data is not None or any(e.path for e in result.errors or ()):
        answer["data"] = result.data
    if result.errors:
        answer["errors"] = formatted(context, result.errors)
    answer["extensions"] = {"recordgate": extension(context, answer.get("data") or ())}
    return answer


def apply_freshness(
    schema: GraphQLSchema,
    context: RequestContext,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
) -> None:
    """Take the operation's @freshness over the headers', and refuse a bad token at once."""
    directive = schema.get_directive("freshness")
    if directive is not None:
        given = directive_arguments(directive, operation, variables)
        context.freshness = with_directive(context.freshness, given)
    required_commit(context.freshness, context.services)


def admit(context: RequestContext, operation: Operation, variables: Mapping[str, Any]) -> None:
    """Note what the operation is about, and what it may cost by its raw `variables`. Raises
    LimitError where that is too much, ForbiddenError where it asks for a schema that the viewer may
    not see."""
    context.types = operation.types
    if operation.cost.introspects and not context.viewer.may_introspect:
        raise ForbiddenError("the schema is not open to you")
    context.cost = operation.cost.estimate(variables)
    most = context.services.limits.max_cost
    if context.cost > most:
        raise LimitError(
            f"the query may cost {context.cost}, which is more than {most}",
            hint="ask for smaller pages; setting max_cost",
        )


def _refused(context: RequestContext, errors: Sequence[Any]) -> dict[str, Any]:
    return {"errors": formatted(context, errors)}


def formatted(context: RequestContext, errors: Sequence[Any]) -> list[Any]:
    """Errors as GraphQL has them, as the viewer may see them."""
    found = [graphql_error(e).formatted for e in errors]
    if not context.viewer.may_introspect:
        for error in found:
            error["message"] = _SUGGESTION.sub("", error["message"])
    return found


def extension(context: RequestContext, keys: Iterable[str]) -> dict[str, Any]:
    """`extensions.recordgate`, its entries in the order of the response names `keys`."""
    found: dict[str, Any] = {"fields": _ordered(context.routes, keys), "cost": context.cost}
    if context.token is not None:
        found["token"] = context.token
    if context.services.listener.sources:
        found["sources"] = source_ages(context.services)
    if context.explain:
        found["plan"] = _ordered(context.plans, keys)
    return found


def _ordered(entries: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Root fields run at once and note their entries as they come."""
    return {k: entries[k] for k in keys if k in entries} | entries
