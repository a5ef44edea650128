"""One generation of one type on the disk: its Tantivy index and its guard, as writer and as reader.

Tantivy has no versions, so beside each index stands a *guard*, a SQLite file with the newest version
of every key, deleted or not. Both are written in open transactions and committed by `commit`, the
guard first: a process that dies between the two leaves a guard that knows more than the index, so an
older write is refused and the newest one, which was never published, is written again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import tantivy

from stores.local_state import connect
from stores.protocols import APPLIED, STALE, Verdict, Write
from stores.search.tantivy_documents import BadValue, DocumentBuilder
from stores.search.tantivy_errors import KIND, lost, translated
from stores.search.tantivy_fields import KEY, Level, build_schema, marks, register_analyzers
from stores.sqlite_errors import translated as sqlite_translated
from stores.write_checks import check_key, parse_document, reject

BULK_HEAP_BYTES = 50_000_000
"""Memory of a writer for documents not yet flushed, while a generation is built."""
HEAP_BYTES = 15_000_000
"""The same of an active one: Tantivy's least. Every commit clears tables in proportion to it."""
WRITER_THREADS = 1

_GUARD = """
CREATE TABLE IF NOT EXISTS guard (
  key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, deleted INTEGER NOT NULL) WITHOUT ROWID
"""
_INSERT_NEW = "INSERT OR IGNORE INTO guard VALUES (?, ?, ?)"
_UPSERT = (
    "INSERT INTO guard VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE"
    " SET version = excluded.version, deleted = excluded.deleted"
)
_HELD = "SELECT g.key, g.version FROM json_each(?) AS j JOIN guard AS g ON g.key = j.value"


def index_path(folder: Path) -> Path:
    return folder / "index"


def guard_path(folder: Path) -> Path:
    return folder / "guard.sqlite"


def marks_path(folder: Path) -> Path:
    return folder / "marks.json"


def read_marks(folder: Path) -> frozenset[str]:
    """What the index was made with (see tantivy_fields)."""
    return frozenset(orjson.loads(marks_path(folder).read_bytes()))


def create(folder: Path, level: Level, where: str) -> None:
    """An empty generation; whatever is left of one that was never registered goes first."""
    with translated(where):
        shutil.rmtree(folder, ignore_errors=True)
        index_path(folder).mkdir(parents=True)
        tantivy.Index(build_schema(level), path=str(index_path(folder)))
        marks_path(folder).write_bytes(orjson.dumps(sorted(marks(level))))
    with sqlite_translated(KIND, guard_path(folder).name):
        guard = connect(guard_path(folder))
        guard.execute(_GUARD)
        guard.close()


class Writing:
    """The writing side of a generation; used by one thread."""

    def __init__(self, folder: Path, level: Level, where: str, heap: int = HEAP_BYTES) -> None:
        self._where = where
        self.dirty = False
        """Holds writes that are not committed."""
        if not guard_path(folder).is_file():
            raise lost(where)
        with sqlite_translated(KIND, guard_path(folder).name):
            self._guard = connect(guard_path(folder))
        try:
            with translated(where):
                index = tantivy.Index.open(str(index_path(folder)))
                register_analyzers(index, level)
                self._builder = DocumentBuilder(level, index.schema, read_marks(folder))
                self._writer = index.writer(heap, WRITER_THREADS)
        except BaseException:
            self._guard.close()
            raise
        self._fresh = True
        """Whether the last batch held new keys only: then the next one is tried as such first."""

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
        with sqlite_translated(KIND, "guard.sqlite"):
            stale, known = self._pass_guard([write for _, write, _ in taken])
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

    def _pass_guard(self, writes: list[Write]) -> tuple[set[str], set[str]]:
        """Record the writes that are new enough; (keys that are stale, keys that were known)."""
        if not self._guard.in_transaction:
            self._guard.execute("BEGIN IMMEDIATE")
        rows = [(w.key, w.version, w.document is None) for w in writes]
        if self._fresh:
            self._guard.execute("SAVEPOINT fresh")
            inserted = self._guard.executemany(_INSERT_NEW, rows).rowcount
            if inserted == len(rows):
                self._guard.execute("RELEASE fresh")
                return set(), set()
            self._guard.execute("ROLLBACK TO fresh")
            self._guard.execute("RELEASE fresh")
        keys = orjson.dumps([w.key for w in writes]).decode()
        held: dict[str, int] = dict(self._guard.execute(_HELD, (keys,)))
        stale = {w.key for w in writes if w.version <= held.get(w.key, 0)}
        self._guard.executemany(_UPSERT, [r for r in rows if r[0] not in stale])
        self._fresh = not held
        return stale, set(held)

    def commit(self) -> None:
        """Durable and visible. Where it raises, everything since the last commit may be lost."""
        if not self.dirty:
            return
        with sqlite_translated(KIND, "guard.sqlite"):
            if self._guard.in_transaction:
                self._guard.execute("COMMIT")
        with translated(self._where):
            self._writer.commit()
        self.dirty = False

    def close(self, *, wait: bool) -> None:
        """Drops what is not committed. `wait` lets running merges end, so that their work is kept."""
        with suppress(sqlite3.Error):
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

    Commits of the writer are seen by looking at `meta.json`, which every commit replaces: a stat, and
    a reload of the index only where the file is another one.
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
            self.marks = read_marks(folder)

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


def scan(folder: Path, reading: Reading, after: str | None, limit: int) -> list[tantivy.Document]:
    """Up to `limit` documents of the index in bytewise order of keys. The guard, which knows every
    key of the index and has them in order, is only asked where to look."""
    with sqlite_translated(KIND, "guard.sqlite"):
        if not guard_path(folder).is_file():
            raise lost(folder.parent.name)
        guard = connect(guard_path(folder), read_only=True)
        try:
            return _scan(guard, reading, after, limit)
        finally:
            guard.close()


def _scan(
    guard: sqlite3.Connection, reading: Reading, after: str | None, limit: int
) -> list[tantivy.Document]:
    found: list[tantivy.Document] = []
    comparison = ">=" if after is None else ">"
    place = after or ""
    while len(found) < limit:
        statement = f"SELECT key FROM guard WHERE key {comparison} ? ORDER BY key LIMIT ?"  # noqa: S608
        keys = [k for (k,) in guard.execute(statement, (place, limit - len(found)))]
        if not keys:
            break
        searcher = reading.searcher()
        hits = searcher.search(
            tantivy.Query.term_set_query(reading.schema, KEY, keys), limit=len(keys), count=False
        ).hits
        documents = [searcher.doc(address) for _, address in hits]
        found += sorted(documents, key=lambda d: str(d.get_first(KEY)))
        comparison, place = ">", keys[-1]
    return found
