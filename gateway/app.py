"""The gateway's ASGI application: its routes, and what each request carries."""

from __future__ import annotations

from collections.abc import Sequence

from graphql import print_schema
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from gateway.browse.endpoints import Browser
from gateway.browse.graphiql import samples_endpoint, viewer_endpoint
from gateway.changes.endpoint import changes_endpoint
from gateway.changes.news import ChangeNews
from gateway.context.conditional import conditional
from gateway.context.services import Services
from gateway.context.store_metrics import StoreMetrics
from gateway.endpoints.assets import asset_endpoint
from gateway.endpoints.console import MoreState, page, state_endpoint
from gateway.endpoints.health import Look, live, ready_endpoint
from gateway.endpoints.openapi import openapi_document
from gateway.endpoints.product import described, odcs, odps
from gateway.export.endpoint import export_endpoint
from gateway.export.spool import Spool
from gateway.graphql.direct import Direct
from gateway.graphql.endpoints import GraphQLEndpoints
from gateway.graphql.trusted import TrustedDocuments
from gateway.http.access_log import AccessLog
from gateway.http.compression import Compression
from gateway.http.counted import Endpoint, counted
from gateway.http.draining import Drain
from gateway.http.guard import Guard, Recent
from gateway.http.metrics import Metrics
from gateway.http.problems import HttpProblem, problem_response
from gateway.http.service_levels import ServiceLevels
from gateway.schema.extensions import Extensions
from gateway.search.endpoint import search_endpoint, suggest_endpoint
from gateway.security.access import Access, AccessMiddleware
from gateway.security.authenticate import Anonymous, Authenticator
from gateway.security.cross_origin import cors
from stores.errors import RecordgateError

MOST_RUNNING = 200
"""Requests that run at once; more are answered 503."""


def make_app(
    services: Services,
    metrics: Metrics | None = None,
    *,
    access: Access | None = None,
    documents: TrustedDocuments | None = None,
    more_state: MoreState | None = None,
    look: Look | None = None,
    spool: Spool | None = None,
    log: AccessLog | None = None,
    extra: Sequence[BaseRoute] = (),
    extensions: Extensions | None = None,
    levels: ServiceLevels | None = None,
    pages: bool = True,
) -> Starlette:
    """Return the application over `services`. Without `access` everybody may do everything;
    `documents`: the trusted ones. `metrics` may share a registry with the sync worker; `more_state`
    tells the console what only the sync side knows, `look` readiness and console how everything
    stands; `extra` are more routes; `extensions`: what the product adds to the schema; `levels`
    counts what the contract promises of the service; `pages`: whether there are pages for people,
    the console aside."""
    metrics = metrics or Metrics()
    access = access or Access(Authenticator(services.contract))
    StoreMetrics(services, metrics.registry)
    recent, drain = Recent(), Drain()
    metrics.running.set_function(lambda: drain.running)
    graphql = GraphQLEndpoints(
        services, metrics, drain, documents=documents, extensions=extensions, pages=pages
    )
    news = ChangeNews(services)
    drain.at_end(news.end)
    schema_text = print_schema(graphql.schema.graphql)
    required = access.authenticator.rules.anonymous is Anonymous.NO
    openapi = openapi_document(services.contract, authenticated=required)

    async def schema(_: Request) -> Response:
        return PlainTextResponse(schema_text)

    async def openapi_json(_: Request) -> Response:
        return JSONResponse(openapi)

    async def exposition(request: Request) -> Response:
        if look is not None:
            await look()
        body, media_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, media_type=media_type)

    def seen(endpoint: Endpoint) -> Endpoint:
        return counted(endpoint, metrics)

    routes: list[BaseRoute] = [
        WebSocketRoute("/graphql", graphql.socket),
        Route("/graphql", graphql.respond, methods=["GET", "POST"]),
        Route("/graphql/subgraph", seen(graphql.subgraph.respond), methods=["GET", "POST"]),
        Route("/search/{type}", seen(conditional(search_endpoint)), methods=["GET", "POST"]),
        Route("/suggest/{type}", seen(conditional(suggest_endpoint)), methods=["GET"]),
        Route("/export/{type}", seen(export_endpoint), methods=["GET"]),
        Route("/changes/{type}", seen(changes_endpoint), methods=["GET"]),
        Route("/health/live", live, methods=["GET"]),
        Route("/health/ready", ready_endpoint(look), methods=["GET"]),
        Route("/metrics", exposition, methods=["GET"]),
        Route("/schema.graphql", schema, methods=["GET"]),
        Route("/openapi.json", openapi_json, methods=["GET"]),
        Route("/product", seen(described(odps)), methods=["GET"]),
        Route("/contract", seen(described(odcs)), methods=["GET"]),
        Route("/console", page("console.html"), methods=["GET"]),
        Route("/console/state", state_endpoint(recent, more_state, look), methods=["GET"]),
        *extra,
    ]
    if pages:
        routes += [
            *Browser(services, graphql.schema).routes(seen),
            Route("/assets/{name:path}", asset_endpoint, methods=["GET"]),
            Route("/graphiql/samples", samples_endpoint, methods=["GET"]),
            Route("/graphiql/viewer", viewer_endpoint, methods=["GET"]),
        ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(
                Guard,
                metrics=metrics,
                recent=recent,
                drain=drain,
                seconds=services.limits.request_seconds,
                most=MOST_RUNNING,
                log=log,
                levels=levels,
            ),
            Middleware(Compression),
            *cors(access.origins),
            Middleware(
                AccessMiddleware, access=access, count=lambda code: metrics.count("http", (), code)
            ),
            Middleware(Direct, path="/graphql", endpoint=graphql.respond, refused=_refused),
        ],
        exception_handlers={RecordgateError: _refused, HTTPException: _refused},
    )
    app.router.redirect_slashes = False
    app.state.services, app.state.drain = services, drain
    app.state.spool, app.state.change_news = spool or Spool(None), news
    return app


_OF_STATUS = {
    404: HttpProblem("NOT_FOUND", "no endpoint has this path"),
    405: HttpProblem("METHOD_NOT_ALLOWED", "this endpoint does not support the method"),
}


async def _refused(request: Request, error: Exception) -> Response:
    """Our errors, and those of routing, as problems."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        error = _OF_STATUS.get(error.status_code) or HttpProblem("BAD_USER_INPUT", "bad request")
    response = problem_response(error, request.state.request_id)
    response.headers.update(headers)
    return response
