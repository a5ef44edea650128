"""Reads which contracts were applied to canonical from the audit: the last one, and those before
it.

A process whose contract was applied before another one may run on the canonical that the newer one
has made: only the rules that the newer contract has changed differ from those it would ask for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stores.canonical.connect import Connection
from stores.contract.model import Contract
from stores.contract.shape import contract_digest

_THERE = "SELECT to_regclass('recordgate.audit'), current_user"
_READ = """
SELECT DISTINCT ON (detail ->> 'digest') detail ->> 'digest', detail ->> 'version', id
FROM recordgate.audit WHERE action = 'apply' AND detail ? 'digest'
ORDER BY detail ->> 'digest', id DESC
"""
_PUT = "INSERT INTO recordgate.audit (actor, action, detail) VALUES (%s, 'apply', %s)"


@dataclass(frozen=True, slots=True)
class Applied:
    """`last`: the version of the contract that was applied last, "" where none is recorded.
    `earlier`: ours is another, and was applied before it."""

    last: str
    earlier: bool


def applied(conn: Connection, contract: Contract) -> Applied:
    rows = _rows(conn)
    if not rows:
        return Applied("", False)
    ours, last = contract_digest(contract), max(rows, key=lambda row: row[2])
    return Applied(last[1], last[0] != ours and any(row[0] == ours for row in rows))


def record_applied(conn: Connection, contract: Contract, steps: list[str]) -> None:
    """Leave a line in the audit, where the platform's tables are there already; none where nothing
    was done and the contract is the one that was applied last."""
    row = conn.execute(_THERE.encode()).fetchone()
    if row is None or row[0] is None:
        return
    digest, rows = contract_digest(contract), _rows(conn)
    if not steps and rows and max(rows, key=lambda r: r[2])[0] == digest:
        return
    detail = {
        "contract": contract.id,
        "version": contract.version,
        "digest": digest,
        "steps": steps,
    }
    conn.execute(_PUT.encode(), (row[1], json.dumps(detail)))


def _rows(conn: Connection) -> list[Any]:
    row = conn.execute(_THERE.encode()).fetchone()
    if row is None or row[0] is None:
        return []
    return conn.execute(_READ.encode()).fetchall()
