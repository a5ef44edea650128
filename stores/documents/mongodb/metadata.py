"""The metadata of the MongoDB store: one document that says whose database it is, which generations
there are in which collections, and the published position. Every change replaces it in one step, or
fails.

    recordgate.meta: {_id: "recordgate", contract, format, incarnation, revision, term,
                      position: {system, lsn, asOf, withheld: [[type, lsn, asOf]], timeline, forks},
                      generations: [{type, number, state, shape, collection}]}

`incarnation` is a random name of this life of the database: a server that lost its data has another
or none. `term` is that of the worker in charge: one of a smaller term changes nothing here any
more.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from bson.int64 import Int64
from pymongo import ReturnDocument
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError

from stores.contract.model import Contract
from stores.documents.mongodb.errors import KIND
from stores.errors import FencedError, NotLoaded, StoreLost, StoreRefused, StoreUnavailable
from stores.lineage import forks_of
from stores.protocols import Generation, Position, Withheld

META = "recordgate.meta"
ID = "recordgate"
FORMAT = 1
"""Format version of the documents that the store writes. Another version raises StoreLost."""
MARKER = 0
"""The `_id` of the marker in each generation's collection (see mongodb_mending); keys of records
are text."""
_TRIES = 20

Document: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A generation and where it is."""

    type_name: str
    number: int
    state: str
    shape: str
    collection: str

    def generation(self) -> Generation:
        return Generation(self.number, self.state, self.shape)


@dataclass(frozen=True, slots=True)
class StoreMetadata:
    """The document as it was read."""

    contract: str
    incarnation: str
    revision: int
    rows: tuple[Row, ...]
    position: Position | None
    term: int

    def of(self, type_name: str) -> list[Row]:
        return sorted((r for r in self.rows if r.type_name == type_name), key=lambda r: r.number)

    def find(self, type_name: str, number: int) -> Row:
        """Raises StoreRefused where there is none."""
        for row in self.rows:
            if (row.type_name, row.number) == (type_name, number):
                return row
        raise StoreRefused(f"{KIND}: {type_name} has no generation {number}", store=KIND)

    def active(self, type_name: str) -> Row:
        """Raises NotLoaded where there is none."""
        for row in self.rows:
            if row.type_name == type_name and row.state == "active":
                return row
        raise not_loaded(type_name)


def not_loaded(type_name: str) -> NotLoaded:
    return NotLoaded(
        f"{KIND}: {type_name} is not loaded yet",
        store=KIND,
        hint="wait until its first load has finished; `recordgate status` shows it",
    )


def lost() -> StoreLost:
    return StoreLost(
        f"{KIND}: the database has lost its data",
        store=KIND,
        hint=(
            "it is reloaded from canonical; a server that keeps its data only in memory loses it"
            " with every restart"
        ),
    )


# The document ------------------------------------------------------------------------------------


