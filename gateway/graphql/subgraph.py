"""`/graphql/subgraph`: the schema as a subgraph of a federation. It is made when it is first asked
for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway.graphql.endpoint import GraphQLRunner
from gateway.query.execute import ServedSchema
from stores.errors import ForbiddenError


class Subgraph:
    """`make` makes the runner; it takes up to a second of processor time for fifty types."""

    def __init__(
        self,
        make: Callable[[], GraphQLRunner],
        print_schema: Callable[[ServedSchema], str],
    ) -> None:
        self._make, self._print = make, print_schema
        self._made: asyncio.Future[tuple[GraphQLRunner, str]] | None = None

    async def respond(self, request: Request) -> Response:
        """POST: an operation of a federated gateway. GET: the SDL, for whom the schema is open
        to."""
        if request.method != "POST" and not request.state.viewer.may_introspect:
            raise ForbiddenError("the schema is not open to you")
        runner, sdl = await self._runner()
        if request.method == "POST":
            return await runner.respond(request)
        return PlainTextResponse(sdl)

    async def _runner(self) -> tuple[GraphQLRunner, str]:
        made = self._made
        if made is None or (made.done() and (made.cancelled() or made.exception())):
            made = self._made = asyncio.ensure_future(asyncio.to_thread(self._build))
        return await asyncio.shield(made)

    def _build(self) -> tuple[GraphQLRunner, str]:
        runner = self._make()
        return runner, self._print(runner.schema)
