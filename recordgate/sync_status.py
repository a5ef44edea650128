"""The status of everything, from canonical's tables and from each store itself; it shows where one
is not reached."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from recordgate.presence import is_gone, other_secret
from recordgate.sync_access import SINKS, SyncAccess
from stores.canonical.connect import AsyncConnection
from stores.canonical.driver_errors import translate
from stores.canonical.processes import Process, Reloaded, read_alive
from stores.canonical.publication import slot_name
from stores.canonical.standing import SlotView, Standing, WorkerView, as_json, read_standing
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import RecordgateError
from stores.lsn import format_lsn
from stores.protocols import Store
from sync.lease import lock_halves
from sync.sources.left import LeftSlot, left_slot_async
from sync.verify import active_generation

SECONDS = 5.0
"""Seconds after which a store that does not answer is reported as not reached."""

_CANONICAL = """
SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint,
  extract(epoch FROM clock_timestamp())::float8,
  current_setting('server_version')
"""
_WATERMARKS = "SELECT sink, detail FROM recordgate.watermarks"
_BACKLOG = "SELECT sink, count(*) FROM recordgate.backlog GROUP BY sink"
_DEAD_LETTERS = """
SELECT coalesce(sink, ''), count(*) FROM recordgate.dead_letters GROUP BY coalesce(sink, '')
"""
_SWEEPS = """
SELECT sink, type, differences, records, examples, ended_at, compared, resume_key IS NOT NULL
FROM recordgate.sweeps
"""
IMPORT = (
    "id", "type", "mode", "state", "rows", "inserted", "updated", "unchanged", "deleted",
    "rejected", "startedAt", "finishedAt",
)  # fmt: skip
"""Names of an import's values, in the order of _IMPORTS."""
_IMPORTS = """
SELECT id, type, mode, state, rows, inserted, updated, unchanged, deleted, rejected, started_at,
  finished_at
FROM recordgate.import_batches ORDER BY started_at DESC LIMIT 5
"""


async def sync_status(
    contract: Contract, access: SyncAccess, changes: str = "pgoutput:"
) -> dict[str, Any]:
    """`canonical`, `worker`, `slot` and `leftSlot`, `conditions`, `processes` that are alive,
    `sinks` by name, `deadLetters` of imports, `imports`. `changes`: the setting. Raises
    StoreUnavailable where canonical is not reached."""
    conn, slot = access.conn, slot_name(contract, access.conn.info.dbname)
    try:
        lsn, now, version = (await _rows(conn, _CANONICAL))[0]
        tables = {t.name: (t.schema, t.table) for t in contract.types.values()}
        standing = await read_standing(conn, slot, lock_halves(slot), tables)
        details = dict(await _rows(conn, _WATERMARKS))
        backlog = dict(await _rows(conn, _BACKLOG))
        dead_letters = dict(await _rows(conn, _DEAD_LETTERS))
        imports = await _rows(conn, _IMPORTS)
        sweeps = await _rows(conn, _SWEEPS)
        processes = await read_alive(conn)
        left = await left_slot_async(conn, contract, changes)
    except psycopg.Error as error:
        raise translate(error) from None
    sinks = {}
    for name in SINKS:
        sink = _recorded(name, standing, name in details, details.get(name) or {}, sweeps)
        sink["backlog"], sink["deadLetters"] = backlog.get(name, 0), dead_letters.get(name, 0)
        if name in access.problems:
            sink["problem"] = str(access.problems[name])
        if name in access.stores:
            sink["reached"] = True
            try:
                async with asyncio.timeout(SECONDS):
                    await _ask(contract, access.stores[name], sink, lsn, now)
            except (RecordgateError, TimeoutError) as error:
                sink["reached"] = False
                sink["problem"] = str(error) or "no answer in time"
        sink["ready"] = sink["ready"] and sink["reached"]
        sinks[name] = sink
    digest = contract_digest(contract)
    return {
        "canonical": {"version": version, "lsn": format_lsn(lsn), "lsnBytes": lsn},
        "worker": _worker(standing.worker),
        "slot": _slot(slot, standing.slot or SlotView(slot)),
        "conditions": [as_json(c) for c in standing.conditions],
        "leftSlot": None if left is None else _left(left),
        "processes": [_process(p, processes, digest) for p in processes if not is_gone(p)],
        "sinks": sinks,
        "deadLetters": dead_letters.get("", 0),
        "imports": [dict(zip(IMPORT, row, strict=True)) for row in imports],
    }


def _recorded(
    name: str, standing: Standing, known: bool, detail: dict[str, Any], sweeps: list[Any]
) -> dict[str, Any]:
    """Return what canonical's records say of a sink; the store itself is asked afterwards."""
    required = sorted(detail.get("required", ()))
    loads = {
        t: {"generation": load.generation, "records": load.rows, "of": load.total}
        for (s, t), load in standing.loads.items()
        if s == name
    }
    return {
        "reached": False,
        "problem": "",
        "position": None,
        "positionBytes": None,
        "lagBytes": None,
        "lagSeconds": None,
        "ready": known and not required and not loads,
        "required": required,
        "backlog": 0,
        "deadLetters": 0,
        "loads": loads,
        "types": {},
        "sweeps": {
            type_name: {
                "differences": differences,
                "records": records,
                "examples": examples,
                "endedAt": ended,
                "underWay": compared if under_way else None,
            }
            for s, type_name, differences, records, examples, ended, compared, under_way in sweeps
            if s == name
        },
    }


def _worker(worker: WorkerView) -> dict[str, Any]:
    return {
        "running": worker.running,
        "retrying": worker.retrying,
        "host": worker.host,
        "pid": worker.pid,
        "heartbeatSeconds": None if worker.heartbeat is None else round(worker.heartbeat, 1),
    }


def _slot(name: str, view: SlotView) -> dict[str, Any]:
    return {
        "name": name,
        "exists": view.exists,
        "active": view.active,
        "retainedBytes": view.retained,
        "confirmed": view.confirmed,
        "walStatus": view.wal_status,
    }


def _left(left: LeftSlot) -> dict[str, Any]:
    return {
        "name": left.name,
        "source": left.source,
        "active": left.active,
        "retainedBytes": left.retained_bytes,
        "hint": left.hint,
    }


def _process(process: Process, alive: list[Process], digest: str) -> dict[str, Any]:
    return {
        **process.as_json(),
        "version": process.version,
        "sameContract": process.contract_digest == digest,
        "reload": None if (found := Reloaded.of(process)) is None else found.as_json(),
        "otherSecret": any(other_secret(process, other) for other in alive),
        "startedAt": process.started,
        "heartbeatSeconds": round(process.silent, 1),
    }


async def _ask(
    contract: Contract, store: Store, sink: dict[str, Any], lsn: int, now: float
) -> None:
    """Add what the store itself reports to `sink`: its position and the generations of each
    type."""
    position = await store.position()
    if position is not None and not position.withdrawn:
        sink["position"] = format_lsn(position.lsn)
        sink["positionBytes"] = position.lsn
        sink["lagBytes"] = max(0, lsn - position.lsn)
        sink["lagSeconds"] = round(max(0.0, now - position.as_of), 3)
    for type_name in contract.types:
        active = await active_generation(store, type_name)
        sink["types"][type_name] = {
            "generation": active,
            "records": None if active is None else await store.count(type_name, active),
            "generations": {g.number: g.state for g in await store.generations(type_name)},
        }


async def _rows(conn: AsyncConnection, query: str, *parameters: object) -> list[Any]:
    return await (await conn.execute(query.encode(), parameters or None)).fetchall()
