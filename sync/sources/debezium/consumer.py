"""Reads the topics with kafka-python in a thread of its own: decodes, assembles, hands batches to
the loop.

Every partition is assigned by hand; the group holds the offsets only. The thread waits when the
loop does not keep up, and goes on committing meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stores.errors import GapError, RecordgateError, SetupError, StoreRefused, StoreUnavailable
from sync.changes import NOTHING, Change, ChangeOp, Event
from sync.sources.debezium.assembly import Assembly
from sync.sources.debezium.envelope import (
    AnotherDatabase,
    Poison,
    TableReader,
    payload_text,
    read_transaction,
)
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.places import RELOAD, Checkpoint, go_on, made_again, mark_of
from sync.sources.debezium.reach import better

log = logging.getLogger(__name__)
# What goes wrong reaches us as exceptions; it logs as errors what a close has cancelled.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

STORE = "kafka"
RECORDS = 2000
"""Maximum number of records taken at once."""
BATCHES = 4
"""Maximum number of batches that wait for the event loop."""
POLL_MS = 100
FETCH_BYTES = 8 << 20
FETCH_WAIT_MS = 20
"""The time for which a broker holds a request that it has no records for. The client asks a broker
one thing at a time: while it waits for a quiet topic, the busy ones wait as well."""
COMMIT_INTERVAL = 0.5
CHECKPOINTS = 1000
CHECK = 1.0
"""Seconds between two looks whether a topic was made again."""
DISCOVER_WAITING, DISCOVER = 0.1, 1.0
"""Seconds between two looks for topics that are not there yet, while changes of theirs are missing,
and otherwise."""
DISCOVER_PARTITIONS = 5.0
"""Seconds between two looks for partitions that a topic has been given; until then the transactions
that have changes there wait."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message that is no change of ours."""

    topic: str
    partition: int
    offset: int
    reason: str
    text: str


@dataclass(slots=True)
class Batch:
    """`position`: where the stream is once the events have been taken."""

    events: list[Event]
    position: int
    poison: list[SetAside] = field(default_factory=list)


