"""The state of everything, as recordgate's tables in canonical and Postgres' catalogs tell it: what
is recorded as a condition, and what only a look shows (no worker, a slot that is lost, records set
aside, a backlog that waits).

`read_standing` is the one look that `status`, `doctor`, readiness, metrics and the console share,
so that they cannot tell different things. `observed` is its pure part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from stores.canonical import conditions
from stores.canonical.conditions import Condition
from stores.canonical.connect import AsyncConnection

RETRYING = "worker-retrying"
"""Recorded by a worker whose session ends or does not begin."""
LOADING = "loading"
DEAD_LETTERS = "dead-letters"
NO_WORKER = "worker-not-running"
CANONICAL_AWAY = Condition(
    "canonical-away",
    "canonical is not reachable",
    "start Postgres, or correct the setting `postgres`; everything then continues by itself",
)
"""The one condition that cannot be recorded in canonical: each process finds it by itself."""
ALIVE = 30.0
"""Seconds after its last sign of life for which a worker that is between two sessions counts as
alive."""
PATIENT = 60.0
"""Seconds for which dirty keys may wait before it is told."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """`running`: a session is open. `retrying`: none is, but the process lives and tries again."""

    running: bool = False
    retrying: bool = False
    host: str | None = None
    pid: int | None = None
    heartbeat: float | None = None
    """Seconds since it was last heard of."""


@dataclass(frozen=True, slots=True)
class SlotView:
    """A replication slot as the catalog shows it. Everything but the name may be unknown: a lost
    slot has neither position nor WAL."""

    name: str
    exists: bool = False
    active: bool = False
    retained: int | None = None
    confirmed: str | None = None
    wal_status: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LoadView:
    """A generation that is being built: `rows` so far, of about `total` where canonical's
    statistics know."""

    generation: int
    rows: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """`known`: canonical was asked; what it said before, otherwise."""

    known: bool = False
    conditions: tuple[Condition, ...] = ()
    worker: WorkerView = field(default_factory=WorkerView)
    slot: SlotView | None = None
    loads: Mapping[tuple[str, str], LoadView] = field(default_factory=dict)
    """(sink, type) → what is being built."""
    required: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Sink → types that are not complete in it; a sink that was never followed is absent."""

    def without_canonical(self) -> Standing:
        """Return the standing to show when canonical cannot be asked: the last one, marked as not
        known."""
        kept = tuple(c for c in self.conditions if c.code != CANONICAL_AWAY.code)
        return replace(self, known=False, conditions=(CANONICAL_AWAY, *kept))


_SLOT = """
SELECT s.active, greatest(0, pg_current_wal_lsn() - s.restart_lsn)::bigint,
  s.confirmed_flush_lsn::text, s.wal_status,
  to_jsonb(s) ->> 'invalidation_reason'
FROM pg_replication_slots AS s WHERE s.slot_name = %s AND s.database = current_database()
"""
_WORKER = """
SELECT w.host, w.pid, extract(epoch FROM clock_timestamp() - w.heartbeat_at)::float8,
  EXISTS (SELECT FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid::bigint = %s AND l.objid::bigint = %s)
FROM (SELECT) AS one LEFT JOIN recordgate.workers AS w ON w.slot = %s
"""
_REQUIRED = "SELECT sink, detail -> 'required' FROM recordgate.watermarks"
_DEAD_LETTERS = """
SELECT coalesce(sink, ''), coalesce(type, ''), count(*) FROM recordgate.dead_letters GROUP BY 1, 2
  ORDER BY 1, 2
"""
_BACKLOG = """
SELECT sink, count(*), extract(epoch FROM clock_timestamp() - min(queued_at))::float8
FROM recordgate.backlog GROUP BY sink ORDER BY sink
"""
_LOADS = """
SELECT sink, type, number, rows FROM recordgate.generations WHERE state = 'building' ORDER BY number
"""
# What vacuum and the statistics of activity know; a partitioned table has the sum of its leaves.
_TOTAL = """
SELECT sum(greatest(c.reltuples, s.n_live_tup, 0))::bigint
FROM (SELECT to_regclass(format('%%I.%%I', %s::text, %s::text))::oid AS root) AS r,
  LATERAL (SELECT relid::oid FROM pg_partition_tree(r.root) WHERE isleaf UNION SELECT r.root)
    AS t(oid)
JOIN pg_class AS c ON c.oid = t.oid LEFT JOIN pg_stat_user_tables AS s ON s.relid = t.oid
"""


