"""Gateways and workers that are alive, in canonical's table recordgate.processes: each says so
again and again, with the contract that it has loaded, and takes its row away at a clean stop.

`status` shows them; `plan` and `apply` ask them before they take away what one of them needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from stores.canonical.connect import AsyncConnection, Connection

BEAT = 10.0
"""Seconds between two signs of life."""
GONE = 30.0
"""Seconds without one after which a process counts as gone."""

_PUT = """
INSERT INTO recordgate.processes
  (id, role, host, pid, version, contract_version, contract_digest, detail, started_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, to_timestamp(%s))
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), detail = excluded.detail,
  contract_version = excluded.contract_version, contract_digest = excluded.contract_digest
RETURNING asked
"""
_FORGET = "DELETE FROM recordgate.processes WHERE heartbeat_at < now() - interval '1 day'"
_REMOVE = "DELETE FROM recordgate.processes WHERE id = %s"
_ALIVE = """
SELECT id, role, host, pid, version, contract_version, contract_digest, detail,
       extract(epoch FROM started_at)::float8, extract(epoch FROM now() - heartbeat_at)::float8
FROM recordgate.processes WHERE heartbeat_at > now() - make_interval(secs => %s)
ORDER BY started_at, id
"""
_THERE = "SELECT to_regclass('recordgate.processes')"
_ASK = """
UPDATE recordgate.processes SET asked = asked + 1
WHERE id = ANY(%s) AND detail ? 'reload' RETURNING id, asked
"""


@dataclass(frozen=True, slots=True)
class Process:
    """`detail`: `needs` (see live_needs); of a gateway `tokens`, by which one can see whether
    two sign tokens with one secret; of one that can take another contract while it runs `reload`,
    what came of it the last time. `started`: seconds since the epoch; `silent`: since its last
    sign of life."""

    id: UUID
    role: str
    host: str
    pid: int
    version: str
    contract_version: str
    contract_digest: str
    detail: Mapping[str, Any]
    started: float
    silent: float = 0.0

    @property
    def name(self) -> str:
        """The process as shown to people: role, host and process id."""
        return f"{self.role} on {self.host}, process {self.pid}"

    def as_json(self) -> dict[str, Any]:
        """Return the process as every command names it in JSON."""
        return {
            "role": self.role,
            "host": self.host,
            "pid": self.pid,
            "contractVersion": self.contract_version,
        }


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of reading the contract again. `asked`: the request that it answers, 0 of none
    yet; `ok` False: it was refused, and the process goes on with what it had."""

    asked: int = 0
    ok: bool = True
    said: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"asked": self.asked, "ok": self.ok, "said": self.said}

    @classmethod
    def of(cls, process: Process) -> Reloaded | None:
        """None of a process that cannot take another contract while it runs."""
        found = process.detail.get("reload")
        if not isinstance(found, Mapping):
            return None
        return cls(int(found["asked"]), bool(found["ok"]), str(found["said"]))


def ask_to_reload(conn: Connection, processes: Sequence[Process]) -> dict[UUID, int]:
    """Ask each to read its contract again; process → the number of the request, of those that
    can."""
    ids = [p.id for p in processes]
    return dict(conn.execute(_ASK.encode(), (ids,)).fetchall())


async def say_alive(conn: AsyncConnection, process: Process) -> int:
    """Record a sign of life, and return how often the process was asked to read its contract
    again. What was silent for a day is forgotten."""
    cursor = await conn.execute(
        _PUT.encode(),
        (
            process.id,
            process.role,
            process.host,
            process.pid,
            process.version,
            process.contract_version,
            process.contract_digest,
            json.dumps(dict(process.detail)),
            process.started,
        ),
    )
    row = await cursor.fetchone()
    await conn.execute(_FORGET.encode())
    return int(row[0]) if row else 0


async def remove(conn: AsyncConnection, process: Process) -> None:
    await conn.execute(_REMOVE.encode(), (process.id,))


async def read_alive(conn: AsyncConnection) -> list[Process]:
    """Return the processes that are alive, oldest first."""
    return [
        Process(*row) for row in await (await conn.execute(_ALIVE.encode(), (GONE,))).fetchall()
    ]


def alive(conn: Connection) -> list[Process]:
    """The same; none where recordgate's tables are not there yet, or are those of an earlier
    version."""
    row = conn.execute(_THERE.encode()).fetchone()
    if row is None or row[0] is None:
        return []
    return [Process(*found) for found in conn.execute(_ALIVE.encode(), (GONE,)).fetchall()]
