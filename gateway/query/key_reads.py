"""Reads by key, of one record or of many: from the document store where the plan says so, from
canonical where that store is open to none, too far behind, or slow. Canonical is asked in the place
of a store only as often as a bulkhead allows, so that a store's failure cannot drown it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gateway.context.freshness import active_generation, report, usable
from gateway.context.services import Freshness, RequestContext, Services
from gateway.http.deadlines import Limit
from gateway.query.documents import from_document, outside, read_document, why_not_document
from gateway.query.planner import CANONICAL, KEY_READ, Plan, chosen
from gateway.query.records import read_records, visibility_of
from gateway.shape.selection import Selected
from gateway.shape.shapes import KeyShape
from gateway.shape.shaping import Shaper, is_plain_key, key_values
from stores import json_numbers
from stores.contract.model import RecordType
from stores.errors import InputError, StoreError, StoreUnavailable
from stores.keys import encode_key
from stores.roles import StoreRole

T = TypeVar("T")
Canonical = Callable[[], Awaitable[bytes | None]]

SLOW = f"{StoreRole.DOCUMENTS}: it is slower than usual"
AS_GOOD = "the document store answers the same, and spares it"
LEAST_PATIENCE = 0.025
"""Seconds that the store has at least before canonical is asked, too."""


# One record ------------------------------------------------------------------------------------


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
    """(True, the record from the document store) or (False, canonical's JSON); None where there is
    no record. `text`: what `canonical` sends. `strict`: as for `read_document`. Raises
    StoreUnavailable where canonical does too much in the store's place already, and what
    `canonical` raises."""
    services = context.services
    candidate, why = chosen(planned, services.refusals())
    if candidate.store != CANONICAL:
        hedge = _Hedge(services, canonical)
        begin = None if context.freshness.wait_up_to else hedge.begin
        patience = max(LEAST_PATIENCE, services.guards[StoreRole.DOCUMENTS].usual)
        limit = hedge.limit = Limit(float("inf"), after=patience, begin=begin)
        try:
            with limit:
                found, why = await from_documents(
                    context,
                    path,
                    planned,
                    _types(shape),
                    lambda: read_document(services.documents, shape, key, strict=strict),
                )
            if not why:
                return True, found
        except TimeoutError:
            _note(context, path, planned, text, SLOW)
            return False, hedge.result()
        finally:
            if hedge.task is not None:
                hedge.end()
    async with in_its_place(services):
        _note(context, path, planned, text, why)
        return False, await canonical()


def _types(shape: KeyShape) -> Sequence[str]:
    """The types whose documents are read for `shape`, its own first."""
    name = shape.record.type.name
    others = {p.page.type.name for p in outside(shape.record)} - {name}
    return (name, *others)


# Many records ----------------------------------------------------------------------------------


async def read_by_keys(
    context: RequestContext,
    path: str,
    record_type: RecordType,
    keys: Sequence[str],
    fields: tuple[Selected, ...],
) -> dict[str, dict[str, Any]]:
    """The records of those keys that are there and that the viewer may see, by the key as it was
    given, keyed by response name. A key that is none of the type's is not there. `path` is noted as
    the place of the read. Raises RecordgateError."""
    services, visibility = context.services, visibility_of(context)
    visibility.require_may(record_type, "get")
    shape = Shaper(visibility).record(record_type, fields, max(1, len(keys)))
    texts: dict[str, str] = {}
    plain = True
    for key in dict.fromkeys(keys):
        try:
            values = key_values(record_type, key)
        except InputError:
            continue
        plain = plain and is_plain_key(record_type, values)
        texts[key] = encode_key(values)
    if not texts:
        return {}
    wanted = list(dict.fromkeys(texts.values()))

    async def documents() -> tuple[dict[str, dict[str, Any]], list[str]]:
        """One read of the store. Related records that are not inside were a read for each
        record."""
        name = record_type.name
        found = await services.documents.get(name, wanted)
        records = {k: from_document(shape, json_numbers.loads(d), {}) for k, d in found.items()}
        return records, [f"get {len(wanted)} of {name}"]

    async def canonical() -> dict[str, dict[str, Any]]:
        _note(context, path, KEY_READ, "records by key", why)
        return await read_records(context, shape, wanted)

    def by_given_key(read: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {k: read[t] for k, t in texts.items() if t in read}

    why = "a key is not in the form that documents are kept under" if not plain else ""
    why = why or why_not_document(
        shape,
        record_type.embeds,
        visibility,
        children=False,
        bytewise=services.text_order_is_bytewise,
    )
    if why:
        return by_given_key(await canonical())
    candidate, why = chosen(KEY_READ, services.refusals())
    if candidate.store != CANONICAL:
        read, why = await from_documents(context, path, KEY_READ, (record_type.name,), documents)
        if read is not None:
            return by_given_key(read)
    async with in_its_place(services):
        return by_given_key(await canonical())


# What both do ----------------------------------------------------------------------------------


async def from_documents(
    context: RequestContext,
    path: str,
    planned: Plan,
    types: Sequence[str],
    read: Callable[[], Awaitable[tuple[T, list[str]]]],
    *,
    freshness: Freshness | None = None,
    reason: str = "",
) -> tuple[T | None, str]:
    """Return the result of `read` from the document store and "", or None and why the store was not
    taken.

    `types` are those whose documents are read, first the one that the read is noted with; `read`
    returns what it has asked, too. `path` is the field's name in the response. `freshness` and
    `reason` are given where they are not the request's and the plan's.
    """
    services = context.services
    store = services.documents
    freshness = freshness or context.freshness
    began = time.monotonic()
    try:
        standing = await usable(services, store, freshness, types)
    except asyncio.CancelledError:
        # All share one question for the position, so no call of this caller's own tells the
        # breaker.
        if not freshness.wait_up_to:
            services.guards[StoreRole.DOCUMENTS].passed_over(began)
        raise
    if not standing.usable:
        return None, f"{StoreRole.DOCUMENTS}: {standing.reason}"
    try:
        why = await _why_not_shaped(services, types)
        if why:
            return None, f"{StoreRole.DOCUMENTS}: {why}"
        generation = await active_generation(store, types[0])
        found, sent = await read()
    except StoreError as error:
        return None, f"{StoreRole.DOCUMENTS}: {error.message}"
    candidate = planned.candidates[0]
    context.routes[path] = report(
        candidate.store,
        reason or candidate.reason,
        standing.position,
        generation.number if generation else None,
        now=services.listener.now(),
    )
    explain(context, path, planned, candidate.store, sent, "")
    return found, ""


async def _why_not_shaped(services: Services, types: Collection[str]) -> str:
    """Return why documents of `types` are not what the contract says now, or an empty string. A
    contract changes at once, its documents with the next reload."""
    for name in types:
        active = await active_generation(services.documents, name)
        if active is None:
            return f"{name} is not loaded yet"
        if active.shape != services.fingerprint(StoreRole.DOCUMENTS, name):
            return f"{name} was loaded by another contract, and needs a reload"
    return ""


@asynccontextmanager
async def in_its_place(services: Services) -> AsyncIterator[None]:
    """Canonical is read in the document store's place. Raises StoreUnavailable where it is too
    often already."""
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
        yield
    finally:
        services.fallbacks.leave()


def explain(
    context: RequestContext, path: str, planned: Plan, store: str, sent: list[str], why: str
) -> None:
    if not context.explain:
        return
    considered = [{"store": r.store, "taken": False, "why": r.why} for r in planned.rejected]
    if store != planned.candidates[0].store:
        why = why or planned.candidates[-1].reason
        considered.append({"store": planned.candidates[0].store, "taken": False, "why": why})
    elif store != CANONICAL:
        why = AS_GOOD
        considered.append({"store": CANONICAL, "taken": False, "why": why})
    context.plans[path] = {"store": store, "considered": considered, "statements": sent}
    weights = context.weights.get(path)
    if weights:
        context.plans[path]["weights"] = weights


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
