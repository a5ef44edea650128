"""The examinations of `doctor`: canonical, its fitness for capture, the change source, and each
store. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from recordgate.canonical_access import open_canonical
from recordgate.migrations.run import HEAD, current
from recordgate.presence import OTHER_SECRET, is_gone, other_secret
from recordgate.readiness import lacking
from recordgate.settings import Settings
from recordgate.sync_access import SINKS, make_store, sync_access
from stores.canonical.applied import applied
from stores.canonical.conditions import Condition, place
from stores.canonical.connect import Connection, connect
from stores.canonical.plan import make_plan
from stores.canonical.processes import alive
from stores.canonical.publication import publication_name, slot_name
from stores.canonical.standing import DEAD_LETTERS, LOADING, NO_WORKER, read_standing
from stores.canonical.steps import needed
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import RecordgateError, StoreUnavailable
from sync.lease import lock_halves
from sync.sources.left import left_slot
from sync.sources.pgoutput.slot import slot_state
from sync.sources.registry import open_source
from sync.verify import active_generation

AWAY = (
    "start Postgres, or correct the setting `postgres`; running processes then continue by"
    " themselves"
)


@dataclass(frozen=True)
class Finding:
    """A finding of the examination. `hint` says how to correct it if it is not `ok`."""

    name: str
    ok: bool
    saw: str
    hint: str = ""

    def as_text(self) -> str:
        mark = "ok     " if self.ok else "PROBLEM"
        return f"{mark} {self.name}: {self.saw}" + (f"\n        {self.hint}" if self.hint else "")


async def examine(settings: Settings, contract: Contract) -> list[Finding]:
    """Every finding, canonical's first; what cannot be looked at for another's fault is left
    out."""
    findings = [Finding("contract", True, f"{contract.name} {contract.version}")]
    findings += await asyncio.to_thread(_canonical, settings, contract)
    findings += await _conditions(settings, contract)
    if settings.changes.get_secret_value().startswith("kafka:"):
        findings += await asyncio.to_thread(_kafka, settings, contract)
    for sink in SINKS:
        findings.append(await _store(settings, contract, sink))
    return findings


def _canonical(settings: Settings, contract: Contract) -> list[Finding]:
    try:
        access = open_canonical(settings)
    except RecordgateError as error:
        return [Finding("canonical", False, error.message, error.hint)]
    changes = settings.changes.get_secret_value()
    try:
        with connect(access.url) as conn:
            looks: tuple[Callable[[Connection, Contract], Finding], ...] = (
                _server,
                _decoding,
                _own_tables,
                _tables,
                _publication,
                partial(_slot, changes=changes),
                partial(_left_slot, changes=changes),
                _processes,
            )
            return [_guarded(look, conn, contract) for look in looks]
    except StoreUnavailable as error:
        return [Finding("canonical", False, error.message, AWAY)]
    except RecordgateError as error:
        return [Finding("canonical", False, error.message, error.hint)]
    finally:
        access.release()


def _guarded(
    look: Callable[[Connection, Contract], Finding], conn: Connection, contract: Contract
) -> Finding:
    try:
        return look(conn, contract)
    except RecordgateError as error:
        name = look.func if isinstance(look, partial) else look
        return Finding(name.__name__.strip("_"), False, error.message, error.hint)


def _server(conn: Connection, _: Contract) -> Finding:
    version = conn.info.server_version
    return Finding("canonical", True, f"Postgres {version // 10000}.{version % 10000}")


def _decoding(conn: Connection, _: Contract) -> Finding:
    row = conn.execute(
        "SELECT current_setting('wal_level'), r.rolreplication OR r.rolsuper "
        "FROM pg_roles r WHERE r.rolname = current_user"
    ).fetchone()
    assert row is not None
    level, may = row
    if level != "logical":
        return Finding(
            "logical decoding",
            False,
            f"wal_level is {level}",
            "set wal_level = logical and restart",
        )
    if not may:
        return Finding(
            "logical decoding",
            False,
            "the account lacks the attribute REPLICATION",
            "ALTER ROLE … REPLICATION for the account of the setting `postgres`",
        )
    return Finding("logical decoding", True, "wal_level is logical, the account has REPLICATION")


def _own_tables(conn: Connection, _: Contract) -> Finding:
    found = current(conn)
    if found == HEAD:
        return Finding("recordgate's tables", True, f"version {found}")
    saw = "not there" if found is None else f"revision {found}, but this program needs {HEAD}"
    return Finding("recordgate's tables", False, saw, "run `recordgate apply`")


def _tables(conn: Connection, contract: Contract) -> Finding:
    plan = make_plan(conn, contract)
    if not plan.steps:
        return Finding("tables", True, f"{len(contract.types)} match the contract")
    before = applied(conn, contract)
    missing = needed(plan.steps, rules=not before.earlier)
    if not missing:
        last = f", by contract {before.last}, which was applied last" if before.earlier else ""
        return Finding(
            "tables",
            True,
            f"{len(contract.types)} match the contract; there is more than it declares{last}",
        )
    problem = lacking(plan, before)
    assert problem is not None
    first = next((s for s in missing if s.blocked), missing[0])
    return Finding(
        "tables",
        False,
        f"{len(missing)} differences from the contract, first:"
        f" {', '.join(filter(None, (first.text, first.blocked)))}",
        problem.hint,
    )


def _publication(conn: Connection, contract: Contract) -> Finding:
    name = publication_name(contract)
    found = conn.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", (name,)).fetchone()
    if found:
        return Finding("publication", True, name)
    return Finding("publication", False, f"{name} does not exist", "run `recordgate apply`")


def _slot(conn: Connection, contract: Contract, *, changes: str) -> Finding:
    """The worker's, or the connector's."""
    name, maker = slot_name(contract, conn.info.dbname), "worker"
    if changes.startswith("kafka:"):
        from sync.sources.debezium import KafkaLocation, debezium_slot

        given = KafkaLocation.parse(changes).slot
        name, maker = given or debezium_slot(contract, conn.info.dbname), "connector"
    state = slot_state(conn, name)
    if not state.exists:
        return Finding("slot", True, f"{state.name} does not exist yet; the {maker} creates it")
    if state.wal_status == "lost":
        return Finding(
            "slot",
            False,
            f"{state.name} has lost changes: {state.invalidation_reason or 'its WAL is gone'}",
            "start the worker: it creates a new slot and reloads every store",
        )
    reader = f"read by process {state.active_pid}" if state.active else "not read by any process"
    return Finding(
        "slot", True, f"{state.name}, {reader}, keeps {state.retained_bytes:,} bytes of WAL"
    )


async def _conditions(settings: Settings, contract: Contract) -> list[Finding]:
    """Return a finding for each condition that stands, in the words of `status`.

    A load under way, a worker that was never started, and rows that an import has set aside are
    shown and are no problem. Whatever keeps canonical from being asked is found before.
    """
    try:
        async with sync_access(settings, contract, ()) as access:
            slot = slot_name(contract, access.conn.info.dbname)
            tables = {t.name: (t.schema, t.table) for t in contract.types.values()}
            standing = await read_standing(access.conn, slot, lock_halves(slot), tables)
    except RecordgateError:
        return []
    new = standing.worker.host is None

    def harmless(c: Condition) -> bool:
        of_an_import = c.code == DEAD_LETTERS and not c.sink
        return c.code == LOADING or of_an_import or (new and c.code == NO_WORKER)

    return [Finding(place(c), harmless(c), c.message, c.hint) for c in standing.conditions]


def _left_slot(conn: Connection, contract: Contract, *, changes: str) -> Finding:
    found = left_slot(conn, contract, changes)
    if found is None:
        return Finding("left slot", True, "none")
    return Finding("left slot", False, found.text, found.hint)


def _processes(conn: Connection, contract: Contract) -> Finding:
    """Check the processes that are alive, and whether they agree."""
    found = [p for p in alive(conn) if not is_gone(p)]
    saw = ", ".join(p.name for p in found) or "none"
    if any(other_secret(p, q) for p in found for q in found):
        return Finding(
            "processes", False, f"{saw}; gateways reject each other's tokens", OTHER_SECRET
        )
    other = [p for p in found if p.contract_digest != contract_digest(contract)]
    if other:
        saw += (
            "; with another contract:"
            f" {', '.join(f'{p.name} ({p.contract_version})' for p in other)}"
        )
    return Finding("processes", True, saw)


def _kafka(settings: Settings, contract: Contract) -> list[Finding]:
    try:
        with open_canonical(settings) as access:
            changes = settings.changes.get_secret_value()
            open_source(changes, contract, access.url)  # says what is wrong with the setting
            from sync.sources.debezium import inspect

            seen = inspect(changes, contract, access.url)
    except RecordgateError as error:
        return [Finding("changes", False, error.message, error.hint)]
    return [Finding(one.name, one.ok, one.saw, one.hint) for one in seen]


async def _store(settings: Settings, contract: Contract, sink: str) -> Finding:
    try:
        store = make_store(settings, sink)
        await store.open(contract, write=False)
    except RecordgateError as error:
        return Finding(sink, False, error.message, error.hint)
    try:
        health = await store.health()
        if not health.ok:
            return Finding(sink, False, f"{store.kind}: {health.problem}", health.hint)
        lacking = [t for t in contract.types if await active_generation(store, t) is None]
        saw = f"{store.kind} {health.version}"
        return Finding(sink, True, f"{saw}, not loaded: {', '.join(lacking)}" if lacking else saw)
    except RecordgateError as error:
        return Finding(sink, False, f"{store.kind}: {error.message}", error.hint)
    finally:
        await store.close()
