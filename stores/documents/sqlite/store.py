"""The embedded document store: one SQLite file in WAL mode, `documents.sqlite` in data_dir.

Writes of the one writing process run in one thread, in a transaction that `publish` commits
together with the position; readers of any process have their own connections, see the last commit,
and neither block the writer nor wait for it. A commit is flushed to the disk (synchronous=FULL):
what is published survives a killed process and a power cut, as far as the disk keeps what it
acknowledged. Tombstones stay as long as their generation. The pages of a dropped generation are
used again by the next one; the file does not shrink.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import orjson

from stores import local_state
from stores.contract.model import Contract, RecordType
from stores.contract.shape import document_shape
from stores.documents.children import properties_of
from stores.documents.list_indexes import list_indexes
from stores.documents.sqlite import lists, tables
from stores.documents.sqlite.list_reads import (
    ListUpkeep,
    missing_indexes,
    read_list,
    read_statistics,
)
from stores.errors import InputError, StoreError, StoreRefused
from stores.local_metadata import LocalMetadata, Work, in_one_snapshot, path_in
from stores.protocols import (
    APPLIED,
    STALE,
    Capability,
    Generation,
    Health,
    Position,
    Stored,
    Verdict,
    Write,
)
from stores.query import Children, ChildrenQuery, Listed, ListQuery, Statistics
from stores.roles import StoreRole
from stores.sqlite_errors import primary_code
from stores.write_checks import check_key, parse_document, reject

KIND = "sqlite"
COMMIT_BYTES = 16_000_000
"""Written bytes after which `write` commits by itself, so that a long load keeps the WAL file
small."""

log = logging.getLogger(__name__)

T = TypeVar("T")


def from_url(url: str, data_dir: Path) -> SqliteStore:
    """`sqlite:` is `documents.sqlite` in data_dir; `sqlite:PATH` another file."""
    return SqliteStore(path_in(url, data_dir, "documents.sqlite"))


class SqliteStore:
    """DocumentStore on a file of this machine; see the module for what it promises."""

    kind = KIND
    role = StoreRole.DOCUMENTS
    capabilities = frozenset(
        {
            Capability.EXACT_BYTES,
            Capability.CHILDREN,
            Capability.LISTS,
            Capability.TOMBSTONES_FOREVER,
        }
    )

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metadata = LocalMetadata(KIND, path, snapshot=True, raw=True)
        self._contract: Contract | None = None
        self._key_reader: sqlite3.Connection | None = None
        self._key_reader_of = 0
        self._pending_bytes = 0
        self._lost_writes = False
        self._indexing: asyncio.Task[None] | None = None
        self._upkeep = ListUpkeep()

    # Opening -----------------------------------------------------------------------------------

    async def open(self, contract: Contract, *, write: bool) -> None:
        await asyncio.to_thread(self._metadata.open, contract.id, write=write)
        self._contract = contract
        self._lost_writes = False
        self._pending_bytes = 0
        if write:
            await self._metadata.begin(_strike_off_without_table)
            self._indexing = asyncio.ensure_future(self._make_indexes(contract))

    async def close(self) -> None:
        if self._indexing is not None:
            self._indexing.cancel()
            with suppress(asyncio.CancelledError):
                await self._indexing
            self._indexing = None
        await self._metadata.close()
        self._key_reader = None

    async def health(self) -> Health:
        return await self._metadata.health(
            sqlite3.sqlite_version, lambda c: c.execute("SELECT 1 FROM meta").fetchone()
        )

    async def take_charge(self, term: int) -> None:
        """The lock on the files lets one process write."""

    def _type(self, name: str) -> RecordType:
        found = self._contract.types.get(name) if self._contract else None
        if found is None:
            raise StoreRefused(f"{KIND}: the contract has no type {name!r}", store=KIND)
        return found

    async def _write(self, work: Work[T]) -> T:
        """A failure rolls back what was not published."""

        def guarded(connection: sqlite3.Connection) -> T:
            unpublished = connection.in_transaction
            try:
                return work(connection)
            except sqlite3.Error:
                self._lost_writes |= unpublished
                self._pending_bytes = 0
                with suppress(sqlite3.Error):
                    connection.rollback()
                raise

        return await self._metadata.write(guarded)

    async def _make_indexes(self, contract: Contract) -> None:
        """Make the indexes of lists that the contract has been given since its generations were
        loaded, one at a time between the writes; readers see each when it is whole."""
        try:
            await self._write(self._look_at_all)  # nothing is planned by what was there once
            for statement in await self._metadata.read(lambda c: missing_indexes(c, contract)):

                def work(connection: sqlite3.Connection, statement: str = statement) -> None:
                    self._commit(connection)
                    connection.execute(statement)

                await self._write(work)
            await self._write(self._look_at_all)
        except StoreError as error:
            log.warning("%s: an index of lists cannot be made: %s", KIND, error.message)

    def _look_at_all(self, connection: sqlite3.Connection) -> None:
        self._commit(connection)
        for generation_id, _, _ in local_state.everything(connection):
            self._upkeep.look(connection, generation_id)

    def _commit(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("COMMIT")
        self._pending_bytes = 0

    # Generations -------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]:
        return await self._metadata.read(lambda c: local_state.generations(c, type_name))

    async def create_generation(self, type_name: str, number: int) -> None:
        record_type = self._type(type_name)
        assert self._contract is not None
        shape = document_shape(self._contract, type_name)

        def work(connection: sqlite3.Connection) -> None:
            self._commit(connection)
            with local_state.transaction(connection):
                held = local_state.generations(connection, type_name)
                if any(g.number == number for g in held):
                    return
                generation_id = local_state.add(connection, type_name, number, shape)
                for statement in tables.create_statements(record_type, generation_id):
                    connection.execute(statement)
                for names in list_indexes(record_type):
                    connection.execute(lists.create_index(generation_id, record_type, names))

        try:
            await self._write(work)
        except ValueError as error:
            raise StoreRefused(
                f"{KIND}: {type_name} has a property whose name the store cannot index", store=KIND
            ) from error

    async def activate(self, type_name: str, number: int) -> None:
        self._type(type_name)

        def work(connection: sqlite3.Connection) -> None:
            self._commit(connection)
            with local_state.transaction(connection):
                local_state.activate(connection, type_name, number, KIND)
            self._upkeep.look(connection, local_state.find(connection, type_name, number, KIND))

        await self._write(work)

    async def drop_generation(self, type_name: str, number: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            self._commit(connection)
            with local_state.transaction(connection):
                generation_id = local_state.remove(connection, type_name, number, KIND)
                if generation_id is not None:
                    connection.execute(f"DROP TABLE IF EXISTS {tables.table(generation_id)}")

        await self._write(work)

    # Writing -----------------------------------------------------------------------------------

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        self._type(type_name)
        return await self._write(lambda c: self._take(c, type_name, generation, writes))

    def _take(
        self,
        connection: sqlite3.Connection,
        type_name: str,
        generation: int,
        writes: Sequence[Write],
    ) -> list[Verdict]:
        generation_id = local_state.find(connection, type_name, generation, KIND)
        verdicts: list[Verdict] = [APPLIED] * len(writes)
        rows: list[tuple[str, int, str | None]] = []
        places: list[int] = []
        for place, write in enumerate(writes):
            refused = check_key(write)
            if refused is None and write.document is not None:
                refused = parse_document(write.document)[1]
            if refused is not None:
                verdicts[place] = refused
                continue
            text = None if write.document is None else write.document.decode()
            rows.append((write.key, write.version, text))
            places.append(place)
            self._pending_bytes += 64 + (0 if text is None else len(text))
        if not rows:
            return verdicts
        self._upkeep.written(generation_id, len(rows))
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        statement = tables.upsert(generation_id)
        connection.execute("SAVEPOINT batch")
        try:
            applied = connection.executemany(statement, rows).rowcount
        except sqlite3.Error as error:
            if primary_code(error) not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG):
                raise
            applied = -1
        if applied != len(rows):
            # Some are stale, or one document cannot be indexed: look at each.
            connection.execute("ROLLBACK TO batch")
            one_by_one = _take_each(connection, generation_id, rows)
            for place, verdict in zip(places, one_by_one, strict=True):
                verdicts[place] = verdict
        connection.execute("RELEASE batch")
        if self._pending_bytes > COMMIT_BYTES:
            self._commit(connection)
        return verdicts

    async def publish(self, position: Position | None) -> None:
        def work(connection: sqlite3.Connection) -> None:
            if self._lost_writes:
                self._lost_writes = False
                connection.rollback()
                self._pending_bytes = 0
                raise self._metadata.lost_writes()
            self._metadata.check_place()
            if position is not None:
                if not connection.in_transaction:
                    connection.execute("BEGIN IMMEDIATE")
                local_state.set_position(connection, position)
            self._commit(connection)
            self._upkeep.look_where_due(connection)

        await self._write(work)

    async def position(self) -> Position | None:
        return await self._metadata.position()

    # Reading -----------------------------------------------------------------------------------

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        def work(connection: sqlite3.Connection) -> list[Stored]:
            generation_id = local_state.find(connection, type_name, generation, KIND)
            rows = connection.execute(
                tables.scan(generation_id, first=after is None), (after or "", limit)
            )
            return [Stored(key.decode(), version, document) for key, version, document in rows]

        return await self._metadata.read(work)

    async def count(self, type_name: str, generation: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            generation_id = local_state.find(connection, type_name, generation, KIND)
            return int(connection.execute(tables.count(generation_id)).fetchone()[0])

        return await self._metadata.read(work)

    async def newer(self, type_name: str, generation: int, version: int) -> list[str]:
        def work(connection: sqlite3.Connection) -> list[str]:
            generation_id = local_state.find(connection, type_name, generation, KIND)
            rows = connection.execute(tables.newer(generation_id), (version,))
            return [key.decode() for (key,) in rows]

        return await self._metadata.read(work)

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        def work(connection: sqlite3.Connection) -> dict[str, bytes]:
            generation_id, _ = self._metadata.active(connection, type_name)
            if len(keys) == 1:
                statement, argument = tables.get_one(generation_id), keys[0]
            else:
                statement, argument = tables.get_many(generation_id), _json(keys)
            return {
                key.decode(): document
                for key, document in connection.execute(statement, (argument,))
            }

        if not keys:
            return {}
        try:
            if len(keys) == 1:
                # In place, as in `position`: a thread costs several times what the read does.
                with suppress(sqlite3.Error):
                    if self._key_reader is None or self._key_reader_of != self._metadata.renewed:
                        self._key_reader_of = self._metadata.renewed
                        self._key_reader = self._metadata.reader(busy_seconds=0)
                    return in_one_snapshot(self._key_reader, work)
            return await self._metadata.read(work)
        except UnicodeEncodeError:
            raise InputError("a key is not valid Unicode") from None

    async def children(self, query: ChildrenQuery) -> dict[tuple[object, ...], Children]:
        record_type = self._type(query.type)
        props = properties_of(record_type, query, KIND)
        arguments = {
            values: tuple(tables.bound(p, v) for p, v in zip(props, values, strict=True))
            for values in query.values
        }

        def work(connection: sqlite3.Connection) -> dict[tuple[object, ...], Children]:
            # One prepared statement a parent, all in one snapshot: a window over all the children
            # would read each of them only to drop those beyond the limit.
            generation_id, _ = self._metadata.active(connection, query.type)
            page = tables.children(record_type, generation_id, query.properties)
            total = tables.count_children(generation_id, query.properties)
            answer: dict[tuple[object, ...], Children] = {}
            for values, bound in arguments.items():
                documents = [d for (d,) in connection.execute(page, (*bound, query.limit))]
                counted = None
                if query.count:
                    counted = len(documents)
                    if counted == query.limit:
                        counted = int(connection.execute(total, bound).fetchone()[0])
                answer[values] = Children(documents, counted)
            return answer

        return await self._metadata.read(work)

    async def page(self, query: ListQuery) -> Listed:
        record_type = self._type(query.type)
        assert self._contract is not None
        contract = self._contract

        def work(connection: sqlite3.Connection) -> Listed:
            generation_id, _ = self._metadata.active(connection, query.type)
            statements = lists.ListStatements(contract, record_type, generation_id, query)
            return read_list(connection, statements)

        return await self._metadata.read(work)

    async def statistics(self, type_name: str) -> Statistics:
        record_type = self._type(type_name)

        def work(connection: sqlite3.Connection) -> Statistics:
            generation_id, number = self._metadata.active(connection, type_name)
            return read_statistics(connection, record_type, generation_id, number)

        return await self._metadata.read(work)


def _strike_off_without_table(connection: sqlite3.Connection) -> None:
    """A generation whose table somebody has dropped is loaded anew."""
    with local_state.transaction(connection):
        for generation_id, type_name, number in local_state.everything(connection):
            if not connection.execute(tables.EXISTS, (tables.table(generation_id),)).fetchone():
                log.warning("%s: generation %d of %s has lost its table", KIND, number, type_name)
                local_state.strike_off(connection, type_name, number)


def _take_each(
    connection: sqlite3.Connection, generation_id: int, rows: list[tuple[str, int, str | None]]
) -> list[Verdict]:
    """The slow way of a batch that holds a stale or a bad item."""
    held: dict[str, int] = dict(
        connection.execute(tables.held_versions(generation_id), (_json([r[0] for r in rows]),))
    )
    statement = tables.upsert(generation_id)
    verdicts: list[Verdict] = []
    for row in rows:
        if row[1] <= held.get(row[0], 0):
            verdicts.append(STALE)
            continue
        try:
            connection.execute(statement, row)
        except sqlite3.Error as error:
            if primary_code(error) not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG):
                raise
            verdicts.append(reject("the document's JSON is too deep or too large for SQLite"))
        else:
            verdicts.append(APPLIED)
    return verdicts


def _json(keys: Sequence[str]) -> str:
    try:
        return orjson.dumps(list(keys)).decode()
    except orjson.JSONEncodeError:
        raise InputError("a key is not valid Unicode") from None
