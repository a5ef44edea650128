"""The ChangeSource on Debezium's topics: opening it, its events, and how old they are.

Positions are canonical's, never Kafka's. What the connector has not sent yet is found out by
markers: small messages of our own in canonical's log, which come back as transactions of the
transaction topic.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg

from stores.canonical.connect import AsyncConnection, connect, connect_async, database_of
from stores.canonical.driver_errors import translate
from stores.canonical.publication import publication_name
from stores.contract.model import Contract
from stores.errors import GapError, SetupError, StoreUnavailable
from stores.lsn import format_lsn
from sync.changes import Event, Progress, Transaction, tracked_columns
from sync.ending import end
from sync.sources.debezium import dead_letters, texts
from sync.sources.debezium.connect_api import ConnectApi
from sync.sources.debezium.connector import MARKER, connector_name, debezium_slot
from sync.sources.debezium.consumer import Batch, SetAside, TopicReader
from sync.sources.debezium.envelope import TableReader
from sync.sources.debezium.location import KafkaLocation
from sync.sources.debezium.tables import TableForm, names_of_database, table_forms
from sync.sources.debezium.texts import Modes
from sync.sources.pgoutput import clock
from sync.sources.pgoutput.requirements import check_requirements, without
from sync.sources.pgoutput.slot import drop_slot, slot_state, wait_released
from sync.sources.pgoutput.transactions import TrackedTable

log = logging.getLogger(__name__)

KAFKA = "kafka"
SAMPLE_ACTIVE = 0.1
SAMPLE_IDLE = 1.0
"""Seconds between two samples of canonical's clock while positions move, and while they do not."""
MARKER_PATIENCE = 5.0
"""Seconds after which a marker that has not come back is followed by another."""
START_PATIENCE = 30.0
"""Seconds without a record after which a first start gives up waiting for a marker."""
SLOT_PATIENCE = 15.0
SILENCE = 30.0
"""Seconds without a record, though a marker was sent, after which something counts as down."""
INACTIVE = 5.0
"""Seconds the connector may be away from its slot before Connect is asked why."""
CERTAIN = 3.0
"""Seconds after which what the slot has confirmed counts as being in Kafka: the connector confirms
what one broker has acknowledged, while another's acknowledgement may be outstanding."""

MARK = (
    "SELECT pg_current_xact_id()::text, pg_logical_emit_message(true, %s, 'marker') - '0/0'::pg_lsn"
)
_SLOT = """
SELECT s.active, s.confirmed_flush_lsn - '0/0'::pg_lsn, s.wal_status,
       to_jsonb(s) ->> 'invalidation_reason'
FROM pg_replication_slots s WHERE s.slot_name = %s
"""
_LAG = """
SELECT greatest(0, pg_current_wal_lsn() - restart_lsn)::bigint
FROM pg_replication_slots WHERE slot_name = %s
"""

OnPoison = Callable[[Sequence[SetAside]], Awaitable[None]]


