"""Newline-delimited JSON and JSON arrays of objects. Numbers keep their digits; objects and arrays
become JSON text, and so does every value of a JSON property: `"123"` is a text there, and no
number.

The file's columns are the fields of its first part (1 MiB); a field that comes up only later is a
reason against its row, since the columns that an import writes are decided before it begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any

import msgspec
import pyarrow as pa

from stores.canonical.importing.block import FILE_SHIFT, Block, Chunk, Fault, Lost
from stores.canonical.importing.codes import Reject
from stores.canonical.importing.lines import BOM, PIECE, Piece, pieces
from stores.canonical.importing.raw_stream import RawStream
from stores.errors import InputError, LimitError

RAW_KEPT = 2000
MAX_ARRAY = 32 << 20
"""Bytes of a JSON array, which is read as a whole."""
_ARRAY_ROWS = 2000
_MAX_COLUMNS = 1600
_ABSENT = msgspec.Raw(b"null")

_encoder = msgspec.json.Encoder(decimal_format="number")
_object = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class JsonReader:
    """An open file of JSON objects, a line each, or one array of them."""

    def __init__(self, stream: RawStream, file_index: int) -> None:
        self._stream = stream
        self._first_row = file_index << FILE_SHIFT
        begun = stream.read(PIECE)
        while begun and not begun.strip() and (more := stream.read(PIECE)):
            begun += more
        if begun.removeprefix(BOM).lstrip()[:1] == b"[":
            self._pieces = _array_pieces(begun.removeprefix(BOM), stream)
        else:
            self._pieces = pieces(stream, quoted=False, begun=begun)
        first = next(self._pieces, None)
        self._first = first
        self.columns = () if first is None else _fields(first, stream.name)
        self.empty = first is None or not (self.columns or first.data.strip())

    def chunks(self) -> Iterator[Chunk]:
        if self._first is not None:
            yield self._chunk(self._first)
        self._first = None
        for piece in self._pieces:
            yield self._chunk(piece)

    def _chunk(self, piece: Piece) -> Chunk:
        parse = partial(_parse_piece, piece, self.columns, self._first_row)
        return Chunk(len(piece.data) * 3, parse)

    def done(self) -> float:
        return self._stream.done()

    def close(self) -> None:
        self._stream.close()


def _array_pieces(begun: bytes, stream: RawStream) -> Iterator[Piece]:
    """The elements of an array as lines; a row's line is then its position in the array."""
    data = bytearray(begun)
    while more := stream.read(PIECE):
        data += more
        if len(data) > MAX_ARRAY:
            raise LimitError(
                f"{stream.name}: a JSON array of more than {MAX_ARRAY >> 20} MiB",
                hint="write one object a line (NDJSON), which has no limit",
            )
    try:
        elements = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{stream.name} is not a JSON array: {error}") from None
    del data
    for start in range(0, len(elements), _ARRAY_ROWS):
        # A newline between tokens is only white space; inside a string JSON allows none.
        rows = (bytes(e).replace(b"\n", b" ") for e in elements[start : start + _ARRAY_ROWS])
        yield Piece(b"\n".join(rows) + b"\n", start + 1, 0)


_UNFIT = re.compile(r'["\\\x00-\x1f]')
"""Characters that the decoder cannot have in a field's name."""


def _fields(piece: Piece, name: str) -> tuple[str, ...]:
    """The fields of the piece's objects, in order of appearance."""
    found: dict[str, None] = {}
    for line in piece.data.split(b"\n"):
        try:
            found.update(dict.fromkeys(_object.decode(line) if line.strip() else ()))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if len(found) > _MAX_COLUMNS:
            raise InputError(f"{name}: more than {_MAX_COLUMNS:,} fields")
    for field in found:
        if _UNFIT.search(field):
            raise InputError(
                f"{name}: the field {field[:60]!r} has a quote, a backslash or a control character",
                hint="rename it: no property of a contract can have such a name",
            )
    return tuple(found)


@lru_cache(maxsize=8)
def _row_decoder(columns: tuple[str, ...], raw: frozenset[int]) -> msgspec.json.Decoder[Any]:
    """`raw`: indexes of the columns whose values are kept as the JSON that they are."""
    fields = [
        (
            f"c{i}",
            msgspec.Raw if i in raw else Any,
            msgspec.field(default=_ABSENT if i in raw else None, name=column),
        )
        for i, column in enumerate(columns)
    ]
    row = msgspec.defstruct("Row", fields, forbid_unknown_fields=True, gc=False)
    return msgspec.json.Decoder(row, float_hook=Decimal)


def _text(value: Any) -> str:
    """A JSON value as the text that Postgres reads."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return _encoder.encode(value).decode()
    return str(value)


def _parse_piece(
    piece: Piece,
    columns_of_file: tuple[str, ...],
    first_row: int,
    wanted: Sequence[int],
    raw: frozenset[int],
) -> Block:
    decoder = _row_decoder(columns_of_file, raw)
    lost: list[Lost] = []
    blank = b"\n\n" in piece.data or b"\r" in piece.data or piece.data.startswith(b"\n")
    try:
        if blank:
            raise ValueError
        rows = decoder.decode_lines(piece.data)
        lines: Any = range(first_row + piece.line, first_row + piece.line + len(rows))
    except (msgspec.DecodeError, ValueError, RecursionError):
        rows, lines, lost = _line_by_line(piece, decoder, first_row)
    columns = []
    for i in wanted:
        name = f"c{i}"
        values = [getattr(row, name) for row in rows]
        if i in raw:
            texts = [bytes(v).decode() for v in values]
            columns.append(pa.array([None if t == "null" else t for t in texts], pa.string()))
            continue
        columns.append(
            pa.array([v if v is None or type(v) is str else _text(v) for v in values], pa.string())
        )
    nul = b"\\u0000" in piece.data
    return Block(pa.array(lines, pa.int64()), columns, lost=lost, may_have_nul=nul)


def _line_by_line(
    piece: Piece, decoder: msgspec.json.Decoder[Any], first_row: int
) -> tuple[list[Any], list[int], list[Lost]]:
    """Read a piece line by line, because some line of it is malformed."""
    rows: list[Any] = []
    lines: list[int] = []
    lost: list[Lost] = []
    for number, text in enumerate(piece.data.split(b"\n"), first_row + piece.line):
        if not text.strip():
            continue
        try:
            rows.append(decoder.decode(text))
            lines.append(number)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            lost.append(_lost(number, text, error))
    return rows, lines, lost


def _lost(row: int, text: bytes, error: Exception) -> Lost:
    code, message = Reject.INVALID_JSON, "not a JSON object"
    if isinstance(error, msgspec.ValidationError) and "unknown field" in str(error):
        code = Reject.UNKNOWN_FIELD
        name = str(error).split("`")[1][:100]
        message = f"the first part of the file has no field {name!r}"
    elif isinstance(error, UnicodeDecodeError):
        message = "not valid UTF-8"
    elif isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        message = f"not valid JSON: {error}"[:300]
    raw = text[: RAW_KEPT * 4].decode(errors="replace")[:RAW_KEPT].replace("\0", "�")
    return Lost(Fault(row, code, message), raw)
