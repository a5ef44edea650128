"""Makes changes of the contract's tables capturable again: replica identities, the publication.

These are steps that `recordgate apply` has carried out before, for the same tables; only what
others undid since is done again. Nothing is done to a table whose rows or columns would change by
it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg
from psycopg import errors, sql

from stores.canonical import catalog
from stores.canonical.capture_steps import capture_steps
from stores.canonical.connect import Connection, connect
from stores.canonical.driver_errors import translate
from stores.canonical.publication import publication_name, published_tables
from stores.canonical.steps import Phase, Step
from stores.contract.model import Contract

log = logging.getLogger(__name__)

LOCK_TIMEOUT = "700ms"
"""Lock timeout below `deadlock_timeout`: of the application and the worker, the worker gives way
and retries."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A step that could not be done. `table`: schema.table, empty where it is about none.
    `passing`: another session's lock stood in the way."""

    table: str
    message: str
    hint: str
    passing: bool = False


def mend(url: str, contract: Contract) -> list[Problem]:
    """Do what is missing; what could not be done. Raises StoreUnavailable where canonical is not
    reached."""
    with connect(url, application_name="recordgate mends") as conn:
        try:
            conn.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'".encode())
            tables = catalog.read_tables(conn, published_tables(contract))
            found = catalog.read_publication(conn, publication_name(contract))
            names = [name for name in published_tables(contract) if name in tables]
            unpublished = set(names)
            if found and not found.filtered:
                unpublished -= found.tables
            if found and len(names) < len(published_tables(contract)):
                # A table that goes by another name for a while stays published.
                names += sorted(found.tables - set(names))
            steps = capture_steps(
                contract, tables, found, conn.info.server_version, names, followed=True
            )
            done = [_carry_out(conn, step, unpublished) for step in steps]
            return [problem for problem in done if problem is not None]
        except psycopg.Error as error:
            raise translate(error) from None


def _carry_out(conn: Connection, step: Step, unpublished: Iterable[catalog.Name]) -> Problem | None:
    if step.blocked or not isinstance(step.action, sql.Composed):
        return Problem(step.table, f"cannot {step.text}: {step.blocked}", "see `recordgate plan`")
    try:
        with conn.transaction():
            if step.phase is Phase.PUBLICATION:
                _wait_for_writers(conn, unpublished)
            conn.execute(step.action)
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        return Problem(
            step.table,
            f"cannot {step.text}: the table is in use",
            "it is retried",
            passing=True,
        )
    except psycopg.Error as error:
        if conn.closed:
            raise
        found = translate(error)
        return Problem(
            step.table,
            f"cannot {step.text}: {found.message}",
            "run `recordgate apply` as the owner of the tables",
        )
    log.warning("%s: done again, because it had been undone", step.text)
    return None


def _wait_for_writers(conn: Connection, unpublished: Iterable[catalog.Name]) -> None:
    """Wait for open transactions that wrote to a table before it is published: their changes may
    never be sent, and no load sees them either."""
    names = [sql.Identifier(*name) for name in sorted(unpublished)]
    if names:
        tables = sql.SQL(", ").join(names)
        conn.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(tables))
