"""The console: one page that shows the stores, their lag and the last requests, and the JSON it
reads."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from gateway.context.services import Services
from gateway.endpoints.health import Look, states
from gateway.http.guard import Recent
from stores.canonical.standing import as_json
from stores.contract.drawing import as_text

MoreState: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the state that the gateway's own rooms do not know: sinks with backlog and lag, dead
letters, the slot; service levels and deliveries."""


def page(name: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that serves the page `gateway/endpoints/pages/NAME`, whose inline script
    and style are the only ones its policy lets run."""
    text = (files("gateway.endpoints") / "pages" / name).read_text("utf-8")

    def digest(tag: str) -> str:
        inside = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"

    policy = (
        f"default-src 'none'; script-src {digest('script')}; "
        f"style-src {digest('style')}; connect-src 'self'; img-src data:; "
        "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def serve(_: Request) -> Response:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    return serve


def state_endpoint(
    recent: Recent, more: MoreState | None, look: Look | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """`/console/state`."""

    async def state(request: Request) -> Response:
        services: Services = request.app.state.services
        contract = services.contract
        body: dict[str, Any] = {
            "at": time.time(),
            "contract": {
                "name": contract.name,
                "version": contract.version,
                "drawing": as_text(contract),
            },
            "types": list(contract.types),
            "stores": await states(services, types=True),
            "sync": await more() if more else None,
            "conditions": [as_json(c) for c in (await look()).conditions] if look else [],
            "requests": recent.listed(),
        }
        return JSONResponse(body)

    return state
