"""The contract's tables as SQLAlchemy metadata: columns, keys, foreign keys, unique, checks,
indexes."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

from stores.canonical.checks import check_expressions
from stores.canonical.constraint_names import LIMIT, check_name, constraint_name
from stores.contract.model import Contract, Property, RecordType, Relation
from stores.contract.types import FOREIGN_TYPE
from stores.errors import ContractError

_TYPE = re.compile(
    r"(?:double precision|character varying|bit varying|[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)?)"
    r"(?:\(\d+(?:,-?\d+)?\))?(?: with(?:out)? time zone)?(?:\[\])*"
)
"""Matches the output of `format_type`: names, numbers, nothing that could end a column's
definition."""


class SqlType(sa.types.UserDefinedType[Any]):
    """A column's type by the text that `format_type` prints; values pass as psycopg takes them."""

    cache_ok = True

    def __init__(self, text: str) -> None:
        self.text = text

    def get_col_spec(self, **_: Any) -> str:
        return self.text


def sql_type(prop: Property) -> str:
    """The property's type, safe to stand in a statement. Raises ContractError."""
    if not (_TYPE.fullmatch(prop.sql_type) or FOREIGN_TYPE.fullmatch(prop.sql_type)):
        raise ContractError(f"{prop.name}: {prop.sql_type[:60]!r} is not a Postgres type")
    return prop.sql_type


def metadata_for(contract: Contract, *, foreign_keys: bool = True) -> sa.MetaData:
    """The tables of `contract`, each with its schema. Equal contracts give equal names throughout.
    Without `foreign_keys` for tools that cannot bear cycles, or a point in a table's name."""
    metadata = sa.MetaData()
    made = {t.name: _add_table(metadata, t) for t in contract.types.values()}
    for record_type in contract.types.values():
        for relation in owned_relations(record_type) if foreign_keys else ():
            _add_foreign_key(made[record_type.name], relation, made[relation.target])
    return metadata


def _add_table(metadata: sa.MetaData, record_type: RecordType) -> sa.Table:
    table = record_type.table
    for name in (table, record_type.schema, *(p.column for p in record_type.properties)):
        check_identifier(name)
    key = record_type.key
    items: list[sa.schema.SchemaItem] = [
        sa.Column(
            _quoted(p.column), SqlType(sql_type(p)), nullable=not (p.required or p.column in key)
        )
        for p in record_type.properties
    ]
    items.append(sa.PrimaryKeyConstraint(*key, name=constraint_name("pkey", table, key)))
    items += [
        sa.UniqueConstraint(*columns, name=constraint_name("key", table, columns))
        for columns in unique_columns(record_type)
    ]
    for prop in record_type.properties:
        for rule, expression in check_expressions(prop):
            name = check_name(table, prop.column, rule, expression)
            # literal_column: text() would take `:name` inside a pattern for a parameter.
            items.append(sa.CheckConstraint(sa.literal_column(expression), name=name))
    for relation in owned_relations(record_type):
        if not _has_index(record_type, relation.columns):
            # With the key behind it, so that a parent's records come in key order from the index.
            name = constraint_name("idx", table, relation.columns)
            items.append(sa.Index(name, *dict.fromkeys((*relation.columns, *record_type.key))))
    return sa.Table(_quoted(table), metadata, *items, schema=_quoted(record_type.schema))


def _quoted(name: str) -> quoted_name:
    """Return the name so that every statement quotes it: SQLAlchemy's own list of reserved words is
    not the server's."""
    return quoted_name(name, quote=True)


def _add_foreign_key(table: sa.Table, relation: Relation, target: sa.Table) -> None:
    """Deferrable, so that one transaction can write records that refer to each other in any order.
    The target's columns are given as objects: a name with a point in it would be split."""
    table.append_constraint(
        sa.ForeignKeyConstraint(
            relation.columns,
            [target.c[c] for c in relation.target_columns],
            name=constraint_name("fkey", table.name, relation.columns),
            deferrable=True,
        )
    )


def owned_relations(record_type: RecordType) -> list[Relation]:
    """The relations whose foreign key this type holds, each set of columns once."""
    found: dict[tuple[str, ...], Relation] = {}
    for relation in record_type.relations:
        if relation.owner:
            found.setdefault(relation.columns, relation)
    return list(found.values())


def unique_columns(record_type: RecordType) -> list[tuple[str, ...]]:
    """The column sets that the contract calls unique, the key left out."""
    sets = [(p.column,) for p in record_type.properties if p.unique]
    return [c for c in dict.fromkeys([*sets, *record_type.unique_together]) if c != record_type.key]


def _has_index(record_type: RecordType, columns: tuple[str, ...]) -> bool:
    """Return whether the key's or a unique constraint's index begins with `columns`."""
    indexed = [record_type.key, *unique_columns(record_type)]
    return any(i[: len(columns)] == columns for i in indexed)


def check_identifier(name: str) -> None:
    """Raise ContractError where Postgres would refuse or cut the name."""
    if not name or "\0" in name or len(name.encode()) > LIMIT:
        raise ContractError(
            f"{name[:LIMIT]!r} is not a valid identifier in Postgres",
            hint=f"a name has 1 to {LIMIT} bytes; set physicalName",
        )


def constraint_columns(record_type: RecordType) -> dict[str, tuple[str, ...]]:
    """Constraint name → its columns, for the constraints that a managed table has."""
    table = record_type.table
    names = {constraint_name("pkey", table, record_type.key): record_type.key}
    for columns in unique_columns(record_type):
        names[constraint_name("key", table, columns)] = columns
    for relation in owned_relations(record_type):
        names[constraint_name("fkey", table, relation.columns)] = relation.columns
    return names | {name: (prop.column,) for name, (prop, _) in check_rules(record_type).items()}


def check_rules(record_type: RecordType) -> dict[str, tuple[Property, str]]:
    """Return the property and the rule of each check that a managed table has, by its name."""
    return {
        check_name(record_type.table, prop.column, rule, expression): (prop, rule)
        for prop in record_type.properties
        for rule, expression in check_expressions(prop)
    }
