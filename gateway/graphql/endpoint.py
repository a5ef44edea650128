"""Answers `/graphql`: a request in, GraphQL's answer out, with the headers and the count that go
with it."""

from __future__ import annotations

from typing import Any

import orjson
from graphql import GraphQLError, OperationType, get_operation_ast
from starlette.requests import Request
from starlette.responses import Response

from gateway.context.freshness import from_headers, of_federation
from gateway.context.services import RequestContext, Services
from gateway.graphql.direct import JsonResponse
from gateway.graphql.protocol import (
    GraphQLRequest,
    accepted,
    checked,
    read_values,
    status_of,
)
from gateway.graphql.trusted import TrustedDocuments, UnknownDocument
from gateway.http.metrics import Metrics
from gateway.http.problems import HttpProblem, graphql_error
from gateway.query.compiled import Answer, respond
from gateway.query.execute import ServedSchema
from gateway.schema import build_schema
from stores.errors import LimitError


class GraphQLRunner:
    """Runs GraphQL over `services`; `schema` is made from the contract once. `federated`: a
    federated gateway asks."""

    def __init__(
        self,
        services: Services,
        metrics: Metrics,
        documents: TrustedDocuments | None = None,
        schema: ServedSchema | None = None,
        *,
        federated: bool = False,
    ) -> None:
        self.federated = federated
        self.services = services
        self.metrics = metrics
        self.schema = schema or build_schema(services.contract)
        self.documents = documents or TrustedDocuments()

    async def respond(self, request: Request) -> Response:
        """The answer to a GraphQL request. Raises HttpProblem for what is none."""
        media_type = accepted(request.headers.get("accept", ""))
        if media_type is None:
            raise HttpProblem(
                "NOT_ACCEPTABLE",
                "answers are application/graphql-response+json or application/json",
            )
        limits = self.services.limits
        values = await read_values(request, limits.max_body_bytes, limits.max_batch)
        if isinstance(values, dict):
            answer, token = await self._one(request, self._asked(request, values))
            status = status_of(media_type, has_data=answer.has_data)
            body = answer.body
        else:
            # None of a batch is run where one is refused: its answers would be lost.
            several = [self._asked(request, entry) for entry in values]
            answers = [await self._one(request, asked) for asked in several]
            status, body = 200, b"[" + b",".join(a.body for a, _ in answers) + b"]"
            token = next((t for _, t in reversed(answers) if t is not None), None)
        headers = {} if token is None else {"Recordgate-Token": token}
        return JsonResponse(body, status, headers, f"{media_type}; charset=utf-8")

    def _asked(self, request: Request, values: dict[str, Any]) -> GraphQLRequest | UnknownDocument:
        """Return one request of a body. Raises HttpProblem, InputError, ForbiddenError."""
        try:
            return checked(values, self.documents, read_only=request.method != "POST")
        except UnknownDocument as error:
            return error

    async def _one(
        self, request: Request, asked: GraphQLRequest | UnknownDocument
    ) -> tuple[Answer, str | None]:
        """Return the answer to one request, and the token of its write."""
        if isinstance(asked, UnknownDocument):
            # In GraphQL's form: clients of persisted queries read it, and send the text then.
            body = orjson.dumps({"errors": [graphql_error(asked).formatted]})
            return Answer(body, False, asked.detail_code), None
        if asked.read_only:
            await self._require_query(asked)
        freshness = from_headers(request.headers)
        if self.federated:
            freshness = of_federation(freshness, self.services)
        context = RequestContext(
            self.services,
            request.state.viewer,
            freshness,
            explain=request.state.viewer.may_introspect
            and request.headers.get("recordgate-explain") == "1",
            idempotency_key=request.headers.get("idempotency-key"),
        )
        answer = await respond(
            self.schema, context, asked.query, asked.variables, asked.operation_name
        )
        # A list that a store has answered may be canonical's next time: its tag is of its data.
        by_headers = context.freshness == freshness
        request.state.freshness_by_headers = by_headers and not context.rerouted
        self._count(request, context, answer.code)
        return answer, context.token

    async def _require_query(self, asked: GraphQLRequest) -> None:
        """Refuse a mutation that did not come by POST: a link or an image must not be able to
        write."""
        limits = self.services.limits
        schema, documents = self.schema.graphql, self.schema.parsed
        await documents.read(schema, asked.query, limits)
        try:
            document, _ = documents.get(schema, asked.query, limits)
        except (GraphQLError, LimitError):
            return  # answered with its error by the execution
        if document is None:
            return
        operation = get_operation_ast(document, asked.operation_name)
        if operation is not None and operation.operation is not OperationType.QUERY:
            raise HttpProblem(
                "METHOD_NOT_ALLOWED",
                "mutations must be sent by POST",
                hint="send the mutation by POST",
                headers={"Allow": "POST"},
            )

    def _count(self, request: Request, context: RequestContext, code: str) -> None:
        stores = {str(route["store"]) for route in context.routes.values()}
        operation = context.operation or "graphql"
        request.state.operation = operation
        request.state.stores = stores
        request.state.code = code
        request.state.types = context.types
        self.metrics.count(operation, stores, code)
