"""Carries a plan out: in one transaction, one process at a time, and only while it is still the
plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from psycopg import sql

from stores.canonical.applied import record_applied
from stores.canonical.connect import Connection, transaction_for_ddl
from stores.canonical.driver_errors import translate
from stores.canonical.plan import plan_on
from stores.canonical.steps import SchemaPlan, Step
from stores.contract.model import Contract
from stores.errors import ConflictError, ConstraintError, InputError, SetupError

LOCK_TIMEOUT = "10s"
"""The longest time that a step waits for a table in use. A waiting ALTER TABLE makes everybody
behind it wait too."""

_HELD = """
SELECT FROM pg_attribute AS a
WHERE a.attrelid = to_regclass(%s) AND a.attname = %s AND a.attnotnull AND NOT EXISTS
  (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisprimary
    AND a.attnum = ANY(i.indkey))
"""
"""Finds a column that may not be null and is in no primary key."""

LOCK = 0x7265_636F_7264_0002
"""Key of the advisory lock under which one process changes canonical."""


def apply_plan(
    conn: Connection,
    contract: Contract,
    plan: SchemaPlan,
    *,
    allow_destructive: bool = False,
    chosen: Callable[[Step], bool] | None = None,
) -> SchemaPlan:
    """Carry out `plan`, made by `make_plan` before, or those of its steps that are `chosen`; `conn`
    is in no transaction. All or nothing, also in a crash. Two at once: the second finds that there
    is nothing left of its plan. Columns that a later part of the plan drops need no value any more,
    for a process with the new contract writes none.

    Raises InputError (code DESTRUCTIVE_REFUSED) for destructive steps that are not allowed,
    SetupError for steps that cannot be carried out as things are, ConflictError where somebody else
    has changed the tables since the plan was made or uses them now, ConstraintError where rows
    break a new rule.
    """
    some = [s for s in plan.steps if chosen is None or chosen(s)]
    refuse(SchemaPlan(tuple(some)), allow_destructive=allow_destructive)
    try:
        with transaction_for_ddl(conn) as bound:
            conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            conn.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'".encode())
            now = plan_on(bound, conn, contract)
            if not now.steps:
                record_applied(conn, contract, [])
                return plan  # another process has carried it out
            if now != plan:
                raise ConflictError(
                    "canonical has changed since the plan was made",
                    hint="review `recordgate plan` again",
                )
            taken = [s for s in now.steps if s in some]
            _carry_out(bound, conn, contract, taken)
            _relax(conn, [s for s in now.steps if s not in some])
            record_applied(conn, contract, [s.text for s in taken])
    except psycopg.Error as error:
        raise translate(error, contract) from None
    return plan


def refuse(plan: SchemaPlan, *, allow_destructive: bool) -> None:
    """Raise what keeps `plan` from being carried out; nothing where it can be."""
    if plan.blocked:
        raise SetupError(
            "; ".join(f"{s.text}: {s.blocked}" for s in plan.blocked),
            hint="nothing was changed",
        )
    if plan.destructive and not allow_destructive:
        raise InputError(
            "destructive steps are refused: " + "; ".join(s.text for s in plan.destructive),
            hint="pass --allow-destructive to carry them out",
            code="DESTRUCTIVE_REFUSED",
        )


def _carry_out(
    bound: sa.Connection, conn: Connection, contract: Contract, steps: Sequence[Step]
) -> None:
    operations = Operations(MigrationContext.configure(bound))
    for step in steps:
        try:
            if isinstance(step.action, sql.Composed):
                conn.execute(step.action)
            elif step.action is not None:
                operations.invoke(step.action)
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise _failed(step, error.orig, contract) from None
            raise
        except psycopg.Error as error:
            raise _failed(step, error, contract) from None


def _relax(conn: Connection, left: Sequence[Step]) -> None:
    """Let the columns be null that are dropped later, but those of a key."""
    for step in left:
        if (
            step.kind != "drop_column"
            or step.action is None
            or isinstance(step.action, sql.Composed)
        ):
            continue
        drop: Any = step.action
        table = sql.Identifier(*filter(None, (drop.schema, drop.table_name)))
        column = drop.column_name
        held = conn.execute(_HELD, (table.as_string(conn), column)).fetchone()
        if held is not None:
            conn.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(
                    table, sql.Identifier(column)
                )
            )


def _failed(step: Step, error: psycopg.Error, contract: Contract) -> Exception:
    """The error of a step, which says which one it was."""
    found = translate(error, contract)
    if isinstance(found, ConstraintError):
        found.message = f"cannot {step.text}: {found.message}"
        found.hint = "nothing was changed; correct the rows that break the rule, then apply again"
    elif error.sqlstate == "55P03":
        found.message = f"cannot {step.text}: the table is in use"
    elif error.sqlstate == "2BP01":
        found.message = f"cannot {step.text}: other database objects depend on it"
    elif error.sqlstate not in (None, "57014"):
        found.message = f"cannot {step.text}: {found.message}"
    return found
