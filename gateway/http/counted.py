"""Counts the requests of an endpoint under its operation, the store that answered and the code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from gateway.http.metrics import Metrics
from stores.errors import RecordgateError

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


def counted(endpoint: Endpoint, metrics: Metrics) -> Endpoint:
    """Return `endpoint`, counted. The code is in `request.state.code` afterwards."""

    async def run(request: Request) -> Response:
        code = "INTERNAL"
        try:
            response = await endpoint(request)
            code = getattr(request.state, "page_code", "OK")
            return response
        except RecordgateError as error:
            code = error.detail_code
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        finally:
            request.state.code = code
            metrics.count(
                getattr(request.state, "operation", request.url.path.split("/")[1]),
                getattr(request.state, "stores", ()),
                code,
            )

    return run