class DebeziumSource:
    """Changes of the contract's tables from Kafka. See `sync.changes.ChangeSource`."""

    kind = "debezium"
    tells_untold = False

    def __init__(
        self,
        url: str,
        contract: Contract,
        canonical_url: str,
        *,
        publication: str = "",
        on_poison: OnPoison | None = None,
    ) -> None:
        """`on_poison` is given the messages that are no changes of ours before the events behind
        them are yielded; default: they become dead letters."""
        self.system = ""
        self._location = KafkaLocation.parse(url)
        self._url = canonical_url
        self._slot = self._location.slot or debezium_slot(contract, database_of(canonical_url))
        self._publication = publication or publication_name(contract)
        self._connector = self._location.connector or connector_name(contract)
        self._name = f"recordgate {self._slot}"
        self._tables = {
            (t.schema, t.table): TrackedTable(t.name, t.key, tracked_columns(contract, t))
            for t in contract.types.values()
        }
        self._lacking: Collection[tuple[str, str]] = ()
        self._on_poison = on_poison or self._write_letters
        self._reader: TopicReader | None = None
        self._monitor: AsyncConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._batches: deque[Batch] = deque()
        self._wake = asyncio.Event()
        self._active = asyncio.Event()
        self._failure: BaseException | None = None
        self._missing_since: float | None = None
        """The moment at which Connect first said that it knows of no connector (monotonic
        seconds)."""
        self._samples = clock.SampleLog()
        self._delivered = Progress(0, 0.0)
        self._busy = asyncio.Lock()
        """Is held while the second connection is used."""

    def expect(
        self, known: Mapping[int, tuple[str, str]], lacking: Collection[tuple[str, str]]
    ) -> None:
        """See ChangeSource. A topic's name does not tell the OID of its table."""
        self._lacking = lacking

    async def open(self, resume: int | None, *, system: str | None = None) -> int:
        """See ChangeSource. A first start waits until the connector is seen to work."""
        await self.close()
        self._failure = None
        self._missing_since = None
        self._samples = clock.SampleLog()
        self._batches.clear()
        try:
            readers = await asyncio.to_thread(self._prepare, resume, system)
            self._monitor = await connect_async(self._url, application_name=self._name)
            loop = asyncio.get_running_loop()
            reader = self._reader = TopicReader(
                self._location,
                readers=readers,
                transactions=f"{self._location.topic_prefix}.transaction",
                system=self.system,
                resume=resume,
                now=self._now,
                deliver=lambda batch: _call(loop, self._arrived, reader, batch),
                fail=lambda error: _call(loop, self._failed, reader, error),
            )
            await asyncio.to_thread(reader.start)
            start = resume
            if start is None:
                start = await self._first_marker(reader)
        except psycopg.Error as error:
            await self.close()
            raise translate(error) from None
        except BaseException:
            await self.close()
            raise
        self._delivered = Progress(start, 0.0)
        self._tasks = [asyncio.create_task(self._guard(self._sample))]
        return start

    async def events(self) -> AsyncIterator[list[Event]]:
        """See ChangeSource."""
        while True:
            self._wake.clear()
            if self._failure is not None:
                raise self._failure
            reader = self._reader
            if reader is None:
                raise StoreUnavailable("the change source is not open", store=KAFKA)
            found: list[Event] = []
            position = self._delivered.lsn
            while self._batches:
                batch = self._batches.popleft()
                reader.taken()
                if batch.poison:
                    await self._on_poison(batch.poison)
                found += batch.events
                position = max(position, batch.position)
                if len(found) >= 1000:
                    break
            if any(isinstance(event, Transaction) for event in found):
                self._active.set()
            if not self._batches:
                self._samples.reached(position)
            now = Progress(position, self._samples.as_of)
            if now.at and now != self._delivered:
                found.append(now)
                self._delivered = now
            elif position > self._delivered.lsn:
                self._delivered = Progress(position, self._delivered.at)
            if found:
                yield found
            if self._batches:
                await asyncio.sleep(0)
            else:
                await self._wake.wait()

    def acknowledge(self, lsn: int) -> None:
        """See ChangeSource: offsets are committed soon, by the thread that reads."""
        if self._reader is not None:
            self._reader.acknowledge(lsn)

    async def lag_bytes(self) -> int | None:
        """Return the bytes of WAL that canonical retains for the connector's slot."""
        row = await self._ask(_LAG, self._slot)
        return None if row is None else int(row[0])

    async def reset(self) -> None:
        """Forget the place that cannot be gone on from. Where Connect is known, the connector is
        made to forget its own, and its slot is made anew: it would fail again else."""
        await self.close()
        if self._location.connect:
            await asyncio.to_thread(self._start_anew)

    def _start_anew(self) -> None:
        api = ConnectApi(self._location.connect, self._connector)
        status = api.status()
        with connect(self._url, application_name=self._name) as conn:
            state = slot_state(conn, self._slot)
            if status.state == "MISSING" or (status.state == "RUNNING" and state.exists):
                return  # only our own offsets were lost
            api.forget_offsets()
            if state.exists and state.same_database:
                wait_released(conn, self._slot, patience=SLOT_PATIENCE)
                drop_slot(conn, self._slot)
        api.resume()

    async def close(self) -> None:
        """Commit what is acknowledged and let go. Safe at any time."""
        tasks, self._tasks = self._tasks, []
        await end(tasks)
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.to_thread(reader.close)
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            with suppress(psycopg.Error):
                await monitor.close()
        self._wake.set()

    # Opening --------------------------------------------------------------------------------------

    def _prepare(self, resume: int | None, system: str | None) -> dict[str, TableReader]:
        """Check canonical, its slot and the connector: topic → reader of its table."""
        modes = self._location.modes or Modes()
        with connect(self._url, application_name=self._name) as conn:
            check_requirements(conn, self._publication, without(self._tables, self._lacking))
            state = slot_state(conn, self._slot)
            self.system = state.system
            if resume is not None:
                if system is not None and system != state.system:
                    raise GapError(
                        "canonical is not the database of the recorded positions",
                        hint=(
                            "nothing to do: every type is reloaded by itself; see `recordgate"
                            " status`"
                        ),
                    )
                if resume > state.server_lsn:
                    raise GapError(
                        f"the recorded position {format_lsn(resume)} is beyond the end of"
                        f" canonical's WAL, {format_lsn(state.server_lsn)}: canonical was"
                        " restored from a backup, or is another database",
                        hint=(
                            "nothing to do: every type is reloaded by itself; see `recordgate"
                            " status`"
                        ),
                    )
            if self._location.connect:
                modes = self._ask_connect(modes)
            problem = self._slot_problem(state.exists, state.wal_status, state.invalidation_reason)
            if problem is not None and resume is not None:
                raise problem
            deadline = time.monotonic() + SLOT_PATIENCE
            while not state.exists:
                if time.monotonic() > deadline:
                    raise SetupError(
                        f"canonical has no replication slot {self._slot}: the connector has never "
                        "run",
                        hint="run `recordgate apply`, or deploy the configuration that it prints",
                    )
                time.sleep(0.1)
                state = slot_state(conn, self._slot)
            forms = table_forms(conn, self._tables)
            databases = names_of_database(conn)
        refuse(forms, modes)
        prefix = self._location.topic_prefix
        return {
            topic(prefix, *name): TableReader(form, modes, databases)
            for name, form in forms.items()
        }

    def _ask_connect(self, modes: Modes) -> Modes:
        """Return how the connector writes values. Kafka Connect need not be reachable: what is in
        Kafka can be read."""
        api = ConnectApi(self._location.connect, self._connector)
        try:
            config = api.config()
            status = api.status()
        except StoreUnavailable as error:
            log.warning("%s", error.message)
            return modes
        if config is None:
            raise SetupError(
                f"Kafka Connect has no connector {self._connector}", hint="run `recordgate apply`"
            )
        if status.state == "FAILED":
            problem = connector_failed(self._connector, status.trace)
            if not isinstance(problem, GapError):
                # Connect leaves it at that, though a restart of canonical may have been the whole
                # reason.
                api.restart()
            raise problem
        if self._location.modes is not None:
            return modes
        return Modes(
            config.get("decimal.handling.mode", "precise"),
            config.get("time.precision.mode", "adaptive"),
            config.get("binary.handling.mode", "bytes"),
        )

    def _now(self) -> int:
        with connect(self._url, application_name=self._name) as conn:
            row = conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
            assert row is not None
            return int(row[0])

    async def _first_marker(self, reader: TopicReader) -> int:
        """Begin where the first marker ends that has come back: from there on everything comes. The
        connector may have begun later than its slot, and may have much to tell before it."""
        began = time.monotonic()
        sent: dict[int, int] = {}
        next_at = 0.0
        while True:
            if self._failure is not None:
                raise self._failure
            if time.monotonic() >= next_at:
                row = await self._ask(MARK, MARKER)
                assert row is not None
                sent[int(row[0]) & 0xFFFFFFFF] = int(row[1])
                next_at = time.monotonic() + 0.5
            for xid in sent:
                end = reader.end_of(xid)
                if end and reader.begin(end):
                    return end
            slot = await self._ask(_SLOT, self._slot)
            passed = [lsn for lsn in sent.values() if slot and int(slot[1] or 0) > lsn]
            if passed and not reader.has_transactions and reader.begin(min(passed)):
                return min(passed)
            if time.monotonic() > max(began, reader.received_at) + START_PATIENCE:
                problem = await asyncio.to_thread(self._diagnose, patience=0.0)
                raise problem or StoreUnavailable(
                    (
                        f"the connector {self._connector} has not delivered a change within"
                        f" {START_PATIENCE:.0f} s"
                    )
                    + reader.last_poison,
                    store=KAFKA,
                    hint="check that it runs with this topic_prefix; see `recordgate doctor`",
                )
            await asyncio.sleep(0.02)

    # What runs beside the reader ------------------------------------------------------------------

    def _arrived(self, reader: TopicReader, batch: Batch) -> None:
        if reader is self._reader:
            self._batches.append(batch)
            self._wake.set()

    def _failed(self, reader: TopicReader, error: BaseException) -> None:
        if reader is self._reader:
            self._failure = error
            self._wake.set()

    async def _sample(self) -> None:
        """Samples of canonical's clock. Where the log has gone on, a marker is sent behind the
        sample: once it is back, everything before it has come."""
        sent_at, marked = 0.0, 0
        confirmed: deque[tuple[float, int]] = deque()
        inactive_since: float | None = None
        while True:
            reader = self._reader
            assert reader is not None
            row = await self._ask(clock.SAMPLE)
            assert row is not None
            at, inserted, flushed, writer_delay, block, segment = row
            sample = clock.make_sample(
                at, int(inserted), int(flushed), writer_delay, block, int(segment)
            )
            self._samples.add(sample)
            position = reader.position
            now = time.monotonic()
            idle = position >= sample.inserted
            if idle:
                self._wake.set()
            elif position >= marked or now - sent_at > MARKER_PATIENCE:
                row = await self._ask(MARK, MARKER)
                assert row is not None
                marked, sent_at = int(row[1]), now
            row = await self._ask(_SLOT, self._slot)
            active, flushed_lsn, wal_status, reason = row or (False, None, "", "")
            problem = self._slot_problem(row is not None, wal_status or "", reason or "")
            if problem is not None:
                raise problem
            confirmed.append((now, int(flushed_lsn or 0)))
            while len(confirmed) > 1 and now - confirmed[1][0] > CERTAIN:
                confirmed.popleft()
            if now - confirmed[0][0] > CERTAIN and confirmed[0][1] > position:
                reader.everything_is_there(confirmed[0][1])
            inactive_since = None if active else (inactive_since or now)
            silent = not idle and now - max(reader.received_at, sent_at - MARKER_PATIENCE) > SILENCE
            if silent or (inactive_since is not None and now - inactive_since > INACTIVE):
                found = await asyncio.to_thread(self._diagnose)
                if found is not None:
                    raise found
                if silent:
                    raise StoreUnavailable(
                        f"no change has come from Kafka for {SILENCE:.0f} s",
                        store=KAFKA,
                        hint="check that Kafka, Kafka Connect and the connector run",
                    )
                inactive_since = now
            self._active.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SAMPLE_IDLE if idle else SAMPLE_ACTIVE):
                    await self._active.wait()
                    await asyncio.sleep(SAMPLE_ACTIVE)

    def _diagnose(self, patience: float = SLOT_PATIENCE) -> Exception | None:
        """Return why nothing arrives, as far as Kafka Connect can tell. For `patience` seconds it
        may know no connector, as just after its start."""
        if not self._location.connect:
            return None
        try:
            status = ConnectApi(self._location.connect, self._connector).status()
        except StoreUnavailable as error:
            log.warning("the connector does not read its slot, and %s", error.message)
            return None
        if status.state == "FAILED":
            return connector_failed(self._connector, status.trace)
        if status.state != "MISSING":
            self._missing_since = None
            return None
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        if now - self._missing_since >= patience:
            return SetupError(
                f"Kafka Connect has no connector {self._connector} any more",
                hint="run `recordgate apply`",
            )
        return None

    def _slot_problem(self, exists: bool, wal_status: str, reason: str) -> GapError | None:
        if not exists:
            return GapError(
                f"replication slot {self._slot} of the connector is gone",
                hint="nothing to do: every type is reloaded by itself; see `recordgate status`",
            )
        if wal_status == "lost" or reason:
            return GapError(
                f"replication slot {self._slot} was invalidated "
                f"({reason or 'its WAL was removed'})",
                hint="nothing to do: every type is reloaded by itself; see `recordgate status`",
            )
        return None

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Hand a task's failure to the reader of `events`."""
        try:
            await work()
        except Exception as error:
            self._failure = error
        self._wake.set()

    async def _write_letters(self, messages: Sequence[SetAside]) -> None:
        monitor = self._monitor
        if monitor is None:
            raise StoreUnavailable("the change source is not open", store=KAFKA)
        try:
            async with self._busy:
                await dead_letters.set_aside(monitor, messages)
        except psycopg.Error as error:
            raise translate(error) from None

    async def _ask(self, query: str, *parameters: str) -> tuple[Any, ...] | None:
        monitor = self._monitor
        if monitor is None:
            raise StoreUnavailable("the change source is not open", store="postgres")
        try:
            async with self._busy:
                cursor = await monitor.execute(query.encode(), parameters or None)
                return await cursor.fetchone()
        except psycopg.Error as error:
            raise translate(error) from None


