"""The bytes of the streaming replication protocol and of pgoutput's control messages; rows are
`decoder`'s.

Formats: PostgreSQL documentation, "Streaming Replication Protocol" and "Logical Replication Message
Formats", protocol version 1. Positions (LSN) are integers, times seconds since the epoch. All
functions raise MalformedMessage for bytes that are no such message.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

PAYLOAD = 25
"""Offset of pgoutput's message inside XLogData, after 'w', start, end and clock."""
POSTGRES_EPOCH = 946_684_800
"""2000-01-01 UTC, the epoch of Postgres' clocks (microseconds), in seconds since 1970."""

_KEEPALIVE = struct.Struct(">cQqB")
_BEGIN = struct.Struct(">cQqI")
_COMMIT = struct.Struct(">cBQQq")
_STATUS = struct.Struct(">cQQQqB")
_TRUNCATE = struct.Struct(">cIB")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class MalformedMessage(Exception):
    """The bytes are not what the protocol says. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Keepalive:
    """`lsn`: all that was committed up to there and is published has been sent."""

    lsn: int
    reply_requested: bool


@dataclass(frozen=True, slots=True)
class Begin:
    commit_time: float
    xid: int


@dataclass(frozen=True, slots=True)
class RelationMessage:
    """A table as it was at the time of the changes that follow. `columns` in the order of row
    data."""

    oid: int
    schema: str
    table: str
    columns: tuple[str, ...]
    types: tuple[int, ...]
    """The columns' type OIDs."""


@dataclass(frozen=True, slots=True)
class Truncate:
    oids: tuple[int, ...]


def keepalive(data: bytes) -> Keepalive:
    _, lsn, _, reply = _unpack(_KEEPALIVE, data, 0)
    return Keepalive(lsn, bool(reply))


def begin(data: bytes) -> Begin:
    _, _, moment, xid = _unpack(_BEGIN, data, PAYLOAD)
    return Begin(moment / 1e6 + POSTGRES_EPOCH, xid)


def commit_end(data: bytes) -> int:
    """The end of the commit record: the position to acknowledge."""
    _, _, _, end, _ = _unpack(_COMMIT, data, PAYLOAD)
    return int(end)


def truncate(data: bytes) -> Truncate:
    _, count, _ = _unpack(_TRUNCATE, data, PAYLOAD)
    first = PAYLOAD + _TRUNCATE.size
    if len(data) != first + 4 * count:
        raise MalformedMessage("a truncate whose length does not fit its number of tables")
    return Truncate(struct.unpack_from(f">{count}I", data, first))


def relation(data: bytes) -> RelationMessage:
    try:
        (oid,) = _U32.unpack_from(data, PAYLOAD + 1)
        schema, at = _text(data, PAYLOAD + 5)
        table, at = _text(data, at)
        (count,) = _U16.unpack_from(data, at + 1)
        at += 3
        columns, types = [], []
        for _ in range(count):
            name, at = _text(data, at + 1)
            columns.append(name)
            types.append(_U32.unpack_from(data, at)[0])
            at += 8
    except struct.error as error:
        raise MalformedMessage("a table's description ends too early") from error
    if at != len(data):
        raise MalformedMessage("a table's description has the wrong length")
    # Postgres leaves the schema out for pg_catalog.
    return RelationMessage(oid, schema or "pg_catalog", table, tuple(columns), tuple(types))


def status(received: int, flushed: int, *, ask: bool) -> bytes:
    """A standby status update; `ask` makes the server answer with a keepalive at once."""
    now = int((time.time() - POSTGRES_EPOCH) * 1e6)
    return _STATUS.pack(b"r", received, flushed, flushed, now, ask)


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise MalformedMessage("an unterminated name")
    try:
        return data[at:end].decode("utf-8"), end + 1
    except UnicodeDecodeError as error:
        raise MalformedMessage("a name that is not UTF-8") from error


def _unpack(form: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    try:
        return form.unpack_from(data, at)
    except struct.error as error:
        raise MalformedMessage("a message ends too early") from error
