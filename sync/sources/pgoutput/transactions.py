"""Puts the messages of a stream together to transactions: no input or output, one call a message.

Protocol version 1: a transaction's rows come between its BEGIN and COMMIT after it has committed,
and transactions in the order of their commits. A transaction of more than PART changes is handed
out in parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stores.errors import StoreRefused
from sync.changes import Change, ChangeOp, Event, Transaction
from sync.sources.pgoutput import messages
from sync.sources.pgoutput.decoder import MALFORMED, RowDecoder, row_decoders
from sync.sources.pgoutput.messages import PAYLOAD, MalformedMessage

PART = 5000
"""Maximum number of changes held of one transaction, so that memory is bounded."""


@dataclass(frozen=True, slots=True)
class TrackedTable:
    """The columns that the source needs of a table; `tracked` holds the key's columns too."""

    type_name: str
    key: tuple[str, ...]
    tracked: tuple[str, ...]
    old: tuple[str, ...] = ()
    """Columns that are wanted of every row before an update or a delete."""


class Assembler:
    """Takes messages by `feed`, gives events by `take`."""

    def __init__(
        self,
        tables: Mapping[tuple[str, str], TrackedTable],
        position: int,
        *,
        base_types: Mapping[int, int] | None = None,
        known: Mapping[int, tuple[str, str]] | None = None,
        part: int = PART,
    ) -> None:
        """`position`: where the stream begins; `base_types`: OID of a domain → that of its base
        type; `known`: OID → name of tables that may go by another name for a while."""
        self.position = position
        """The position up to which everything committed has been delivered."""
        self.reply_requested = False
        """The server wants a status update at once; whoever sends it resets this."""
        self._tables = tables
        self._base_types = base_types or {}
        self._part = part
        # Tag and OID of a row message → its decoder; None: a table that is not in the contract.
        self._rows: dict[bytes, RowDecoder | None] = {}
        self._known = dict(known or {})
        self._described: dict[int, messages.RelationMessage] = {}
        self._said: set[tuple[tuple[str, str], ChangeOp]] = set()
        """The changes of whole tables that were already yielded in the open transaction."""
        self._transaction: messages.Begin | None = None
        self._split = False
        self._changes: list[Change] = []
        self._events: list[Event] = []

    @property
    def in_transaction(self) -> bool:
        """True between a BEGIN and its COMMIT."""
        return self._transaction is not None

    def know(self, tables: Mapping[int, tuple[str, str]]) -> None:
        """Add tables to `known`."""
        self._known |= tables

    def take(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def feed(self, data: bytes) -> None:
        """Take a message, as it came out of COPY. Raises StoreRefused for one that cannot be
        read."""
        try:
            decode = self._rows.get(data[PAYLOAD : PAYLOAD + 5])
            if decode is None:
                self._control(data)
                return
            if self._transaction is None:
                raise MalformedMessage("a row outside a transaction")
            changes = self._changes
            changes.append(decode(data))
            if len(changes) >= self._part:
                self._hand_out(lsn=0)
        except MALFORMED as error:
            raise StoreRefused(
                f"canonical sent a change that cannot be read{self._whose(data)}: {_reason(error)}",
                store="postgres",
            ) from error

    def _control(self, data: bytes) -> None:
        if data[:1] == b"k":
            alive = messages.keepalive(data)
            # Inside a transaction it says nothing new: that transaction's commit is still to come.
            if self._transaction is None and alive.lsn > self.position:
                self.position = alive.lsn
            self.reply_requested = self.reply_requested or alive.reply_requested
            return
        if data[:1] != b"w":
            raise MalformedMessage("a message of unknown kind")
        tag = data[PAYLOAD : PAYLOAD + 1]
        if tag == b"B":
            if self._transaction is not None:
                raise MalformedMessage("a transaction inside another")
            self._transaction = messages.begin(data)
        elif tag == b"C":
            self._commit(messages.commit_end(data))
        elif tag == b"R":
            self._relation(messages.relation(data))
        elif tag == b"T":
            self._truncate(messages.truncate(data))
        elif tag in (b"I", b"U", b"D"):
            if data[PAYLOAD : PAYLOAD + 5] not in self._rows:
                raise MalformedMessage("a row of an undescribed table")
        elif tag not in (b"O", b"Y", b"M"):
            raise MalformedMessage("a message of unknown kind")

    def _commit(self, end: int) -> None:
        if self._transaction is None:
            raise MalformedMessage("a commit without a transaction")
        if self._changes or self._split:
            self._hand_out(lsn=end)
        self._transaction = None
        self._split = False
        self._said.clear()
        if end > self.position:
            self.position = end

    def _hand_out(self, lsn: int) -> None:
        begin = self._transaction
        assert begin is not None
        self._events.append(Transaction(lsn, begin.commit_time, begin.xid, self._changes))
        self._changes = []
        self._split = True

    def _relation(self, relation: messages.RelationMessage) -> None:
        name = (relation.schema, relation.table)
        tags = [tag + relation.oid.to_bytes(4, "big") for tag in (b"I", b"U", b"D")]
        if name not in self._tables:
            # Renamed, perhaps for a moment only: its rows are still those of the table that it was.
            name = self._known.get(relation.oid, name)
        table = self._tables.get(name)
        if table is None:
            self._rows.update(dict.fromkeys(tags))
            return
        before = self._described.get(relation.oid)
        self._described[relation.oid] = relation
        self._known[relation.oid] = name
        if before not in (None, relation):
            self._say(name, ChangeOp.RESHAPED)
        types = [self._base_types.get(oid, oid) for oid in relation.types]
        made = row_decoders(*name, relation.columns, types, table.tracked)
        decoders = [made.insert, made.update, made.delete]
        if not set(table.tracked) <= set(relation.columns):
            decoders = [self._untold(name, decode) for decode in decoders]
        elif table.old:
            decoders[1:] = [self._checked(name, table, decode) for decode in decoders[1:]]
        self._rows.update(zip(tags, decoders, strict=True))

    def _untold(self, name: tuple[str, str], decode: RowDecoder) -> RowDecoder:
        """Return a decoder for a table that lacks columns which tell what a change touches."""

        def say_and_decode(data: bytes) -> Change:
            self._say(name, ChangeOp.UNTOLD)
            return decode(data)

        return say_and_decode

    def _checked(
        self, name: tuple[str, str], table: TrackedTable, decode: RowDecoder
    ) -> RowDecoder:
        """Return a decoder for a table whose old rows are needed. It notices a replica identity
        that does not send them at the first row affected."""
        wanted = frozenset(table.old)

        def decode_and_look(data: bytes) -> Change:
            change = decode(data)
            if not wanted <= change.old.keys():
                self._say(name, ChangeOp.UNTOLD_OLD)
            return change

        return decode_and_look

    def _say(self, name: tuple[str, str], op: ChangeOp) -> None:
        """Something about a whole table, once in a transaction."""
        if self._transaction is None:
            raise MalformedMessage("a table's description outside a transaction")
        if (name, op) not in self._said:
            self._said.add((name, op))
            self._changes.append(Change(*name, op))

    def _truncate(self, truncate: messages.Truncate) -> None:
        if self._transaction is None:
            raise MalformedMessage("a truncate outside a transaction")
        for oid in truncate.oids:
            name = self._known.get(oid)
            if name is not None:
                self._changes.append(Change(*name, ChangeOp.TRUNCATE))

    def _whose(self, data: bytes) -> str:
        name = self._known.get(int.from_bytes(data[PAYLOAD + 1 : PAYLOAD + 5], "big"))
        return f" of table {'.'.join(name)}" if name and data[:1] == b"w" else ""


def _reason(error: Exception) -> str:
    if isinstance(error, MalformedMessage):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "text that is not UTF-8"
    return "the message ends too early"