def topic(prefix: str, schema: str, table: str) -> str:
    """Return the topic of a table; characters that a topic may not have become `_` (Debezium's
    SchemaNameAdjuster for topics)."""
    name = f"{prefix}.{schema}.{table}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)


def refuse(forms: dict[tuple[str, str], TableForm], modes: Modes) -> None:
    """Raise SetupError where a tracked column is written so that its text cannot be known."""
    problems = []
    for form in forms.values():
        for column in form.tracked:
            kind = form.types.get(column)
            reason = "" if kind is None else texts.unsupported(kind, modes)
            if reason:
                problems.append(f"column {column} of {form.schema}.{form.table} is {reason}")
    if problems:
        raise SetupError(
            f"Debezium cannot carry a column exactly: {'; '.join(problems)}",
            hint="use the change source pgoutput:, or another mode of the connector",
        )


def connector_failed(connector: str, trace: str) -> Exception:
    """Return the error for a failed connector: a gap if it has lost its position, else one that
    can be corrected."""
    said = trace.lower()
    if "no longer available" in said or ("slot" in said and ("exist" in said or "lost" in said)):
        return GapError(
            f"connector {connector} has lost its position in canonical's WAL: {trace}",
            hint="nothing to do: every type is reloaded by itself; see `recordgate status`",
        )
    return StoreUnavailable(
        f"connector {connector} has failed: {trace}",
        store="kafka connect",
        hint="correct what the trace names; the worker restarts the connector with each retry",
    )


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(function, *args)
