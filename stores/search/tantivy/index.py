"""One generation of one type on the disk: its Tantivy index and its guard, as writer and as reader.

Beside each index stands its guard (tantivy_guard), which keeps older writes out.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import tantivy

from stores import private_files
from stores.protocols import APPLIED, STALE, Stored, Verdict, Write
from stores.search.fields import Level, marks
from stores.search.held import Held, held_level
from stores.search.tantivy import guard as tantivy_guard
from stores.search.tantivy.documents import DocumentBuilder
from stores.search.tantivy.errors import KIND, lost, translated
from stores.search.tantivy.fields import DOCUMENT, KEY, VERSION, build_schema, register_analyzers
from stores.search.tantivy.guard import VersionIndex
from stores.search.twins import BadValue
from stores.write_checks import check_key, parse_document, reject

BULK_HEAP_BYTES = 50_000_000
"""Memory of a writer for documents not yet flushed, while a generation is built."""
HEAP_BYTES = 15_000_000
"""The same of an active one: Tantivy's least. Every commit clears tables in proportion to it."""
WRITER_THREADS = 1

_PAGE = 1000
"""Keys that are looked up in the index at once."""


def index_path(folder: Path) -> Path:
    return folder / "index"


def guard_path(folder: Path) -> Path:
    return folder / "guard.sqlite"


def marks_path(folder: Path) -> Path:
    return folder / "marks.json"


def read_marks(folder: Path) -> frozenset[str]:
    """Return the marks that the index was made with (see tantivy_fields)."""
    return frozenset(orjson.loads(marks_path(folder).read_bytes()))


def is_whole(folder: Path) -> bool:
    """Return whether the files are there without which the index can be neither read nor
    written."""
    return guard_path(folder).is_file() and (index_path(folder) / "meta.json").is_file()


def create(folder: Path, level: Level, where: str) -> None:
    """An empty generation; whatever is left of one that was never registered goes first."""
    with translated(where):
        shutil.rmtree(folder, ignore_errors=True)
        private_files.make_folder(index_path(folder))
        tantivy.Index(build_schema(level), path=str(index_path(folder)))
        private_files.create(marks_path(folder))
        marks_path(folder).write_bytes(orjson.dumps(sorted(marks(level))))
    tantivy_guard.create(guard_path(folder), KIND)


class Writing:
    """The writing side of a generation; used by one thread."""

    def __init__(self, folder: Path, level: Level, where: str, heap: int = HEAP_BYTES) -> None:
        self._where = where
        self.dirty = False
        """Holds writes that are not committed."""
        if not guard_path(folder).is_file():
            raise lost(where)
        self._guard = VersionIndex(guard_path(folder), KIND)
        try:
            with translated(where):
                index = tantivy.Index.open(str(index_path(folder)))
                held = held_level(level, read_marks(folder))
                register_analyzers(index, held)
                self._builder = DocumentBuilder(held, index.schema)
                self._writer = index.writer(heap, WRITER_THREADS)
                if self._guard.behind:
                    self._catch_up(index)
        except BaseException:
            self._guard.close()
            raise

    def _catch_up(self, index: tantivy.Index) -> None:
        """Take back from the guard what a crash kept from the index."""
        searcher = index.searcher()
        for rows in self._guard.doubtful(_PAGE):
            keys = [key for key, _, _ in rows]
            shown = {s.key: s.version for s in lookup(searcher, index.schema, keys)}
            unseen = {
                key: version - 1
                for key, version, deleted in rows
                if (key in shown if deleted else shown.get(key) != version)
            }
            if unseen:
                self._guard.correct(unseen)
        self._guard.followed()

    def write(self, writes: Sequence[Write]) -> list[Verdict]:
        """A verdict for each. Where it raises, everything since the last commit is lost."""
        verdicts: list[Verdict] = [APPLIED] * len(writes)
        taken: list[tuple[int, Write, tantivy.Document | None]] = []
        for place, write in enumerate(writes):
            refused = check_key(write)
            document = None
            if refused is None and write.document is not None:
                parsed, refused = parse_document(write.document)
                if parsed is not None:
                    try:
                        document = self._builder.build(
                            write.key, write.version, write.document, parsed
                        )
                    except BadValue as error:
                        refused = reject(str(error))
                    except (ValueError, TypeError):
                        refused = reject("the document cannot be indexed")
            if refused is not None:
                verdicts[place] = refused
            else:
                taken.append((place, write, document))
        if not taken:
            return verdicts
        self.dirty = True
        stale, known = self._guard.pass_([write for _, write, _ in taken])
        with translated(self._where):
            for place, write, document in taken:
                if write.key in stale:
                    verdicts[place] = STALE
                    continue
                if write.key in known:
                    self._writer.delete_documents_by_term(KEY, write.key)
                if document is not None:
                    self._writer.add_document(document)
        return verdicts

    def commit(self) -> None:
        """Durable and visible. Where it raises, everything since the last commit may be lost."""
        if not self.dirty:
            return
        self._guard.commit()
        with translated(self._where):
            self._writer.commit()
        self._guard.followed()
        self.dirty = False

    def close(self, *, wait: bool) -> None:
        """Drops what is not committed. `wait` lets running merges end, so that their work is
        kept."""
        self._guard.close()
        try:
            if wait:
                with translated(self._where):
                    self._writer.wait_merging_threads()
        finally:
            # The writer's lock goes with the object.
            del self._writer


