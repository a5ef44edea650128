"""Steps about foreign keys. Compared here and not by Alembic: two tables may refer to each other,
and SQLAlchemy names a target by a text in which a point separates."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from stores.canonical.catalog import ForeignKey, Table
from stores.canonical.constraint_names import constraint_name
from stores.canonical.steps import Need, Phase, Step, table_text
from stores.canonical.tables import owned_relations
from stores.contract.model import Contract, RecordType, Relation

NO_ACTION = "aa"


def foreign_key_steps(
    contract: Contract, record_type: RecordType, table: Table | None
) -> Iterator[Step]:
    """`table` is what is there now, None where it is yet to be made. A foreign key made by hand
    that does the same counts; one that does something else stays, unless it has the name that
    ours would have."""
    identifier = sql.Identifier(record_type.schema, record_type.table)
    name = table_text(record_type.schema, record_type.table)
    wanted = {_meaning(contract, r): r for r in owned_relations(record_type)}
    for found in table.foreign_keys if table else ():
        meaning = (found.columns, found.target, found.target_columns)
        if meaning in wanted and found.deferrable and found.action == NO_ACTION:
            del wanted[meaning]
        elif found.name == constraint_name("fkey", record_type.table, found.columns):
            yield _drop(identifier, name, found)
    for relation in wanted.values():
        target = contract.types[relation.target]
        target_name = table_text(target.schema, target.table)
        text = (
            f"add foreign key ({', '.join(relation.columns)}) of {name}"
            f" to {target_name} ({', '.join(relation.target_columns)})"
        )
        action = sql.SQL(
            "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) DEFERRABLE"
        ).format(
            identifier,
            sql.Identifier(constraint_name("fkey", record_type.table, relation.columns)),
            _list(relation.columns),
            sql.Identifier(target.schema, target.table),
            _list(relation.target_columns),
        )
        note = "scans the table while writes are blocked" if table else ""
        phase = Phase.ADD_FOREIGN_KEYS
        need = Need.RULE if table else Need.NEEDED
        yield Step(phase, "add_foreign_key", name, text, note=note, need=need, action=action)


def _drop(identifier: sql.Identifier, name: str, found: ForeignKey) -> Step:
    action = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
        identifier, sql.Identifier(found.name)
    )
    text = f"drop foreign key {found.name} of {name}"
    return Step(
        Phase.DROP_FOREIGN_KEYS, "drop_constraint", name, text, need=Need.SURPLUS, action=action
    )


def _meaning(
    contract: Contract, relation: Relation
) -> tuple[tuple[str, ...], tuple[str, str], tuple[str, ...]]:
    target = contract.types[relation.target]
    return relation.columns, (target.schema, target.table), relation.target_columns


def _list(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
