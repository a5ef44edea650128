"""Reads records of canonical as they are now: finished documents with a version, one statement a
batch.

The version is the WAL position of an empty message that is written before the statement's snapshot
is taken. A plain pg_current_wal_insert_lsn() would not do: two readings with different content can
see the same one. One `Projector` reads one thing after the other, so of two readings of one
projector the one with the greater version has the later snapshot. A sink takes readings of its own
projector only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors, sql

from stores.canonical.connect import AsyncConnection, connect_async
from stores.canonical.document_sql import (
    digest_of_keys,
    documents_of_keys,
    documents_of_page,
    keys_of_page,
)
from stores.contract.model import Contract
from stores.keys import decode_key
from stores.lsn import parse_lsn
from sync.failures import ends_the_session, is_about_a_value, not_readable, reading_all

log = logging.getLogger(__name__)

T = TypeVar("T")
AsyncCursor: TypeAlias = psycopg.AsyncCursor[Any]

EMIT = b"SELECT pg_catalog.pg_logical_emit_message(false, 'recordgate', '')"
FEW = 8
"""Up to this many keys a generic prepared plan is good; for more the planner must know their
number."""
OPTIONS = (
    r"-c default_transaction_isolation=read\ committed -c enable_seqscan=off -c jit=off"
    " -c row_security=off"
)
"""READ COMMITTED: each statement has its own snapshot. Without sequential scans: tables that were
just filled have no statistics yet, and a key's index is right whatever they will say. Row
security off: where a policy would hide rows, which then looked deleted, a statement fails
instead."""
LOCK_TIMEOUT = 0.7
"""Seconds that a reading waits for a table that another session has locked, while it holds up that
session's locks on others: less than `deadlock_timeout` (1 s), so that of a truncate or a change
of tables and a reading, the reading gives way. Then it is tried again."""
LOCK_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Reading:
    """`documents`: key → document, None where canonical has no such record. `unreadable`: key → why
    canonical cannot print the record (a value too large for JSON, say)."""

    version: int
    documents: dict[str, bytes | None]
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a walk through a type in the order of its primary key. `last`: the key to go on
    after; None at the end."""

    version: int
    documents: dict[str, bytes | None]
    last: str | None
    unreadable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Digest:
    """Count and digest of the records of some keys (see `sync.ranges`)."""

    version: int
    count: int
    digest: str


async def connect_for_reading(url: str, name: str, more: str = "") -> AsyncConnection:
    """Open a connection whose statements read by index, with `more` options. Raise
    StoreUnavailable and SetupError."""
    return await connect_async(url, application_name=name, options=f"{OPTIONS} {more}")


async def connect_for_documents(url: str, name: str) -> AsyncConnection:
    """Open a connection for a Projector, whose readings give way to other sessions."""
    return await connect_for_reading(url, name, f"-c lock_timeout={int(LOCK_TIMEOUT * 1000)}")


