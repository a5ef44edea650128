"""Profiles a file, column by column, in one reading and bounded memory."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from recordgate.starting.kinds import MARKERS, Kind, is_list_of, still
from recordgate.starting.tallies import Tally
from stores.canonical.importing.arrow import compute as pc

COUNTED = 1000
"""Different values of a column that are counted one by one."""
_LONGEST_COUNTED = 200
_MARKERS = pa.array(MARKERS, pa.string())


@dataclass(slots=True, eq=False)
class Column:
    """A column of a file. `values`: how often each value comes, None where there are too many
    different ones."""

    header: str
    place: int
    kinds: list[Kind]
    declared: str = ""
    """The physical type that a file with types gives it, where that says more than its texts."""
    rows: int = 0
    missing: int = 0
    """Rows without a value; those with a marker for it are in `markers`."""
    markers: Counter[str] = field(default_factory=Counter)
    values: Counter[str] | None = field(default_factory=Counter)
    characters: int = 0
    spaced: int = 0
    """Values with a space inside."""
    longest: int = 0
    low: Any = None
    high: Any = None
    digits: int = 0
    counting: int | None = None
    """The number that comes next where the rows are counted so far; None where they are not."""
    first: int | None = None
    lists: str | None = ""
    sampled: int = 0
    """The number of first rows whose values are kept as hashes, to look for keys of several columns
    among them."""
    sample: array[int] = field(default_factory=lambda: array("q"))
    tally: Tally | None = None
    null_markers: tuple[str, ...] = ()
    """The markers that stand for a missing value here; decided once the file is read."""

    @property
    def kind(self) -> Kind:
        return self.kinds[0] if self.kinds and self.filled else Kind.TEXT

    @property
    def filled(self) -> int:
        """Rows with a value that is no marker."""
        return self.rows - self.missing - sum(self.markers.values())

    @property
    def absent(self) -> int:
        """Rows without a value, markers for it among them."""
        return self.missing + sum(self.markers[m] for m in self.null_markers)

    @property
    def distinct(self) -> dict[str, int] | None:
        """Each value and how often it comes, without markers for a missing one; None where there
        are many."""
        if self.values is None:
            return None
        return {v: n for v, n in self.values.items() if v not in self.null_markers}

    @property
    def counts_rows(self) -> bool:
        """Return whether the column holds 0, 1, 2… or 1, 2, 3… in the order of the file."""
        return self.counting is not None and self.first in (0, 1) and self.rows > 1

    def take(self, values: Any) -> None:
        """Look at the next values, a string array."""
        self.rows += len(values)
        filled = values.drop_null()
        self.missing += len(values) - len(filled)
        if self.counting is not None or self.first is None:
            self._count_on(values)
        self._tally(filled)
        if self.rows <= self.sampled:
            self.sample.extend(map(hash, values.to_pylist()))
        found = pc.is_in(filled, value_set=_MARKERS)
        if pc.any(found).as_py():
            self.markers.update(filled.filter(found).to_pylist())
            filled = filled.filter(pc.invert(found))
        if len(filled):
            self._measure(filled)

    def _measure(self, filled: Any) -> None:
        self.kinds = still(self.kinds, filled)
        lengths = pc.utf8_length(filled)
        self.characters += pc.sum(lengths).as_py()
        self.longest = max(self.longest, pc.max(lengths).as_py())
        if not self.kinds:
            self.spaced += pc.sum(pc.match_substring(filled, " ")).as_py() or 0
            return
        kind = self.kinds[0]
        if kind in (Kind.INTEGER, Kind.NUMBER):
            try:
                numbers = pc.cast(filled, pa.int64() if kind is Kind.INTEGER else pa.float64())
            except pa.ArrowInvalid:  # beyond 64 bits
                numbers = pc.cast(filled, pa.float64())
            bounds = pc.min_max(numbers).as_py()
            if kind is Kind.NUMBER:
                self.digits = max(self.digits, _digits(filled))
        elif kind in (Kind.DATE, Kind.TIMESTAMP, Kind.LOCAL):
            bounds = pc.min_max(filled).as_py()
        else:
            if kind is Kind.JSON and self.lists is not None:
                found = is_list_of(filled.to_pylist())
                self.lists = found if self.lists in ("", found) else None
            return
        try:
            self.low = bounds["min"] if self.low is None else min(self.low, bounds["min"])
            self.high = bounds["max"] if self.high is None else max(self.high, bounds["max"])
        except TypeError:
            # It was taken for another type so far: nobody asks for its bounds any more.
            self.low, self.high = bounds["min"], bounds["max"]

    def _tally(self, filled: Any) -> None:
        if self.values is None and self.tally is None:
            return
        counts = pc.value_counts(filled)
        values, numbers = counts.field(0).to_pylist(), counts.field(1).to_pylist()
        if self.tally is not None:
            self.tally.add(values, numbers)
            if self.tally.repeated:
                self.tally.close()
                self.tally = None
        if self.values is not None:
            for value, number in zip(values, numbers, strict=True):
                if len(value) > _LONGEST_COUNTED:
                    self.values = None
                    return
                self.values[value] += number
            if len(self.values) > COUNTED:
                self.values = None

    def _count_on(self, values: Any) -> None:
        try:
            numbers = pc.cast(values, pa.int64())
        except pa.ArrowInvalid:
            numbers = None
        if numbers is None or numbers.null_count or not len(numbers):
            if len(values):
                self.first, self.counting = -1, None
            return
        start = numbers[0].as_py()
        if self.first is None:
            self.first = self.counting = start
        if start == self.counting and numbers.equals(
            pa.array(range(start, start + len(numbers)), pa.int64())
        ):
            self.counting = start + len(numbers)
        else:
            self.counting = None


def _digits(filled: Any) -> int:
    """The most digits that a number has before its exponent."""
    bare = pc.replace_substring_regex(filled, r"[eE].*|^-?0*\.?0*|\.|-", "")
    return int(pc.max(pc.utf8_length(bare)).as_py())


@dataclass(slots=True, eq=False)
class FileProfile:
    """A file that was read once."""

    path: Path
    format: str
    columns: list[Column]
    rows: int = 0
    lost: int = 0
    """Rows that could not be split into columns."""

    def forget_sample(self) -> None:
        for column in self.columns:
            column.sample = array("q")

    def column(self, header: str) -> Column | None:
        return next((c for c in self.columns if c.header == header), None)


def decide_markers(profiles: Sequence[FileProfile]) -> None:
    """Settle which texts stand for a missing value. In a column of numbers, dates and the like all
    markers do. In one of text a marker does that stands for it elsewhere in the files, but not
    among codes of the same form, where "NA" may be Namibia."""
    used: set[str] = set()
    columns = [c for profile in profiles for c in profile.columns]
    for column in columns:
        if column.kind is not Kind.TEXT:
            column.null_markers = tuple(sorted(column.markers))
            used |= set(column.markers)
    for column in columns:
        if column.kind is Kind.TEXT and column.filled:
            column.null_markers = tuple(
                m for m in sorted(column.markers) if m in used and not _like_codes(column, m)
            )


def _like_codes(column: Column, marker: str) -> bool:
    """Return whether most values have the length of the marker and are in capitals or digits as it
    is."""
    others = [v for v in column.values or () if v not in column.markers]
    alike = sum(len(v) == len(marker) and v.isupper() == marker.isupper() for v in others)
    return bool(others) and alike * 2 > len(others)