class Reading:
    """The reading side of a generation, in any process; used by many threads.

    Commits of the writer are seen by looking at `meta.json`, which every commit replaces: a stat,
    and a reload of the index only where the file is another one.
    """

    def __init__(self, number: int, folder: Path, where: str) -> None:
        self.number = number
        self._where = where
        self._meta = index_path(folder) / "meta.json"
        self._lock = threading.Lock()
        with translated(where):
            self._seen = self._signature()
            self._index = tantivy.Index.open(str(index_path(folder)))
            self._index.config_reader("manual")
            self._index.reload()
            self._searcher = self._index.searcher()
            self.schema = self._index.schema
            self._marks = read_marks(folder)
        self._held: Held | None = None

    def held(self, level: Level) -> Held:
        """Return the fields of `level`, a level of the contract, that the generation has."""
        if self._held is None or self._held.declared is not level:
            self._held = Held(KIND, level, self._marks)
        return self._held

    def _signature(self) -> tuple[int, int, int]:
        found = os.stat(self._meta)
        return found.st_ino, found.st_mtime_ns, found.st_size

    def searcher(self) -> tantivy.Searcher:
        """The newest committed state."""
        with translated(self._where):
            if self._signature() != self._seen:
                with self._lock:
                    signature = self._signature()
                    if signature != self._seen:
                        self._index.reload()
                        self._searcher = self._index.searcher()
                        self._seen = signature
            return self._searcher


def lookup(searcher: tantivy.Searcher, schema: tantivy.Schema, keys: Sequence[str]) -> list[Stored]:
    """The records of those keys that the index shows, in bytewise order of keys."""
    query = tantivy.Query.term_set_query(schema, KEY, list(keys))
    hits = searcher.search(query, limit=max(len(keys), 1), count=False).hits
    found = [_stored(searcher.doc(address)) for _, address in hits]
    return sorted(found, key=lambda s: s.key)


def _stored(found: tantivy.Document) -> Stored:
    version: Any = found.get_first(VERSION)
    return Stored(str(found.get_first(KEY)), int(version), bytes(found.get_first(DOCUMENT) or b""))


def scan(folder: Path, reading: Reading, after: str | None, limit: int) -> list[Stored]:
    """Return up to `limit` records of one state of the index, in bytewise key order. The guard,
    which knows every key in order, is only asked where to look."""
    searcher = reading.searcher()
    found: list[Stored] = []
    if not guard_path(folder).is_file():
        raise lost(folder.parent.name)
    for keys in tantivy_guard.keys_after(guard_path(folder), KIND, after, min(limit, _PAGE)):
        found += lookup(searcher, reading.schema, keys)
        if len(found) >= limit:
            break
    return found[:limit]
