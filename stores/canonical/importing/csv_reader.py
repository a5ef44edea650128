"""CSV and TSV files (RFC 4180, UTF-8), parsed by pyarrow in chunks, with true line numbers.

An empty value is NULL, `""` is an empty string, as in Postgres's own CSV. A line without any value
is skipped. What stands between the values is what the first line shows, where it is not said.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from stores.canonical.importing.arrow import compute as pc
from stores.canonical.importing.block import FILE_SHIFT, Block, Chunk, Fault, Lost
from stores.canonical.importing.codes import Reject
from stores.canonical.importing.lines import BOM, PIECE, Piece, pieces
from stores.canonical.importing.raw_stream import RawStream
from stores.errors import InputError

RAW_KEPT = 2000
"""Characters kept of a row that could not be split."""
DELIMITERS = (",", ";", "\t", "|")
MAX_COLUMNS = 1600
"""Maximum number of columns: as many as a Postgres table can have."""


class CsvReader:
    """An open CSV file; its header is read already."""

    def __init__(self, stream: RawStream, delimiter: str | None, file_index: int) -> None:
        self._stream = stream
        self._first_row = file_index << FILE_SHIFT
        begun = b"" if delimiter is not None else _first_line(stream)
        self._delimiter = shown_delimiter(begun) if delimiter is None else delimiter
        encoded = self._delimiter.encode()
        self._pieces = pieces(stream, quoted=True, delimiter=encoded, begun=begun)
        first = next(self._pieces, None)
        self.empty = first is None
        self.columns: tuple[str, ...] = ()
        self._first: Piece | None = None
        if first is not None:
            self.columns, self._first = _take_header(first, self._delimiter, stream.name)

    def chunks(self) -> Iterator[Chunk]:
        if self._first is not None and self._first.data:
            yield self._chunk(self._first)
        self._first = None
        for piece in self._pieces:
            yield self._chunk(piece)

    def _chunk(self, piece: Piece) -> Chunk:
        parse = partial(
            parse_piece,
            piece,
            width=len(self.columns),
            delimiter=self._delimiter,
            first_row=self._first_row,
            name=self._stream.name,
        )
        return Chunk(len(piece.data), parse)

    def done(self) -> float:
        return self._stream.done()

    def close(self) -> None:
        self._stream.close()


def _take_header(piece: Piece, delimiter: str, name: str) -> tuple[tuple[str, ...], Piece]:
    """The column names, and the piece without them."""
    text = _decoded(piece, name)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(rows)
    except (csv.Error, StopIteration) as error:
        raise InputError(f"{name}, line 1: the header cannot be read: {error}") from None
    if len(header) > MAX_COLUMNS:
        raise InputError(f"{name}: {len(header):,} columns, more than {MAX_COLUMNS:,}")
    newline = b"\n" if b"\n" in piece.data or b"\r" not in piece.data else b"\r"
    cut = 0
    for _ in range(rows.line_num):
        cut = piece.data.find(newline, cut) + 1
        if not cut:
            cut = len(piece.data)
            break
    rest = Piece(piece.data[cut:], piece.line + rows.line_num, piece.offset + cut)
    return told_apart([cell.strip() for cell in header]), rest


def _first_line(stream: RawStream) -> bytes:
    """Return what the stream begins with, its first line at least: a read may bring a few bytes
    only."""
    begun = b""
    while len(begun) < PIECE and not re.search(rb"[^\r\n][\r\n]", begun):
        more = stream.read(PIECE)
        if not more:
            break
        begun += more
    return begun


def shown_delimiter(begun: bytes) -> str:
    """Return the delimiter that the first line shows: a comma, or the semicolon, tab or bar that
    makes more columns of it. No name of a column can have a semicolon, and hardly one has the
    others."""
    line = begun.removeprefix(BOM).lstrip(b"\r\n")[:PIECE]
    text = re.split(r"[\r\n]", line.decode("utf-8", "replace"), maxsplit=1)[0]
    bare = re.sub(r'"[^"]*"?', "", text)
    return max(DELIMITERS, key=lambda d: (bare.count(d), d == ","))


def told_apart(header: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns; one that stands there again gets a number behind it, one without a
    name is called `column_N` by its place."""
    given, taken, found = set(header), set[str](), list[str]()
    for place, cell in enumerate(header, 1):
        stem = cell or f"column_{place}"
        name, number = stem, 2
        while name in taken or (name != cell and name in given):
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        found.append(name)
    return tuple(found)


