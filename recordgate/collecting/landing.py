"""The files in which received records lie, as they came: one JSON object a line, packed, their
owner's alone."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from recordgate.collecting.shaping import encode
from stores.private_files import make_folder, opener

HOST = socket.gethostname()
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class Landings:
    """The folder of one source's files, below `data_dir/landing`."""

    def __init__(self, data_dir: Path, source: str) -> None:
        name = source if source.isidentifier() else hashlib.sha256(source.encode()).hexdigest()[:16]
        self.folder = data_dir.absolute() / "landing" / name

    def write(self, name: str, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Write a file whole: its bytes are on the disk before its name is there. What is recorded
        of it."""
        make_folder(self.folder)
        text = b"".join(encode(record) + b"\n" for record in records)
        packed = zstandard.ZstdCompressor(level=1).compress(text)
        path = self.folder / f"{name}.ndjson.zst"
        self._whole(path, packed)
        return {
            "host": HOST,
            "file": str(path),
            "sha256": hashlib.sha256(packed).hexdigest(),
            "bytes": len(text),
        }

    def scratch(self, name: str, data: bytes) -> Path:
        """A file for an import to read, gone afterwards by the caller."""
        make_folder(self.folder)
        path = self.folder / name
        with open(path, "wb", opener=opener) as file:
            file.write(data)
        return path

    def _whole(self, path: Path, data: bytes) -> None:
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        with open(part, "wb", opener=opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(landing: dict[str, Any]) -> bytes | None:
    """The lines of a landing; None where its file is not on this host, or is not what was
    written."""
    if landing["host"] != HOST:
        return None
    try:
        packed = Path(landing["file"]).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(packed).hexdigest() != landing["sha256"]:
        return None
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=max(1, landing["bytes"]))


def records_of(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        yield _decode(line)
