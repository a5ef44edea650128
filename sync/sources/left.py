"""The replication slot that the other change source has left in canonical: nobody reads it, and
canonical keeps its log for it until the disk is full."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import psycopg

from stores.canonical.publication import kafka_slot_name, slot_name
from stores.contract.model import Contract

log = logging.getLogger(__name__)

_SLOT = """
SELECT slot_name, active, (pg_current_wal_lsn() - restart_lsn)::bigint
FROM pg_replication_slots WHERE slot_name = %s AND database = current_database()
"""
_DROP = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE slot_name = %s AND database = current_database() AND NOT active
"""


@dataclass(frozen=True, slots=True)
class LeftSlot:
    """`source`: whose it was. `active`: a process still reads it."""

    name: str
    source: str
    active: bool
    retained_bytes: int

    @property
    def text(self) -> str:
        reader = "a process still reads it" if self.active else "no process reads it"
        return (
            f"{self.name}, of the change source {self.source}, which is no longer the setting"
            f" `changes`, retains {self.retained_bytes:,} bytes of WAL; {reader}"
        )

    @property
    def hint(self) -> str:
        if not self.active:
            return (
                "while the worker runs with the setting, `recordgate apply` drops it; by hand:"
                f" SELECT pg_drop_replication_slot('{self.name}')"
            )
        if self.source == "kafka":
            return (
                "delete the connector in Kafka Connect, then run `recordgate apply`, which drops"
                " the slot"
            )
        return "stop the worker that reads it, then run `recordgate apply`, which drops the slot"


def source_kind(changes: str) -> str:
    """Return the kind of source that the setting `changes` names: "kafka" or "pgoutput"."""
    return "kafka" if changes.startswith("kafka:") else "pgoutput"


def other_slot(contract: Contract, database: str, changes: str) -> tuple[str, str]:
    """(slot, source) of the change source that the setting `changes` does not name."""
    if source_kind(changes) == "pgoutput":
        return kafka_slot_name(contract, database), "kafka"
    from sync.sources.debezium import KafkaLocation  # its libraries are an extra

    ours = slot_name(contract, database)
    # A connector may have been given the slot of before.
    return ("" if KafkaLocation.parse(changes).slot == ours else ours), "pgoutput"


def as_left(row: tuple[Any, ...] | None, source: str) -> LeftSlot | None:
    return None if row is None else LeftSlot(row[0], source, row[1], int(row[2] or 0))


def left_slot(conn: psycopg.Connection[Any], contract: Contract, changes: str) -> LeftSlot | None:
    name, source = other_slot(contract, conn.info.dbname, changes)
    return as_left(conn.execute(_SLOT.encode(), (name,)).fetchone(), source)


async def left_slot_async(
    conn: psycopg.AsyncConnection[Any], contract: Contract, changes: str
) -> LeftSlot | None:
    """Find the slot as `left_slot` does, for an event loop."""
    name, source = other_slot(contract, conn.info.dbname, changes)
    return as_left(await (await conn.execute(_SLOT.encode(), (name,))).fetchone(), source)


def drop_left_slot(
    conn: psycopg.Connection[Any], contract: Contract, changes: str
) -> LeftSlot | None:
    """Drop the slot if no process reads it, and return what it was. Returning to that source
    begins with a load in any case, because its positions are its own."""
    found = left_slot(conn, contract, changes)
    if found is not None and not found.active:
        try:
            conn.execute(_DROP.encode(), (found.name,))
        except psycopg.errors.ObjectInUse:  # somebody has come in between
            return LeftSlot(found.name, found.source, True, found.retained_bytes)
        log.info("dropped the replication slot %s, which belonged to %s", found.name, found.source)
    return found
