"""Puts the records of several topics together to transactions, in the order of their commits. Pure.

Each partition is in the order of the log, but between partitions there is no order: the END of a
transaction may be read before its changes. An END says how many changes of each table there were,
and where the commit record ends, so a transaction is handed out when all of them have come and all
before it are out. Repeated records (Connect was killed) are counted once, by their place in the
transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from sync.changes import Change, ChangeOp, Event, Transaction
from sync.sources.debezium.envelope import End, Read

Partition: TypeAlias = Hashable
"""A topic's partition; only compared."""
PART = 5000
"""Maximum number of changes held of one transaction."""
HELD = 20_000
"""Maximum number of changes held in all."""
REMEMBERED = 20_000
"""The number of finished transactions that are remembered, for records that come again."""


@dataclass(slots=True)
class _Open:
    """A transaction whose END has not been met. `furthest`: partition → the last place counted;
    `behind`: partition → the offset behind its last record. `split`: parts of it have been
    handed out."""

    changes: list[Change] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    moves: dict[int, str] = field(default_factory=dict)
    count: int = 0
    split: bool = False
    forgotten: bool = False
    """True where some of the transaction's changes have been let go."""
    commit_time: float = 0.0
    furthest: dict[Partition, int] = field(default_factory=dict)
    behind: dict[Partition, int] = field(default_factory=dict)


