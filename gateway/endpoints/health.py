"""The health endpoints: whether the gateway is alive and can answer, and the state of each
store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse

from gateway.context.breakers import State
from gateway.context.freshness import generation_of, position_of
from gateway.context.services import Services
from gateway.endpoints.readiness import Status, StoreView, needs, of_type, status_of
from gateway.http.draining import Drain
from stores.canonical.standing import Standing, as_json
from stores.errors import StoreError
from stores.lsn import format_lsn
from stores.protocols import Store
from stores.roles import STORE_ROLES

_SECONDS = 2.0


async def canonical_state(services: Services) -> dict[str, Any]:
    """Return whether canonical answers within two seconds; never raises."""
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
    guard = services.guards[store.role]
    state["breaker"] = guard.state().value
    if state["ok"] and guard.state() is not State.CLOSED:
        state |= {"ok": False, "problem": guard.refusal() or "it is retried"}
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
            state["watermark"] = format_lsn(position.lsn) if position else None
            state["system"] = position.system if position else None
            state["stalenessMs"] = (
                max(0, round((services.listener.now() - position.as_of) * 1000))
                if position
                else None
            )
            if types:
                state["generations"] = {
                    name: await generation_of(store, name) for name in services.contract.types
                }
    except (TimeoutError, StoreError):
        state |= {"ok": False, "problem": "not reached"}
    return state


async def states(services: Services, *, types: bool = False) -> dict[str, dict[str, Any]]:
    """Return how canonical and the stores are, asked at once, by "canonical" and by role."""
    canonical, *stores = await asyncio.gather(
        canonical_state(services),
        *(store_state(services, services.store(role), types=types) for role in STORE_ROLES),
    )
    return {"canonical": canonical, **dict(zip(STORE_ROLES, stores, strict=True))}


async def live(_: Request) -> JSONResponse:
    """The process runs and its event loop turns."""
    return JSONResponse({"status": "live"})


Look: TypeAlias = Callable[[], Awaitable[Standing]]
"""Returns the standing by recordgate's tables in canonical; never raises."""


@dataclass(frozen=True, slots=True)
class Examined:
    """The answers of canonical and the stores to a look: `found` as `states` has it, `stores` by
    role."""

    found: Mapping[str, dict[str, Any]]
    canonical: bool
    stores: Mapping[str, StoreView]
    standing: Standing


async def examine(services: Services, look: Look | None) -> Examined:
    """Ask canonical and the stores at once; never raises. Without `look` only they themselves are
    asked."""

    async def unknown() -> Standing:
        return Standing()

    found, standing = await asyncio.gather(states(services, types=True), (look or unknown)())
    views: dict[str, StoreView] = {
        sink: store_view(found[sink], services.system) for sink in STORE_ROLES
    }
    return Examined(found, bool(found["canonical"]["ok"]), views, standing)


def ready_endpoint(look: Look | None) -> Callable[[Request], Awaitable[JSONResponse]]:
    """`/health/ready`. Without `look` only the stores themselves are asked."""

    async def ready(request: Request) -> JSONResponse:
        """200 while any exposed operation can be answered, else 503, also once the process is about
        to end. Only operators see more than the status."""
        services: Services = request.app.state.services
        drain: Drain = request.app.state.drain
        if drain.begun:
            return JSONResponse({"status": "stopping"}, 503, {"Connection": "close"})
        body = await readiness(services, look)
        viewer = getattr(request.state, "viewer", None)
        shown = body if viewer is not None and viewer.is_operator else {"status": body["status"]}
        return JSONResponse(shown, 503 if body["status"] == Status.NOT_READY else 200)

    return ready


async def readiness(services: Services, look: Look | None) -> dict[str, Any]:
    """Return the status, the stores, each type in each store that it needs, and the conditions."""
    seen = await examine(services, look)
    found, views, standing = seen.found, seen.stores, seen.standing
    status = status_of(services.contract, canonical=seen.canonical, stores=views, standing=standing)
    return {
        "status": status.value,
        "stores": found,
        "types": {
            t.name: {s: of_type(t, s, views[s], standing) for s in needs(t)}
            for t in services.contract.types.values()
        },
        "conditions": [as_json(c) for c in standing.conditions],
    }


def store_view(state: Mapping[str, Any], system: str) -> StoreView:
    """Return the part of `store_state` with types that decisions need."""
    return StoreView(
        bool(state["ok"]),
        str(state.get("problem") or ""),
        state.get("system") == system,
        state.get("generations") or {},
    )
