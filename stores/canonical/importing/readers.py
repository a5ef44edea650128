"""Opens each source by its format; the one place that knows which reader reads what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stores.canonical.importing.block import BlockReader
from stores.canonical.importing.csv_reader import CsvReader
from stores.canonical.importing.json_reader import JsonReader
from stores.canonical.importing.parquet_reader import ParquetReader
from stores.canonical.importing.raw_stream import RawStream, format_of
from stores.errors import InputError, LimitError

MAX_FILES = 200


def open_readers(
    sources: Sequence[Path | str], given_format: str | None, delimiter: str | None = None
) -> list[BlockReader]:
    """All sources, open, in order. `delimiter`: of CSV files, where it is said. Raises
    InputError."""
    if not sources:
        raise InputError("no file is given")
    if len(sources) > MAX_FILES:
        raise LimitError(f"{len(sources)} files at once, more than {MAX_FILES}")
    readers: list[BlockReader] = []
    try:
        for index, source in enumerate(sources):
            readers.append(_open(source, format_of(source, given_format), index, delimiter))
    except BaseException:
        close_readers(readers)
        raise
    return readers


def close_readers(readers: Sequence[BlockReader]) -> None:
    for reader in readers:
        reader.close()


def _open(source: Path | str, kind: str, index: int, delimiter: str | None) -> BlockReader:
    if kind == "parquet":
        if source == "-":
            raise InputError("Parquet cannot be read from standard input", hint="name a file")
        return ParquetReader(Path(source), index)
    stream = RawStream(source)
    try:
        if kind in ("csv", "tsv"):
            return CsvReader(stream, "\t" if kind == "tsv" else delimiter, index)
        return JsonReader(stream, index)
    except BaseException:
        stream.close()
        raise
