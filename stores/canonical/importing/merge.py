"""Good rows become records, in one transaction: inserts, updates of what differs, deletes.

Plain INSERT first, since it is by far the fastest; where another writer was quicker with a key, the
same again with ON CONFLICT inside a savepoint. Records that are equal already are not written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from stores.canonical.importing.catalog import TargetTable
from stores.canonical.importing.connection import Connection
from stores.canonical.importing.options import Mode
from stores.canonical.importing.set_checks import good, identifiers
from stores.canonical.importing.staging import Staging


@dataclass(slots=True)
class Merged:
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class MergePlan:
    """`good_rows` without a reason; `clean`: no row has one; `empty`: the table had no record."""

    staging: Staging
    table: TargetTable
    mode: Mode
    good_rows: int
    clean: bool
    empty: bool
    gone: int


def merge(connection: Connection, plan: MergePlan, finally_: Callable[[Merged], None]) -> Merged:
    """Carry the plan out; `finally_` runs in the same transaction, last. Raises what psycopg
    raises."""
    done = Merged()
    with connection.transaction():
        # Rows of one batch may point to each other in any order.
        connection.execute("SET CONSTRAINTS ALL DEFERRED")
        if plan.mode is Mode.REPLACE and plan.gone and plan.table.unique:
            done.deleted += _delete(connection, plan, _in_the_way(plan))
        if plan.mode is not Mode.DELETE and plan.good_rows:
            done.inserted = _insert(connection, plan)
            rest = plan.good_rows - done.inserted
            if rest and plan.mode is not Mode.INSERT:
                done.updated = _update(connection, plan)
            done.unchanged = rest - done.updated
        if plan.gone:
            done.deleted += _delete(connection, plan, sql.SQL("true"))
        if plan.mode is Mode.DELETE:
            done.unchanged = plan.good_rows - done.deleted
        finally_(done)
    return done


def forecast(connection: Connection, plan: MergePlan) -> Merged:
    """Return what `merge` would do, without doing it."""
    done = Merged(deleted=plan.gone)
    if plan.mode is Mode.DELETE:
        done.unchanged = plan.good_rows - plan.gone
        return done
    found = connection.execute(sql.SQL("SELECT count(*) {}").format(_new_rows(plan))).fetchone()
    done.inserted = found[0] if found else 0
    if _changing(plan) and plan.mode is not Mode.INSERT:
        changed = connection.execute(
            sql.SQL("SELECT count(*) FROM {} t, {} s WHERE {}").format(
                plan.table.identifier, plan.staging.staged, _differs(plan)
            )
        ).fetchone()
        done.updated = changed[0] if changed else 0
    done.unchanged = plan.good_rows - done.inserted - done.updated
    return done


def _same_key(plan: MergePlan) -> sql.Composable:
    staged = plan.staging.all(plan.table.key)
    assert staged is not None
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = s.{}").format(column, name)
        for column, name in zip(identifiers(plan.table.key), staged, strict=True)
    )


def _new_rows(plan: MergePlan) -> sql.Composable:
    """FROM … WHERE of the good rows without a record."""
    conditions: list[sql.Composable] = [sql.SQL("true")]
    if not plan.clean:
        conditions.append(good(plan.staging))
    if not plan.empty:
        conditions.append(
            sql.SQL("NOT EXISTS (SELECT FROM {} t WHERE {})").format(
                plan.table.identifier, _same_key(plan)
            )
        )
    return sql.SQL("FROM {} s WHERE {}").format(
        plan.staging.staged, sql.SQL(" AND ").join(conditions)
    )


def _insert(connection: Connection, plan: MergePlan) -> int:
    columns = sql.SQL(", ").join(sql.Identifier(m.property.column) for m in plan.staging.columns)
    values = sql.SQL(", ").join(
        sql.Identifier("s", f"c{i}") for i in range(len(plan.staging.columns))
    )
    # A key that Postgres counts up by itself is the file's here; elsewhere the words mean nothing.
    statement = sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} {}").format(
        plan.table.identifier, columns, values, _new_rows(plan)
    )
    try:
        with connection.transaction():
            return connection.execute(statement).rowcount
    except psycopg.errors.UniqueViolation:
        if plan.mode is Mode.INSERT:
            raise
    key = sql.SQL(", ").join(identifiers(plan.table.key))
    return connection.execute(
        sql.SQL("{} ON CONFLICT ({}) DO NOTHING").format(statement, key)
    ).rowcount


def _changing(plan: MergePlan) -> list[tuple[sql.Identifier, sql.Identifier]]:
    """(column, staged name) of what an update may change."""
    return [
        (sql.Identifier(m.property.column), sql.Identifier(f"c{i}"))
        for i, m in enumerate(plan.staging.columns)
        if m.property.column not in plan.table.key
    ]


def _differs(plan: MergePlan) -> sql.Composable:
    """The record `t` of the good row `s` differs in some byte: this compares values of any type,
    and tells 1.0 from 1.00, which documents show."""
    changing = _changing(plan)
    condition = sql.SQL("{} AND record_image_ne(ROW({}), ROW({}))").format(
        _same_key(plan),
        sql.SQL(", ").join(sql.SQL("t.{}").format(c) for c, _ in changing),
        sql.SQL(", ").join(sql.SQL("s.{}").format(n) for _, n in changing),
    )
    return condition if plan.clean else sql.SQL("{} AND {}").format(condition, good(plan.staging))


def _update(connection: Connection, plan: MergePlan) -> int:
    changing = _changing(plan)
    if not changing:
        return 0
    return connection.execute(
        sql.SQL("UPDATE {} t SET {} FROM {} s WHERE {}").format(
            plan.table.identifier,
            sql.SQL(", ").join(sql.SQL("{} = s.{}").format(c, n) for c, n in changing),
            plan.staging.staged,
            _differs(plan),
        )
    ).rowcount


def _delete(connection: Connection, plan: MergePlan, condition: sql.Composable) -> int:
    same = sql.SQL(" AND ").join(
        sql.SQL("t.{} = g.{}").format(column, sql.Identifier(f"k{i}"))
        for i, column in enumerate(identifiers(plan.table.key))
    )
    return connection.execute(
        sql.SQL("DELETE FROM {} t USING {} g WHERE {} AND ({})").format(
            plan.table.identifier, plan.staging.gone, same, condition
        )
    ).rowcount


def _in_the_way(plan: MergePlan) -> sql.Composable:
    """True of a record that holds a unique value which a row of the file takes over."""
    holders: list[sql.Composable] = [sql.SQL("false")]
    for columns in plan.table.unique:
        staged = plan.staging.all(columns)
        if staged is not None:
            same = sql.SQL(" AND ").join(
                sql.SQL("s.{} = t.{}").format(name, column)
                for name, column in zip(staged, identifiers(columns), strict=True)
            )
            holders.append(
                sql.SQL("EXISTS (SELECT FROM {} s WHERE {})").format(plan.staging.staged, same)
            )
    return sql.SQL(" OR ").join(holders)