def _decoded(piece: Piece, name: str) -> str:
    """The text of a piece; raises InputError with the place of the first byte that is not UTF-8."""
    try:
        return piece.data.decode()
    except UnicodeDecodeError as error:
        line = piece.line + piece.data.count(b"\n", 0, error.start)
        raise InputError(
            f"{name}, line {line:,}: byte {piece.offset + error.start:,} "
            f"(0x{piece.data[error.start]:02x}) is not valid UTF-8",
            hint="convert the file to UTF-8, for example with iconv",
        ) from None


def parse_piece(
    piece: Piece,
    wanted: Sequence[int],
    _raw: frozenset[int],
    *,
    width: int,
    delimiter: str,
    first_row: int,
    name: str,
) -> Block:
    """The rows of a piece; a cell of a JSON property is JSON already. Raises InputError where it is
    not UTF-8."""
    invalid: list[pa_csv.InvalidRow] = []

    def set_aside(row: pa_csv.InvalidRow) -> Literal["skip"]:
        invalid.append(row)
        return "skip"

    names = [f"c{i}" for i in range(width)]
    try:
        table = pa_csv.read_csv(
            cast(Any, pa.BufferReader(piece.data)),
            read_options=pa_csv.ReadOptions(
                column_names=names, block_size=len(piece.data) + 1, use_threads=False
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=set_aside,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        _decoded(piece, name)
        raise InputError(f"{name}, from line {piece.line:,}: {error}") from None
    columns = [table.column(i).combine_chunks() for i in range(width)]
    positions, lost_lines = _lines(piece, columns, table.num_rows, invalid)
    block = Block(
        pc.add(positions, first_row),
        [columns[i] for i in wanted],
        may_have_nul=b"\0" in piece.data,
    )
    for row, line in zip(invalid, lost_lines, strict=True):
        message = f"{row.actual_columns} fields where the header has {row.expected_columns}"
        kept = row.text.rstrip("\r\n")[:RAW_KEPT].replace("\0", "�")
        block.lost.append(Lost(Fault(first_row + line, Reject.RAGGED_ROW, message), kept))
    return _without_blank(block, columns)


def _lines(
    piece: Piece, columns: list[Any], count: int, invalid: Sequence[pa_csv.InvalidRow]
) -> tuple[Any, list[int]]:
    """The lines on which the `count` good rows begin, and those of the invalid ones.

    A row takes one line, and one more for each newline inside its values.
    """
    inside: list[int] = []
    if b'"' in piece.data:
        for column in columns:
            newlines = pc.fill_null(pc.count_substring(column, "\n"), 0)
            if pc.sum(newlines).as_py():
                found = newlines.to_pylist()
                inside = [a + b for a, b in zip(inside, found, strict=True)] if inside else found
    if not invalid and not inside:
        return pa.array(range(piece.line, piece.line + count), pa.int64()), []
    good = iter(inside or [0] * count)
    wrong = {row.number: row.text.rstrip("\r\n").count("\n") for row in invalid}
    good_lines: list[int] = []
    lost_lines: list[int] = []
    line = piece.line
    for number in range(1, count + len(invalid) + 1):
        lost = wrong.get(number)
        (good_lines if lost is None else lost_lines).append(line)
        line += 1 + (next(good) if lost is None else lost)
    return pa.array(good_lines, pa.int64()), lost_lines


def _without_blank(block: Block, columns: list[Any]) -> Block:
    """The block without rows that have no value in any column of the file."""
    blank = None
    for column in columns:
        if not column.null_count:
            return block
        blank = column.is_null() if blank is None else pc.and_(blank, column.is_null())
    if blank is None or not pc.any(blank).as_py():
        return block
    keep = pc.invert(blank)
    block.rows = block.rows.filter(keep)
    block.columns = [c.filter(keep) for c in block.columns]
    return block
