"""The MongoDB document store: a collection for each generation, in a database of its own.

`metadata` has what is in `recordgate.meta`, `mongodb_mending` the collections' markers,
`mongodb_documents` the form of a document. Every write is a replacement on the condition that the
version held is older, safe on a majority's journals before it counts. Readers read where the
pointer they know says; the collection's marker, read with the documents, tells them when the
pointer has moved. A database that comes back without its metadata is StoreLost once, and then an
empty store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pymongo
from bson.int64 import Int64
from pymongo import AsyncMongoClient, ReadPreference, ReplaceOne, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from stores.contract.model import Contract, RecordType
from stores.contract.shape import document_shape
from stores.documents.children import properties_of
from stores.documents.mongodb import documents as documents_of
from stores.documents.mongodb import indexes, mending
from stores.documents.mongodb import metadata as metadata_of
from stores.documents.mongodb import url as mongodb_url
from stores.documents.mongodb.children import Moved, read_children
from stores.documents.mongodb.errors import (
    BAD_VALUE,
    KIND,
    item_verdict,
    refuses_all,
    translate,
    translated,
)
from stores.documents.mongodb.metadata import MARKER, Row, StoreMetadata
from stores.documents.no_lists import NoLists
from stores.errors import (
    InputError,
    RecordgateError,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
)
from stores.protocols import (
    APPLIED,
    Capability,
    Generation,
    Health,
    Position,
    Stored,
    Verdict,
    Write,
)
from stores.query import Children, ChildrenQuery
from stores.roles import StoreRole
from stores.write_checks import check_key

HEALTH_SECONDS = 2.0
READ_SECONDS = 5.0
WRITE_CONCERN_MS = 20_000
CHECK_SECONDS = 2.0
"""The shortest time between two looks for all collections that readers see."""
GET_KEYS = 1000
"""Keys of one `$in`."""
_TRIES = 5
"""Times a reader looks for a pointer that moves under it."""

Collection = AsyncCollection[dict[str, Any]]
T = TypeVar("T")


def from_url(url: str, data_dir: Path) -> MongodbStore:
    """`mongodb://host:27017/database`; see mongodb_url."""
    return MongodbStore(url)


class MongodbStore(NoLists):
    """DocumentStore in a MongoDB database; see the module for what it promises."""

    kind = KIND
    role = StoreRole.DOCUMENTS
    capabilities = frozenset({Capability.EXACT_BYTES, Capability.CHILDREN, Capability.SHARED})

    def __init__(self, url: str) -> None:
        self._address = mongodb_url.parse(url)
        self._contract: Contract | None = None
        self._forms: dict[str, documents_of.BsonForm] = {}
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._db: AsyncDatabase[dict[str, Any]] | None = None
        self._write_allowed = False
        self._incarnation = ""
        self._term: int | None = None
        self._active: dict[str, Row] = {}
        self._uses_indexes = True
        self._unsure = False
        """True where the leavings of another process were not looked at yet, or a swap was begun
        and its end was not seen."""
        self._written: set[str] = set()
        """Collections, since the last publish."""
        self._checked = 0.0

    # Opening -----------------------------------------------------------------------------------

    async def open(self, contract: Contract, *, write: bool) -> None:
        options = self._address.client_options()
        try:
            with translated(self._address.where):
                self._client = AsyncMongoClient(self._address.url, **options)
                self._contract = contract
                self._write_allowed = write
                self._active = {}
                self._unsure = write
                self._written = set()
                await self._open(contract, write)
        except BaseException:
            await self.close()
            raise
        self._forms = {n: documents_of.form(contract, t) for n, t in contract.types.items()}

    async def _open(self, contract: Contract, write: bool) -> None:
        assert self._client is not None
        self._db = self._client.get_database(
            self._address.database,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", WRITE_CONCERN_MS, j=True),
        )
        self._incarnation = ""
        metadata = await metadata_of.load(self._meta)
        self._uses_indexes = await self._explains()
        if metadata is None:
            lost = await self._not_ours(contract)
            # A writer may have made the metadata, and more, since they were looked for.
            metadata = await metadata_of.load(self._meta) if lost else None
            if lost and metadata is None:
                raise lost
        if metadata is None:
            if not write:
                return
            await self._journal_or_not()
            metadata = await metadata_of.make(self._meta, contract)
        self._check_owner(metadata, contract)
        self._incarnation = metadata.incarnation
        if write:
            await self._journal_or_not()

    async def _not_ours(self, contract: Contract) -> StoreLost | None:
        """Return the error for a database without our records that has collections with our names,
        else None."""
        assert self._db is not None
        if await self._meta.find_one({}) is not None:
            return StoreLost(
                f"{KIND}: {metadata_of.META} holds data that recordgate did not write",
                store=KIND,
                hint="give recordgate a database of its own",
            )
        if await mending.collections_of(self._db, contract):
            return StoreLost(
                f"{KIND}: {self._address.where} has collections with recordgate's names, but"
                f" not {metadata_of.META}",
                store=KIND,
                hint=f"drop those whose names begin with {metadata_of.prefix(contract)!r}, or name"
                " another database; the next start loads it anew",
            )
        return None

    def _check_owner(self, metadata: StoreMetadata, contract: Contract) -> None:
        if metadata.contract != contract.id:
            raise StoreLost(
                f"{KIND}: {self._address.where} holds the data of contract {metadata.contract!r}",
                store=KIND,
                hint="give each contract a database of its own, or drop this one",
            )

    async def _journal_or_not(self) -> None:
        """A server without a journal refuses to wait for it: then a majority's memory must do."""
        assert self._db is not None
        try:
            await self._meta.update_one({"_id": ""}, {"$set": {"journal": True}})
        except OperationFailure as error:
            if error.code != BAD_VALUE:
                raise
            self._db = self._db.with_options(
                write_concern=WriteConcern("majority", WRITE_CONCERN_MS)
            )

    async def _explains(self) -> bool:
        """Return whether the server plans queries at all (see mongodb_children)."""
        assert self._db is not None
        query = {"find": metadata_of.META, "filter": {"_id": ""}}
        try:
            await self._db.command({"explain": query, "verbosity": "queryPlanner"})
        except OperationFailure:
            return False
        return True

    async def close(self) -> None:
        client, self._client, self._db = self._client, None, None
        if client is not None:
            with suppress(PyMongoError):
                await client.close()

    async def health(self) -> Health:
        version = ""
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                with translated(self._address.where):
                    if self._client is None:
                        return Health(False, "", f"{KIND}: not open")
                    info = await self._client.server_info()
                    version = str(info.get("version", ""))
                    metadata = await metadata_of.load(self._meta)
        except RecordgateError as error:
            return Health(False, version, error.message, error.hint)
        except TimeoutError:
            return Health(False, version, f"{KIND}: no answer in two seconds")
        # A reader has nothing to lose: what the worker has made anew, and loaded, is what there is
        # to read.
        mine = self._contract.id if self._contract and not self._write_allowed else None
        if metadata is not None and metadata.contract == mine:
            self._incarnation = metadata.incarnation
        if self._incarnation and (metadata is None or metadata.incarnation != self._incarnation):
            problem = metadata_of.lost()
            return Health(False, version, problem.message, problem.hint)
        return Health(True, version)

    # Places ------------------------------------------------------------------------------------

    @property
    def _meta(self) -> Collection:
        return self._collection(metadata_of.META)

    @property
    def _database(self) -> AsyncDatabase[dict[str, Any]]:
        if self._db is None:
            raise StoreUnavailable(f"{KIND}: not open", store=KIND)
        return self._db

    def _collection(self, name: str) -> Collection:
        return self._database[name]

    def _type(self, name: str) -> RecordType:
        found = self._contract.types.get(name) if self._contract else None
        if found is None:
            raise StoreRefused(f"{KIND}: the contract has no type {name!r}", store=KIND)
        return found

    async def _read(self, work: Callable[[], Awaitable[T]]) -> T:
        with translated(self._address.where), pymongo.timeout(READ_SECONDS):
            return await work()

    async def _write(self, work: Callable[[], Awaitable[T]], *, mends: bool = False) -> T:
        """`work` of the writing process, after what is to be mended, unless that is what it does. A
        database without our metadata is claimed anew, and told once."""
        if self._client is None:
            raise StoreUnavailable(f"{KIND}: not open", store=KIND)
        if not self._write_allowed:
            raise StoreRefused(
                f"{KIND}: not open for writing",
                store=KIND,
                hint="only the worker opens a store for writing",
            )
        with translated(self._address.where):
            try:
                if self._unsure and not mends:
                    await self._mend()
                return await work()
            except StoreLost:
                await self._claim_again()
                raise

    async def _claim_again(self) -> None:
        assert self._contract is not None
        metadata = await metadata_of.load(self._meta)
        if metadata is None:
            metadata = await metadata_of.make(self._meta, self._contract)
        self._check_owner(metadata, self._contract)
        self._incarnation = metadata.incarnation
        self._active = {}
        self._unsure = False
        self._written = set()

    @property
    def _charge(self) -> mending.Charge:
        return mending.Charge(self._database, self._incarnation, self._term)

    async def _mend(self) -> None:
        assert self._contract is not None
        await mending.mend(self._charge, self._contract, await self._metadata())
        self._unsure = False

    async def _metadata(self) -> StoreMetadata:
        """Return the records of the database's present life, for the writing process. Raise
        StoreLost."""
        metadata = await metadata_of.load(self._meta)
        if metadata is None or metadata.incarnation != self._incarnation:
            raise metadata_of.lost()
        return metadata

    async def take_charge(self, term: int) -> None:
        async def work() -> None:
            await metadata_of.take_charge(self._meta, self._incarnation, term)
            self._term = term
            await self._mend()

        await self._write(work, mends=True)

    # Generations -------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]:
        metadata = await self._read(lambda: metadata_of.load(self._meta))
        return [row.generation() for row in metadata.of(type_name)] if metadata else []

    async def create_generation(self, type_name: str, number: int) -> None:
        record_type = self._type(type_name)
        assert self._contract is not None
        shape = document_shape(self._contract, type_name)
        if (name := indexes.cannot_index(record_type)) is not None:
            raise StoreRefused(
                f"{KIND}: {type_name} has a property {name!r}, which the store cannot index",
                store=KIND,
            )

        async def work() -> None:
            metadata = await self._metadata()
            if any(row.number == number for row in metadata.of(type_name)):
                return
            assert self._contract is not None
            name = metadata_of.collection_name(self._contract, type_name, number)
            collection = await mending.make_collection(self._charge, name, metadata)
            await collection.create_indexes(indexes.index_models(record_type))
            row = Row(type_name, number, "building", shape, collection.name)
            await metadata_of.change(
                self._meta,
                self._incarnation,
                lambda metadata: metadata_of.added(metadata, row),
                self._term,
            )

        await self._write(work)

    async def activate(self, type_name: str, number: int) -> None:
        self._type(type_name)

        async def work() -> None:
            metadata = await self._metadata()
            chosen = metadata.find(type_name, number)
            # A reader takes the new collection when the pointer has moved, and leaves the old one
            # when its marker says so: for the moment in between both may be read, never a mix of
            # them.
            if not await mending.mark(self._charge, chosen, active=True):
                await mending.strike_off(self._charge, [chosen])
                raise mending.dropped([chosen])
            self._unsure = True
            metadata = await metadata_of.change(
                self._meta,
                self._incarnation,
                lambda metadata: metadata_of.activated(metadata, type_name, number),
                self._term,
            )
            await mending.mark_all(self._charge, metadata.of(type_name))
            self._unsure = False

        await self._write(work)

    async def drop_generation(self, type_name: str, number: int) -> None:
        async def work() -> None:
            assert self._db is not None
            metadata = await self._metadata()
            if all(row.number != number for row in metadata.of(type_name)):
                return
            row = metadata.find(type_name, number)
            await metadata_of.change(
                self._meta,
                self._incarnation,
                lambda metadata: metadata_of.removed(metadata, type_name, number),
                self._term,
            )
            await self._db.drop_collection(row.collection)

        await self._write(work)

    # Writing -----------------------------------------------------------------------------------

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        self._type(type_name)
        form = self._forms[type_name]

        async def work() -> list[Verdict]:
            row = (await self._metadata()).find(type_name, generation)
            collection = self._collection(row.collection)
            self._written.add(row.collection)
            # Encoded off the event loop in one go: more hand-overs between threads cost more than
            # they win, and the server's answer takes longer than they do.
            taken = await asyncio.to_thread(_operations, form, writes)
            return await self._send(collection, *taken)

        return await self._write(work)

    async def _send(
        self,
        collection: Collection,
        verdicts: list[Verdict],
        places: Sequence[int],
        operations: Sequence[ReplaceOne[dict[str, Any]]],
    ) -> list[Verdict]:
        """`verdicts` with those of `operations`, whose places are `places`. Raises where a failure
        is not about single writes. The driver splits what is more or larger than the server
        takes at once."""
        if not operations:
            return verdicts
        try:
            await collection.bulk_write(operations, ordered=False)
        except BulkWriteError as error:
            details = error.details
            for one in details.get("writeConcernErrors") or ():
                raise translate(
                    OperationFailure("", one.get("code")), self._address.where
                ) from None
            for one in details.get("writeErrors") or ():
                if refuses_all(one):
                    raise translate(
                        OperationFailure("", one.get("code")), self._address.where
                    ) from None
                verdicts[places[one["index"]]] = item_verdict(one)
        return verdicts

    async def publish(self, position: Position | None) -> None:
        """Every write was safe when `write` returned; what is left is that it went into collections
        of ours, and the position, in this life of the database or not at all."""

        async def work() -> None:
            await self._check_collections()
            await metadata_of.publish(self._meta, self._incarnation, position, self._term)

        await self._write(work)

    async def _check_collections(self) -> None:
        """A write into a collection that was dropped makes it anew, with nothing else in it."""
        due = time.monotonic() - self._checked > CHECK_SECONDS
        if not (due or self._written):
            return
        rows = [
            row
            for row in (await self._metadata()).rows
            if row.collection in self._written or (due and row.state == "active")
        ]
        await mending.check(self._charge, rows)
        self._written = set()
        if due:
            self._checked = time.monotonic()

    async def position(self) -> Position | None:
        async def work() -> Position | None:
            metadata = await metadata_of.load(self._meta)
            return metadata.position if metadata else None

        return await self._read(work)

    # Reading -----------------------------------------------------------------------------------

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        async def work() -> list[Stored]:
            collection = await self._found(type_name, generation)
            bound = {"$gte": ""} if after is None else {"$gt": after}
            cursor = collection.find({"_id": bound, "at": {"$exists": False}})
            found = await cursor.sort("_id", 1).limit(limit).to_list()
            return [Stored(d["_id"], int(d["v"]), documents_of.document_bytes(d)) for d in found]

        return await self._read(work) if limit > 0 else []

    async def newer(self, type_name: str, generation: int, version: int) -> list[str]:
        with translated(self._address.where):
            collection = await self._found(type_name, generation)
            found = await collection.find({"v": {"$gt": Int64(version)}}, {"_id": 1}).to_list()
        return [document["_id"] for document in found]

    async def count(self, type_name: str, generation: int) -> int:
        """All less the tombstones and the marker: both counted in indexes."""
        with translated(self._address.where):
            collection = await self._found(type_name, generation)
            everything = await collection.count_documents({}, hint="_id_")
            gone = await collection.count_documents(
                {"at": {"$exists": True}}, hint=indexes.TOMBSTONES
            )
        return everything - gone - 1

    async def _found(self, type_name: str, generation: int) -> Collection:
        """Raises StoreRefused where there is no such generation."""
        metadata = await metadata_of.load(self._meta)
        if metadata is None:
            raise metadata_of.lost() if self._incarnation else metadata_of.not_loaded(type_name)
        return self._collection(metadata.find(type_name, generation).collection)

    async def _in_active(self, type_name: str, read: Callable[[Row], Awaitable[T]]) -> T:
        """`read` in the active generation; again where it says that the pointer has moved."""
        self._type(type_name)

        async def work() -> T:
            for attempt in range(_TRIES):
                row = self._active.get(type_name)
                if row is None:
                    metadata = await metadata_of.load(self._meta)
                    if metadata is None:
                        raise metadata_of.not_loaded(type_name)
                    row = self._active[type_name] = metadata.active(type_name)
                try:
                    return await read(row)
                except Moved:
                    self._active.pop(type_name, None)
                    await asyncio.sleep(0.01 * attempt)
            raise StoreUnavailable(
                f"{KIND}: {type_name} is being replaced", store=KIND, retry_after=0.1
            )

        return await self._read(work)

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        async def read(row: Row) -> dict[str, bytes]:
            answer: dict[str, bytes] = {}
            for start in range(0, len(keys), GET_KEYS):
                wanted = [*keys[start : start + GET_KEYS], MARKER]
                active = False
                found = self._collection(row.collection).find({"_id": {"$in": wanted}})
                if len(wanted) > 100:  # the server's own first batch
                    found = found.batch_size(len(wanted) + 1)
                for document in await found.to_list():
                    if document["_id"] == MARKER:
                        active = document["active"]
                    elif "at" not in document:
                        answer[document["_id"]] = documents_of.document_bytes(document)
                if not active:
                    raise Moved
            return answer

        if not keys:
            return {}
        try:
            return await self._in_active(type_name, read)
        except UnicodeEncodeError:
            raise InputError("a key is not valid Unicode") from None

    async def children(self, query: ChildrenQuery) -> dict[tuple[object, ...], Children]:
        record_type = self._type(query.type)
        props = properties_of(record_type, query, KIND)
        parents = {
            values: tuple(
                documents_of.bound(p.scalar, v) for p, v in zip(props, values, strict=True)
            )
            for values in query.values
        }

        async def read(row: Row) -> dict[tuple[object, ...], Children]:
            return await read_children(
                self._collection(row.collection),
                record_type,
                query,
                parents,
                uses_indexes=self._uses_indexes,
            )

        return await self._in_active(query.type, read)


def _operations(
    form: documents_of.BsonForm, writes: Sequence[Write]
) -> tuple[list[Verdict], list[int], list[ReplaceOne[dict[str, Any]]]]:
    """A verdict for each write, and the operations of those that are sent, with their places."""
    verdicts = [APPLIED] * len(writes)
    places: list[int] = []
    operations: list[ReplaceOne[dict[str, Any]]] = []
    now = datetime.now(UTC)
    for place, write in enumerate(writes):
        refused = check_key(write)
        if refused is not None:
            verdicts[place] = refused
            continue
        if write.document is None:
            held: Any = documents_of.tombstone(write.version, now)
        else:
            held = documents_of.live(form, write.version, write.document)
            if isinstance(held, Verdict):
                verdicts[place] = held
                continue
        older = {"_id": write.key, "v": {"$lt": Int64(write.version)}}
        operations.append(ReplaceOne(older, held, upsert=True))
        places.append(place)
    return verdicts, places, operations
