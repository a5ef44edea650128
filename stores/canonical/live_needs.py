"""The needs of a running process, by the contract that it has loaded, and those that a plan takes
from it. Pure.

Each process leaves its needs beside its heartbeat (`recordgate.processes`), so that `plan` and
`apply`, which know the new contract only, can tell whom a step breaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stores.canonical.publication import full_identity_types
from stores.canonical.steps import SchemaPlan, Step
from stores.canonical.tables import sql_type
from stores.canonical.type_changes import rewrites_table
from stores.contract.model import Contract

Needs = Mapping[str, Any]
"""JSON: `{"tables": [{"schema", "table", "columns": {column: type}, "key": [column], "full"}]}`.
`full`: the old rows of changes are needed whole."""

FOLLOWED = ("up", "sync")
"""Roles of the processes that follow canonical's changes."""


def needs_of(contract: Contract) -> dict[str, Any]:
    full = full_identity_types(contract)
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for record_type in contract.types.values():
        name = (record_type.schema, record_type.table)
        found = tables.setdefault(
            name,
            {
                "schema": record_type.schema,
                "table": record_type.table,
                "columns": {},
                "key": list(record_type.key),
                "full": False,
            },
        )
        found["columns"] |= {p.column: sql_type(p) for p in record_type.properties}
        found["full"] = found["full"] or record_type.name in full
    return {"tables": list(tables.values())}


def taken_away(plan: SchemaPlan, contract: Contract, live: Needs, role: str) -> list[str]:
    """Return what `plan` takes from a process of `role` with the needs `live`; nothing where the
    process goes on as before. `contract` is the contract that the plan carries out."""
    after = {(t["schema"], t["table"]): t for t in needs_of(contract)["tables"]}
    found: list[str] = []
    for table in live.get("tables", ()):
        found += _of_table(plan, table, after.get((table["schema"], table["table"])), role)
    return found


def _of_table(plan: SchemaPlan, table: Needs, after: Needs | None, role: str) -> Iterator[str]:
    name = f"{table['schema']}.{table['table']}"
    steps = [s for s in plan.steps if name in _tables(s)]
    kinds = {s.kind for s in steps}
    if after is None:
        if "drop_table" in kinds:
            yield f"table {name} is dropped"
        elif role in FOLLOWED and any(s.kind == "alter_publication" for s in plan.steps):
            yield f"changes of {name} are no longer published"
        return
    for column, kind in table["columns"].items():
        becomes = after["columns"].get(column)
        if becomes is None and "drop_column" in kinds:
            yield f"column {column} of {name} is dropped"
        elif (
            becomes not in (None, kind) and "alter_type" in kinds and rewrites_table(kind, becomes)
        ):
            yield f"column {column} of {name} becomes {becomes}"
    if list(table["key"]) != list(after["key"]) and "replace_key" in kinds:
        yield f"the key of {name} becomes ({', '.join(after['key'])})"
    narrowed = table["full"] and not after["full"] and "replica_identity" in kinds
    if narrowed and role in FOLLOWED:
        yield f"old rows of {name} are published only in part"


def _tables(step: Step) -> list[str]:
    return step.table.split(", ")
