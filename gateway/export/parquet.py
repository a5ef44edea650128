"""Parquet of an export: which column a property becomes, how its value is asked of canonical, and
the encoder that turns lines of JSON into the file's bytes, a row group at a time.

| property | column | property | column |
|---|---|---|---|
| string, UUID, JSON | string | date | date32 |
| integer | int32, int64 | time stamp with, without zone | timestamp[us, UTC], timestamp[us] |
| decimal(p, s) up to 38 digits | decimal128(p, s) | time | time64[us] |
| other decimal | string | bytes | binary |
| float | double | array | list of these; of dates, times and bytes: of strings |

Infinite dates and times, NaN and infinities are null, a masked value is a string; null is a time
stamp of the year 294247 or later, too, which 64 bits of microseconds do not hold.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq
from psycopg import sql

from gateway.shape.visibility import Form
from stores.canonical.json_form import json_value
from stores.contract.model import Property, Scalar
from stores.errors import InputError

ROW_GROUP = 8 * 1024 * 1024
"""Bytes of JSON that become one row group."""
_NUMERIC = re.compile(r"(?:numeric|decimal)\((\d+)(?:,\s*(-?\d+))?\)")
_PLAIN: dict[Scalar, pa.DataType] = {
    Scalar.INT: pa.int32(),
    Scalar.BIGINT: pa.int64(),
    Scalar.FLOAT: pa.float64(),
    Scalar.BOOLEAN: pa.bool_(),
}
_MICROSECONDS: dict[Scalar, pa.DataType] = {
    Scalar.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Scalar.DATETIME: pa.timestamp("us"),
    Scalar.TIME: pa.time64("us"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """`read`: the type of what canonical sends as JSON. `kept`: the type in the file."""

    name: str
    read: pa.DataType
    kept: pa.DataType


def column_of(name: str, prop: Property, form: Form) -> Column:
    if form is not Form.PLAIN:
        return Column(name, pa.string(), pa.string())
    if prop.array:
        inner = pa.string() if prop.scalar is Scalar.BYTES else _inside(prop)
        return Column(name, pa.list_(inner), pa.list_(inner))
    if prop.scalar is Scalar.DATE:
        return Column(name, pa.int32(), pa.date32())
    if prop.scalar in _MICROSECONDS:
        return Column(name, pa.int64(), _MICROSECONDS[prop.scalar])
    if prop.scalar is Scalar.BYTES:
        return Column(name, pa.string(), pa.binary())
    inner = _inside(prop)
    return Column(name, inner, inner)


def _inside(prop: Property) -> pa.DataType:
    if prop.scalar is Scalar.DECIMAL:
        found = _NUMERIC.match(prop.sql_type)
        if found and int(found[1]) <= 38 and int(found[2] or 0) >= 0:
            return pa.decimal128(int(found[1]), int(found[2] or 0))
    return _PLAIN.get(prop.scalar, pa.string())


def parquet_value(prop: Property, column: sql.Composable) -> sql.Composable:
    """Return the expression that `Column.read` takes, of a property that is shown plainly."""
    if prop.scalar is Scalar.DECIMAL and pa.types.is_decimal(_inside(prop)):
        form = "array_replace({}, 'NaN', NULL)" if prop.array else "nullif({}, 'NaN')"
        return json_value(prop, sql.SQL(form).format(column))
    if prop.array:
        return json_value(prop, column)
    if prop.scalar is Scalar.DATE:
        return sql.SQL("CASE WHEN isfinite({0}) THEN {0} - date '1970-01-01' END").format(column)
    if prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        return sql.SQL(
            "CASE WHEN isfinite({0}) AND {0} < '294247-01-01'"
            " THEN (extract(epoch FROM {0}) * 1000000)::bigint END"
        ).format(column)
    if prop.scalar is Scalar.TIME:
        return sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint").format(column)
    if prop.scalar is Scalar.JSON:
        return sql.SQL("{}::text").format(column)
    return json_value(prop, column)


class ParquetEncoder:
    """Takes lines of JSON in blocks of whole lines. Blocking; its memory is some row groups."""

    def __init__(self, columns: list[Column]) -> None:
        self._columns = columns
        self._read = pj.ParseOptions(
            explicit_schema=pa.schema([(c.name, c.read) for c in columns]),
            unexpected_field_behavior="error",
        )
        self._schema = pa.schema([(c.name, c.kept) for c in columns])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"), self._schema, compression="zstd"
        )
        self._lines: list[bytes] = []
        self._held = 0

    def encode(self, lines: bytes) -> bytes:
        self._lines.append(lines)
        self._held += len(lines)
        if self._held >= ROW_GROUP:
            self._group()
        return self._sink.taken()

    def end(self) -> bytes:
        if self._held:
            self._group()
        self._writer.close()
        return self._sink.taken()

    def _group(self) -> None:
        data = b"".join(self._lines)
        self._lines, self._held = [], 0
        try:
            table = pj.read_json(
                io.BytesIO(data),
                pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
                self._read,
            )
        except pa.ArrowInvalid:
            raise InputError(
                "a value does not fit the column that Parquet has for it, such as a list of lists",
                hint="leave the property out with `fields`, or use another format",
            ) from None
        kept = [_kept(c, table.column(c.name)) for c in self._columns]
        self._writer.write_table(pa.table(kept, schema=self._schema))


def _kept(column: Column, values: Any) -> Any:
    if column.read == column.kept:
        return values
    if column.kept == pa.binary():
        texts = values.to_pylist()
        return pa.array([None if t is None else base64.b64decode(t) for t in texts], pa.binary())
    return values.cast(column.kept)


class _Sink(io.RawIOBase):
    """Holds the bytes that the writer has written and nobody has taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._place = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)  # type: ignore[call-overload]
        self._parts.append(part)
        self._place += len(part)
        return len(part)

    def tell(self) -> int:
        return self._place

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
