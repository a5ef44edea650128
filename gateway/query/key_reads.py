"""A read by key: from the document store where the plan says so, from canonical where that store is open to
none, too far behind, or slow. Canonical is asked in the place of a store only as often as a bulkhead allows,
so that a store's failure cannot drown it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.context.freshness import active_generation, report, usable
from gateway.context.services import RequestContext, Services
from gateway.http.deadlines import Limit
from gateway.query.documents import outside, read_document
from gateway.query.planner import CANONICAL, Plan, chosen
from gateway.shape.shapes import KeyShape
from stores.errors import StoreError, StoreUnavailable
from stores.roles import StoreRole

Canonical = Callable[[], Awaitable[bytes | None]]

SLOW = "documents: it is slower than usual"
LEAST_PATIENCE = 0.025
"""Seconds that the store has at least before canonical is asked, too."""


async def read_by_key(
    context: RequestContext,
    path: str,
    planned: Plan,
    shape: KeyShape,
    key: str,
    text: str,
    canonical: Canonical,
    *,
    strict: bool = False,
) -> tuple[bool, Any]:
    """(True, the record from the document store) or (False, canonical's JSON); None where there is no
    record. `text`: what `canonical` sends. `strict`: as for `read_document`. Raises StoreUnavailable where
    canonical does too much in the store's place already, and what `canonical` raises."""
    services = context.services
    candidate, why = chosen(planned, services.refusals())
    if candidate.store != CANONICAL:
        hedge = _Hedge(services, canonical)
        begin = None if context.freshness.wait_up_to else hedge.begin
        patience = max(LEAST_PATIENCE, services.guards[StoreRole.DOCUMENTS].usual)
        limit = hedge.limit = Limit(float("inf"), after=patience, begin=begin)
        try:
            with limit:
                found, why = await from_documents(context, path, planned, shape, key, strict=strict)
            if not why:
                return True, found
        except TimeoutError:
            _note(context, path, planned, text, SLOW)
            return False, hedge.result()
        finally:
            if hedge.task is not None:
                hedge.end()
    if not await services.fallbacks.enter():
        services.fallbacks_refused += 1
        raise StoreUnavailable(
            "the document store cannot answer, and canonical takes no more in its place",
            store=StoreRole.DOCUMENTS,
            hint="try again in a moment",
            retry_after=1.0,
        )
    try:
        services.fallbacks_taken += 1
        _note(context, path, planned, text, why)
        return False, await canonical()
    finally:
        services.fallbacks.leave()


async def from_documents(
    context: RequestContext,
    path: str,
    planned: Plan,
    shape: KeyShape,
    key: str,
    *,
    strict: bool = False,
) -> tuple[dict[str, Any] | None, str]:
    """The record and "", or why the store was not taken. `path` is the field's name in the response;
    `strict`: as for `read_document`."""
    services = context.services
    store = services.documents
    began = time.monotonic()
    try:
        standing = await usable(services, store, context.freshness, _types(shape))
    except asyncio.CancelledError:
        # All share one question for the position, so no call of this caller's own tells the breaker.
        if not context.freshness.wait_up_to:
            services.guards[StoreRole.DOCUMENTS].passed_over(began)
        raise
    if not standing.usable:
        return None, f"documents: {standing.reason}"
    record_type = shape.record.type
    try:
        why = await _why_not_shaped(services, shape)
        if why:
            return None, f"documents: {why}"
        generation = await active_generation(store, record_type.name)
        found, sent = await read_document(store, shape, key, strict=strict)
    except StoreError as error:
        return None, f"documents: {error.message}"
    reason = planned.candidates[0].reason
    context.routes[path] = report(
        planned.candidates[0].store,
        reason,
        standing.position,
        generation.number if generation else None,
        now=services.news.now(),
    )
    explain(context, path, planned, planned.candidates[0].store, sent, "")
    return found, ""


def _types(shape: KeyShape) -> set[str]:
    """The types whose documents are read for `shape`."""
    return {shape.record.type.name, *(p.page.type.name for p in outside(shape.record))}


async def _why_not_shaped(services: Services, shape: KeyShape) -> str:
    """Why documents that are read for `shape` are not what the contract says now; else empty. A
    contract changes at once, its documents with the next reload."""
    for name in _types(shape):
        active = await active_generation(services.documents, name)
        if active is None:
            return f"{name} is not loaded yet"
        if active.shape != services.fingerprint(StoreRole.DOCUMENTS, name):
            return f"{name} was loaded by another contract, and needs a reload"
    return ""


def explain(
    context: RequestContext, path: str, planned: Plan, store: str, sent: list[str], why: str
) -> None:
    if not context.explain:
        return
    considered = [{"store": r.store, "taken": False, "why": r.why} for r in planned.rejected]
    if why:
        considered.append({"store": planned.candidates[0].store, "taken": False, "why": why})
    context.plans[path] = {"store": store, "considered": considered, "statements": sent}


def _note(context: RequestContext, path: str, planned: Plan, text: str, why: str) -> None:
    context.routes[path] = report(CANONICAL, why)
    if context.explain:
        explain(context, path, planned, CANONICAL, [text], why)


class _Hedge:
    """The same read of canonical, begun when the store is slow; the first answer counts."""

    def __init__(self, services: Services, canonical: Canonical) -> None:
        self._services, self._canonical = services, canonical
        self.task: asyncio.Task[bytes | None] | None = None
        self.limit: Limit | None = None

    def begin(self) -> None:
        if self._services.fallbacks.try_enter():
            self._services.hedges_begun += 1
            self.task = asyncio.ensure_future(self._canonical())
            self.task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[bytes | None]) -> None:
        self._services.fallbacks.leave()
        if not task.cancelled() and task.exception() is None and self.limit is not None:
            self.limit.expire()

    def result(self) -> bytes | None:
        assert self.task is not None
        self._services.hedges_won += 1
        return self.task.result()

    def end(self) -> None:
        self.limit = None
        if self.task is not None:
            self.task.cancel()
