"""What a change source yields: transactions of changes, each only a reason to look again.

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
    """No row changed, but the table is not described as it was: worth a look at canonical."""


Row: TypeAlias = Mapping[str, str | None]
"""Column → text form as Postgres prints it (None: NULL). A column that the source did not send
(unchanged TOAST, not in the replica identity) is absent."""
NOTHING: Row = MappingProxyType({})
"""The row that is not there."""


class Change(msgspec.Struct, gc=False):
    """One row's change. `new` is empty for delete and truncate. `old` holds what the source knows of
    the row before: the key where it changed or the row was deleted, all tracked columns under
    REPLICA IDENTITY FULL; empty otherwise. Both are empty where `op` is about the whole table.

    A struct without garbage collection: there are millions, none is part of a cycle, and the
    collector's passes over them cost as much as decoding does."""

    schema: str
    table: str
    op: ChangeOp
    new: Row = NOTHING
    old: Row = NOTHING


@dataclass(slots=True)
class Transaction:
    """Changes that were committed together. `lsn` is the end of the commit record: acknowledging it
    means never seeing this transaction again. `xid` is the 32-bit transaction id, None where the
    source does not know it (then visibility cannot be checked and the sender must be a snapshot)."""

    lsn: int
    commit_time: float
    xid: int | None
    changes: Sequence[Change]


@dataclass(slots=True)
class Progress:
    """No transaction is open or undelivered up to `lsn`, and nothing beyond it had been committed at
    `at` (seconds since the epoch, canonical's clock). Both only grow. Yielded between transactions and
    while idle, so that positions move when nothing relevant changes."""

    lsn: int
    at: float


Event: TypeAlias = Transaction | Progress


class ChangeSource(Protocol):
    """Where changes come from.

    Promised: every committed change after the position of `open` is yielded at least once, in order
    of commit for any one record. Not promised: exactly once (after a reconnect the tail since the
    last acknowledged position comes again), nor an order between records of different transactions
    where the source is partitioned. A transaction larger than memory allows is yielded in several
    `Transaction`s of one xid, the last of which carries the commit's `lsn` (the others carry 0).
    """

    kind: str
    tells_untold: bool
    """Whether a change whose row before is not told comes with one of ChangeOp.UNTOLD_OLD."""
    system: str
    """After `open`: which database the positions belong to, as in `stores.protocols.Position`."""

    def expect(
        self, known: Mapping[int, tuple[str, str]], lacking: Collection[tuple[str, str]]
    ) -> None:
        """Before `open`, and whenever it changes. `known`: OID → (schema, table) of tables that may go by another
        name for a while; `lacking`: tables that are not as the contract says, which is no reason not to open."""
        ...

    async def open(self, resume: int | None, *, system: str | None = None) -> int:
        """Connect and return the position from which events will come. `resume` is the position up
        to which everything is durable downstream, None on a first start; `system` is the database it
        belongs to, where known. May be called again on the same object after a failure. Raises GapError
        where the source cannot continue from `resume`, StoreUnavailable where it is not reached,
        ConflictError where somebody else reads it, SetupError where canonical is not prepared."""
        ...

    def events(self) -> AsyncIterator[list[Event]]:
        """Events in small lists, as they arrive; never waits to fill a list. One iterator at a time.
        Ends by raising: StoreUnavailable when the connection is lost (open again), GapError when
        changes turn out to be missing."""
        ...

    def acknowledge(self, lsn: int) -> None:
        """All up to `lsn` is durable downstream. Returns at once; the source tells its server from
        its own task, also while the consumer is busy."""

    async def lag_bytes(self) -> int | None:
        """Bytes of WAL that the source retains for us; None where it has no such notion."""
        ...

    async def reset(self) -> None:
        """After a GapError: give up the place that cannot be gone on from, so that `open(None)` starts
        with what is committed from now on."""
        ...

    async def close(self) -> None: ...
