"""Measures the rules of a type in the caller's transaction, and says of each whether it holds.

All rules of the library are one scan. A rule of type sql is a query of its own, as a role that may
read the tables of the contract and nothing else, in a savepoint that reads only and is rolled back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from stores.canonical.connect import Connection
from stores.canonical.rule_sql import aggregate, bad_keys, bad_row, scan, sql_rule, table_of
from stores.contract.model import RecordType
from stores.contract.promises import Rule
from stores.contract.quality import function_names

log = logging.getLogger(__name__)

ROLE = "recordgate_quality"
EXAMPLES = 10
PASSED, BROKEN, UNKNOWN, FAILED = "passed", "broken", "unknown", "failed"

_PROBLEMS: dict[type[psycopg.Error], str] = {
    psycopg.errors.QueryCanceled: "it takes longer than it may, or was cancelled",
    psycopg.errors.DivisionByZero: "it divides by zero",
    psycopg.errors.ReadOnlySqlTransaction: "it writes or locks, which a rule may not",
    psycopg.errors.InsufficientPrivilege: "it reads or calls what the role of rules may not",
    psycopg.errors.UndefinedTable: "it names a table that is not there",
    psycopg.errors.UndefinedColumn: "it names a column that is not there",
    psycopg.errors.UndefinedFunction: "it uses a function or operator that is not there",
    psycopg.errors.SyntaxError: "Postgres cannot read it",
    psycopg.errors.LockNotAvailable: "it waits for a lock",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a rule. `value` is in the rule's unit, or None where it is not known;
    `problem` says why it is not known or could not be measured, without SQL or values."""

    rule: Rule
    state: str
    value: Decimal | None = None
    bad: Decimal | None = None
    total: int = 0
    problem: str = ""
    examples: tuple[dict[str, Any], ...] = ()
    """Keys of bad rows."""


@dataclass(slots=True)
class Measured:
    rows: int = 0
    results: list[Result] = field(default_factory=list)


def judge(rule: Rule, bad: Decimal, total: int) -> Result:
    """Return the result of a rule with `bad` of `total` rows. The percentage of no rows is not
    known. Pure."""
    if rule.unit == "percent" and rule.metric != "sql":
        if total == 0:
            return Result(rule, UNKNOWN, None, bad, 0, "there are no rows to have a percentage of")
        # Compared without dividing, so that nothing is rounded.
        left, bounds = bad * 100, tuple(b * total for b in rule.bounds)
        value = left / total
    else:
        left, bounds, value = bad, rule.bounds, bad
    return Result(
        rule, PASSED if _holds(rule.operator, left, bounds) else BROKEN, value, bad, total
    )


def _holds(operator: str, value: Decimal, bounds: tuple[Decimal, ...]) -> bool:
    first, last = bounds[0], bounds[-1]
    return {
        "mustBe": value == first,
        "mustNotBe": value != first,
        "mustBeGreaterThan": value > first,
        "mustBeGreaterOrEqualTo": value >= first,
        "mustBeLessThan": value < first,
        "mustBeLessOrEqualTo": value <= first,
        "mustBeBetween": first <= value <= last,
        "mustNotBeBetween": not first <= value <= last,
    }[operator]


def measure(
    conn: Connection, record: RecordType, rules: Sequence[Rule], *, timeout: float, role: str = ""
) -> Measured:
    """Count `rules` over all rows of the type. `role`: why rules of type sql cannot be run, or
    empty. What a rule does wrong is its result; raises psycopg.Error only where the connection is
    lost."""
    found = Measured()
    missing = _missing(conn, record, rules)
    library = [r for r in rules if r.metric != "sql" and r.id not in missing]
    by_id = {
        rid: Result(r, FAILED, problem=missing[rid]) for r in rules if (rid := r.id) in missing
    }
    counted = _scan(conn, record, library, timeout)
    if isinstance(counted, str):
        # One of them is at fault: each alone says which, all together in the same time again.
        for rule in library:
            alone = _scan(conn, record, [rule], timeout / len(library))
            if isinstance(alone, str):
                by_id[rule.id] = Result(rule, FAILED, problem=alone)
            else:
                found.rows = alone[0]
                by_id[rule.id] = judge(rule, Decimal(alone[1]), alone[0])
    else:
        found.rows = counted[0]
        for rule, bad in zip(library, counted[1:], strict=True):
            by_id[rule.id] = judge(rule, Decimal(bad), found.rows)
    for rule in rules:
        if rule.metric == "sql":
            by_id[rule.id] = run_sql(conn, record, rule, timeout=timeout, role=role)
    found.results = [with_examples(conn, record, by_id[r.id], timeout) for r in rules]
    return found


