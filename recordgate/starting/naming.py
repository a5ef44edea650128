"""Names files and their columns in the contract. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recordgate.starting.profile import Column
from stores.contract import names

_PACKED = (".gz", ".zst")
SUFFIXES = (".csv", ".tsv", ".ndjson", ".jsonl", ".json", ".parquet", ".pq")


def stem_of(path: Path) -> str:
    """The name of a file without what says its format."""
    name = path.name
    for suffixes in (_PACKED, SUFFIXES):
        for suffix in suffixes:
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
                break
    return name


def is_data(path: Path) -> bool:
    """Return whether the file's name is one of a file with records."""
    name = path.name.lower()
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    return name.endswith(SUFFIXES) and not name.startswith(".")


@dataclass(frozen=True, slots=True)
class PropertyName:
    """`physical`: the table's column, where the name does not say it."""

    name: str
    physical: str = ""


def name_columns(columns: Sequence[Column], key: Sequence[Column]) -> list[PropertyName]:
    """The names of the properties, in order. The import finds each by its header: it is the name,
    or the column, or `names.from_header` makes the name of it."""
    wanted = [names.from_header(c.header) for c in columns]
    found: list[PropertyName | None] = [None] * len(columns)
    taken: set[str] = set()
    # Headers that can be names keep them, whatever stands before them in the file.
    order = sorted(range(len(columns)), key=lambda i: (wanted[i] != columns[i].header, i))
    for i in order:
        header, stem = columns[i].header, wanted[i] or f"column_{columns[i].place + 1}"
        physical = "" if wanted[i] else _column(header)
        if names.camel(stem) == "id" and [c.place for c in key] != [columns[i].place]:
            stem, physical = f"{stem}_value", _column(header)
        name, n = stem, 2
        while _forms(name) & taken:
            name, n, physical = f"{stem}{n}", n + 1, _column(header)
        taken |= _forms(name)
        found[i] = PropertyName(name, physical)
    return [f for f in found if f is not None]


def _forms(name: str) -> set[str]:
    return {name.lower(), names.camel(name).lower(), names.snake(name)}


def _column(header: str) -> str:
    """The header as the name of a column, where it can be one."""
    return "" if names.physical_problem(header) else header
