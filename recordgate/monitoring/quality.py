"""A run of a type's quality rules: measured in one snapshot that reads only, stored in one
transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from stores.canonical.connect import Connection
from stores.canonical.driver_errors import of_own_tables
from stores.canonical.rule_results import Measured, as_value, measure, prepare_role
from stores.contract.model import Contract, RecordType
from stores.contract.promises import Rule
from stores.contract.schedules import next_due
from stores.errors import ConflictError

KEPT = timedelta(days=400)
"""The time for which results are kept."""

_LAST = """
SELECT r.rule, l.at, l.state, l.value, l.bad, l.total, l.unit, l.expected, l.problem, l.examples,
  l.definition
FROM unnest(%(rules)s::text[], %(definitions)s::text[]) AS r(rule, definition)
CROSS JOIN LATERAL (
  SELECT * FROM recordgate.quality_results q WHERE q.type = %(type)s AND q.rule = r.rule
    AND q.definition = r.definition ORDER BY q.at DESC, q.run DESC LIMIT 1
) AS l
"""
_HISTORY = """
SELECT at, state, value, bad, total, definition FROM recordgate.quality_results
WHERE type = %s AND rule = %s ORDER BY at DESC, run DESC LIMIT %s
"""
_STORE_RUN = """
INSERT INTO recordgate.quality_runs (type, started_by, started_at, finished_at, rows)
VALUES (%s, %s, %s, clock_timestamp(), %s) RETURNING id
"""
_STORE_RESULT = """
INSERT INTO recordgate.quality_results
  (run, type, rule, definition, at, state, value, bad, total, unit, expected, problem, examples)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its results; `at` is the database's time at its beginning."""

    type: str
    at: datetime
    measured: Measured

    def as_value(self) -> dict[str, Any]:
        results = [as_value(r) for r in self.measured.results]
        return {
            "type": self.type,
            "at": self.at.isoformat(),
            "rows": self.measured.rows,
            "rules": results,
        }


@dataclass(slots=True)
class Last:
    """The newest result of a rule as it is defined now."""

    rule: Rule
    at: datetime
    state: str
    value: Any
    bad: Any
    total: int
    problem: str
    examples: list[dict[str, Any]] = field(default_factory=list)


def run_rules(
    conn: Connection,
    contract: Contract,
    record: RecordType,
    rules: Sequence[Rule],
    *,
    started_by: str,
    timeout: float,
    wait: float = 30.0,
) -> Run:
    """Measure and store. `conn` is in no transaction. Raises ConflictError where another process
    measures the type and does not end within `wait` seconds, SetupError before `apply`,
    StoreUnavailable where canonical is lost."""
    with _held(conn, contract, record, wait):
        found = _run(conn, contract, record, rules, started_by, timeout, lambda: False)
    assert found is not None
    return found


def run_due(
    conn: Connection,
    contract: Contract,
    record: RecordType,
    *,
    interval: float,
    timeout: float,
    given_up: Callable[[], bool],
) -> Run | None:
    """Measure and store what is due; None where nothing is, or where the run is `given_up` before
    its end: what was cancelled for that says nothing of a rule. What is due is asked again once no
    other process can measure the type. Raises as `run_rules` does."""
    if not due_now(conn, record, interval):
        return None
    with _held(conn, contract, record, 0.0):
        rules = due_now(conn, record, interval)
        if not rules:
            return None
        return _run(conn, contract, record, rules, "schedule", timeout, given_up)


@contextmanager
def _held(conn: Connection, contract: Contract, record: RecordType, wait: float) -> Iterator[None]:
    """The type, for this process alone; errors of the driver are made ours."""
    with of_own_tables(contract):
        until = time.monotonic() + wait
        while not _lock(conn, record):
            if time.monotonic() >= until:
                raise ConflictError(
                    f"the rules of {record.name} are being measured already",
                    hint="wait for its end",
                )
            time.sleep(0.1)
        try:
            yield
        finally:
            if not conn.closed:
                conn.execute(
                    "SELECT pg_catalog.pg_advisory_unlock(hashtextextended(%s, 0))", (_key(record),)
                )


