"""Bulk writes: bodies made of bytes once, bounded in size, and the answer read item by item.

Every write carries canonical's version as an external one, so the index takes it only where it is
greater than the one held. A delete is a write, too: of a tombstone, a document that says only when
the record went. It holds the version longer than the index remembers deletes of its own
(`index.gc_deletes`, a minute).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from stores.protocols import APPLIED, STALE, Outcome, Verdict, Write
from stores.search.elasticsearch.documents import DocumentBuilder
from stores.search.elasticsearch.errors import (
    blocked,
    generation_gone,
    kind_of_error,
    larger_than_the_server,
    refused,
    rejected_reason,
    translate,
)
from stores.search.elasticsearch.http import Http, path
from stores.write_checks import reject

BODY_BYTES = 8_000_000
"""Maximum bytes of a request, unless a single document is larger. The server allows 100 MB and a
tenth of its heap."""
BODY_ITEMS = 5_000
SHARD_SECONDS = "10s"
"""The longest time that the server waits for a shard that is not there yet, as after its start."""
TOO_LARGE = (
    "the document is larger than the server takes: http.max_content_length,"
    " or indexing_pressure.memory.limit, a tenth of its heap"
)
_FILTER = "errors,items.*.status,items.*.error"
_RETRY = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Item:
    """A write of a batch, at `place`, as the two lines of a bulk body."""

    place: int
    lines: bytes


def document_id(key: str) -> str:
    """The id of a record. An empty one is not allowed; no key holds a NUL."""
    return key or "\0"


def items_of(
    builder: DocumentBuilder, writes: Sequence[Write]
) -> tuple[list[Item], list[Verdict | None]]:
    """The lines of every write that can be sent, and the verdicts on those that cannot."""
    items: list[Item] = []
    verdicts: list[Verdict | None] = [None] * len(writes)
    for place, write in enumerate(writes):
        document, verdict = builder.build(write)
        if verdict is not None:
            verdicts[place] = verdict
            continue
        action = {
            "_id": document_id(write.key),
            "version": write.version,
            "version_type": "external",
        }
        items.append(
            Item(place, b"".join((orjson.dumps({"index": action}), b"\n", document, b"\n")))
        )
    return items, verdicts


def bodies(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The items in requests of a bounded size."""
    part: list[Item] = []
    size = 0
    for item in items:
        if part and (size + len(item.lines) > BODY_BYTES or len(part) == BODY_ITEMS):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item.lines)
    if part:
        yield part


async def send(http: Http, target: str, items: list[Item], seconds: float) -> list[Verdict]:
    """The verdicts on `items`, written into the alias `target`, in halves where the server calls
    the whole too large. Raises StoreUnavailable where all of it has to wait, or the index is
    gone."""
    answer = await http.send(
        "POST",
        path(target, "_bulk"),
        b"".join(item.lines for item in items),
        params={"require_alias": "true", "timeout": SHARD_SECONDS, "filter_path": _FILTER},
        seconds=seconds,
        allow=(413, 429),
        content_type="application/x-ndjson",
    )
    found = answer.body
    if answer.status == 429 and not larger_than_the_server(found.get("error")):
        raise translate(429, kind_of_error(found), http.node)
    if answer.status >= 400 or _all_too_large(found):
        if len(items) == 1:
            return [reject(TOO_LARGE)]
        middle = len(items) // 2
        first = await send(http, target, items[:middle], seconds)
        return first + await send(http, target, items[middle:], seconds)
    if not found.get("errors"):
        return [APPLIED] * len(items)
    answers = [next(iter(a.values())) for a in found["items"]]
    return [verdict(a, target) for a in answers]


def _all_too_large(found: dict[str, Any]) -> bool:
    """Items of one shard are refused together; of other shards some may have been taken: they are
    stale then."""
    return bool(found.get("errors")) and any(
        larger_than_the_server(answer.get("error"))
        for item in found["items"]
        for answer in item.values()
    )


def verdict(item: dict[str, Any], target: str) -> Verdict:
    """The verdict that an item's answer stands for. Raises where it is about the index and not the
    item."""
    status = int(item.get("status", 500))
    if status < 300:
        return APPLIED
    error = item.get("error")
    kind = str(error.get("type", "")) if isinstance(error, dict) else ""
    if status == 409:
        return STALE
    if kind == "cluster_block_exception":
        raise blocked()
    if kind in ("index_not_found_exception", "index_closed_exception") or status == 404:
        raise generation_gone(target)
    if status in (401, 403):
        raise refused(
            "the user may not write to the index", hint="grant its role the privilege `index`"
        )
    if status in _RETRY:
        return Verdict(Outcome.RETRY, f"the server asks the client to wait ({kind or status})")
    return reject(rejected_reason(error))
