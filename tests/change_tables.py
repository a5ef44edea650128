"""Tables and the contract that the tests of change sources share, and how they read a source's
events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, cast

import psycopg
from psycopg import sql

from stores.canonical.publication import PUBLISH, published_tables
from stores.contract.model import Contract, Logical, Property, RecordType, Relation, Scalar
from sync.changes import Change, ChangeSource, Event, Progress, Transaction

TABLES = """
CREATE TABLE country (iso text PRIMARY KEY, name text);
CREATE TABLE city (
    id int PRIMARY KEY, name text, country text REFERENCES country, population int,
    -- in the middle, and never sent before Postgres 18
    label text GENERATED ALWAYS AS (name || '!') STORED, note text
);
ALTER TABLE city REPLICA IDENTITY FULL;
CREATE TABLE shop (id int PRIMARY KEY, city int REFERENCES city, name text);
CREATE TABLE page (site text, path text, body text, parent text, PRIMARY KEY (site, path));
ALTER TABLE page ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN parent SET STORAGE EXTERNAL;
CREATE TABLE visit (day date, id int, city int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE visit_2 PARTITION OF visit FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE other (id int PRIMARY KEY, value text);
"""
"""`other` is published and in no contract."""


def record_type(
    table: str, key: Sequence[str], columns: Sequence[str], **foreign: str
) -> RecordType:
    """A type of text-like properties; `foreign`: column → "table.column"."""
    properties = tuple(
        Property(c, c, c, Logical.STRING, Scalar.STRING, "text") for c in (*key, *columns)
    )
    relations = tuple(
        Relation(
            column,
            column,
            target.split(".")[0],
            (column,),
            (target.split(".")[1],),
            False,
            True,
            table,
        )
        for column, target in foreign.items()
    )
    return RecordType(
        table, "public", table, table.title(), table, f"{table}s", properties, tuple(key), relations
    )


CONTRACT = Contract(
    "changes",
    "changes",
    "1.0.0",
    {
        t.name: t
        for t in (
            record_type("country", ["iso"], ["name"]),
            record_type("city", ["id"], ["name", "country"], country="country.iso"),
            record_type("shop", ["id"], ["city", "name"], city="city.id"),
            record_type("page", ["site", "path"], ["body", "parent"], parent="page.path"),
            record_type("visit", ["id", "day"], ["city"], city="city.id"),
        )
    },
)


def publish(conn: psycopg.Connection[Any], name: str, contract: Contract, *more: str) -> None:
    """A publication of the contract's tables and `more` of schema public."""
    generated = sql.SQL("")
    if conn.info.server_version >= 180000:  # else a full identity that holds one refuses updates
        generated = sql.SQL(", publish_generated_columns = stored")
    tables = [*published_tables(contract), *(("public", table) for table in more)]
    conn.execute(
        sql.SQL(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = {}, publish_via_partition_root {})"
        ).format(
            sql.Identifier(name),
            sql.SQL(", ").join(sql.Identifier(*t) for t in tables),
            sql.Literal(PUBLISH),
            generated,
        )
    )


def stream_of(source: ChangeSource) -> AbstractAsyncContextManager[AsyncIterator[list[Event]]]:
    """The source's events, given up at the end of the block."""
    return aclosing(cast("AsyncGenerator[list[Event], None]", source.events()))


async def read(
    source: ChangeSource, enough: Callable[[list[Event]], bool], *, patience: float = 20.0
) -> list[Event]:
    """The events of an open source until `enough` of them are there; fails after `patience`
    seconds."""
    found: list[Event] = []
    async with asyncio.timeout(patience), stream_of(source) as stream:
        if enough(found):
            return found
        async for events in stream:
            found += events
            if enough(found):
                break
    return found


async def read_to(source: ChangeSource, lsn: int, *, patience: float = 20.0) -> list[Event]:
    """The events up to the position `lsn`."""
    return await read(source, lambda events: position(events) >= lsn, patience=patience)


def position(events: Sequence[Event]) -> int:
    return max((event.lsn for event in events), default=-1)


def transactions(events: Sequence[Event]) -> list[Transaction]:
    return [event for event in events if isinstance(event, Transaction)]


def progress(events: Sequence[Event]) -> list[Progress]:
    return [event for event in events if isinstance(event, Progress)]


def changes(events: Sequence[Event]) -> list[Change]:
    return [change for t in transactions(events) for change in t.changes]


def wal_end(conn: psycopg.Connection[Any]) -> int:
    """Where canonical's log ends: everything committed so far lies before it."""
    row = conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


async def eventually(
    condition: Callable[[], bool], *, patience: float = 10.0, what: str = "the condition"
) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {patience} s"
        await asyncio.sleep(0.02)
