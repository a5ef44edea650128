"""Parquet files, read by pyarrow batch by batch; every value becomes the text that Postgres
reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from stores.canonical.importing.arrow import compute as pc
from stores.canonical.importing.block import FILE_SHIFT, Block, Chunk
from stores.errors import InputError
from stores.far_days import DAY, END_OF_DAY, date_form, days_from_civil, moment_form

_BATCH_ROWS = 8192
_encoder = msgspec.json.Encoder(decimal_format="number")


class ParquetReader:
    """An open Parquet file. A row's line is its position, from 1."""

    def __init__(self, path: Path, file_index: int) -> None:
        self._path = path
        try:
            self._file = pq.ParquetFile(
                path, memory_map=True, pre_buffer=False, buffer_size=1 << 20
            )
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        except pa.ArrowException as error:
            raise InputError(f"{path} is not a Parquet file: {error}") from None
        self.schema = self._file.schema_arrow
        self.columns = tuple(self.schema.names)
        self.empty = False
        self._first_row = file_index << FILE_SHIFT
        self._read = 0
        self._rows = self._file.metadata.num_rows

    def chunks(self) -> Iterator[Chunk]:
        try:
            for batch in self._file.iter_batches(_BATCH_ROWS, use_threads=False):
                first = self._first_row + self._read + 1
                self._read += batch.num_rows
                yield Chunk(batch.nbytes * 2, partial(_parse, batch, first, self._path))
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{self._path} is damaged: {error}") from None

    def done(self) -> float:
        return self._read / self._rows if self._rows else 1.0

    def close(self) -> None:
        self._file.close(force=True)


def _parse(
    batch: pa.RecordBatch, first: int, path: Path, wanted: Sequence[int], _raw: frozenset[int]
) -> Block:
    """A text of a JSON property is JSON already."""
    rows = pa.array(range(first, first + batch.num_rows), pa.int64())
    try:
        return Block(rows, [text_of(batch.column(i)) for i in wanted])
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise InputError(f"{path}: a column cannot be read: {error}") from None


def text_of(column: Any) -> Any:
    """A column of any type as a string array."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_string(kind):
        return column
    if (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        return pa.array(
            [None if v is None else "\\x" + v.hex() for v in column.to_pylist()], pa.string()
        )
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else _json(v) for v in column.to_pylist()], pa.string())
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _moments(column)
    if pa.types.is_time64(kind):
        return _clocks(column)
    return pc.cast(column, pa.string())


def _json(value: Any) -> str:
    return _encoder.encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    """`value` with only what JSON has; a map (a list of pairs) becomes an object."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(v, tuple) and len(v) == 2 for v in value):
            return {str(k): _plain(v) for k, v in value}
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool, Decimal)):
        return value
    return str(value)


_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}
_COMMON = (days_from_civil(1, 1, 1) * DAY, days_from_civil(10_000, 1, 1) * DAY)
"""Microseconds from which to which Arrow prints a day as everybody does."""


def _moments(column: Any) -> Any:
    """Dates and time stamps; those before the year 1 and after 9999 as Postgres prints them."""
    kind = column.type
    unit = "day" if pa.types.is_date(kind) else kind.unit
    if pa.types.is_date64(kind):
        column, kind = pc.cast(column, pa.date32()), pa.date32()
    factor = DAY if unit == "day" else _MICROSECONDS.get(unit)
    if factor is None or not len(column) or column.null_count == len(column):
        return pc.cast(column, pa.string())  # all nanoseconds of 64 bits are near
    counts = (
        pc.cast(column, pa.int32()).cast(pa.int64()) if unit == "day" else column.cast(pa.int64())
    )
    low, high = (end // factor for end in _COMMON)
    near = pc.and_(pc.greater_equal(counts, low), pc.less(counts, high))
    if pc.all(near, min_count=0).as_py():
        return pc.cast(column, pa.string())
    zone = "+00:00" if unit != "day" and kind.tz is not None else ""
    texts = pc.cast(pc.if_else(near, column, pa.scalar(None, kind)), pa.string()).to_pylist()
    return pa.array(
        [
            text
            if text is not None or count is None
            else (date_form(count) if unit == "day" else moment_form(count * factor, zone))
            for text, count in zip(texts, counts.to_pylist(), strict=True)
        ],
        pa.string(),
    )


def _clocks(column: Any) -> Any:
    """Times of the day, the end of the day among them, which Arrow does not print."""
    counts = column.cast(pa.int64())
    end = 86_400 * {"us": 1_000_000, "ns": 1_000_000_000}[column.type.unit]
    if not pc.any(pc.equal(counts, end), min_count=0).as_py():
        return pc.cast(column, pa.string())
    inside = pc.if_else(pc.less(counts, end), column, pa.scalar(None, column.type))
    return pc.if_else(pc.equal(counts, end), END_OF_DAY, pc.cast(inside, pa.string()))
