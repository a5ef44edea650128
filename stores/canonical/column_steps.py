"""Steps about columns: added, dropped, another type, required or not any more, patterns that
Postgres reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from alembic.operations import ops
from psycopg import sql

from stores.canonical.catalog import Table
from stores.canonical.connect import Connection
from stores.canonical.steps import Need, Phase, Step, table_text
from stores.canonical.tables import sql_type
from stores.canonical.type_changes import keeps_values, rewrites_table
from stores.contract.model import Contract, RecordType

SCAN = "scans the table under an exclusive lock"
REWRITE = "rewrites the whole table under an exclusive lock"


def type_steps(record_type: RecordType, table: Table) -> Iterator[Step]:
    name = table_text(record_type.schema, record_type.table)
    for prop in record_type.properties:
        column = table.columns.get(prop.column)
        new = sql_type(prop)
        if column is None or column.type == new:
            continue
        identifier = sql.Identifier(prop.column)
        action = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}::{}").format(
            sql.Identifier(record_type.schema, record_type.table),
            identifier,
            sql.SQL(new),
            identifier,
            sql.SQL(new),
        )
        keeps = keeps_values(column.type, new)
        yield Step(
            Phase.ALTER_COLUMNS,
            "alter_type",
            name,
            f"change column {prop.column} of {name} from {column.type} to {new}"
            + ("" if keeps else ", which may lose values"),
            destructive=not keeps,
            note=REWRITE if rewrites_table(column.type, new) else "",
            action=action,
        )


def column_step(conn: Connection, operation: Any) -> Iterator[Step]:
    """The step of one of Alembic's operations on a column."""
    name = table_text(operation.schema, operation.table_name)
    if isinstance(operation, ops.AddColumnOp):
        column = operation.column
        required = " required" if not column.nullable else ""
        blocked = ""
        if not column.nullable and _any_row(conn, operation.schema, operation.table_name):
            blocked = (
                f"{name} has rows without a value for the required column {column.name}: add it as"
                " optional, fill it, then make it required"
            )
        text = f"add{required} column {column.name} {column.type} to {name}"
        phase = Phase.ADD_COLUMNS
        yield Step(phase, "add_column", name, text, blocked=blocked, action=operation)
    elif isinstance(operation, ops.DropColumnOp):
        text = f"drop column {operation.column_name} of {name} with all its values"
        phase = Phase.DROP_COLUMNS
        yield Step(
            phase,
            "drop_column",
            name,
            text,
            destructive=True,
            need=Need.SURPLUS,
            action=operation,
        )
    elif operation.modify_nullable is not None:
        column_name = str(operation.column_name)
        if operation.modify_nullable:
            text = f"make column {column_name} of {name} optional"
            phase = Phase.ALTER_COLUMNS
            yield Step(phase, "drop_not_null", name, text, need=Need.RULE, action=operation)
            return
        missing = _any_row(conn, operation.schema, operation.table_name, without=column_name)
        yield Step(
            Phase.ALTER_COLUMNS,
            "set_not_null",
            name,
            f"make column {column_name} of {name} required",
            destructive=missing,
            note=SCAN,
            blocked=f"some rows of {name} have no value in {column_name}: fill them or delete them"
            if missing
            else "",
            action=operation,
        )


def _any_row(
    conn: Connection, schema: str | None, table: str, *, without: str | None = None
) -> bool:
    """Return whether the table has a row; with `without`, a row that has no value in that
    column."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {}").format(
        sql.Identifier(*([schema] if schema else []), table)
    )
    if without is not None:
        query += sql.SQL(" WHERE {} IS NULL").format(sql.Identifier(without))
    row = conn.execute(query + sql.SQL(")")).fetchone()
    return bool(row and row[0])


def pattern_steps(conn: Connection, contract: Contract) -> Iterator[Step]:
    """A blocked step for each pattern that Postgres cannot read: a check would fail at the first
    row."""
    patterns = [
        (record_type, prop)
        for record_type in contract.types.values()
        for prop in record_type.properties
        if prop.pattern is not None
    ]
    for record_type, prop in patterns:
        try:
            with conn.transaction():
                conn.execute("SELECT '' ~ %s", (prop.pattern,))
        except psycopg.errors.InvalidRegularExpression:
            name = table_text(record_type.schema, record_type.table)
            yield Step(
                Phase.ADD_RULES,
                "add_check",
                name,
                f"check the pattern of {record_type.name}.{prop.name}",
                blocked="the pattern is not a valid regular expression in Postgres",
            )
