"""Answers `/graphql`: a request in, GraphQL's answer out, with the headers and the count that go with it."""

from __future__ import annotations

from graphql import GraphQLError, OperationType, get_operation_ast
from starlette.requests import Request
from starlette.responses import Response

from gateway.compiled import respond
from gateway.direct import JsonResponse
from gateway.freshness import from_headers
from gateway.graphql_http import (
    GraphQLRequest,
    accepted,
    read_request,
    status_of,
)
from gateway.limits import parse_within
from gateway.metrics import Metrics
from gateway.problems import HttpProblem
from gateway.schema import build_schema
from gateway.services import RequestContext, Services
from stores.errors import LimitError


class GraphQLRunner:
    """Runs GraphQL over `services`; `schema` is made from the contract once."""

    def __init__(self, services: Services, metrics: Metrics) -> None:
        self.services = services
        self.metrics = metrics
        self.schema = build_schema(services.contract)

    async def respond(self, request: Request) -> Response:
        """The answer to a GraphQL request. Raises HttpProblem for what is none."""
        media_type = accepted(request.headers.get("accept", ""))
        if media_type is None:
            raise HttpProblem(
                "NOT_ACCEPTABLE",
                "answers are application/graphql-response+json or application/json",
            )
        asked = await read_request(request, self.services.limits.max_body_bytes)
        if asked.read_only:
            self._require_query(asked)
        context = RequestContext(
            self.services,
            request.state.viewer,
            from_headers(request.headers),
            explain=request.headers.get("recordgate-explain") == "1",
        )
        answer = await respond(
            self.schema, context, asked.query, asked.variables, asked.operation_name
        )
        self._count(request, context, answer.code)
        headers = {} if context.token is None else {"Recordgate-Token": context.token}
        return JsonResponse(
            answer.body,
            status_of(media_type, has_data=answer.has_data),
            headers,
            f"{media_type}; charset=utf-8",
        )

    def _require_query(self, asked: GraphQLRequest) -> None:
        """Refuse a mutation that came by GET: a link or an image must not be able to write."""
        try:
            document = parse_within(asked.query, self.services.limits)
        except (GraphQLError, LimitError):
            return  # answered with its error by the execution
        operation = get_operation_ast(document, asked.operation_name)
        if operation is not None and operation.operation is not OperationType.QUERY:
            raise HttpProblem(
                "METHOD_NOT_ALLOWED",
                "a GET takes queries only",
                hint="send the mutation by POST",
                headers={"Allow": "POST"},
            )

    def _count(self, request: Request, context: RequestContext, code: str) -> None:
        stores = {str(route["store"]) for route in context.routes.values()}
        operation = context.operation or "graphql"
        request.state.operation = operation
        request.state.stores = stores
        self.metrics.count(operation, stores, code)
