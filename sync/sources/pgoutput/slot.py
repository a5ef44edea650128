"""The replication slot: making it, dropping it, its state, and whether it can go on from a
position.

The functions are synchronous and take an ordinary connection in autocommit mode.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from stores.canonical.driver_errors import translate
from stores.errors import ConflictError, GapError, SetupError, StoreUnavailable
from stores.lsn import format_lsn

PLUGIN = "pgoutput"
NAME = re.compile(r"[a-z0-9_]{1,63}\Z")
RELEASE = 2.0
"""Seconds in which a reader that has just gone, or was killed, releases the slot."""
CREATION = 60
"""Seconds that the making of a slot waits for transactions that were open before."""
RELOAD = "nothing to do: every type is reloaded by itself; see `recordgate status`"


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot as its server sees it. Positions are 0 where there is none yet.

    `system` is the server's system identifier with the OID of the *connection's* database,
    `database` the name of the slot's. `wal_status` is one of reserved, extended, unreserved, lost.
    `retained_bytes` is the WAL that is kept because of the slot, `server_lsn` where the server's
    WAL ends.
    """

    name: str
    exists: bool
    system: str
    server_lsn: int
    plugin: str = ""
    database: str = ""
    same_database: bool = False
    active_pid: int | None = None
    confirmed_flush_lsn: int = 0
    restart_lsn: int = 0
    wal_status: str = ""
    invalidation_reason: str = ""
    retained_bytes: int = 0

    @property
    def active(self) -> bool:
        return self.active_pid is not None

    @property
    def lost(self) -> bool:
        """WAL that the slot needs is gone, or the slot was invalidated for another reason."""
        return self.wal_status == "lost" or bool(self.invalidation_reason)


# Fields that a version lacks read as null through JSON: invalidation_reason came with 17.
_STATE = """
SELECT c.system_identifier || '/' || d.oid,
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
       s.slot_name IS NOT NULL,
       s.plugin, s.database, s.datoid = d.oid, s.active_pid,
       s.confirmed_flush_lsn - '0/0'::pg_lsn,
       s.restart_lsn - '0/0'::pg_lsn,
       s.wal_status,
       to_jsonb(s) ->> 'invalidation_reason',
       pg_current_wal_lsn() - s.restart_lsn
FROM pg_control_system() c
JOIN pg_database d ON d.datname = current_database()
LEFT JOIN pg_replication_slots s ON s.slot_name = %s
"""


def slot_state(conn: psycopg.Connection[Any], slot: str) -> SlotState:
    """The state of `slot`, there or not. Raises StoreUnavailable, SetupError."""
    try:
        row = conn.execute(_STATE, (slot,)).fetchone()
    except psycopg.Error as error:
        raise translate(error) from None
    assert row is not None
    system, server_lsn, exists = row[:3]
    if not exists:
        return SlotState(slot, False, system, int(server_lsn))
    plugin, database, same, pid, confirmed, restart, status, reason, retained = row[3:]
    return SlotState(
        slot,
        True,
        system,
        int(server_lsn),
        plugin=plugin or "",
        database=database or "",
        same_database=bool(same),
        active_pid=pid,
        confirmed_flush_lsn=int(confirmed or 0),
        restart_lsn=int(restart or 0),
        wal_status=status or "",
        invalidation_reason=reason or "",
        retained_bytes=max(0, int(retained or 0)),
    )