class Assembly:
    """Takes records by `change` and `end`, gives events by `take`."""

    def __init__(self, tables: Collection[str], position: int, *, part: int = PART) -> None:
        """`tables`: "schema.table" of those whose changes are fed; `position`: where the events
        begin, transactions up to there are left out."""
        self.position = position
        """The position up to which every commit has been handed out."""
        self.done: dict[Partition, int] = {}
        """Partition → offset before which every record belongs to what has been handed out."""
        self._tables = frozenset(tables)
        self._start = position
        self._part = part
        self._open: dict[int, _Open] = {}
        self._ends: deque[tuple[End, Partition, int]] = deque()
        self._finished: dict[int, int] = {}
        self._loose: list[Change] = []
        self._loose_xid: int | None = None
        self._loose_time = 0.0
        self._held = 0
        self._whole_from = 0
        """The position after which transactions ended of which no change was dropped."""
        self._events: list[Transaction] = []

    def change(self, read: Read, partition: Partition, offset: int) -> None:
        """Take a change."""
        xid = read.source.txId
        if read.part is None or xid is None:
            self._let_loose(read.change, xid, read.source.ts_ms, read.snapshot)
            return
        made = (xid, read.part.total_order, offset, read.change, read.source.ts_ms)
        self.changes(partition, [made])
        if read.moved and xid in self._open:
            self._open[xid].moves[read.part.total_order] = read.moved

    def changes(
        self, partition: Partition, made: Iterable[tuple[int, int, int, Change, int]]
    ) -> None:
        """Take changes of a partition, in its order: (transaction, place, offset, change,
        milliseconds)."""
        current = -1
        found: _Open | None = None
        last = 0
        for xid, place, offset, change, ts_ms in made:
            if xid != current:
                if found is not None:
                    found.furthest[partition] = last
                current, found = xid, self._open.get(xid)
                if found is None and xid not in self._finished:
                    found = self._open[xid] = _Open()
                    found.commit_time = ts_ms / 1000
                last = 0 if found is None else found.furthest.get(partition, 0)
            if found is None:
                if not 0 < self._finished[xid] <= self._start:
                    self._let_loose(change, xid, ts_ms, False)
                continue
            if place <= last:
                continue  # it came again
            last = place
            found.behind[partition] = offset + 1
            found.count += 1
            found.changes.append(change)
            found.places.append(place)
            self._held += 1
            if len(found.changes) >= self._part or self._held >= HELD:
                found.furthest[partition] = last
                self._hand_out_parts()
        if found is not None:
            found.furthest[partition] = last

    def begin(self, lsn: int) -> bool:
        """Leave out what has been assembled of transactions up to `lsn`. False, with nothing done,
        where `forget` has let go what came behind it."""
        if lsn < self._whole_from or any(found.forgotten for found in self._open.values()):
            return False
        self._start = self.position = max(self.position, lsn)
        ends = self._ends_of_finished()
        self._events = [e for e in self._events if not 0 < ends.get(e.xid, e.lsn) <= lsn]
        return True

    def forget(self, most: int = HELD) -> None:
        """Drop waiting changes beyond `most`, before the events begin. Finding where they begin
        may take long, and transactions that ended before it are left out anyway."""
        if sum(len(e.changes) for e in self._events) <= most:
            return
        ends = self._ends_of_finished()
        parts = {_short(xid): found for xid, found in self._open.items() if found.split}
        kept = []
        for event in self._events:
            end = ends.get(event.xid, event.lsn)
            if end:
                self._whole_from = max(self._whole_from, end)
            elif event.xid in parts:
                parts[event.xid].forgotten = True
            else:
                kept.append(event)  # of a transaction that nobody has told the end of
        self._events = kept

    def end(self, end: End, partition: Partition, offset: int) -> None:
        """Take the END of a transaction."""
        self._ends.append((end, partition, offset + 1))
        self._advance()

    def take(self) -> list[Event]:
        """Return the events since the last call."""
        self._advance()
        self._flush_loose()
        events, self._events = self._events, []
        return list(events)

    def settled(self, read_up_to: Mapping[Partition, int]) -> bool:
        """Return whether no transaction is open: everything read so far was delivered and may
        count as done."""
        if self._open or self._ends:
            return False
        self.done.update(read_up_to)
        return True

    def end_of(self, xid: int) -> int | None:
        """Return the end of the commit record of a delivered transaction, or None if it was not
        delivered yet."""
        return self._finished.get(xid)

    @property
    def waiting(self) -> bool:
        """Return whether the END of a transaction has come, but not all of its changes."""
        return bool(self._ends)

    def passed(self, lsn: int, upto: Mapping[Partition, int]) -> None:
        """Note that every record committed up to `lsn` stood before the offsets `upto`, and all of
        these were read. Transactions up to there are therefore complete, whatever number of
        changes was counted."""
        while self._ends and self._ends[0][0].lsn <= lsn:
            self._finish(*self._ends.popleft())
        for xid, found in list(self._open.items()):
            # No END was met: it was before our start, or there is no transaction topic.
            if all(offset <= upto.get(p, 0) for p, offset in found.behind.items()) and not any(
                end.xid == xid for end, _, _ in self._ends
            ):
                self._emit(xid, found, 0)
                if found.forgotten:
                    self._whole_from = max(self._whole_from, lsn)
                self._close(xid, 0)
        self.position = max(self.position, lsn)
        self._advance()

    # ----------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while self._ends:
            end, partition, behind = self._ends[0]
            if end.lsn > self.position:
                expected = sum(n for name, n in end.counts.items() if name in self._tables)
                found = self._open.get(end.xid)
                if (found.count if found else 0) < expected:
                    return
            self._ends.popleft()
            self._finish(end, partition, behind)

    def _finish(self, end: End, partition: Partition, behind: int) -> None:
        found = self._open.get(end.xid)
        if found is not None:
            found.commit_time = end.commit_time
            self._emit(end.xid, found, end.lsn)
            for p, offset in found.behind.items():
                self.done[p] = max(self.done.get(p, 0), offset)
        self.done[partition] = max(self.done.get(partition, 0), behind)
        self._close(end.xid, end.lsn)
        self.position = max(self.position, end.lsn)

    def _ends_of_finished(self) -> dict[int | None, int]:
        """Return the ends of the transactions whose END was met, by short transaction id. Parts
        that were delivered earlier do not know them."""
        return {_short(xid): lsn for xid, lsn in self._finished.items() if lsn}

    def _close(self, xid: int, lsn: int) -> None:
        found = self._open.pop(xid, None)
        if found is not None and found.forgotten:
            self._whole_from = max(self._whole_from, lsn)
        finished = self._finished
        finished[xid] = lsn
        if len(finished) > REMEMBERED:
            for old in list(finished)[: REMEMBERED // 2]:
                del finished[old]

    def _emit(self, xid: int, found: _Open, lsn: int) -> None:
        if lsn and lsn <= self._start:
            self._held -= len(found.changes)
            return
        if found.changes or (found.split and lsn):
            self._flush_loose()
            self._held -= len(found.changes)
            self._events.append(Transaction(lsn, found.commit_time, _short(xid), _in_order(found)))
            found.changes, found.places, found.moves = [], [], {}

    def _hand_out_parts(self) -> None:
        """Memory is bounded by handing out what has come, in the order in which it came: a record's
        changes are all in one partition, so their order is kept."""
        for xid, found in self._open.items():
            if found.changes:
                self._emit(xid, found, 0)
                found.split = True

    def _let_loose(self, change: Change, xid: int | None, ts_ms: int, snapshot: bool) -> None:
        """Deliver a change without transaction metadata (of a snapshot, or of a connector without
        them), or one that comes again."""
        short = None if xid is None or snapshot else _short(xid)
        if self._loose and (short != self._loose_xid or len(self._loose) >= self._part):
            self._flush_loose()
        self._loose_xid = short
        self._loose_time = ts_ms / 1000
        self._loose.append(change)

    def _flush_loose(self) -> None:
        if self._loose:
            self._events.append(Transaction(0, self._loose_time, self._loose_xid, self._loose))
            self._loose = []


def _short(xid: int) -> int:
    return xid & 0xFFFFFFFF


def _in_order(found: _Open) -> list[Change]:
    """Return the changes in the order in which they were made. A changed key comes as a delete of
    the old and a create of the new one; together they become one update that knows both."""
    changes, places = found.changes, found.places
    if len(found.furthest) > 1:
        order = sorted(range(len(places)), key=places.__getitem__)
        changes = [changes[i] for i in order]
        places = [places[i] for i in order]
    if not found.moves:
        return changes
    merged: list[Change] = []
    before: tuple[int, str] = (0, "")
    for change, place in zip(changes, places, strict=True):
        moved = found.moves.get(place, "")
        if moved == "to" and before == (place - 1, "from"):
            old = merged.pop().old
            change = Change(change.schema, change.table, ChangeOp.UPDATE, change.new, old)
        merged.append(change)
        before = (place, moved)
    return merged