class TopicReader:
    """A thread that reads the topics from `start` to `close`. It calls `deliver` and `fail`."""

    def __init__(
        self,
        location: KafkaLocation,
        *,
        readers: Mapping[str, TableReader],
        transactions: str,
        system: str,
        resume: int | None,
        now: Callable[[], int],
        deliver: Callable[[Batch], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`readers`: topic → its table's; `transactions`: the topic of transaction metadata; `now`:
        where canonical's log ends."""
        self._location = location
        self._readers = dict(readers)
        self._transactions = transactions
        self._system = system
        self._resume = resume
        self._now = now
        self._deliver = deliver
        self._fail = fail
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)
        self._opened: Future[None] = Future()
        self._stop = threading.Event()
        self._room = threading.Semaphore(BATCHES)
        self._lock = threading.Lock()
        """Is held while records are assembled."""
        self._bookkeeping = threading.Lock()
        """Is held briefly while checkpoints are read, because the event loop waits for it."""
        self._checkpoints: deque[tuple[int, dict[Any, int]]] = deque()
        self._to_commit: tuple[int, dict[Any, int]] | None = None
        self._committed_at = 0.0
        self._barrier: tuple[int, dict[Any, int] | None] | None = None
        self._streaming = resume is not None
        self._assembly = Assembly((), 0)
        self._consumer: Any = None
        self._first: dict[Any, int] = {}
        """Partition → where its reading began."""
        self._ids: dict[str, str] = {}
        self._missing: set[str] = set()
        self._looked = self._checked = 0.0
        self.position = 0
        self.received_at = time.monotonic()
        """The moment at which a record last came (monotonic seconds)."""
        self.last_poison = ""

    # The outside, called from other threads -------------------------------------------------------

    def start(self) -> None:
        """Connect, find the places to go on from, and read. Raises as ChangeSource.open does."""
        self._thread.start()
        self._opened.result()

    def end_of(self, xid: int) -> int | None:
        """Return the end of a delivered transaction; see Assembly.end_of."""
        return self._assembly.end_of(xid)

    def begin(self, lsn: int) -> bool:
        """Begin the events at `lsn` after a first start; what was read before is not delivered.
        Return False if it is no longer certain that everything after `lsn` is held: a later
        position is needed then."""
        with self._lock:
            if not self._assembly.begin(lsn):
                return False
            with self._bookkeeping:
                self._to_commit = (lsn, dict(self._first))
            self._streaming = True
            return True

    def taken(self) -> None:
        """Note that the event loop has taken a batch."""
        self._room.release()

    def acknowledge(self, lsn: int) -> None:
        """Offsets up to `lsn` may be committed."""
        with self._bookkeeping:
            while self._checkpoints and self._checkpoints[0][0] <= lsn:
                self._to_commit = self._checkpoints.popleft()

    def everything_is_there(self, lsn: int) -> None:
        """Note that every record committed up to `lsn` is in Kafka."""
        if self._barrier is None:
            self._barrier = (lsn, None)

    @property
    def has_transactions(self) -> bool:
        """Return whether there is a topic of transaction metadata."""
        return self._transactions not in self._missing

    def close(self) -> None:
        """Commit what is acknowledged, and end. Safe at any time; blocks for a moment."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(20)

    # The thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            try:
                self._open()
            except BaseException as error:
                self._opened.set_exception(better(translated(error), self._location))
                return
            self._opened.set_result(None)
            while not self._stop.is_set():
                self._step()
            self._commit()
        except BaseException as error:
            log.debug("reading the topics ended unexpectedly", exc_info=error)
            self._fail(translated(error))
        finally:
            if self._consumer is not None:
                with suppress(Exception):
                    self._consumer.close(autocommit=False)

    def _open(self) -> None:
        from kafka import KafkaConsumer  # type: ignore[import-untyped]

        self._consumer = KafkaConsumer(
            **self._location.client_options(),
            group_id=self._location.group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            exclude_internal_topics=False,
            max_poll_records=RECORDS,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            metadata_max_age_ms=30_000,
            bootstrap_timeout_ms=5000,
            request_timeout_ms=10_000,
        )
        topics = self._existing()
        partitions = self._partitions(topics)
        self._consumer.assign(partitions)
        if self._resume is None:
            places = dict(self._consumer.end_offsets(partitions)) if partitions else {}
            for partition, offset in places.items():
                self._consumer.seek(partition, offset)
            self._first = places
            begin = self._now()
        else:
            begin = self._resume
            places = self._go_on(partitions)
        tables = {f"{r.form.schema}.{r.form.table}" for r in self._readers.values()}
        self._assembly = Assembly(tables, begin)
        # From the first commit on, every partition that is read has an offset.
        self._assembly.done.update(places)
        self.position = begin

    def _existing(self) -> list[str]:
        """Return those of our topics that exist."""
        self._looked = time.monotonic()
        wanted = {*self._readers, self._transactions}
        there = wanted & set(self._consumer.topics())
        self._missing = wanted - there - self._ids.keys()
        for topic in there:
            self._ids.setdefault(topic, self._id_of(topic))
        return sorted(there)

    def _id_of(self, topic: str) -> str:
        """Return the topic's id, which differs after the topic was created again; empty if the
        broker has none."""
        return str(self._consumer._client.cluster.topic_id(topic) or "")

    def _check_ids(self) -> None:
        """Raise GapError where a topic has been made again while it was read."""
        now = time.monotonic()
        if now - self._checked < CHECK:
            return
        self._checked = now
        for topic, known in self._ids.items():
            found = self._id_of(topic)
            if found and known and found != known:
                raise made_again(topic)

    def _partitions(self, topics: list[str]) -> list[Any]:
        from kafka import TopicPartition

        return [
            TopicPartition(topic, number)
            for topic in topics
            for number in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]

    def _go_on(self, partitions: list[Any]) -> dict[Any, int]:
        """Seek each partition to where the group is; what `go_on` says. Raises GapError where
        records are missing."""
        consumer = self._consumer
        places = go_on(
            self._location.group,
            self._system,
            {p: consumer.committed(p, metadata=True) for p in partitions},
            consumer.beginning_offsets(partitions),
            consumer.end_offsets(partitions),
            self._ids,
            self._missing,
        )
        for partition, offset in places.items():
            consumer.seek(partition, offset)
        return places

    def _step(self) -> None:
        self._discover()
        self._check_ids()
        found = self._consumer.poll(timeout_ms=POLL_MS)
        poison: list[SetAside] = []
        if found:
            self.received_at = time.monotonic()
        with self._lock:
            for partition, records in found.items():
                self._feed(partition, records, poison)
            self._pass_barrier()
            if self._streaming:
                self._hand_over(poison)
            else:
                self._assembly.forget()
        self._commit()

    def _feed(self, partition: Any, records: list[Any], poison: list[SetAside]) -> None:
        reader = self._readers.get(partition.topic)
        if reader is not None:
            self._feed_changes(reader, partition, records, poison)
            return
        for record in records:
            if record.value is None:
                continue
            try:
                end = read_transaction(record.value)
            except Poison as reason:
                self._set_aside(record, reason, poison)
            else:
                if end is not None:
                    self._assembly.end(end, partition, record.offset)

    def _feed_changes(
        self, reader: TableReader, partition: Any, records: list[Any], poison: list[SetAside]
    ) -> None:
        """Feed changes to the assembly. The usual message, a new row without schema and headers,
        takes a short path, because the rate depends on this loop."""
        assembly = self._assembly
        decode, row, wrapped = reader.decode, reader.row, reader.wrapped
        schema, table = reader.form.schema, reader.form.table
        kinds = {"c": ChangeOp.INSERT, "u": ChangeOp.UPDATE}
        made: list[tuple[int, int, int, Change, int]] = []
        for record in records:
            value = record.value
            if value is None:
                continue  # a tombstone: its delete came before it
            if not wrapped and not record.headers:
                try:
                    found = decode(value)
                    after, part = found.after, found.transaction
                    kind = kinds.get(found.op)
                    if kind and after is not None and found.before is None and part is not None:
                        source = found.source
                        xid = source.txId
                        if xid is not None:
                            change = Change(schema, table, kind, row(after), NOTHING)
                            made.append(
                                (xid, part.total_order, record.offset, change, source.ts_ms)
                            )
                            continue
                except (ValueError, TypeError, KeyError, ArithmeticError):
                    pass  # told below, with its reason
            if made:
                assembly.changes(partition, made)
                made = []
            try:
                read = reader.read(value, record.headers)
            except AnotherDatabase as other:
                raise SetupError(
                    f"topic {partition.topic} holds {other}, which do not belong to this contract",
                    hint=(
                        "set another topic_prefix in `changes`, or stop the connector that"
                        " writes to the topic; then run `recordgate apply`"
                    ),
                ) from None
            except Poison as reason:
                self._set_aside(record, reason, poison)
                continue
            wrapped = reader.wrapped
            if read.whole_snapshot and (read.source.lsn or 0) > assembly.position:
                raise GapError(
                    "the connector took a new snapshot because it had lost its offset",
                    hint=f"set its snapshot.mode to no_data; {RELOAD}",
                )
            assembly.change(read, partition, record.offset)
        if made:
            assembly.changes(partition, made)

    def _set_aside(self, record: Any, reason: Poison, poison: list[SetAside]) -> None:
        self.last_poison = f"; {record.topic} holds a message that is not a change: {reason}"
        text = payload_text(record.value)
        poison.append(SetAside(record.topic, record.partition, record.offset, str(reason), text))

    def _hand_over(self, poison: list[SetAside]) -> None:
        """Hand the loop the events there are. Wait until it has room, and commit meanwhile."""
        assembly = self._assembly
        events = assembly.take()
        moved = assembly.position > self.position
        if moved:
            self.position = assembly.position
            assembly.settled({p: self._consumer.position(p) for p in self._consumer.assignment()})
            with self._bookkeeping:
                if len(self._checkpoints) >= CHECKPOINTS:
                    self._checkpoints = deque(list(self._checkpoints)[1::2])
                self._checkpoints.append((self.position, dict(assembly.done)))
        if not (events or poison or moved):
            return
        batch = Batch(events, self.position, poison)
        self._lock.release()
        try:
            while not self._room.acquire(timeout=POLL_MS / 1000):
                if self._stop.is_set():
                    return
                self._commit()
        finally:
            self._lock.acquire()
        self._deliver(batch)

    def _pass_barrier(self) -> None:
        if self._barrier is None:
            return
        lsn, ends = self._barrier
        consumer = self._consumer
        if ends is None:
            self._discover(now=True)
            ends = dict(consumer.end_offsets(list(consumer.assignment())))
            self._barrier = (lsn, ends)
        if all(consumer.position(p) >= offset for p, offset in ends.items()):
            self._barrier = None
            self._assembly.passed(lsn, ends)

    def _discover(self, *, now: bool = False) -> None:
        """Take up topics, and partitions of topics, that were not there before."""
        hurry = self._assembly.waiting or not self._streaming
        if self._missing:
            patience = DISCOVER_WAITING if hurry else DISCOVER
        else:
            patience = DISCOVER_PARTITIONS
        if not now and time.monotonic() - self._looked < patience:
            return
        from kafka.errors import KafkaError  # type: ignore[import-untyped]

        try:
            partitions = self._partitions(self._existing())
        except KafkaError:
            if now or self._missing:
                raise
            return  # brokers that are away: the poll goes on when they are back
        consumer = self._consumer
        assigned = consumer.assignment()
        fresh = [p for p in partitions if p not in assigned]
        if not fresh:
            return
        known = {p: consumer.position(p) for p in assigned}
        consumer.assign([*assigned, *fresh])
        begun = consumer.beginning_offsets(fresh)
        self._first.update(begun)
        self._assembly.done.update(begun)
        places = {**begun, **known}
        for partition, offset in places.items():
            consumer.seek(partition, offset)

    def _commit(self) -> None:
        """Commit what was acknowledged, at most each COMMIT_INTERVAL."""
        now = time.monotonic()
        if not self._stop.is_set() and now - self._committed_at < COMMIT_INTERVAL:
            return
        with self._bookkeeping:
            due, self._to_commit = self._to_commit, None
        if due is None or not due[1]:
            return
        from kafka import OffsetAndMetadata

        lsn, offsets = due
        self._committed_at = now
        marks = tuple(mark_of(topic, topic_id) for topic, topic_id in sorted(self._ids.items()))
        texts = {
            topic: Checkpoint(topic_id, self._system, lsn, marks).text()
            for topic, topic_id in self._ids.items()
        }
        self._consumer.commit(
            {p: OffsetAndMetadata(offset, texts[p.topic], -1) for p, offset in offsets.items()}
        )


def translated(error: BaseException) -> BaseException:
    """kafka-python's error as one of ours."""
    from kafka import errors

    if isinstance(error, RecordgateError) or not isinstance(error, Exception):
        return error
    if isinstance(error, errors.OffsetOutOfRangeError | errors.NoOffsetForPartitionError):
        return GapError("records were removed from a topic before they were read", hint=RELOAD)
    if isinstance(error, errors.UnknownTopicOrPartitionError | errors.UnknownTopicIdError):
        return GapError("a topic was deleted while it was read", hint=RELOAD)
    if isinstance(
        error,
        errors.AuthorizationError
        | errors.SaslAuthenticationFailedError
        | errors.UnsupportedSaslMechanismError
        | errors.KafkaConfigurationError,
    ):
        return SetupError(
            f"Kafka refuses access: {type(error).__name__}",
            hint="check user, password and ACLs: READ on the topics and the group",
        )
    if isinstance(error, errors.KafkaError | OSError | TimeoutError):
        return StoreUnavailable(
            f"Kafka is not reachable: {type(error).__name__}",
            store=STORE,
            hint="check that the brokers run at the address in the setting `changes`",
        )
    refused = StoreRefused(f"reading from Kafka failed: {type(error).__name__}", store=STORE)
    refused.__cause__ = error
    return refused