def ensure_slot(conn: psycopg.Connection[Any], slot: str) -> tuple[int, bool]:
    """Make `slot` where it is missing: the position from which it has every change, and whether it
    is new. The publication must be there before. Raises GapError where a slot of this name
    cannot be used, StoreUnavailable where a transaction that is open for long holds it up."""
    state = slot_state(conn, slot)
    if state.exists:
        problem = foreign_slot(state)
        if problem is not None:
            raise problem
        return state.confirmed_flush_lsn, False
    if not NAME.match(slot):
        raise SetupError(
            f"{slot!r} is not a valid replication slot name",
            hint="use 1 to 63 of the characters a-z, 0-9 and _",
        )
    try:
        conn.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(f"{CREATION}s")))
        try:
            row = conn.execute(
                "SELECT lsn - '0/0'::pg_lsn FROM pg_create_logical_replication_slot(%s, %s)",
                (slot, PLUGIN),
            ).fetchone()
        finally:
            if not conn.closed:
                conn.execute("RESET statement_timeout")
    except errors.DuplicateObject:
        return ensure_slot(conn, slot)  # somebody else was faster
    except errors.QueryCanceled as error:
        raise StoreUnavailable(
            f"replication slot {slot} could not be created within {CREATION} s",
            store="postgres",
            hint="an older transaction is still open: see pg_stat_activity",
        ) from error
    except (errors.ObjectNotInPrerequisiteState, errors.InsufficientPrivilege) as error:
        raise SetupError(
            "canonical refuses to create a replication slot",
            hint="set wal_level = logical and grant the role REPLICATION",
        ) from error
    except errors.ConfigurationLimitExceeded as error:
        raise SetupError(
            "canonical has no replication slot left", hint="raise max_replication_slots"
        ) from error
    except psycopg.Error as error:
        raise translate(error) from None
    assert row is not None
    return int(row[0]), True


def drop_slot(conn: psycopg.Connection[Any], slot: str) -> bool:
    """Drop `slot`; False where there is none. Raises ConflictError while somebody reads it."""
    state = wait_released(conn, slot)
    if not state.exists:
        return False
    try:
        conn.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
    except errors.UndefinedObject:
        return False
    except errors.ObjectInUse as error:
        raise in_use(slot, slot_state(conn, slot).active_pid) from error
    except psycopg.Error as error:
        raise translate(error) from None
    return True


def wait_released(
    conn: psycopg.Connection[Any], slot: str, *, patience: float = RELEASE
) -> SlotState:
    """The state of `slot` once nobody reads it. Raises ConflictError with the reader's process
    id."""
    deadline = time.monotonic() + patience
    while (state := slot_state(conn, slot)).active:
        if time.monotonic() > deadline:
            raise in_use(slot, state.active_pid)
        time.sleep(0.02)
    return state


def foreign_slot(state: SlotState) -> GapError | None:
    """Return why an existing slot can never deliver our changes, or None if it can."""
    if state.plugin != PLUGIN:
        return GapError(
            f"replication slot {state.name} belongs to the plugin {state.plugin or 'none'}, not "
            f"{PLUGIN}",
            hint="drop it, or choose another contract id",
        )
    if not state.same_database:
        return GapError(
            f"replication slot {state.name} belongs to the database {state.database}",
            hint="drop it, or choose another contract id",
        )
    if state.lost:
        return GapError(
            f"replication slot {state.name} was invalidated"
            f" ({state.invalidation_reason or 'its WAL was removed'})",
            hint=RELOAD,
        )
    return None


def gap(state: SlotState, resume: int | None, system: str | None) -> GapError | None:
    """Return why the stream cannot continue from `resume` of the database `system`, or None if it
    can."""
    if resume is not None:
        if system is not None and system != state.system:
            return GapError(
                "canonical is not the database of the recorded positions",
                hint=RELOAD,
            )
        if resume > state.server_lsn:
            return GapError(
                f"the recorded position {format_lsn(resume)} is beyond the end of canonical's"
                f" WAL, {format_lsn(state.server_lsn)}: canonical was restored from a backup, or"
                " is another database",
                hint=RELOAD,
            )
        if not state.exists:
            return GapError(f"replication slot {state.name} is gone", hint=RELOAD)
    if not state.exists:
        return None
    foreign = foreign_slot(state)
    if foreign is not None:
        return foreign
    if resume is not None and state.confirmed_flush_lsn > resume:
        return GapError(
            f"replication slot {state.name} is at {format_lsn(state.confirmed_flush_lsn)}, ahead"
            f" of the recorded position {format_lsn(resume)}: it was created again or read by"
            " another process",
            hint=RELOAD,
        )
    return None


def in_use(slot: str, pid: int | None) -> ConflictError:
    """The error for a slot that another process reads."""
    return ConflictError(
        f"replication slot {slot} is read by another process (server process {pid or 'unknown'})",
        hint="only one worker may run; stop the other one first",
    )
