"""A record type's rows as NDJSON, CSV or Parquet, cut out of canonical by one COPY: one snapshot,
in the order of the key, in a stream whose memory does not grow with the data."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, sql

from gateway.compiler.conditions import Conditions
from gateway.compiler.keysets import Key, beyond
from gateway.compiler.masks import KEY_SET, MaskKey, of_transaction
from gateway.compiler.statement import LiteralBinder, cast_of, column, comparable, table_of
from gateway.compiler.verdicts import seen_by
from gateway.context.change_heads import read_head
from gateway.export.values import csv_value, json_line, json_member
from gateway.shape.filters import row_filter
from gateway.shape.names import field_of, property_of
from gateway.shape.visibility import Form, Visibility
from stores.canonical.copy_out import copy_out
from stores.canonical.driver_errors import translate
from stores.canonical.kept_changes import Followed, Head, columns_of
from stores.contract.model import Contract, Property, RecordType
from stores.errors import InputError
from stores.query import EVERYTHING, Filter

if TYPE_CHECKING:
    from gateway.export.parquet import ParquetEncoder

BLOCK = 256 * 1024
"""Bytes that are gathered before they are handed on."""


class Format(StrEnum):
    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


MEDIA_TYPES = {
    Format.NDJSON: "application/x-ndjson",
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
}


@dataclass(frozen=True, slots=True)
class Export:
    """A request for an export. `visibility` None is the owner's view, everything plain; `after`
    holds key texts. Raises InputError where the form has no `spreadsheet`."""

    record_type: RecordType
    format: Format = Format.NDJSON
    fields: tuple[Property, ...] = ()
    filter: Filter = EVERYTHING
    after: tuple[str, ...] | None = None
    visibility: Visibility | None = None
    mask_key: MaskKey | None = None
    spreadsheet: bool = False
    """True to put an apostrophe, in CSV, before a text that a spreadsheet would take for a
    formula."""
    followed: Followed | None = None
    """The records as they are kept for those who follow the type, and not as canonical has them: at
    a position in its changes."""
    position: Callable[[Head], str] | None = None
    """Makes the text of that position."""

    def __post_init__(self) -> None:
        if self.spreadsheet and self.format is not Format.CSV:
            raise InputError(
                "spreadsheet applies to csv only", hint="leave it out, or use format csv"
            )

    @property
    def columns(self) -> tuple[Property, ...]:
        return self.fields or self.record_type.properties

    def form(self, prop: Property) -> Form:
        return Form.PLAIN if self.visibility is None else self.visibility.form(prop)


@dataclass(slots=True)
class Written:
    """The amount that has left an export so far, and its snapshot: every commit up to the WAL
    position `position` is in it; it was taken `at` (seconds since the epoch, canonical's clock)."""

    rows: int = 0
    bytes: int = 0
    position: str = ""
    at: float = 0.0
    changes: str = ""
    """The position in the type's changes, where it is followed."""
    digest: Any = field(default_factory=hashlib.sha256)


def fields_of(record_type: RecordType, names: Sequence[str]) -> tuple[Property, ...]:
    """Properties by name, all where none is named. Raises InputError."""
    if not names:
        return record_type.properties
    found: list[Property] = []
    for name in dict.fromkeys(names[:1000]):
        prop = property_of(record_type, name) or record_type.by_name.get(name)
        if prop is None:
            raise InputError(f"fields: {record_type.graphql} has no property {name[:60]!r}")
        found.append(prop)
    return tuple(found)


def named_values(export: Export, alias: sql.SQL) -> list[tuple[str, sql.Composable]]:
    """Each field with its value, of the row `alias`, in the form that is exported."""

    def value(prop: Property) -> sql.Composable:
        form, place = export.form(prop), column(alias, prop.column)
        if export.format is Format.CSV:
            return csv_value(prop, place, form, of_transaction, spreadsheet=export.spreadsheet)
        if export.format is Format.PARQUET and form is Form.PLAIN:
            from gateway.export.parquet import parquet_value

            return sql.SQL("coalesce(to_json({})::text, 'null')").format(parquet_value(prop, place))
        return json_member(prop, place, form, of_transaction)

    return [(field_of(export.record_type, p), value(p)) for p in export.columns]


def copy_statement(contract: Contract, export: Export) -> sql.Composed:
    """The COPY of `export`. Each line of NDJSON is one JSON object: in CSV's framing with a quote
    and a delimiter that JSON escapes, nothing is ever quoted."""
    record_type = export.record_type
    binder = LiteralBinder()
    alias = binder.alias()

    def rows(t: RecordType) -> Filter:
        return EVERYTHING if export.visibility is None else row_filter(t, export.visibility)

    conditions = Conditions(contract, binder, rows)
    source: sql.Composable = sql.SQL("{} {}").format(table_of(record_type), alias)
    if export.followed is None:
        where = conditions.visible(record_type, alias)
    else:
        kept = columns_of(record_type, sql.SQL("kept.image"), alias)
        source = sql.SQL("recordgate.change_images AS kept, {}").format(kept)
        where = [sql.SQL("kept.type = {}").format(sql.Literal(record_type.name))]
        where.append(seen_by(record_type, export.visibility, sql.SQL("kept.seen")))
    where += conditions.filter(record_type, export.filter, alias)
    keys = [
        Key(comparable(p, column(alias, p.column)), False, False, False, cast_of(p))
        for p in record_type.key_properties
    ]
    if export.after is not None:
        where.append(beyond(keys, export.after, binder))
    named = named_values(export, alias)
    if export.format is not Format.CSV:
        columns: sql.Composable = json_line(named)
        options = r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'"
    else:
        columns = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(v, sql.Identifier(n)) for n, v in named
        )
        options = "FORMAT csv, HEADER"
    return sql.SQL("COPY (SELECT {} FROM {}{} ORDER BY {}) TO STDOUT ({})").format(
        columns,
        source,
        sql.SQL(" WHERE ") + sql.SQL(" AND ").join(where) if where else sql.SQL(""),
        sql.SQL(", ").join(k.expression for k in keys),
        sql.SQL(options),
    )