def _key(record: RecordType) -> str:
    return f"recordgate.quality:{record.schema}.{record.table}"


def _lock(conn: Connection, record: RecordType) -> bool:
    row = conn.execute(
        "SELECT pg_catalog.pg_try_advisory_lock(hashtextextended(%s, 0))", (_key(record),)
    ).fetchone()
    return bool(row and row[0])


def _run(
    conn: Connection,
    contract: Contract,
    record: RecordType,
    rules: Sequence[Rule],
    started_by: str,
    timeout: float,
    given_up: Callable[[], bool],
) -> Run | None:
    role = prepare_role(conn, list(contract.types.values()), rules)
    at = _now(conn)
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        measured = measure(conn, record, rules, timeout=timeout, role=role)
    if given_up():
        return None
    with conn.transaction():
        row = conn.execute(
            _STORE_RUN.encode(), (record.name, started_by, at, measured.rows)
        ).fetchone()
        assert row is not None
        with conn.cursor() as cursor:
            cursor.executemany(
                _STORE_RESULT.encode(),
                [
                    (
                        row[0], record.name, r.rule.id, r.rule.definition, at, r.state, r.value,
                        r.bad,
                        r.total, r.rule.unit, r.rule.expected, r.problem, Jsonb(list(r.examples)),
                    )
                    for r in measured.results
                ],
            )  # fmt: skip
        conn.execute(
            "DELETE FROM recordgate.quality_runs WHERE type = %s AND finished_at < now() - %s",
            (record.name, KEPT),
        )
    return Run(record.name, at, measured)


def _now(conn: Connection) -> datetime:
    row = conn.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def last_results(conn: Connection, record: RecordType) -> list[Last]:
    """The newest result of each rule that has one under its present definition, in the contract's
    order."""
    by_id = {rule.id: rule for rule in record.rules}
    rows = conn.execute(
        _LAST.encode(),
        {
            "type": record.name,
            "rules": list(by_id),
            "definitions": [r.definition for r in by_id.values()],
        },
    ).fetchall()
    found = {
        row[0]: Last(by_id[row[0]], row[1], row[2], row[3], row[4], row[5], row[8], row[9])
        for row in rows
    }
    return [found[rule_id] for rule_id in by_id if rule_id in found]


def history(conn: Connection, record: RecordType, rule: Rule, most: int) -> list[dict[str, Any]]:
    """The rule's results, the newest first. Those of another definition say so."""
    rows = conn.execute(_HISTORY.encode(), (record.name, rule.id, most)).fetchall()
    return [
        {
            "at": at.isoformat(),
            "state": state,
            "value": None if value is None else float(value),
            "bad": None if bad is None else float(bad),
            "rows": total,
            "sameDefinition": definition == rule.definition,
        }
        for at, state, value, bad, total, definition in rows
    ]


def due(
    rules: Sequence[Rule], last: dict[str, datetime], now: datetime, interval: float
) -> list[Rule]:
    """The rules that are to be measured now: by their cron expression, else `interval` seconds
    after the last time. However many times one was missed, it is due once. A last time that lies in
    the future, of a clock that was set back, counts as now. Pure."""
    found: list[Rule] = []
    for rule in rules:
        if rule.external:
            continue
        before = last.get(rule.id)
        if before is None:
            found.append(rule)
            continue
        before = min(before, now)
        if rule.schedule:
            following = next_due(rule.schedule, before)
            if following is not None and following <= now:
                found.append(rule)
        elif (now - before).total_seconds() >= interval:
            found.append(rule)
    return found


def due_now(conn: Connection, record: RecordType, interval: float) -> list[Rule]:
    """Return the rules that are due now, by the database's clock and the results that are
    stored."""
    last = {found.rule.id: found.at for found in last_results(conn, record)}
    return due(record.rules, last, _now(conn), interval)


def chosen_rules(record: RecordType, ids: Collection[str]) -> list[Rule]:
    """The rules with these ids; all where none is named."""
    return [rule for rule in record.rules if not ids or rule.id in ids]
