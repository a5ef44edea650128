"""The marker in each generation's collection, and what is mended by it: swaps that were not
finished, collections that a process which died has left, and collections of ours that somebody has
dropped.

    {_id: 0, incarnation, active, term}

`active` says that readers may still read here, which they learn with every read, without asking the
metadata. `term` is that of the worker that wrote the marker last: one of a smaller term, which may
have slept in between, neither changes it nor drops the collection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from stores.contract.model import Contract
from stores.documents.mongodb import metadata as metadata_of
from stores.documents.mongodb.errors import KIND, NAMESPACE_EXISTS
from stores.documents.mongodb.metadata import MARKER, META, Row, StoreMetadata
from stores.errors import FencedError, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Charge:
    """A database, in one of its lives, and the term in which it is written to; None before there is
    one."""

    db: AsyncDatabase[dict[str, Any]]
    incarnation: str
    term: int | None

    def collection(self, name: str) -> AsyncCollection[dict[str, Any]]:
        return self.db[name]


async def make_collection(
    charge: Charge, stem: str, metadata: StoreMetadata
) -> AsyncCollection[dict[str, Any]]:
    """An empty collection with our marker, of the name `stem`. One that died halfway is made anew;
    a name that somebody else has is left alone, and another one taken."""
    used = {row.collection for row in metadata.rows}
    for name in (stem, *(f"{stem}.{n}" for n in range(2, 50))):
        if name in used:
            continue
        try:
            await charge.db.command({"create": name})
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:
                raise
            if not await is_ours(charge, name):
                continue
            await charge.db.drop_collection(name)
            await charge.db.command({"create": name})
        marker = {"_id": MARKER, "incarnation": charge.incarnation, "active": False}
        await charge.collection(name).insert_one(marker | _term(charge))
        return charge.collection(name)
    raise StoreRefused(f"{KIND}: no name like {stem} is free", store=KIND)


async def is_ours(charge: Charge, collection: str) -> bool:
    marker = {"_id": MARKER, "incarnation": charge.incarnation}
    return await charge.collection(collection).find_one(marker, {"_id": 1}) is not None


async def mark(charge: Charge, row: Row, *, active: bool) -> bool:
    """Say in the collection whether readers may read there. False where it has no marker any more.
    Raises FencedError where a worker of a greater term has written it."""
    collection = charge.collection(row.collection)
    said = {"$set": {"active": active, **_term(charge)}}
    if await collection.find_one_and_update(_mine(charge), said, {"_id": 1}) is not None:
        return True
    if await collection.find_one({"_id": MARKER}, {"_id": 1}) is None:
        return False
    raise FencedError(f"{KIND}: another worker has taken over")


async def mark_all(charge: Charge, rows: Sequence[Row]) -> None:
    """Make the markers agree with the metadata. What has lost its collection is struck off."""
    await strike_off(
        charge, [r for r in rows if not await mark(charge, r, active=r.state == "active")]
    )


async def mend(charge: Charge, contract: Contract, metadata: StoreMetadata) -> None:
    """Finish what a process that died between two steps has left: markers that do not agree with
    the pointer, collections that are in no row but have our marker."""
    known = {row.collection for row in metadata.rows}
    await mark_all(charge, metadata.rows)
    for name in await collections_of(charge.db, contract):
        if name in known:
            continue
        marker = {**_mine(charge), "incarnation": charge.incarnation}
        if await charge.collection(name).find_one(marker, {"_id": 1}) is not None:
            await charge.db.drop_collection(name)


async def collections_of(db: AsyncDatabase[dict[str, Any]], contract: Contract) -> list[str]:
    """Return the collections with names as `collection_name` makes them. Not every server applies
    a filter to the list, so it is filtered here."""
    ours = metadata_of.name_pattern(contract)
    return [n for n in await db.list_collection_names() if ours.fullmatch(n)]


async def check(charge: Charge, rows: Sequence[Row]) -> None:
    """Check that the collections of `rows` exist and were not created again by a write. Raise
    StoreUnavailable if one was dropped: it is then struck from the store's records, and its
    contents are reloaded."""
    found = await asyncio.gather(*(is_ours(charge, row.collection) for row in rows))
    gone = [row for row, there in zip(rows, found, strict=True) if not there]
    await strike_off(charge, gone)
    if gone:
        raise dropped(gone)


def dropped(rows: Sequence[Row]) -> StoreUnavailable:
    names = ", ".join(row.collection for row in rows)
    return StoreUnavailable(
        f"{KIND}: {names} was dropped by another program",
        store=KIND,
        hint="its contents are reloaded from canonical",
    )


async def strike_off(charge: Charge, gone: Sequence[Row]) -> None:
    """Take rows without a collection out of the metadata. Writes that came after have made a new
    one of that name: it goes, where it holds only what has the form of ours, as one that is not
    there does."""
    if not gone:
        return
    names = {row.collection for row in gone}
    meta = charge.collection(META)
    await metadata_of.change(
        meta, charge.incarnation, lambda metadata: metadata_of.without(metadata, names), charge.term
    )
    log.warning("%s; its contents are reloaded from canonical", dropped(gone).message)
    for name in names:
        if await charge.collection(name).find_one({"v": {"$exists": False}}, {"_id": 1}) is None:
            await charge.db.drop_collection(name)
        else:
            log.warning(
                "%s: %s holds data that recordgate did not write: left unchanged", KIND, name
            )


def _mine(charge: Charge) -> dict[str, Any]:
    """A marker that we may write."""
    if charge.term is None:
        return {"_id": MARKER}
    return {"_id": MARKER, "term": metadata_of.not_after(charge.term)}


def _term(charge: Charge) -> dict[str, Any]:
    return {} if charge.term is None else {"term": Int64(charge.term)}
