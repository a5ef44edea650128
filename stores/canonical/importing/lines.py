"""Splits a stream of bytes into pieces that end where a row ends, so that each is parsed by itself.

A newline inside a quoted CSV value ends no row. Counting quotes tells in nearly every case whether a
newline is inside one (an even number before it: outside); where the last newline of a piece seems to
be inside, a scan by the grammar of RFC 4180 decides, in which a quote opens a value only at its start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stores.canonical.importing.raw_stream import RawStream
from stores.errors import InputError, LimitError

PIECE = 2 << 20
"""Bytes of a usual piece."""
MAX_ROW = 16 << 20
"""The longest row, in bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`data` begins at byte `offset`, line `line` (from 1) of the uncompressed file."""

    data: bytes
    line: int
    offset: int


def pieces(stream: RawStream, *, quoted: bool, delimiter: bytes = b",") -> Iterator[Piece]:
    """The stream in pieces of whole rows. The last row may lack its newline. Raises InputError where a
    quoted value never ends, LimitError for a row longer than MAX_ROW."""
    rest = b""
    line, offset = 1, 0
    newline = b""
    while True:
        data = stream.read(PIECE)
        end_of_file = not data
        rest = rest + data if rest else data
        if not rest:
            return
        if not newline:
            if offset == 0 and rest.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError(
                    f"{stream.name} is UTF-16",
                    hint="convert it to UTF-8, the encoding that is read",
                )
            if offset == 0 and rest.startswith(b"\xef\xbb\xbf"):
                rest, offset = rest[3:], 3
            # Files of the old Mac end their lines by \r alone.
            newline = b"\n" if b"\n" in rest or b"\r" not in rest else b"\r"
        cut = _row_end(rest, newline, delimiter) if quoted else rest.rfind(newline) + 1
        if end_of_file and cut < len(rest):
            if quoted and _row_end(rest + newline, newline, delimiter) <= len(rest):
                raise _unclosed(stream.name, line + rest[:cut].count(newline))
            cut = len(rest)
        elif not cut:
            if len(rest) > MAX_ROW:
                raise LimitError(
                    f"{stream.name}, line {line}: a row of more than {MAX_ROW >> 20} MiB",
                    hint="a quote that is opened and never closed makes such rows",
                )
            continue
        piece, rest = rest[:cut], rest[cut:]
        yield Piece(piece, line, offset)
        line += piece.count(newline)
        offset += len(piece)
        if end_of_file and not rest:
            return


def _unclosed(name: str, line: int) -> InputError:
    return InputError(
        f"{name}, line {line}: a quoted value is opened and never closed",
        hint='a quote inside a quoted value is written twice: ""',
    )


def _row_end(data: bytes, newline: bytes, delimiter: bytes) -> int:
    """The offset after the last newline that ends a row; 0 where none does."""
    cut = data.rfind(newline) + 1
    if not cut or data.count(b'"', 0, cut) % 2 == 0:
        return cut
    return _scanned_row_end(data, newline, delimiter)


def _scanned_row_end(data: bytes, newline: bytes, delimiter: bytes) -> int:
    opening = re.compile(b"(?:^|[" + re.escape(delimiter) + b'\r\n])"')
    closing = re.compile(b'(?:[^"]++|"")*+"')
    position = safe = 0
    while opened := opening.search(data, position):
        safe = max(safe, data.rfind(newline, position, opened.end()) + 1)
        closed = closing.match(data, opened.end())
        if closed is None:
            return safe
        position = closed.end()
    return max(safe, data.rfind(newline, position) + 1)
