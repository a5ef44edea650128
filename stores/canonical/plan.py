"""The difference between a contract and canonical, as steps; nothing is changed here.

Tables, columns, unique, checks and indexes are compared by Alembic's autogenerate API; column types
by the text that Postgres prints; keys, foreign keys, replica identity and publication by ourselves.
A rename cannot be told from a drop and an add, so it is never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations
from alembic.migration import MigrationContext
from alembic.operations import ops
from psycopg import sql

from stores.canonical import catalog, column_steps
from stores.canonical.attached import attached_steps
from stores.canonical.capture_steps import capture_steps
from stores.canonical.connect import Connection, transaction_for_ddl
from stores.canonical.constraint_names import constraint_name, is_check_of_ours
from stores.canonical.driver_errors import translate
from stores.canonical.foreign_key_steps import foreign_key_steps
from stores.canonical.publication import PREFIX, publication_name, published_tables
from stores.canonical.steps import Need, Phase, SchemaPlan, Step, table_text
from stores.canonical.tables import metadata_for
from stores.contract.model import Contract, RecordType
from stores.errors import SetupError

__all__ = ["SchemaPlan", "Step", "make_plan", "plan_on"]

PLUGINS = (
    "alembic.autogenerate.schemas",
    "alembic.autogenerate.tables",
    "alembic.autogenerate.constraints",
    "alembic.ext.checkconstraint_byname",
)
"""Settings of autogenerate. Comments and defaults are not compared, because the contract does not
declare them; types are compared by column_steps."""
SCAN = "scans the table while writes are blocked"


def make_plan(conn: Connection, contract: Contract) -> SchemaPlan:
    """The steps that make canonical what `contract` says; none where it is so already. `conn` is in
    no transaction. Raises ContractError, StoreUnavailable, SetupError."""
    try:
        with transaction_for_ddl(conn) as bound:
            return plan_on(bound, conn, contract)
    except psycopg.Error as error:
        raise translate(error, contract) from None


def plan_on(bound: sa.Connection, conn: Connection, contract: Contract) -> SchemaPlan:
    """Make the plan as `make_plan` does, inside the open transaction of `bound`, which uses
    `conn`."""
    _refuse_another_contract(conn, contract)
    names = published_tables(contract)
    tables = catalog.read_tables(conn, names)
    publication = catalog.read_publication(conn, publication_name(contract))
    steps = list(capture_steps(contract, tables, publication, conn.info.server_version))
    if contract.managed:
        steps += _managed_steps(bound, conn, contract, tables)
        steps += _orphan_steps(contract, publication, set(names))
    else:
        steps += attached_steps(contract, tables)
    return SchemaPlan(tuple(sorted(steps, key=lambda s: (s.phase, s.table, s.kind, s.text))))


def _refuse_another_contract(conn: Connection, contract: Contract) -> None:
    """Positions, backlogs and generations are kept in the schema `recordgate` by sink, so two
    contracts in a database would take each other's. Each has a publication of its name."""
    others = catalog.other_publications(conn, PREFIX, publication_name(contract))
    if others:
        raise SetupError(
            f"the database already belongs to another contract, as its publication {others[0]}"
            " shows",
            hint="give each contract a database of its own; if that contract is no longer in use,"
            " drop its publication, its replication slot and the schema recordgate",
        )


def _managed_steps(
    bound: sa.Connection,
    conn: Connection,
    contract: Contract,
    tables: dict[catalog.Name, catalog.Table],
) -> Iterator[Step]:
    schemas = dict.fromkeys(t.schema for t in contract.types.values())
    there = catalog.existing_schemas(conn, schemas)
    for schema in schemas:
        if schema not in there:
            action = sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema))
            text = f"create schema {schema}"
            yield Step(Phase.SCHEMA, "create_schema", "", text, action=action)
    for record_type in contract.types.values():
        table = tables.get((record_type.schema, record_type.table))
        if table is not None:
            yield from _table_steps(conn, record_type, table)
        yield from foreign_key_steps(contract, record_type, table)
    yield from column_steps.pattern_steps(conn, contract)
    for operation in _differences(bound, contract):
        yield from _flatten(conn, operation)


def _table_steps(conn: Connection, record_type: RecordType, table: catalog.Table) -> Iterator[Step]:
    """Yield the steps for what Alembic does not compare of an existing table: its kind, column
    types and key."""
    name = table_text(record_type.schema, record_type.table)
    if not table.holds_rows:
        yield Step(
            Phase.CREATE_TABLES,
            "create_table",
            name,
            f"create table {name}",
            blocked=f"{name} already exists and is not a table; rename or drop it",
        )
        return
    yield from column_steps.type_steps(record_type, table)
    if table.key != record_type.key:
        identifier = sql.Identifier(record_type.schema, record_type.table)
        parts = []
        if table.key_name:
            parts.append(sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(table.key_name)))
        parts.append(
            sql.SQL("ADD CONSTRAINT {} PRIMARY KEY ({})").format(
                sql.Identifier(constraint_name("pkey", record_type.table, record_type.key)),
                sql.SQL(", ").join(sql.Identifier(c) for c in record_type.key),
            )
        )
        old = f"({', '.join(table.key)})" if table.key else "none"
        yield Step(
            Phase.REPLACE_KEY,
            "replace_key",
            name,
            f"replace the key of {name}: {old} becomes ({', '.join(record_type.key)})",
            destructive=bool(table.key),
            note=f"{SCAN}; every store needs a reload of {record_type.name}",
            action=sql.SQL("ALTER TABLE {} {}").format(identifier, sql.SQL(", ").join(parts)),
        )


