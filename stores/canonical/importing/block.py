"""Some rows of a file as columns of text, and the faults that the reader has already found in
them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stores.canonical.importing.arrow import Array
from stores.canonical.importing.codes import Reject

FILE_SHIFT = 40
"""A row's number is its file's index (from 0) in the bits above, its line (from 1) in those below.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason against a row. `column` is the column's index in the block, or None for the whole
    row."""

    row: int
    code: Reject
    message: str
    column: int | None = None
    value: str | None = None


@dataclass(slots=True)
class Lost:
    """A row that could not be split into columns. `raw` is its text, cut to a bounded length."""

    fault: Fault
    raw: str


@dataclass(slots=True)
class Block:
    """`columns` are string arrays of one length, NULL where the file has no value; `rows` their row
    numbers. `sound`: of an array's column, the values that are surely a literal of text elements.
    `may_have_nul` False: no value holds a NUL character."""

    rows: Array
    columns: list[Array]
    faults: list[Fault] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    sound: dict[int, Array] = field(default_factory=dict)
    may_have_nul: bool = True


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file that can be parsed by itself, in any thread. `size` in bytes of memory."""

    size: int
    parse: Callable[[Sequence[int], frozenset[int]], Block]
    """Takes the indexes of the file's columns that are wanted, and which of them hold JSON, to be
    kept as it is."""


class BlockReader(Protocol):
    """A file that is open. `columns` are its column names in order."""

    columns: tuple[str, ...]
    empty: bool
    """True where the file has neither rows nor column names."""

    def chunks(self) -> Iterator[Chunk]: ...

    def done(self) -> float:
        """The share of the file that was read, 0 to 1; 0 where it is not known."""
        ...

    def close(self) -> None: ...


def label(source: Path | str) -> str:
    """Return the name of a source for messages."""
    return "standard input" if source == "-" else str(source)
