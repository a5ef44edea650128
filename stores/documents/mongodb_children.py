"""`children` in MongoDB: related records of many parents.

One round trip: an aggregate with a `$lookup` for each parent, each served by the index of the foreign key
followed by the key, so it stops at its limit. It starts at the collection's marker: no row at all
means that readers may no longer read there. A server that plans no queries (it cannot even explain
one) would pass over the collection for each parent; it is asked for one pass for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection

from stores.contract.model import RecordType
from stores.documents.mongodb_books import MARKER
from stores.documents.mongodb_documents import document_bytes
from stores.documents.mongodb_indexes import key_order, path
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
    """Rows {_id: {f0: …}, n}: how many children each parent has; none for one without."""
    group = {f"f{n}": f"${path(name)}" for n, name in enumerate(names)}
    return [{"$match": matching(names, parents)}, {"$group": {"_id": group, "n": {"$sum": 1}}}]


# Reading -----------------------------------------------------------------------------------------


async def read_children(
    collection: Collection,
    record_type: RecordType,
    query: ChildrenQuery,
    bound: Mapping[Values, Values],
    *,
    uses_indexes: bool,
) -> dict[Values, Children]:
    """The answer to `query`. `bound`: each of its values → the same as it stands in documents. Raises
    Moved."""
    names = query.properties
    # Nothing equals a missing value.
    parents = list(dict.fromkeys(v for v in bound.values() if None not in v))
    pages: dict[Values, list[bytes]] = {p: [] for p in parents}
    if parents and query.limit > 0:
        if uses_indexes:
            await _look_up(collection, record_type, names, parents, query.limit, pages)
        else:
            await _pass_over(collection, record_type, names, parents, query.limit, pages)
    counts: dict[Values, int] = {}
    if query.count:
        full = [p for p in parents if len(pages[p]) >= query.limit]
        counts = {p: len(pages[p]) for p in parents} | dict.fromkeys(full, 0)
        if full:
            async for row in await collection.aggregate(totals(names, full)):
                counts[_values(row["_id"], len(names))] = row["n"]
    return {
        values: Children(pages.get(b, []), counts.get(b, 0) if query.count else None)
        for values, b in bound.items()
    }


async def _look_up(
    collection: Collection,
    record_type: RecordType,
    names: Sequence[str],
    parents: Sequence[Values],
    limit: int,
    pages: dict[Values, list[bytes]],
) -> None:
    pipeline = by_lookup(collection.name, record_type, names, parents, limit)
    readable = False
    async for row in await collection.aggregate(pipeline):
        readable = True
        if (child := row.get("child")) is not None:
            pages[parents[row["i"]]].append(document_bytes(child))
    if not readable:
        raise Moved


async def _pass_over(
    collection: Collection,
    record_type: RecordType,
    names: Sequence[str],
    parents: Sequence[Values],
    limit: int,
    pages: dict[Values, list[bytes]],
) -> None:
    """The marker has nothing where the order looks, so it comes first."""
    wanted = {"$or": [{"_id": MARKER}, matching(names, parents)]}
    cursor = collection.find(wanted, sort=key_order(record_type))
    if len(parents) == 1:
        cursor = cursor.limit(limit + 1)
    readable = False
    async for found in cursor:
        if found["_id"] == MARKER:
            readable = found["active"]
            continue
        document = found["doc"]
        page = pages.get(tuple(document[n] for n in names))
        if page is not None and len(page) < limit:
            page.append(document_bytes(found))
    if not readable:
        raise Moved


def _values(row: Mapping[str, Any], length: int) -> Values:
    return tuple(row[f"f{n}"] for n in range(length))
