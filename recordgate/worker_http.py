"""The HTTP answers of a worker that runs alone: whether it lives, whether it follows, and its
metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.endpoints.health import live
from recordgate.overview import Overview
from stores.canonical.standing import as_json
from sync.worker import Worker


def worker_app(worker: Worker, registry: CollectorRegistry, overview: Overview) -> Starlette:
    """`/health/ready` is 503 with the problem while the worker waits: for canonical, for its turn
    behind another worker, for a source. What stands in the way of its sinks is told beside it, and
    is not the worker's own fault: it follows."""

    async def ready(_: Request) -> JSONResponse:
        problem = str(worker.state()["problem"])
        standing = await overview.look()
        body: dict[str, Any] = {"status": "not ready" if problem else "ready"}
        if problem:
            body["problem"] = problem
        body["conditions"] = [as_json(c) for c in standing.conditions]
        return JSONResponse(body, 503 if problem else 200)

    async def exposition(request: Request) -> Response:
        await overview.look()
        encoder, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(registry), headers={"content-type": media_type})

    return Starlette(
        routes=[
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", ready, methods=["GET"]),
            Route("/metrics", exposition, methods=["GET"]),
        ]
    )
