"""The guard beside a Tantivy index: the newest version of every key, deleted or not, in SQLite.

Tantivy has no versions, and two files cannot be committed in one step. The guard is committed
first, then the index, then the guard notes that the index followed. A process that dies in between
leaves a guard that may know more than the index: `doubtful` lists the keys of that last commit, and
those that the index does not show are corrected before anything is written, so that the same write,
sent again, is taken, and an older one still is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from stores.local_state import connect, transaction
from stores.protocols import Write
from stores.sqlite_errors import translated

_SCHEMA = (
    "CREATE TABLE guard (key TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL,"
    " deleted INTEGER NOT NULL, batch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE commits (one INTEGER PRIMARY KEY CHECK (one = 1), guard INTEGER NOT NULL,"
    " idx INTEGER NOT NULL)",
    "INSERT INTO commits VALUES (1, 0, 0)",
)
_INSERT_NEW = "INSERT OR IGNORE INTO guard VALUES (?, ?, ?, ?)"
_UPSERT = (
    "INSERT INTO guard VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE"
    " SET version = excluded.version, deleted = excluded.deleted, batch = excluded.batch"
)
_HELD = "SELECT g.key, g.version FROM json_each(?) AS j JOIN guard AS g ON g.key = j.value"
_DOUBTFUL = (
    "SELECT key, version, deleted FROM guard WHERE batch = ? AND key >= ? ORDER BY key LIMIT ?"
)


class VersionIndex:
    """The writing side; used by one thread. Raises our errors."""

    def __init__(self, path: Path, store: str) -> None:
        self._store, self._name = store, path.name
        with translated(store, path.name):
            self._connection = connect(path)
            try:
                row = self._connection.execute("SELECT guard, idx FROM commits").fetchone()
                committed, followed = row if row else (1, 0)
                self._committed: int = committed
            except sqlite3.Error:
                self._connection.close()
                raise
        self.behind = followed != self._committed
        """True where the index may lack what the guard's last commit held."""
        self._fresh = True
        """True where the last batch held new keys only: the next one is then tried as such
        first."""

    def pass_(self, writes: Sequence[Write]) -> tuple[set[str], set[str]]:
        """Record the writes that are new enough. Returns (keys that are stale, keys that were
        known)."""
        with translated(self._store, self._name):
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            batch = self._committed + 1
            rows = [(w.key, w.version, w.document is None, batch) for w in writes]
            if self._fresh:
                self._connection.execute("SAVEPOINT fresh")
                inserted = self._connection.executemany(_INSERT_NEW, rows).rowcount
                if inserted != len(rows):
                    self._connection.execute("ROLLBACK TO fresh")
                self._connection.execute("RELEASE fresh")
                if inserted == len(rows):
                    return set(), set()
            keys = orjson.dumps([w.key for w in writes]).decode()
            held: dict[str, int] = dict(self._connection.execute(_HELD, (keys,)))
            stale = {w.key for w in writes if w.version <= held.get(w.key, 0)}
            self._connection.executemany(_UPSERT, [r for r in rows if r[0] not in stale])
            self._fresh = not held
            return stale, set(held)

    def commit(self) -> None:
        """Commit what was passed. Must be called before the index commits."""
        with translated(self._store, self._name):
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE commits SET guard = ?", (self._committed + 1,))
            self._connection.execute("COMMIT")
            self._committed += 1

    def followed(self) -> None:
        """Record that the index has committed, too. This is not flushed: if it is lost, the index
        is read once more."""
        with translated(self._store, self._name):
            self._connection.execute("PRAGMA synchronous=OFF")
            try:
                self._connection.execute("UPDATE commits SET idx = ?", (self._committed,))
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")
        self.behind = False

    def doubtful(self, page: int) -> Iterator[list[tuple[str, int, bool]]]:
        """(key, version, deleted) of the last commit, in pages."""
        place = ""
        while True:
            with translated(self._store, self._name):
                rows = self._connection.execute(
                    _DOUBTFUL, (self._committed, place, page)
                ).fetchall()
            if rows:
                yield [(str(k), int(v), bool(d)) for k, v, d in rows]
            if len(rows) < page:
                return
            place = rows[-1][0] + "\0"

    def correct(self, versions: Mapping[str, int]) -> None:
        """Set the versions of keys whose last write the index does not show."""
        with translated(self._store, self._name), transaction(self._connection):
            self._connection.executemany(
                "UPDATE guard SET version = ? WHERE key = ?",
                [(version, key) for key, version in versions.items()],
            )

    def close(self) -> None:
        """Forgets what was passed and not committed."""
        with suppress(sqlite3.Error):
            self._connection.close()


def create(path: Path, store: str) -> None:
    with translated(store, path.name):
        connection = connect(path)
        try:
            with transaction(connection):
                for statement in _SCHEMA:
                    connection.execute(statement)
        finally:
            connection.close()


def keys_after(path: Path, store: str, after: str | None, limit: int) -> Iterator[list[str]]:
    """Pages of up to `limit` keys, deleted or not, in bytewise order, for a reader."""
    with translated(store, path.name):
        connection = connect(path, read_only=True)
        try:
            place = "" if after is None else after + "\0"
            while True:
                found = connection.execute(
                    "SELECT key FROM guard WHERE key >= ? ORDER BY key LIMIT ?", (place, limit)
                ).fetchall()
                if not found:
                    return
                yield [key for (key,) in found]
                place = found[-1][0] + "\0"
        finally:
            connection.close()


def newer(path: Path, store: str, version: int) -> list[str]:
    """The keys, deleted or not, whose version is greater, for a reader."""
    with translated(store, path.name):
        connection = connect(path, read_only=True)
        try:
            rows = connection.execute("SELECT key FROM guard WHERE version > ?", (version,))
            return [key for (key,) in rows]
        finally:
            connection.close()