class Projector:
    """Reads over one connection, from `connect_for_documents`, which it does not own. Every reading
    of a type raises NotReadable where canonical refuses the statement itself, and psycopg.Error
    where the session is lost."""

    def __init__(self, conn: AsyncConnection, contract: Contract) -> None:
        self.lock = asyncio.Lock()
        """Is held by the task that reads, if several tasks share the projector."""
        self._conn = conn
        self._contract = contract
        self._statements: dict[tuple[str, str], bytes] = {}

    async def read(self, type_name: str, keys: Sequence[str]) -> Reading:
        """Return the records of `keys` (distinct text forms) as they are now. A key whose equal
        value prints differently leads to both: the requested form is gone, the row's own form
        exists. A record that cannot be printed is found by halving, so that it stops no other."""
        try:
            return await self._read(type_name, keys)
        except psycopg.Error as error:
            if not is_about_a_value(error):
                raise
            why = f"canonical cannot print it as JSON: {type(error).__name__} ({error.sqlstate})"
        if len(keys) == 1:
            return Reading(await self.version(), {}, {keys[0]: why})
        middle = len(keys) // 2
        first = await self.read(type_name, keys[:middle])
        second = await self.read(type_name, keys[middle:])
        # The smaller version: nothing else was read by this projector in between.
        return Reading(
            first.version,
            first.documents | second.documents,
            {**first.unreadable, **second.unreadable},
        )

    async def _read(self, type_name: str, keys: Sequence[str]) -> Reading:
        asked, parameters = self._parameters(type_name, keys)
        documents: dict[str, bytes | None] = {}
        if len(asked) < len(keys):
            documents |= dict.fromkeys(set(keys) - set(asked))
        version, result = await self._execute(type_name, "keys", parameters, len(asked) <= FEW)
        value = result.get_value
        for i in range(result.ntuples):
            canonical = _text(value(i, 1))
            own = value(i, 2)
            if own is None:
                documents.setdefault(canonical, None)
            else:
                document = value(i, 3)
                documents[_text(own)] = document
                documents.setdefault(canonical, None)
            documents.setdefault(_text(value(i, 0)), None)
        return Reading(version, documents)

    def _parameters(self, type_name: str, keys: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """Return the keys that can belong to the type at all, and the parameters of a statement
        for them."""
        width = len(self._contract.types[type_name].key)
        if width == 1 and "\0" not in "".join(keys):
            return list(keys), {"keys": list(keys), "part0": list(keys)}
        asked: list[str] = []
        parts: list[list[str]] = [[] for _ in range(width)]
        for key in keys:
            values = decode_key(key, width)
            if values is None or "\0" in key:
                continue
            asked.append(key)
            for part, text in zip(parts, values, strict=True):
                part.append(text)
        return asked, {"keys": asked} | {f"part{i}": part for i, part in enumerate(parts)}

    async def digest(self, type_name: str, keys: Sequence[str]) -> Digest | None:
        """Return count and digest of the records of `keys`, computed by canonical, or None if one
        of them cannot be printed."""
        _, parameters = self._parameters(type_name, keys)
        try:
            version, result = await self._execute(type_name, "digest", parameters, False)
        except psycopg.Error as error:
            if not is_about_a_value(error):
                raise
            return None
        return Digest(version, int(_text(result.get_value(0, 0))), _text(result.get_value(0, 1)))

    async def page(self, type_name: str, after: str | None, limit: int) -> Page:
        """Return up to `limit` records after the key `after`, or from the first one if it is
        None."""
        record_type = self._contract.types[type_name]
        parameters: dict[str, Any] = {"limit": limit}
        if after is not None:
            values = decode_key(after, len(record_type.key))
            assert values is not None
            parameters |= {f"part{i}": v for i, v in enumerate(values)}
        which = "first" if after is None else "after"
        try:
            version, result = await self._execute(type_name, which, parameters, False)
        except psycopg.Error as error:
            if not is_about_a_value(error):
                raise
            return await self._page_by_keys(type_name, which, parameters, limit)
        value = result.get_value
        documents: dict[str, bytes | None] = {
            _text(value(i, 0)): value(i, 1) for i in range(result.ntuples)
        }
        last = _text(value(result.ntuples - 1, 0)) if result.ntuples == limit else None
        return Page(version, documents, last)

    async def _page_by_keys(
        self, type_name: str, which: str, parameters: dict[str, Any], limit: int
    ) -> Page:
        """Return a page with a record that cannot be printed: its keys are read first, then the
        records."""
        statement = keys_of_page(self._contract.types[type_name], first=which == "first")
        with reading_all(type_name):
            cursor = await self._giving_way(
                type_name, lambda: self._conn.execute(statement, parameters)
            )
        rows = await cursor.fetchall()
        keys = [str(row[0]) for row in rows]
        reading = await self.read(type_name, keys)
        last = keys[-1] if len(keys) == limit else None
        return Page(reading.version, reading.documents, last, reading.unreadable)

    async def version(self) -> int:
        """Return the present position: a version greater than those of all readings so far."""
        row = await (await self._conn.execute(EMIT, prepare=True)).fetchone()
        assert row is not None
        return parse_lsn(row[0])

    async def count(self, type_name: str) -> int:
        """Return how many records canonical has now."""
        record_type = self._contract.types[type_name]
        statement = sql.SQL("SELECT count(*) FROM {}").format(
            sql.Identifier(record_type.schema, record_type.table)
        )
        with reading_all(type_name):
            cursor = await self._giving_way(type_name, lambda: self._conn.execute(statement))
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    async def _execute(
        self, type_name: str, which: str, parameters: dict[str, Any], prepare: bool
    ) -> tuple[int, psycopg.pq.abc.PGresult]:
        statement = self._statements.get((type_name, which))
        if statement is None:
            # Rendered once: that costs more than sending it.
            statement = self._statement(type_name, which).as_bytes(self._conn)
            self._statements[type_name, which] = statement

        async def both() -> tuple[AsyncCursor, AsyncCursor]:
            async with self._conn.pipeline():
                emitted = await self._conn.execute(EMIT, prepare=True)
                return emitted, await self._conn.execute(statement, parameters, prepare=prepare)

        emitted, cursor = await self._giving_way(type_name, both)
        lsn, result = emitted.pgresult, cursor.pgresult
        assert lsn is not None
        assert result is not None
        return parse_lsn(_text(lsn.get_value(0, 0))), result

    async def _giving_way(self, type_name: str, work: Callable[[], Awaitable[T]]) -> T:
        """`work`, again for as long as somebody else has locked a table of it. Raises NotReadable,
        and psycopg.Error for a value or a lost session."""
        while True:
            try:
                return await work()
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                log.info("tables of %s are locked by another session: waiting", type_name)
                await asyncio.sleep(LOCK_PAUSE)
            except psycopg.Error as error:
                if self._conn.closed or ends_the_session(error) or is_about_a_value(error):
                    raise
                raise not_readable(type_name, error) from error

    def _statement(self, type_name: str, which: str) -> sql.Composed:
        record_type = self._contract.types[type_name]
        if which == "keys":
            return documents_of_keys(self._contract, record_type)
        if which == "digest":
            return digest_of_keys(self._contract, record_type)
        return documents_of_page(self._contract, record_type, first=which == "first")


def _text(value: bytes | None) -> str:
    assert value is not None
    return value.decode()