_SNAPSHOT = """
SELECT pg_current_wal_insert_lsn()::text, extract(epoch FROM clock_timestamp())::float8
"""


async def stream(
    conn: AsyncConnection[Any], contract: Contract, export: Export, written: Written
) -> AsyncGenerator[bytes, None]:
    """The blocks of the export, noted in `written` as they are handed on. Closing the generator
    early cancels the COPY and closes the connection. Raises what `driver_errors` makes of the
    driver's errors."""
    encoder = _encoder(export)
    try:
        level = "" if export.followed is None else "ISOLATION LEVEL REPEATABLE READ "
        await conn.execute(f"BEGIN {level}READ ONLY".encode())
        await conn.execute("SET LOCAL statement_timeout = 0")
        if export.mask_key is not None:
            await conn.execute(KEY_SET, (export.mask_key.inner, export.mask_key.outer))
        row = await (await conn.execute(_SNAPSHOT)).fetchone()
        assert row is not None
        written.position, written.at = row
        if export.followed is not None and export.position is not None:
            kept = await read_head(conn, export.followed)
            written.position, written.changes = kept.lsn, export.position(kept)
        head = export.format is Format.CSV
        statement = copy_statement(contract, export)
        async with aclosing(copy_out(conn, statement, BLOCK)) as blocks:
            async for block in blocks:
                written.rows += block.rows - head
                head = False
                data = block.data
                if encoder is not None:
                    data = await asyncio.to_thread(encoder.encode, data)
                if data:
                    yield _noted(written, data)
        await conn.execute("COMMIT")
        if encoder is not None:
            yield _noted(written, await asyncio.to_thread(encoder.end))
    except psycopg.Error as error:
        raise translate(error, contract) from None


def _noted(written: Written, data: bytes) -> bytes:
    written.bytes += len(data)
    written.digest.update(data)
    return data


def _encoder(export: Export) -> ParquetEncoder | None:
    if export.format is not Format.PARQUET:
        return None
    from gateway.export.parquet import ParquetEncoder, column_of

    t = export.record_type
    return ParquetEncoder([column_of(field_of(t, p), p, export.form(p)) for p in export.columns])


def manifest(contract: Contract, export: Export, written: Written) -> dict[str, Any]:
    """Return the description of an export, for those who keep it."""
    t = export.record_type
    return {
        "contract": {"name": contract.name, "version": contract.version},
        "type": t.name,
        "format": export.format.value,
        "mediaType": MEDIA_TYPES[export.format],
        "fields": [
            {
                "name": field_of(t, p),
                "type": p.scalar.value,
                "array": p.array,
                "shown": export.form(p).value,
            }
            for p in export.columns
        ],
        "filtered": export.filter != EVERYTHING,
        "rows": written.rows,
        "bytes": written.bytes,
        "sha256": written.digest.hexdigest(),
        "snapshot": {"position": written.position, "at": written.at}
        | ({"changes": written.changes} if written.changes else {}),
    }
