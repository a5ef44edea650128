"""Reads files for their profile, and again for some of their columns; with the readers of the
import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from recordgate.starting.kinds import possible
from recordgate.starting.profile import Column, FileProfile
from recordgate.starting.tallies import Tally
from stores.canonical.importing.arrow import compute as pc
from stores.canonical.importing.forms import without_markers
from stores.canonical.importing.parquet_reader import ParquetReader
from stores.canonical.importing.raw_stream import format_of
from stores.canonical.importing.readers import close_readers, open_readers
from stores.errors import InputError

_HELD = 400_000
"""Values that tallies hold in memory, those of all files together."""
_SAMPLED = 3_000_000
"""Values that are kept as a sample, those of all files together."""
MOST_COLUMNS = 400

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the file that is done."""


def no_progress(what: str, share: float) -> None:
    return None


def profile_file(
    path: Path, folder: Path, progress: Progress = no_progress, *, files: int = 1
) -> FileProfile:
    """Read `path`, one of so many `files`, once. `folder`: for what is too much for memory. Raises
    InputError, also for a file that says nothing about its records."""
    kind = format_of(path, None)
    readers = open_readers([path], None)
    try:
        reader = readers[0]
        if reader.empty or not reader.columns:
            raise InputError(f"{path} is empty", hint="its first line must name its columns")
        if len(reader.columns) > MOST_COLUMNS:
            raise InputError(
                f"{path} has {len(reader.columns):,} columns, more than {MOST_COLUMNS}"
            )
        columns = _columns(reader.columns, kind, reader)
        found = FileProfile(path, kind, columns)
        share = len(columns) * files
        for column in columns:
            column.tally = Tally(folder, max(1000, _HELD // share))
            column.sampled = min(100_000, max(2000, _SAMPLED // share))
        everything = list(range(len(columns)))
        raw = frozenset(everything) if kind in ("ndjson", "json") else frozenset()
        for chunk in reader.chunks():
            block = chunk.parse(everything, raw)
            found.lost += len(block.lost)
            found.rows += len(block.rows)
            for column, values in zip(columns, block.columns, strict=True):
                column.take(_plain(column, values) if raw else values)
            progress(f"reading {path.name}", reader.done())
    finally:
        close_readers(readers)
    if not found.rows:
        raise InputError(
            f"{path} has no rows", hint="nothing can be told of its columns; leave it out"
        )
    return found


def _columns(headers: Sequence[str], kind: str, reader: Any) -> list[Column]:
    declared: dict[int, str] = {}
    texts: set[int] = set()
    if isinstance(reader, ParquetReader):
        for index, field in enumerate(reader.schema):
            value = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if pa.types.is_decimal(value):
                declared[index] = f"numeric({value.precision},{max(0, value.scale)})"
            elif pa.types.is_floating(value):
                declared[index] = "double precision"
            elif pa.types.is_binary(value) or pa.types.is_fixed_size_binary(value):
                declared[index] = "bytea"
            elif pa.types.is_string(value) or pa.types.is_large_string(value):
                texts.add(index)
    return [
        Column(h, i, possible(said_to_be_text=i in texts), declared.get(i, ""))
        for i, h in enumerate(headers)
    ]


def _plain(column: Column, values: Any) -> Any:
    """JSON values as texts; a column with a JSON string is no number."""
    texts: list[str | None] = []
    for value in values.to_pylist():
        if value is not None and value.startswith('"'):
            column.kinds = [k for k in column.kinds if k in possible(said_to_be_text=True)]
            value = msgspec.json.decode(value)
        texts.append(value)
    return pa.array(texts, pa.string())


def read_again(
    profile: FileProfile, columns: Sequence[Column], progress: Progress = no_progress
) -> Iterator[list[Any]]:
    """The values of some columns, block by block, NULL for their markers."""
    readers = open_readers([profile.path], None)
    try:
        wanted = [c.place for c in columns]
        for chunk in readers[0].chunks():
            block = chunk.parse(wanted, frozenset())
            yield [
                without_markers(values, column.null_markers) if column.null_markers else values
                for column, values in zip(columns, block.columns, strict=True)
            ]
            progress(f"looking for keys in {profile.path.name}", readers[0].done())
    finally:
        close_readers(readers)


def together(columns: Sequence[Any]) -> Any:
    """Values of several columns as one, without the rows in which one of them is missing."""
    if len(columns) == 1:
        return columns[0].drop_null()
    parts = [pc.replace_substring(c, "\x1f", "\x1f\x1f ") for c in columns]
    return pc.binary_join_element_wise(*parts, "\x1f").drop_null()


def count_into(tally: Tally, values: Any) -> None:
    counts = pc.value_counts(values)
    tally.add(counts.field(0).to_pylist(), counts.field(1).to_pylist())
