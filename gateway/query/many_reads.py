"""Records by many keys at once: one read of the document store where it may answer, else one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.context.freshness import active_generation, report, usable
from gateway.context.services import RequestContext
from gateway.query.documents import from_document, why_not_document
from gateway.query.key_reads import explain
from gateway.query.planner import CANONICAL, Candidate, Plan, Rejected
from gateway.query.records import read_records, visibility_of
from gateway.shape.selection import Selected
from gateway.shape.shapes import RecordShape
from gateway.shape.shaping import Shaper, is_plain_key, key_values
from stores.contract.model import RecordType
from stores.errors import InputError, StoreError, StoreUnavailable
from stores.keys import encode_key
from stores.roles import StoreRole

READ = Plan(
    (
        Candidate(StoreRole.DOCUMENTS, "key read"),
        Candidate(CANONICAL, "the document store does not answer"),
    ),
    (Rejected(StoreRole.SEARCH, "no text is searched"),),
)


async def read_by_keys(
    context: RequestContext,
    path: str,
    record_type: RecordType,
    keys: Sequence[str],
    fields: tuple[Selected, ...],
) -> dict[str, dict[str, Any]]:
    """The records of those keys that are there and that the viewer may see, by the key as it was given, keyed by
    response name. A key that is none of the type's is not there. `path` is noted as the place of the read.
    Raises RecordgateError."""
    visibility = visibility_of(context)
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
    why = "a key is not in the form that documents are kept under" if not plain else ""
    why = why or why_not_document(
        shape,
        record_type.embeds,
        visibility,
        children=False,
        bytewise=context.services.text_order_is_bytewise,
    )
    planned = bool(not why)
    wanted = list(dict.fromkeys(texts.values()))
    if planned:
        found, why = await _from_documents(context, path, shape, wanted)
        if found is not None:
            return {k: found[t] for k, t in texts.items() if t in found}
    services = context.services
    if planned and not await services.fallbacks.enter():
        services.fallbacks_refused += 1
        raise StoreUnavailable(
            "the document store cannot answer, and canonical takes no more in its place",
            store=StoreRole.DOCUMENTS,
            hint="try again in a moment",
            retry_after=1.0,
        )
    try:
        context.routes[path] = report(CANONICAL, why)
        explain(context, path, READ, CANONICAL, ["records by key"], why)
        read = await read_records(context, shape, wanted)
    finally:
        if planned:
            services.fallbacks.leave()
    return {k: read[t] for k, t in texts.items() if t in read}


async def _from_documents(
    context: RequestContext, path: str, shape: RecordShape, keys: Sequence[str]
) -> tuple[dict[str, dict[str, Any]] | None, str]:
    """The records from the document store, or None and why it was not taken."""
    services = context.services
    store, name = services.documents, shape.type.name
    refused = services.refusals().get(StoreRole.DOCUMENTS)
    if refused:
        return None, f"{StoreRole.DOCUMENTS}: {refused}"
    standing = await usable(services, store, context.freshness)
    if not standing.usable:
        return None, f"{StoreRole.DOCUMENTS}: {standing.reason}"
    try:
        active = await active_generation(store, name)
        if active is None:
            return None, f"{StoreRole.DOCUMENTS}: {name} is not loaded yet"
        if active.shape != services.fingerprint(StoreRole.DOCUMENTS, name):
            return (
                None,
                f"{StoreRole.DOCUMENTS}: {name} was loaded by another contract, and needs a reload",
            )
        documents = await store.get(name, keys)
    except StoreError as error:
        return None, f"{StoreRole.DOCUMENTS}: {error.message}"
    context.routes[path] = report(
        StoreRole.DOCUMENTS, "key read", standing.position, active.number, now=services.news.now()
    )
    explain(context, path, READ, StoreRole.DOCUMENTS, [f"get {len(keys)} of {name}"], "")
    return {k: from_document(shape, orjson.loads(d), {}) for k, d in documents.items()}, ""
