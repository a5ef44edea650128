"""Splits a stream of bytes into pieces that end where a row ends, so that each is parsed by itself.

A newline inside a quoted CSV value ends no row. Counting quotes tells in nearly every case whether
a newline is inside one (an even number before it: outside); where the last newline of a piece seems
to be inside, a scan by the grammar of RFC 4180 decides, in which a quote opens a value only at its
start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stores.canonical.importing.raw_stream import RawStream
from stores.errors import InputError, LimitError

PIECE = 1 << 20
"""Bytes of a usual piece."""
MAX_ROW = 16 << 20
"""The longest row, in bytes."""


BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Piece:
    """`data` begins at byte `offset`, line `line` (from 1) of the uncompressed file."""

    data: bytes
    line: int
    offset: int


def pieces(
    stream: RawStream, *, quoted: bool, delimiter: bytes = b",", begun: bytes = b""
) -> Iterator[Piece]:
    """The stream in pieces of whole rows; `begun` was read from it already. The last row may lack
    its newline. Raises InputError where a quoted value never ends, LimitError for a row longer
    than MAX_ROW."""
    data = begun or stream.read(PIECE)
    del begun  # or it would be held to the end
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{stream.name} is UTF-16", hint="convert it to UTF-8")
    line, offset = 1, 0
    if data.startswith(BOM):
        data, offset = data[len(BOM) :], len(BOM)
    # Files of the old Mac end their lines by \r alone; the \n of \r\n may come with the next read.
    while data.find(b"\r") == len(data) - 1 >= 0 and (more := stream.read(PIECE)):
        data += more
    newline = b"\n" if b"\n" in data or b"\r" not in data else b"\r"
    rest = b""
    while data:
        cut = data.rfind(newline) + 1
        if cut and quoted and (rest.count(b'"') + data.count(b'"', 0, cut)) % 2:
            rest, data = b"", rest + data
            cut = _scanned_row_end(data, newline, delimiter)
        if cut:
            piece = b"".join((rest, memoryview(data)[:cut]))
            rest = data[cut:]
            yield Piece(piece, line, offset)
            line += piece.count(newline)
            offset += len(piece)
        else:
            rest += data
            if len(rest) > MAX_ROW:
                raise LimitError(
                    f"{stream.name}, line {line}: a row of more than {MAX_ROW >> 20} MiB",
                    hint="check for a quote that is not closed",
                )
        data = stream.read(PIECE)
    if rest:
        whole = rest + newline
        if (
            quoted
            and whole.count(b'"') % 2
            and _scanned_row_end(whole, newline, delimiter) < len(whole)
        ):
            raise _unclosed(stream.name, line)
        yield Piece(rest, line, offset)


def _unclosed(name: str, line: int) -> InputError:
    return InputError(
        f"{name}, line {line}: a quoted value is not closed",
        hint='write a quote inside a quoted value twice: ""',
    )


def _scanned_row_end(data: bytes, newline: bytes, delimiter: bytes) -> int:
    """The offset after the last newline that ends a row; 0 where none does."""
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
