"""The options of an import, and its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeAlias

from stores.errors import InputError

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the stage, the rows done and the rows in all if known, from the thread that imports.
"""

Source: TypeAlias = "Path | Literal['-']"


class Mode(StrEnum):
    INSERT = "insert"
    UPSERT = "upsert"
    REPLACE = "replace"
    """Make the type equal to the file."""
    DELETE = "delete"
    """The file holds keys."""


@dataclass(frozen=True, slots=True)
class RowLimit:
    """A number of rows, or a share of them in percent."""

    count: int | None = None
    percent: Decimal | None = None

    @classmethod
    def parse(cls, text: str) -> RowLimit:
        """`"100"` or `"2.5%"`; raises InputError."""
        try:
            if text.endswith("%"):
                percent = Decimal(text[:-1].strip())
                if 0 <= percent <= 100:
                    return cls(percent=percent)
            elif int(text) >= 0:
                return cls(count=int(text))
        except (ValueError, InvalidOperation):
            pass
        raise InputError(
            f"{text!r} is not a limit", hint="give a number of rows (100) or a share (5%)"
        )

    def rows(self, of: int) -> int:
        """The largest number of rows allowed out of `of`."""
        if self.percent is not None:
            return int(of * self.percent / 100)
        return self.count or 0

    def __str__(self) -> str:
        return f"{self.percent}%" if self.percent is not None else str(self.count)


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`columns` maps a file's column to a field, or to "" to leave it out. `max_rejects` None: no
    limit, but a file in which every row is bad is refused. `max_deletes` None: in mode replace half
    of the records there are, or 100 where that is more, and nothing for an empty file."""

    mode: Mode = Mode.UPSERT
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_rejects: RowLimit | None = None
    max_deletes: RowLimit | None = None
    batch: str | None = None
    rejects: Path | None = None
    dry_run: bool = False
    nulls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Texts that stand for a missing value, by the file's column; under "" those of every column.
    """
    delimiter: str | None = None
    """The text between the values of a CSV file; None: the one that its first line shows."""
    gate: bool = True
    """False: the type's gate is not asked, which the record of the batch says."""
    rule_timeout: float = 60.0
    """Seconds that a rule of the gate may take."""
    lock_wait: float = 5.0
    """Seconds to wait for another import of the same type before refusing."""
    few_rows: int = 5000
    """Rows up to which a batch goes the light way: one transaction, no tables made; 0: none does.
    """
    workers: int = 2
    """Connections that copy at the same time."""


@dataclass(slots=True)
class ImportReport:
    """`state`: done, refused (`problem` says why; nothing was changed) or dry-run. `rejected`
    counts rows, `reasons` counts reasons by code. `repeated`: the batch was done before, and these
    are the figures of that time. `resumed`: rows staged by a run that died were used."""

    batch: str
    type: str
    mode: str
    state: str = "done"
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    hint: str = ""
    repeated: bool = False
    resumed: bool = False
    gate: list[dict[str, Any]] = field(default_factory=list)
    """The results of the type's gate rules, as `quality run` shows them; none where it has no
    gate."""
