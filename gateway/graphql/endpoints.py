"""The endpoints `/graphql`, over HTTP and WebSockets, and `/graphql/subgraph` of one gateway: they
share a schema, the trusted documents and the subscriptions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from gateway.browse.graphiql import graphiql_page
from gateway.context.conditional import conditional
from gateway.context.services import Services
from gateway.graphql.endpoint import GraphQLRunner
from gateway.graphql.protocol import wants_page
from gateway.graphql.sse import sse_response, wants_stream
from gateway.graphql.streams import Streams
from gateway.graphql.subgraph import Subgraph
from gateway.graphql.subscriptions import Hub
from gateway.graphql.trusted import TrustedDocuments
from gateway.graphql.websocket import Socket
from gateway.http.draining import Drain
from gateway.http.metrics import Metrics
from gateway.query.execute import ServedSchema
from gateway.schema import build_schema
from gateway.schema.extensions import Extensions
from gateway.schema.subgraph import print_subgraph


class GraphQLEndpoints:
    """Answers operations. Open subscriptions and sockets end with `drain`."""

    def __init__(
        self,
        services: Services,
        metrics: Metrics,
        drain: Drain,
        *,
        documents: TrustedDocuments | None,
        extensions: Extensions | None,
        pages: bool,
    ) -> None:
        """Raises SetupError where a trusted document does not fit the schema. `pages`: a browser
        gets GraphiQL."""
        contract = services.contract

        def federated() -> ServedSchema:
            return build_schema(contract, extensions, subgraph=True)

        self._documents = documents or TrustedDocuments()
        self.schema = build_schema(contract, extensions)
        self._documents.require_valid(self.schema.graphql, lambda: federated().graphql)
        self._runner = GraphQLRunner(services, metrics, self._documents, self.schema)
        self.subgraph = Subgraph(
            lambda: GraphQLRunner(services, metrics, self._documents, federated(), federated=True),
            lambda served: print_subgraph(served.graphql, contract),
        )
        hub = Hub(services)
        metrics.subscriptions.set_function(lambda: len(hub))
        drain.at_end(hub.end)
        self._streams = Streams(services, self.schema, hub, metrics)
        self._conditional = conditional(self._runner.respond)
        self._pages = pages
        self._sockets: set[Socket] = set()
        drain.at_end(self._end_sockets)

    async def respond(self, request: Request) -> Response:
        """Answer a request to `/graphql` by what it asks for: a stream of events, an answer, or the
        page."""
        if wants_stream(request):
            return await sse_response(request, self._streams, self._documents)
        if request.method == "POST":
            return await self._runner.respond(request)
        if self._pages and wants_page(request):
            return await graphiql_page(request)
        return await self._conditional(request)

    async def socket(self, socket: WebSocket) -> None:
        """Serve a WebSocket until either side ends it."""
        one = Socket(socket, self._streams, self._documents)
        self._sockets.add(one)
        try:
            await one.run()
        finally:
            self._sockets.discard(one)

    def _end_sockets(self) -> None:
        for one in list(self._sockets):
            one.end()