def _missing(conn: Connection, record: RecordType, rules: Sequence[Rule]) -> dict[str, str]:
    """Rule → why it cannot be asked: its table or column is not there."""
    there = {
        str(name)
        for (name,) in conn.execute(
            "SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid ="
            " pg_catalog.to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
            (table_of(record).as_string(None),),
        ).fetchall()
    }
    if not there:
        return {r.id: "the table is not there" for r in rules if r.metric != "sql"}
    return {
        rule.id: f"the column {column} is not there"
        for rule in rules
        for column in rule.columns
        if column not in there and rule.metric != "sql"
    }


def _scan(
    conn: Connection, record: RecordType, rules: Sequence[Rule], timeout: float
) -> tuple[int, ...] | str:
    if not rules:
        return (0,)
    statement = scan(table_of(record), [aggregate(rule, record) for rule in rules])
    try:
        with within(conn, timeout):
            row = conn.execute(statement).fetchone()
    except psycopg.Error as error:
        return problem_of(conn, error)
    assert row is not None
    return tuple(int(value) for value in row)


def with_examples(conn: Connection, record: RecordType, result: Result, timeout: float) -> Result:
    """The result with keys of bad rows, where it is broken by them."""
    rule = result.rule
    if result.state != BROKEN or not rule.by_row or not result.bad:
        return result
    bad = bad_row(rule, record.by_column[rule.columns[0]])
    keys = [sql.Identifier(c) for c in record.key]
    try:
        with within(conn, timeout):
            rows = conn.execute(bad_keys(table_of(record), keys, bad, EXAMPLES)).fetchall()
    except psycopg.Error as error:
        problem_of(conn, error)
        return result
    return exampled(result, record, rows)


def exampled(result: Result, record: RecordType, rows: Sequence[tuple[Any, ...]]) -> Result:
    """The result with the keys of `rows`."""
    names = [p.name for p in record.key_properties]
    examples = tuple(dict(zip(names, map(_plain, row), strict=True)) for row in rows)
    return Result(
        result.rule, result.state, result.value, result.bad, result.total, result.problem, examples
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | str | bool) or value is None else str(value)


@contextmanager
def within(conn: Connection, seconds: float) -> Iterator[None]:
    """A savepoint, or a transaction, in which statements have their limit of time, which ends with
    it."""
    row = conn.execute(
        "SELECT pg_catalog.current_setting('statement_timeout'),"
        " pg_catalog.current_setting('lock_timeout')"
    ).fetchone()
    assert row is not None
    with conn.transaction():
        _limit(conn, seconds)
        yield
        # A savepoint that is released leaves its settings to the transaction around it.
        conn.execute(
            "SELECT pg_catalog.set_config('statement_timeout', %s, true),"
            " pg_catalog.set_config('lock_timeout', %s, true)",
            row,
        )


def _limit(conn: Connection, timeout: float) -> None:
    conn.execute(
        "SELECT pg_catalog.set_config('statement_timeout', %s, true),"
        " pg_catalog.set_config('lock_timeout', '5s', true)",
        (f"{max(1, round(timeout * 1000))}ms",),
    )


def problem_of(conn: Connection, error: psycopg.Error) -> str:
    """Return what went wrong, without anything of the statement or its values.

    Raises `error` again where the connection is lost.
    """
    if conn.closed or isinstance(error, psycopg.errors.AdminShutdown):
        raise error
    for kind, text in _PROBLEMS.items():
        if isinstance(error, kind):
            return text
    return f"Postgres refuses it (SQLSTATE {error.sqlstate or 'unknown'})"


# Rules of type sql --------------------------------------------------------------------------------


class _Back(Exception):
    """Leaves a savepoint by rolling it back."""


