"""Finds the differences between attached tables, which are not ours to change, and the contract."""

from __future__ import annotations

from collections.abc import Iterator

from stores.canonical.catalog import Name, Table
from stores.canonical.steps import Phase, Step, table_text
from stores.contract.model import Contract, RecordType

HINT = "correct the contract, or the table"


def attached_steps(contract: Contract, tables: dict[Name, Table]) -> Iterator[Step]:
    """A blocked step for each difference."""
    for record_type in contract.types.values():
        name = table_text(record_type.schema, record_type.table)
        table = tables.get((record_type.schema, record_type.table))
        for kind, what in _differences(record_type, table):
            yield Step(Phase.SCHEMA, kind, name, f"{name}: {what}", blocked=f"{what}; {HINT}")


def _differences(record_type: RecordType, table: Table | None) -> Iterator[tuple[str, str]]:
    if table is None:
        yield "missing_table", "the table does not exist"
        return
    if not table.holds_rows:
        yield "missing_table", "it is not a table, so its changes cannot be captured"
        return
    for prop in record_type.properties:
        column = table.columns.get(prop.column)
        if column is None:
            yield "missing_column", f"column {prop.column} does not exist"
        elif column.type != prop.sql_type:
            yield (
                "alter_type",
                f"column {prop.column} is {column.type}, the contract says {prop.sql_type}",
            )
    if table.key and table.key != record_type.key:
        yield (
            "replace_key",
            f"the key is ({', '.join(table.key)}), the contract says"
            f" ({', '.join(record_type.key)})",
        )