def _orphan_steps(
    contract: Contract, publication: catalog.Publication | None, names: set[catalog.Name]
) -> Iterator[Step]:
    """Tables that an earlier version of the contract had: the publication still names them."""
    gone = sorted((publication.tables if publication else frozenset()) - names)
    if gone:
        listed = ", ".join(table_text(*name) for name in gone)
        word = "table" if len(gone) == 1 else "tables"
        yield Step(
            Phase.DROP_TABLES,
            "drop_table",
            listed,
            f"drop {word} {listed} with all rows",
            destructive=True,
            need=Need.SURPLUS,
            # At once: they may refer to each other.
            action=sql.SQL("DROP TABLE {}").format(
                sql.SQL(", ").join(sql.Identifier(*name) for name in gone)
            ),
        )


# Alembic's differences -------------------------------------------------------------------------


def _differences(bound: sa.Connection, contract: Contract) -> list[ops.MigrateOperation]:
    metadata = metadata_for(contract, foreign_keys=False)
    wanted = {(t.schema, t.name) for t in metadata.tables.values()}
    schemas = {schema for schema, _ in wanted}

    def include_name(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema":
            return name in schemas
        if kind == "table":
            return (parents.get("schema_name"), name) in wanted
        return kind != "foreign_key_constraint"  # foreign_key_steps compares those

    def include_object(
        thing: Any, name: str | None, kind: str, reflected: bool, other: Any
    ) -> bool:
        """Leave alone what was made by hand: an index for speed, a constraint with another name."""
        if not reflected or other is not None:
            return True
        if kind == "check_constraint":
            return is_check_of_ours(name or "")
        suffix = {"index": "idx", "unique_constraint": "key"}
        if kind not in suffix:
            return True
        columns = [c.name for c in thing.columns]
        return name == constraint_name(suffix[kind], thing.table.name, columns)

    context = MigrationContext.configure(
        bound,
        opts={
            "target_metadata": metadata,
            "include_schemas": True,
            "include_name": include_name,
            "include_object": include_object,
            "compare_type": False,  # by the printed text, in column_steps
            "compare_server_default": False,
            "autogenerate_plugins": list(PLUGINS),
        },
    )
    found = produce_migrations(context, metadata).upgrade_ops
    return list(found.ops) if found else []


def _flatten(conn: Connection, operation: ops.MigrateOperation) -> Iterator[Step]:
    if isinstance(operation, ops.ModifyTableOps):
        for part in operation.ops:
            yield from _flatten(conn, part)
    elif isinstance(operation, ops.CreateTableOp):
        name = table_text(operation.schema, operation.table_name)
        columns = sum(isinstance(c, sa.Column) for c in operation.columns)
        text = f"create table {name} with {columns} columns"
        yield Step(Phase.CREATE_TABLES, "create_table", name, text, action=operation)
    elif isinstance(operation, ops.AddColumnOp | ops.DropColumnOp | ops.AlterColumnOp):
        yield from column_steps.column_step(conn, operation)
    else:
        yield _rule_step(operation)


def _rule_step(operation: Any) -> Step:
    """A constraint or an index that comes or goes. Going loses no data."""
    if isinstance(operation, ops.CreateIndexOp):
        name = table_text(operation.schema, operation.table_name)
        text = f"add index {operation.index_name} on {name}"
        note = "writes to the table are blocked while it is built"
        return Step(
            Phase.ADD_INDEXES, "add_index", name, text, note=note, need=Need.RULE, action=operation
        )
    if isinstance(operation, ops.DropIndexOp):
        name = table_text(operation.schema, operation.table_name)
        text = f"drop index {operation.index_name} on {name}"
        return Step(Phase.DROP_RULES, "drop_index", name, text, need=Need.SURPLUS, action=operation)
    if isinstance(operation, ops.DropConstraintOp):
        name = table_text(operation.schema, operation.table_name)
        word = "unique constraint" if operation.constraint_type == "unique" else "check"
        text = f"drop {word} {operation.constraint_name} of {name}"
        return Step(
            Phase.DROP_RULES, "drop_constraint", name, text, need=Need.SURPLUS, action=operation
        )
    if isinstance(operation, ops.CreateUniqueConstraintOp):
        name = table_text(operation.schema, operation.table_name)
        text = f"make ({', '.join(operation.columns)}) of {name} unique"
        return Step(
            Phase.ADD_RULES, "add_unique", name, text, note=SCAN, need=Need.RULE, action=operation
        )
    if isinstance(operation, ops.CreateCheckConstraintOp):
        name = table_text(operation.schema, operation.table_name)
        text = f"add check {operation.constraint_name} to {name}"
        return Step(
            Phase.ADD_RULES, "add_check", name, text, note=SCAN, need=Need.RULE, action=operation
        )
    raise AssertionError(f"autogenerate gave {type(operation).__name__}")
