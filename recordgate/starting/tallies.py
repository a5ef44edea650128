"""Counts each value of a column (or of several together), whatever the number of rows: in memory
while there are few, then in parts on disk, each of which fits in memory.

A value is known by a digest of 128 bits (BLAKE2b): two values are never taken for one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

_DIGEST = 16
_RECORD = _DIGEST + 8
_PARTS = 256
_BUFFER = 8192
"""Bytes of a part that are held before they go to its file."""


class Tally:
    """Counts values. `folder` is made use of once there are more than `limit` different ones; call
    `close` when done."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._seen: dict[bytes, int] = {}
        self._buffers: list[bytearray] | None = None
        self._path: Path | None = None
        self.repeated = False
        """A value was seen twice; False says nothing yet once values lie on disk."""

    def add(self, values: Sequence[str], counts: Sequence[int]) -> None:
        """Count each of `values` so often as `counts` says."""
        seen = self._seen
        for value, count in zip(values, counts, strict=True):
            digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
            if self._buffers is not None:
                self._write(digest, count)
                continue
            before = seen.get(digest, 0)
            seen[digest] = before + count
            if before or count > 1:
                self.repeated = True
            elif len(seen) > self._limit:
                self._to_disk()

    def _to_disk(self) -> None:
        if self._buffers is None:
            self._path = Path(tempfile.mkdtemp(dir=self._folder))
            self._buffers = [bytearray() for _ in range(_PARTS)]
            for digest, count in self._seen.items():
                self._write(digest, count)
            self._seen = {}

    def _write(self, digest: bytes, count: int) -> None:
        assert self._buffers is not None
        part = digest[0]
        buffer = self._buffers[part]
        buffer += digest
        buffer += count.to_bytes(8, "big")
        if len(buffer) >= _BUFFER:
            self._flush(part)

    def _flush(self, part: int) -> None:
        assert self._buffers is not None
        assert self._path is not None
        with (self._path / f"{part:02x}").open("ab") as file:
            file.write(self._buffers[part])
        self._buffers[part].clear()

    def _parts(self) -> Iterator[dict[bytes, int]]:
        if self._buffers is None:
            yield self._seen
            return
        assert self._path is not None
        for part in range(_PARTS):
            path = self._path / f"{part:02x}"
            data = (path.read_bytes() if path.exists() else b"") + bytes(self._buffers[part])
            found: dict[bytes, int] = {}
            for at in range(0, len(data), _RECORD):
                digest = data[at : at + _DIGEST]
                count = int.from_bytes(data[at + _DIGEST : at + _RECORD], "big")
                found[digest] = found.get(digest, 0) + count
            yield found

    def distinct(self) -> tuple[int, int]:
        """Return the number of different values, and the number of rows with a value that another
        row has, too."""
        different = repeats = 0
        for found in self._parts():
            different += len(found)
            repeats += sum(n for n in found.values() if n > 1)
        return different, repeats

    def missing_from(self, other: Tally) -> tuple[int, int]:
        """Return the number of rows with a value that `other` lacks, and the number of these
        values."""
        if (self._buffers is None) != (other._buffers is None):
            self._to_disk()
            other._to_disk()
        rows = values = 0
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            lacking = [n for digest, n in mine.items() if digest not in theirs]
            rows += sum(lacking)
            values += len(lacking)
        return rows, values

    def close(self) -> None:
        """Release the memory and delete the files on disk."""
        self._seen, self._buffers = {}, None
        if self._path is not None:
            for file in self._path.iterdir():
                file.unlink()
            self._path.rmdir()
            self._path = None