async def read_standing(
    conn: AsyncConnection,
    slot: str,
    halves: tuple[int, int],
    tables: Mapping[str, tuple[str, str]],
) -> Standing:
    """`halves`: the worker's advisory lock as pg_locks shows it. `tables`: type → (schema, table).
    Raises psycopg.Error."""

    async def rows(query: str, *given: object) -> list[Any]:
        return await (await conn.execute(query.encode(), given or None)).fetchall()

    recorded = await conditions.read(conn)
    found = await rows(_SLOT, slot)
    host, pid, heartbeat, running = (await rows(_WORKER, *halves, slot))[0]
    view = SlotView(slot, True, *found[0]) if found else SlotView(slot)
    worker = worker_view(recorded, host, pid, heartbeat, running=running)
    loads = {}
    for sink, type_name, number, done in await rows(_LOADS):
        total = None
        if type_name in tables:
            total = (await rows(_TOTAL, *tables[type_name]))[0][0]
        loads[sink, type_name] = LoadView(number, done, max(total, done) if total else None)
    required = {sink: frozenset(names or ()) for sink, names in await rows(_REQUIRED)}
    seen = observed(worker, view, await rows(_DEAD_LETTERS), await rows(_BACKLOG))
    if not worker.running and not worker.retrying:
        # What a worker that has ended since last said of itself; of the sinks it still holds.
        recorded = [c for c in recorded if c.code != RETRYING]
    return Standing(True, (*recorded, *seen), worker, view, loads, required)


def worker_view(
    recorded: Sequence[Condition],
    host: str | None,
    pid: int | None,
    heartbeat: float | None,
    *,
    running: bool,
) -> WorkerView:
    """A worker between two sessions holds no lock, but has said why and was heard of a moment
    ago."""
    told = any(c.code == RETRYING for c in recorded)
    lives = heartbeat is not None and heartbeat < ALIVE
    return WorkerView(running, told and lives and not running, host, pid, heartbeat)


def observed(
    worker: WorkerView,
    slot: SlotView,
    dead_letters: Sequence[tuple[str, str, int]],
    backlog: Sequence[tuple[str, int, float]],
) -> list[Condition]:
    """Return the conditions that only a look shows. `dead_letters`: (sink, type, count); `backlog`:
    (sink, keys, age of the oldest)."""
    return [
        *_of_worker(worker),
        *_of_slot(slot),
        *(_of_backlog(sink, keys, age) for sink, keys, age in backlog if age >= PATIENT),
        *(_of_dead_letters(sink, name, count) for sink, name, count in dead_letters),
    ]


def _of_worker(worker: WorkerView) -> Iterator[Condition]:
    if worker.running or worker.retrying:
        return
    last = "no worker has run yet"
    if worker.host is not None and worker.heartbeat is not None:
        last = (
            f"the last one, on {worker.host}, process {worker.pid}, gave its last sign of life"
            f" {_ago(worker.heartbeat)} ago"
        )
    yield Condition(
        NO_WORKER,
        f"no worker follows canonical: {last}",
        "start `recordgate sync`, or `recordgate up`",
    )


def _of_slot(slot: SlotView) -> Iterator[Condition]:
    if slot.wal_status == "lost" or slot.reason:
        yield Condition(
            "slot-lost",
            f"the replication slot {slot.name} has lost changes:"
            f" {slot.reason or 'its WAL was removed'}",
            "start the worker: it creates a new slot and reloads every store; then raise"
            " max_slot_wal_keep_size, or keep the worker running",
        )
    elif slot.wal_status == "unreserved":
        yield Condition(
            "slot-endangered",
            f"the replication slot {slot.name} holds more WAL than max_slot_wal_keep_size:"
            " canonical may remove it at the next checkpoint",
            "let the worker catch up, or raise max_slot_wal_keep_size",
        )


def _of_backlog(sink: str, keys: int, age: float) -> Condition:
    return Condition(
        "backlog",
        f"{keys:,} changed records wait to be written, the oldest for {_ago(age)}",
        "another condition names what blocks the sink; nothing is lost",
        sink,
    )


def _of_dead_letters(sink: str, type_name: str, count: int) -> Condition:
    return Condition(
        DEAD_LETTERS,
        f"{count:,} {'record is' if count == 1 else 'records are'} set aside",
        "`recordgate deadletters list` shows them with their reasons; replay or discard them",
        sink,
        type_name,
    )


def _ago(seconds: float) -> str:
    """A time in the coarsest unit that says it, for people."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def since_text(condition: Condition) -> str:
    """Return when a recorded condition was raised, for people; an empty string for one that a look
    has shown."""
    if not condition.since:
        return ""
    return datetime.fromtimestamp(condition.since).astimezone().isoformat(timespec="seconds")


def as_json(condition: Condition) -> dict[str, Any]:
    """A condition as every JSON answer shows it."""
    return {
        "sink": condition.sink,
        "type": condition.type,
        "code": condition.code,
        "message": condition.message,
        "hint": condition.hint,
        "since": since_text(condition) or None,
    }
