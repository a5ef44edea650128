"""A step of a plan: what it does, in words, and how it is carried out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:  # importing it takes longer than most commands
    from alembic.operations.ops import MigrateOperation


class Phase(IntEnum):
    """Steps run in this order: what others lean on goes last and comes first."""

    SCHEMA = 0
    DROP_FOREIGN_KEYS = 1
    DROP_RULES = 2
    CREATE_TABLES = 3
    ADD_COLUMNS = 4
    ALTER_COLUMNS = 5
    REPLACE_KEY = 6
    DROP_COLUMNS = 7
    ADD_RULES = 8
    ADD_INDEXES = 9
    ADD_FOREIGN_KEYS = 10
    REPLICA_IDENTITY = 11
    PUBLICATION = 12
    DROP_TABLES = 13


class Need(Enum):
    """The need that a process with the contract has of a step before it can run."""

    NEEDED = "needed"
    """The process cannot run: what it reads or follows is missing, or is something else."""
    RULE = "rule"
    """The process can run: a rule that canonical is to keep is missing or stricter, or an index is
    missing."""
    SURPLUS = "surplus"
    """The process can run: canonical has more than the contract declares, perhaps by a newer
    contract."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change to canonical. Steps are equal if they describe the same change, however it is
    carried out."""

    phase: Phase
    kind: str
    """create_table, add_column, alter_type, set_not_null, … as `--json` prints it."""
    table: str
    """schema.table; empty where the step is about none."""
    text: str
    destructive: bool = False
    """Data, or the meaning of data, can be lost."""
    note: str = ""
    """A note on what the step locks or rewrites, where that takes more than a moment."""
    blocked: str = ""
    """The reason for which the step cannot be carried out as things are; empty where it can."""
    need: Need = Need.NEEDED
    action: MigrateOperation | sql.Composed | None = field(default=None, compare=False, repr=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "table": self.table,
            "text": self.text,
            "destructive": self.destructive,
            "note": self.note,
            "blocked": self.blocked,
        }


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """The difference contract → canonical, in the order in which it is carried out."""

    steps: tuple[Step, ...]

    @property
    def destructive(self) -> tuple[Step, ...]:
        return tuple(s for s in self.steps if s.destructive)

    @property
    def blocked(self) -> tuple[Step, ...]:
        return tuple(s for s in self.steps if s.blocked)


def needed(steps: Iterable[Step], *, rules: bool) -> list[Step]:
    """Return the steps that a process needs before it can run; with `rules`, those for rules that
    canonical does not keep too."""
    kinds = (Need.NEEDED, Need.RULE) if rules else (Need.NEEDED,)
    return [s for s in steps if s.need in kinds]


def table_text(schema: str | None, table: str | None) -> str:
    """A table's name for people."""
    return f"{schema}.{table}" if schema else table or ""
