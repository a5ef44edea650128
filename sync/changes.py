"""The events of a change source: transactions of changes, each only a reason to look again.

A change carries the values of *tracked* columns only: those of the key, of foreign keys, and of
columns that a foreign key points to. Everything else is read from canonical when it is projected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol, TypeAlias

import msgspec

from stores.canonical.publication import tracked_columns as tracked_columns


class ChangeOp(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    UNTOLD = "untold"
    """The source does not know which row of the table changed, or what of it."""
    UNTOLD_OLD = "untold old"
    """The source does not know what an updated or deleted row referred to before."""
    RESHAPED = "reshaped"
    """No row changed, but the table's description did, so canonical should be looked at."""


Row: TypeAlias = Mapping[str, str | None]
"""Column → text form as Postgres prints it (None: NULL). A column that the source did not send
(unchanged TOAST, not in the replica identity) is absent."""
NOTHING: Row = MappingProxyType({})
"""The row that is not there."""


class Change(msgspec.Struct, gc=False):
    """A change of one row. `new` is empty for delete and truncate. `old` holds what the source
    knows of the row before: the key if it changed or the row was deleted, all tracked columns
    under REPLICA IDENTITY FULL, otherwise nothing. Both are empty if `op` concerns the whole
    table.

    The struct is not tracked by the garbage collector: there are millions of them, none is part of
    a cycle, and the collector's passes would cost as much as decoding does.
    """

    schema: str
    table: str
    op: ChangeOp
    new: Row = NOTHING
    old: Row = NOTHING


@dataclass(slots=True)
class Transaction:
    """Changes that were committed together. `lsn` is the end of the commit record: acknowledging it
    means never seeing this transaction again. `xid` is the 32-bit transaction id, None where the
    source does not know it (then visibility cannot be checked and the sender must be a
    snapshot)."""

    lsn: int
    commit_time: float
    xid: int | None
    changes: Sequence[Change]


@dataclass(slots=True)
class Progress:
    """No transaction up to `lsn` is open or undelivered, and nothing beyond it had been committed
    at `at` (seconds since the epoch by canonical's clock). Both only grow. A source yields it
    between transactions and while idle, so that positions move when nothing relevant changes."""

    lsn: int
    at: float


Event: TypeAlias = Transaction | Progress


class ChangeSource(Protocol):
    """A source of changes.

    It yields every committed change after the position of `open` at least once, for any one record
    in commit order. It does not promise exactly-once delivery (after a reconnect, the changes since
    the last acknowledged position come again), nor an order between records of different
    transactions if the source is partitioned. A transaction larger than memory allows is yielded as
    several `Transaction`s of one xid; the last one carries the commit's `lsn`, the others carry 0.
    """

    kind: str
    tells_untold: bool
    """True where a change whose row before is not told comes with one of ChangeOp.UNTOLD_OLD."""
    system: str
    """The database to which the positions belong, as in `stores.protocols.Position`. Set by
    `open`."""

    def expect(
        self, known: Mapping[int, tuple[str, str]], lacking: Collection[tuple[str, str]]
    ) -> None:
        """Tell the source what to expect, before `open` and whenever it changes. `known` maps OIDs
        to (schema, table) for tables that may have another name for a while; `lacking` are
        tables that do not match the contract, which does not keep the source from opening."""
        ...

    async def open(self, resume: int | None, *, system: str | None = None) -> int:
        """Connect and return the position from which events will come. `resume` is the position up
        to which everything is durable downstream, None on a first start; `system` is the
        database it belongs to, where known. May be called again on the same object after a
        failure. Raises GapError where the source cannot continue from `resume`, StoreUnavailable
        where it is not reached, ConflictError where somebody else reads it, SetupError where
        canonical is not prepared."""
        ...

    def events(self) -> AsyncIterator[list[Event]]:
        """Events in small lists, as they arrive; never waits to fill a list. One iterator at a
        time. Ends by raising: StoreUnavailable when the connection is lost (open again),
        GapError when changes turn out to be missing."""
        ...

    def acknowledge(self, lsn: int) -> None:
        """Note that everything up to `lsn` is durable downstream. Return at once; the source tells
        its server from a task of its own, even while the consumer is busy."""

    async def lag_bytes(self) -> int | None:
        """Return the bytes of WAL that the source retains for us, or None if it has no such
        notion."""
        ...

    async def reset(self) -> None:
        """Give up the position after a GapError, so that `open(None)` starts with what is
        committed from now on."""
        ...

    async def close(self) -> None: ...