def run_sql(
    conn: Connection, record: RecordType, rule: Rule, *, timeout: float, role: str
) -> Result:
    """One rule of type sql. `role`: why it cannot be run as its role, or empty."""
    if role:
        return Result(rule, FAILED, problem=role)
    called = _volatile(conn, rule)
    if called:
        return Result(
            rule, FAILED, problem=f"it calls {called}, whose answer or effect is never the same"
        )
    rows: list[tuple[Any, ...]] = []
    try:
        with conn.transaction():
            _limit(conn, timeout)
            conn.execute("SET LOCAL transaction_read_only = on")
            # Tables of the type's own schema may be named without it.
            conn.execute(
                sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(record.schema))
            )
            conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(ROLE)))
            # Binary: by the protocol that takes one statement, whatever the text is.
            rows = conn.execute(sql_rule(rule, record), binary=True).fetchall()
            raise _Back
    except _Back:
        pass
    except psycopg.Error as error:
        return Result(rule, FAILED, problem=problem_of(conn, error))
    value, problem = _one_number(rows)
    if value is None:
        return Result(rule, UNKNOWN if problem.startswith("null") else FAILED, problem=problem)
    return judge(rule, value, 0)


def _volatile(conn: Connection, rule: Rule) -> str:
    names = sorted(function_names(rule.query))
    row = conn.execute(
        "SELECT min(p.proname::text) FROM pg_catalog.pg_proc p"
        " WHERE p.proname = ANY(%s) AND p.provolatile = 'v' AND p.prokind IN ('f', 'w')",
        (names,),
    ).fetchone()
    return str(row[0]) if row and row[0] else ""


def _one_number(rows: Sequence[tuple[Any, ...]]) -> tuple[Decimal | None, str]:
    if not rows:
        return None, "it gives no row"
    if len(rows) > 1:
        return None, "it gives more than one row"
    if len(rows[0]) != 1:
        return None, "it gives more than one column"
    value = rows[0][0]
    if value is None:
        return None, "null: it gives no value"
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None, "it gives something that is no number"
    number = Decimal(value) if not isinstance(value, float) else Decimal(repr(value))
    return (number, "") if number.is_finite() else (None, "it gives NaN or infinity")


def prepare_role(conn: Connection, records: Sequence[RecordType], rules: Sequence[Rule]) -> str:
    """Make the role of sql rules, and let it read the tables of `records`; outside a transaction or
    in one. Return why it cannot be made, or an empty string. Does nothing where no rule is of
    type sql."""
    if not any(rule.metric == "sql" for rule in rules):
        return ""
    try:
        with within(conn, 10.0):
            _make_role(conn)
            for record in records:
                _let_read(conn, record)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable):
        return (
            f"the role {ROLE} is missing, or has not the right to read the tables: an owner runs"
            f" `CREATE ROLE {ROLE}`, grants it SELECT on them, and the role to recordgate's account"
        )
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return prepare_role(conn, records, rules)  # another process was faster
    return ""


def _make_role(conn: Connection) -> None:
    row = conn.execute(
        "SELECT pg_catalog.pg_has_role(oid, 'SET') FROM pg_catalog.pg_roles WHERE rolname = %s",
        (ROLE,),
    ).fetchone()
    if row is None:
        conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOINHERIT").format(sql.Identifier(ROLE)))
    if row is None or not row[0]:
        conn.execute(
            sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT FALSE").format(
                sql.Identifier(ROLE)
            )
        )


def _let_read(conn: Connection, record: RecordType) -> None:
    table = table_of(record).as_string(None)
    row = conn.execute(
        "SELECT pg_catalog.has_schema_privilege(%(role)s, %(schema)s, 'USAGE'),"
        " pg_catalog.has_table_privilege(%(role)s, c.oid, 'SELECT') FROM pg_catalog.pg_class c"
        " WHERE c.oid = pg_catalog.to_regclass(%(table)s)",
        {"role": ROLE, "schema": record.schema, "table": table},
    ).fetchone()
    if row is None:
        return
    role = sql.Identifier(ROLE)
    if not row[0]:
        conn.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(record.schema), role)
        )
    if not row[1]:
        conn.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table_of(record), role))


def as_value(result: Result) -> dict[str, Any]:
    """The result as commands and records show it."""
    rule = result.rule
    return {
        "rule": rule.id,
        "property": rule.property_name,
        "metric": rule.metric,
        "state": result.state,
        "value": _number(result.value),
        "bad": _number(result.bad),
        "rows": result.total,
        "unit": rule.unit,
        "expected": rule.expected,
        "severity": rule.severity,
        "dimension": rule.dimension,
        "definition": rule.definition,
        "problem": result.problem,
        "examples": list(result.examples),
    }


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
