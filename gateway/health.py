"""Whether the gateway is alive and can answer, and how each store stands."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse

from gateway.breakers import State
from gateway.draining import Drain
from gateway.freshness import generation_of, lsn_text, position_of
from gateway.services import Services
from stores.errors import StoreError
from stores.protocols import Store

_SECONDS = 2.0


async def canonical_state(services: Services) -> dict[str, Any]:
    """Whether canonical answers within two seconds; never raises."""
    try:
        async with asyncio.timeout(_SECONDS), services.pool.connection(_SECONDS) as conn:
            await conn.execute("SELECT 1")
    except (TimeoutError, PoolTimeout, psycopg.Error, StoreError):
        return {"ok": False, "problem": "not reached"}
    return {"ok": True}


async def store_state(services: Services, store: Store, *, types: bool = False) -> dict[str, Any]:
    """Kind, health, breaker, position and, with `types`, the active generations; never raises."""
    state: dict[str, Any] = {"kind": store.kind}
    state |= await _asked(services, store, types=types)
    guard = services.documents_guard if store is services.documents else services.search_guard
    state["breaker"] = guard.state().value
    if state["ok"] and guard.state() is not State.CLOSED:
        state |= {"ok": False, "problem": guard.refusal() or "it is tried again"}
    return state


async def _asked(services: Services, store: Store, *, types: bool) -> dict[str, Any]:
    state: dict[str, Any] = {}
    try:
        async with asyncio.timeout(_SECONDS + 0.5):
            health = await store.health()
            state |= {"ok": health.ok, "version": health.version, "problem": health.problem}
            if not health.ok:
                return state
            position = await position_of(store)
            state["watermark"] = lsn_text(position.lsn) if position else None
            state["stalenessMs"] = (
                max(0, round((services.news.now() - position.as_of) * 1000)) if position else None
            )
            if types:
                state["generations"] = {
                    name: await generation_of(store, name) for name in services.contract.types
                }
    except (TimeoutError, StoreError):
        state |= {"ok": False, "problem": "not reached"}
    return state


async def states(services: Services, *, types: bool = False) -> dict[str, dict[str, Any]]:
    """Of canonical and both stores, asked at once."""
    canonical, documents, search = await asyncio.gather(
        canonical_state(services),
        store_state(services, services.documents, types=types),
        store_state(services, services.search, types=types),
    )
    return {"canonical": canonical, "documents": documents, "search": search}


async def live(_: Request) -> JSONResponse:
    """The process runs and its event loop turns."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> JSONResponse:
    """200 where canonical answers, "degraded" where a store does not; 503 without canonical, and once the
    process is about to end."""
    services: Services = request.app.state.services
    drain: Drain = request.app.state.drain
    if drain.begun:
        return JSONResponse({"status": "stopping"}, 503, {"Connection": "close"})
    found = await states(services)
    if not found["canonical"]["ok"]:
        return JSONResponse({"status": "not ready", "stores": found}, 503)
    degraded = any(not state["ok"] for state in found.values())
    return JSONResponse({"status": "degraded" if degraded else "ready", "stores": found})
