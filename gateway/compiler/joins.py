"""The records that are joined one to one to the rows of a select."""

from __future__ import annotations

from dataclasses import dataclass, field

from psycopg import sql

from gateway.compiler.conditions import both
from gateway.compiler.statement import table_of
from stores.contract.model import RecordType


@dataclass(slots=True)
class Joins:
    """LEFT JOINs, each on a key of its table, so that they neither add nor remove rows."""

    parts: list[sql.Composable] = field(default_factory=list)

    def add(self, target: RecordType, alias: sql.SQL, conditions: list[sql.Composable]) -> None:
        self.parts.append(
            sql.SQL(" LEFT JOIN {} {} ON {}").format(table_of(target), alias, both(conditions))
        )

    def text(self) -> sql.Composable:
        return sql.SQL("").join(self.parts)

    def __bool__(self) -> bool:
        return bool(self.parts)
