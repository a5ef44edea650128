"""A file or standard input as a stream of uncompressed bytes that knows how far it is."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from stores.canonical.importing.block import label
from stores.errors import InputError

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
}
FORMATS = ("csv", "tsv", "ndjson", "json", "parquet")


def format_of(source: Path | str, given: str | None) -> str:
    """The format asked for, or the one that the file's name says; raises InputError."""
    if given is not None:
        name = {"jsonl": "ndjson"}.get(given.lower(), given.lower())
        if name not in FORMATS:
            raise InputError(
                f"unknown format {given!r}", hint=f"the formats are {', '.join(FORMATS)}"
            )
        return name
    if source == "-":
        raise InputError(
            "the format of standard input is unknown", hint=f"add --format {'|'.join(FORMATS)}"
        )
    suffixes = [s.lower() for s in Path(source).suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    found = _SUFFIXES.get(suffixes[-1]) if suffixes else None
    if found is None:
        raise InputError(
            f"{source}: the format cannot be told from the name",
            hint=f"add --format {'|'.join(FORMATS)}",
        )
    return found


class RawStream:
    """Uncompressed bytes of `source`; gzip and zstandard are recognised by their first bytes."""

    def __init__(self, source: Path | str) -> None:
        self.name = label(source)
        self._size: int | None = None
        if source == "-":
            self._file: BinaryIO = sys.stdin.buffer
        else:
            path = Path(source)
            try:
                self._file = path.open("rb")
                self._size = path.stat().st_size
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}") from None
        self._raw = _Counted(self._file)
        kind = next((k for magic, k in _MAGIC.items() if self._raw.peek(4).startswith(magic)), None)
        self._stream: Any = self._raw
        if kind is not None:
            self._stream = pa.CompressedInputStream(
                pa.PythonFile(cast(Any, self._raw), "r"), cast(Any, kind)
            )

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end. Raise InputError if the file is damaged."""
        try:
            return cast(bytes, self._stream.read(size))
        except (OSError, pa.ArrowException):
            raise InputError(
                f"{self.name} is damaged, or cut off, near byte {self._raw.position:,}"
            ) from None

    def done(self) -> float:
        return min(1.0, self._raw.position / self._size) if self._size else 0.0

    def close(self) -> None:
        if self._file is not sys.stdin.buffer:
            self._file.close()


class _Counted(io.RawIOBase):
    """The bytes of `file`, counted, with a look ahead at the first of them."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._ahead = b""
        self.position = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size:
            more = self._file.read(size - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._ahead or self._file.read(size)
        self._ahead = b""
        self.position += len(data)
        return data
