"""What a worker that runs alone answers over HTTP: whether it lives, whether it follows, and its metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.health import live
from sync.worker import Worker


def worker_app(worker: Worker, registry: CollectorRegistry) -> Starlette:
    """`/health/ready` is 503 with the problem while the worker waits: for canonical, for its turn behind
    another worker, for a source."""

    async def ready(_: Request) -> JSONResponse:
        problem = str(worker.state()["problem"])
        if problem:
            return JSONResponse({"status": "not ready", "problem": problem}, 503)
        return JSONResponse({"status": "ready"})

    async def exposition(request: Request) -> Response:
        encoder, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), headers={"content-type": media_type})

    return Starlette(
        routes=[
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", ready, methods=["GET"]),
            Route("/metrics", exposition, methods=["GET"]),
        ]
    )