def read(document: Document) -> StoreMetadata:
    """Raises StoreLost where it is not one of ours, or of another version."""
    try:
        if document["format"] != FORMAT:
            raise StoreLost(
                f"{KIND}: the database was written by another version",
                store=KIND,
                hint="drop it; the next start reloads it from canonical",
            )
        at = document.get("position")
        position = at and Position(
            at["system"],
            int(at["lsn"]),
            float(at["asOf"]),
            tuple(Withheld(t, int(lsn), float(as_of)) for t, lsn, as_of in at.get("withheld", ())),
            int(at.get("timeline", 0)),
            forks_of(at.get("forks")),
        )
        rows = tuple(
            Row(g["type"], int(g["number"]), g["state"], g["shape"], g["collection"])
            for g in document["generations"]
        )
        return StoreMetadata(
            document["contract"],
            document["incarnation"],
            int(document["revision"]),
            rows,
            position,
            int(document.get("term", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreLost(
            f"{KIND}: {META} holds data that recordgate did not write",
            store=KIND,
            hint="give recordgate a database of its own",
        ) from error


def _fresh(contract: Contract) -> dict[str, Any]:
    return {
        "_id": ID,
        "contract": contract.id,
        "format": FORMAT,
        "incarnation": secrets.token_hex(12),
        "revision": Int64(0),
        "position": None,
        "generations": [],
    }


def _generations(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    return [
        {
            "type": r.type_name,
            "number": r.number,
            "state": r.state,
            "shape": r.shape,
            "collection": r.collection,
        }
        for r in rows
    ]


def prefix(contract: Contract) -> str:
    """Return the beginning of the names of a contract's collections."""
    return f"{contract.slug}."


def collection_name(contract: Contract, type_name: str, number: int) -> str:
    """Return the collection's name for a generation. A type whose name MongoDB or a shell may not
    accept gets a generated name."""
    plain = re.fullmatch(r"[A-Za-z0-9_-]{1,60}", type_name)
    digest = hashlib.sha256(type_name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{prefix(contract)}{type_name if plain else 'type-' + digest}.g{number}"


def name_pattern(contract: Contract) -> re.Pattern[str]:
    """Return a pattern of the names of a contract's collections (see
    MongodbStore._make_collection)."""
    return re.compile(rf"{re.escape(prefix(contract))}[A-Za-z0-9_-]+\.g[0-9]+(\.[0-9]+)?")


def added(metadata: StoreMetadata, row: Row) -> tuple[Row, ...]:
    return (*metadata.rows, row)


def activated(metadata: StoreMetadata, type_name: str, number: int) -> tuple[Row, ...]:
    chosen = metadata.find(type_name, number)

    def state(row: Row) -> str:
        if row is chosen:
            return "active"
        mine = row.type_name == type_name and row.state == "active"
        return "retired" if mine else row.state

    return tuple(replace(row, state=state(row)) for row in metadata.rows)


def removed(metadata: StoreMetadata, type_name: str, number: int) -> tuple[Row, ...]:
    """Raises StoreRefused for the active one."""
    row = metadata.find(type_name, number)
    if row.state == "active":
        raise StoreRefused(
            f"{KIND}: generation {number} of {type_name} is the active one",
            store=KIND,
            hint="activate another generation first",
        )
    return tuple(r for r in metadata.rows if r is not row)


def without(metadata: StoreMetadata, collections: Collection[str]) -> tuple[Row, ...]:
    """Return the rows without those whose collection is in `collections`, which are gone."""
    return tuple(r for r in metadata.rows if r.collection not in collections)


# In the database ---------------------------------------------------------------------------------


async def load(meta: AsyncCollection[dict[str, Any]]) -> StoreMetadata | None:
    """Return the store's records, or None if there is no document."""
    found = await meta.find_one({"_id": ID})
    return None if found is None else read(found)


async def make(meta: AsyncCollection[dict[str, Any]], contract: Contract) -> StoreMetadata:
    """The metadata of a database that has none; those of somebody faster where there are some."""
    document = _fresh(contract)
    try:
        await meta.insert_one(document)
    except DuplicateKeyError:
        return await load(meta) or read(document)
    return read(document)


async def take_charge(meta: AsyncCollection[dict[str, Any]], incarnation: str, term: int) -> None:
    """Remember `term`. A change of the rows that was begun before fails, for its revision is old.
    Raises FencedError where a greater term is there, StoreLost as `change`."""
    found = await meta.find_one_and_update(
        {"_id": ID, "incarnation": incarnation, "term": not_after(term)},
        {"$set": {"term": Int64(term)}, "$inc": {"revision": Int64(1)}},
        {"_id": 1},
    )
    if found is None:
        raise await _fenced_or_lost(meta, incarnation)


def not_after(term: int) -> Document:
    """Return the filter for a term that is not greater than `term`, or absent."""
    return {"$not": {"$gt": Int64(term)}}


async def _fenced_or_lost(
    meta: AsyncCollection[dict[str, Any]], incarnation: str
) -> FencedError | StoreLost:
    metadata = await load(meta)
    if metadata is None or metadata.incarnation != incarnation:
        return lost()
    return FencedError(f"{KIND}: another worker has taken over")


async def change(
    meta: AsyncCollection[dict[str, Any]],
    incarnation: str,
    decide: Callable[[StoreMetadata], tuple[Row, ...]],
    term: int | None,
) -> StoreMetadata:
    """Replace the rows by what `decide` makes of them, in one step. Raises StoreLost where the
    metadata is gone or of another life, FencedError where a worker of a greater term than `term`
    has been here, and what `decide` raises."""
    for _ in range(_TRIES):
        metadata = await load(meta)
        if metadata is None or metadata.incarnation != incarnation:
            raise lost()
        if term is not None and metadata.term > term:
            raise FencedError(f"{KIND}: another worker has taken over")
        rows = decide(metadata)
        if rows == metadata.rows:
            return metadata
        found = await meta.find_one_and_update(
            {"_id": ID, "incarnation": incarnation, "revision": metadata.revision},
            {"$set": {"generations": _generations(rows)}, "$inc": {"revision": Int64(1)}},
            return_document=ReturnDocument.AFTER,
        )
        if found is not None:
            return read(found)
    raise StoreUnavailable(f"{KIND}: another process is changing the generations", store=KIND)


async def publish(
    meta: AsyncCollection[dict[str, Any]],
    incarnation: str,
    position: Position | None,
    term: int | None,
) -> None:
    """Raises StoreLost where the metadata that the writes belong to is gone, FencedError as
    `change`."""
    if position is None:
        found = await meta.find_one({"_id": ID, "incarnation": incarnation}, {"_id": 1})
    else:
        at = {
            "system": position.system,
            "lsn": Int64(position.lsn),
            "asOf": position.as_of,
            "withheld": [[w.type_name, Int64(w.lsn), w.as_of] for w in position.withheld],
            "timeline": Int64(position.timeline),
            "forks": [[Int64(n) for n in fork] for fork in position.forks],
        }
        mine: dict[str, Any] = {"_id": ID, "incarnation": incarnation}
        if term is not None:
            mine["term"] = not_after(term)
        found = await meta.find_one_and_update(mine, {"$set": {"position": at}}, {"_id": 1})
    if found is None:
        raise await _fenced_or_lost(meta, incarnation)
