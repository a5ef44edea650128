"""`children` in MongoDB: related records of many parents.

One round trip: an aggregate with a `$lookup` for each parent, each served by the index of the
foreign key followed by the key, so it stops at its limit. It starts at the collection's marker: no
row at all means that readers may no longer read there. A server that plans no queries (it cannot
even explain one) would pass over the collection for each parent; it is asked for one pass for all
of them, which gives the keys, and then for the documents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.decimal128 import Decimal128
from pymongo.asynchronous.collection import AsyncCollection

from stores.contract.model import RecordType
from stores.documents.mongodb.documents import document_bytes
from stores.documents.mongodb.indexes import key_order, path
from stores.documents.mongodb.metadata import MARKER
from stores.query import Children, ChildrenQuery

Collection = AsyncCollection[dict[str, Any]]
Pipeline = list[dict[str, Any]]
Values = tuple[Any, ...]

_FIELDS = {"_id": 0, "doc": 1, "json": 1}


class Moved(Exception):
    """The collection that was read is no longer the active generation's."""


# The statements ----------------------------------------------------------------------------------


def by_lookup(
    collection: str,
    record_type: RecordType,
    names: Sequence[str],
    parents: Sequence[Values],
    limit: int,
) -> Pipeline:
    """Rows {i: number of the parent, child: {doc, json} | absent}: at least one for each parent."""
    literal = [
        {"i": i} | {f"f{n}": value for n, value in enumerate(values)}
        for i, values in enumerate(parents)
    ]
    equal = [{"$eq": [f"${path(name)}", f"$$f{n}"]} for n, name in enumerate(names)]
    inner: Pipeline = [
        {"$match": {"$expr": {"$and": equal}}},
        {"$sort": dict(key_order(record_type))},
        {"$limit": limit},
        {"$project": _FIELDS},
    ]
    return [
        {"$match": {"_id": MARKER, "active": True}},
        # A literal: a value that begins with `$` stays a value.
        {"$project": {"_id": 0, "p": {"$literal": literal}}},
        {"$unwind": "$p"},
        {
            "$lookup": {
                "from": collection,
                "let": {f"f{n}": f"$p.f{n}" for n in range(len(names))},
                "pipeline": inner,
                "as": "child",
            }
        },
        {"$unwind": {"path": "$child", "preserveNullAndEmptyArrays": True}},
        {"$project": {"i": "$p.i", "child": 1}},
    ]


def matching(names: Sequence[str], parents: Sequence[Values]) -> dict[str, Any]:
    """A filter for the children of any of `parents`."""
    if len(names) == 1:
        return {path(names[0]): {"$in": [values[0] for values in parents]}}
    return {
        "$or": [
            {path(n): value for n, value in zip(names, values, strict=True)} for values in parents
        ]
    }


def totals(names: Sequence[str], parents: Sequence[Values]) -> Pipeline:
    """Rows {_id: [parent's values], n}: how many children each parent has; none for one without."""
    return [
        {"$match": matching(names, parents)},
        {"$project": {"own": [f"${path(n)}" for n in names]}},
        {"$group": {"_id": "$own", "n": {"$sum": 1}}},
    ]


def by_pass(
    record_type: RecordType, names: Sequence[str], parents: Sequence[Values], limit: int
) -> Pipeline:
    """Rows {_id: [parent's values], n, keys}: `totals`, and the first children's keys in order."""
    return [
        {"$match": matching(names, parents)},
        {"$sort": dict(key_order(record_type))},
        {"$project": {"own": [f"${path(n)}" for n in names]}},
        {"$group": {"_id": "$own", "n": {"$sum": 1}, "keys": {"$push": "$_id"}}},
        {"$project": {"n": 1, "keys": {"$slice": ["$keys", limit]}}},
    ]


# Reading -----------------------------------------------------------------------------------------


@dataclass
class _Page:
    """The children of one parent that are read."""

    values: Values
    """The values as they are in documents."""
    documents: list[bytes] = field(default_factory=list)
    total: int = 0


async def read_children(
    collection: Collection,
    record_type: RecordType,
    query: ChildrenQuery,
    bound: Mapping[Values, Values],
    *,
    uses_indexes: bool,
) -> dict[Values, Children]:
    """The answer to `query`. `bound`: each of its values → the same as it stands in documents.
    Raises Moved."""
    # Nothing equals a missing value.
    pages = {_hashable(b): _Page(b) for b in bound.values() if None not in b}
    if pages and uses_indexes:
        await _look_up(collection, record_type, query, pages)
    elif pages:
        await _pass_over(collection, record_type, query, pages)
    nothing = _Page(())
    answer: dict[Values, Children] = {}
    for values, b in bound.items():
        page = nothing if None in b else pages[_hashable(b)]
        answer[values] = Children(page.documents, page.total if query.count else None)
    return answer


async def _look_up(
    collection: Collection,
    record_type: RecordType,
    query: ChildrenQuery,
    pages: Mapping[Values, _Page],
) -> None:
    places = list(pages.values())
    parents = [page.values for page in places]
    pipeline = by_lookup(
        collection.name, record_type, query.properties, parents, max(1, query.limit)
    )
    readable = False
    async for row in await collection.aggregate(pipeline):
        readable = True
        if (child := row.get("child")) is not None:
            page = places[row["i"]]
            page.total += 1
            if query.limit > 0:
                page.documents.append(document_bytes(child))
    if not readable:
        raise Moved
    full = [page.values for page in places if page.total >= max(1, query.limit)]
    if query.count and full:
        async for row in await collection.aggregate(totals(query.properties, full)):
            pages[_group(row)].total = row["n"]


async def _pass_over(
    collection: Collection,
    record_type: RecordType,
    query: ChildrenQuery,
    pages: Mapping[Values, _Page],
) -> None:
    parents = [page.values for page in pages.values()]
    pipeline = by_pass(record_type, query.properties, parents, max(1, query.limit))
    keys: dict[Values, list[str]] = {}
    async for row in await collection.aggregate(pipeline):
        group = _group(row)
        if group in pages:
            pages[group].total = row["n"]
            keys[group] = row["keys"][: query.limit]
    wanted = [MARKER, *(key for some in keys.values() for key in some)]
    readable = False
    documents: dict[str, bytes] = {}
    async for found in collection.find({"_id": {"$in": wanted}}):
        if found["_id"] == MARKER:
            readable = found["active"]
        elif "at" not in found:
            documents[found["_id"]] = document_bytes(found)
    if not readable:
        raise Moved
    for group, some in keys.items():
        pages[group].documents = [documents[key] for key in some if key in documents]


def _group(row: Mapping[str, Any]) -> Values:
    return _hashable(tuple(row["_id"]))


def _hashable(values: Values) -> Values:
    """Equal for values that MongoDB finds equal."""
    return tuple(v.to_decimal() if isinstance(v, Decimal128) else v for v in values)
