"""The metadata of an embedded store, in SQLite: whose data it is, its generations, the published
position, and the lock that keeps a second writing process out."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from stores import private_files
from stores.errors import ConflictError, StoreLost, StoreRefused
from stores.lineage import forks_of
from stores.protocols import Generation, Position, Withheld
from stores.sqlite_errors import primary_code

FORMAT = "2"
"""Format version of the files that the embedded stores write. Another version raises StoreLost."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS generations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, type TEXT NOT NULL, number INTEGER NOT NULL,
  state TEXT NOT NULL, shape TEXT NOT NULL, created REAL NOT NULL, UNIQUE (type, number));
CREATE UNIQUE INDEX IF NOT EXISTS generations_active ON generations (type) WHERE state = 'active';
CREATE TABLE IF NOT EXISTS position (
  one INTEGER PRIMARY KEY CHECK (one = 1), system TEXT NOT NULL, lsn INTEGER NOT NULL,
  as_of REAL NOT NULL);
"""
_WITHHELD = """
CREATE TABLE IF NOT EXISTS withheld (
  type TEXT PRIMARY KEY, lsn INTEGER NOT NULL, as_of REAL NOT NULL) WITHOUT ROWID
"""
"""A table of its own, so that a process of an older version goes on with files that have it."""
_LINEAGE = """
CREATE TABLE IF NOT EXISTS lineage (
  one INTEGER PRIMARY KEY CHECK (one = 1), lsn INTEGER NOT NULL, timeline INTEGER NOT NULL,
  forks TEXT NOT NULL)
"""
"""The lineage of the position with the same `lsn`. A version that knows no timelines leaves the
row unchanged."""


def connect(
    path: Path, *, busy_seconds: float = 5.0, read_only: bool = False
) -> sqlite3.Connection:
    """A connection in WAL mode, transactions by hand, every commit flushed to the disk. The file is
    made where there is none, for its owner only; SQLite gives its helpers (-wal, -shm) the same
    mode. What is deleted is overwritten."""
    _create(path)
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


def _create(path: Path) -> None:
    """An OSError is SQLite's to tell: it says the same when it opens the file."""
    with suppress(OSError):
        private_files.create(path)


@contextmanager
def transaction(connection: sqlite3.Connection, mode: str = "IMMEDIATE") -> Iterator[None]:
    """BEGIN … COMMIT around the block, or ROLLBACK where it raises."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def claim(connection: sqlite3.Connection, contract_id: str, store: str) -> None:
    """Make the metadata where there is none, and check that they are `contract_id`'s. Raises
    StoreLost."""
    tables = {
        n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    if tables and "meta" not in tables:
        raise StoreLost(
            f"{store}: the folder holds a database that recordgate did not write",
            store=store,
            hint="set data_dir to a folder of its own",
        )
    if "position" not in tables:
        with transaction(connection):
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.executemany(
                "INSERT OR IGNORE INTO meta VALUES (?, ?)",
                [("contract", contract_id), ("store", store), ("format", FORMAT)],
            )
    if "withheld" not in tables:
        with transaction(connection):
            connection.execute(_WITHHELD)
    if "lineage" not in tables:
        connection.execute(_LINEAGE)
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if meta.get("contract") != contract_id:
        raise StoreLost(
            f"{store}: the folder holds the data of contract {meta.get('contract')!r}",
            store=store,
            hint="give each contract a data_dir of its own, or remove this one",
        )
    if (meta.get("format"), meta.get("store")) != (FORMAT, store):
        raise StoreLost(
            f"{store}: the files were written by another version",
            store=store,
            hint="remove them; the next start reloads them from canonical",
        )


def hold_writer_lock(path: Path, store: str) -> sqlite3.Connection:
    """The lock of the one writing process: an exclusive transaction on a file of its own, so the
    operating system frees it with the process, however that ends. Raises ConflictError."""
    _create(path)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        connection.close()
        if primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
        holder = _holder(path)
        raise ConflictError(
            f"{store}: another process writes to {path.parent}",
            hint="only one worker at a time may use a data_dir; this one waits"
            + (f" for process {holder}" if holder else ""),
            holder=holder,
        ) from None
    return connection


def _holder(path: Path) -> int | None:
    """Return the process that has a lock on the file, as Linux lists it, or None if the system
    does not say. The file itself must not be opened for this: closing it would release our own
    process' locks."""
    try:
        inode = path.stat().st_ino
        listed = Path("/proc/locks").read_text("ascii", "replace")
    except OSError:
        return None
    for line in listed.splitlines():
        # "1: POSIX  ADVISORY  WRITE 4711 08:01:1234 0 EOF"; "->" before POSIX: one that waits.
        parts = line.split()
        if len(parts) == 8 and parts[3] == "WRITE" and parts[5].rpartition(":")[2] == str(inode):
            pid = int(parts[4])
            return pid if pid > 0 else None
    return None


def generations(connection: sqlite3.Connection, type_name: str) -> list[Generation]:
    rows = connection.execute(
        "SELECT number, state, shape FROM generations WHERE type = ? ORDER BY number", (type_name,)
    )
    return [Generation(number, text(state), text(shape)) for number, state, shape in rows]


def find(connection: sqlite3.Connection, type_name: str, number: int, store: str) -> int:
    """The row id of a generation. Raises StoreRefused where there is none."""
    row = connection.execute(
        "SELECT id FROM generations WHERE type = ? AND number = ?", (type_name, number)
    ).fetchone()
    if row is None:
        raise StoreRefused(f"{store}: {type_name} has no generation {number}", store=store)
    return int(row[0])


def state(connection: sqlite3.Connection, type_name: str, number: int) -> str | None:
    row = connection.execute(
        "SELECT state FROM generations WHERE type = ? AND number = ?", (type_name, number)
    ).fetchone()
    return None if row is None else text(row[0])


def active(connection: sqlite3.Connection, type_name: str) -> tuple[int, int] | None:
    """Return row id and number of the active generation, or None."""
    row = connection.execute(
        "SELECT id, number FROM generations WHERE type = ? AND state = 'active'", (type_name,)
    ).fetchone()
    return None if row is None else (int(row[0]), int(row[1]))


def add(connection: sqlite3.Connection, type_name: str, number: int, shape: str) -> int:
    cursor = connection.execute(
        "INSERT INTO generations (type, number, state, shape, created) VALUES (?, ?,"
        " 'building', ?, ?)",
        (type_name, number, shape, time.time()),
    )
    return int(cursor.lastrowid or 0)


def activate(connection: sqlite3.Connection, type_name: str, number: int, store: str) -> None:
    """Inside a transaction of the caller's."""
    found = find(connection, type_name, number, store)
    connection.execute(
        "UPDATE generations SET state = 'retired' WHERE type = ? AND state = 'active' AND id <> ?",
        (type_name, found),
    )
    connection.execute("UPDATE generations SET state = 'active' WHERE id = ?", (found,))


def remove(connection: sqlite3.Connection, type_name: str, number: int, store: str) -> int | None:
    """Delete a generation's row and return its row id, or None if there is none. Raise
    StoreRefused for the active generation. The caller opens the transaction."""
    row = connection.execute(
        "SELECT id, state FROM generations WHERE type = ? AND number = ?", (type_name, number)
    ).fetchone()
    if row is None:
        return None
    if row[1] == "active":
        raise StoreRefused(
            f"{store}: generation {number} of {type_name} is the active one",
            store=store,
            hint="activate another generation first",
        )
    connection.execute("DELETE FROM generations WHERE id = ?", (row[0],))
    return int(row[0])


def everything(connection: sqlite3.Connection) -> list[tuple[int, str, int]]:
    """(row id, type, number) of every generation."""
    rows = connection.execute("SELECT id, type, number FROM generations").fetchall()
    return [(int(row_id), text(type_name), int(number)) for row_id, type_name, number in rows]


def strike_off(connection: sqlite3.Connection, type_name: str, number: int) -> None:
    """Forget a generation whose data is gone, also an active one. Inside a transaction of the
    caller's."""
    connection.execute("DELETE FROM generations WHERE type = ? AND number = ?", (type_name, number))


def set_position(connection: sqlite3.Connection, position: Position) -> None:
    """Inside a transaction of the caller's."""
    connection.execute(
        "INSERT INTO position VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET"
        " system = excluded.system, lsn = excluded.lsn, as_of = excluded.as_of",
        (position.system, position.lsn, position.as_of),
    )
    connection.execute("DELETE FROM withheld")
    connection.executemany(
        "INSERT INTO withheld VALUES (?, ?, ?)",
        [(w.type_name, w.lsn, w.as_of) for w in position.withheld],
    )
    connection.execute(
        "INSERT INTO lineage VALUES (1, ?, ?, ?) ON CONFLICT (one) DO UPDATE SET"
        " lsn = excluded.lsn, timeline = excluded.timeline, forks = excluded.forks",
        (position.lsn, position.timeline, orjson.dumps(position.forks).decode()),
    )


def get_position(connection: sqlite3.Connection) -> Position | None:
    row = connection.execute(
        "SELECT p.system, p.lsn, p.as_of, l.timeline, l.forks,"
        " (SELECT json_group_array(json_array(type, lsn, as_of)) FROM withheld)"
        " FROM position AS p LEFT JOIN lineage AS l ON l.lsn = p.lsn"
    ).fetchone()
    if row is None:
        return None
    system, lsn, as_of, timeline, forks, held = row
    held = text(held)
    withheld = () if held == "[]" else tuple(sorted(Withheld(*w) for w in orjson.loads(held)))
    before = forks_of(orjson.loads(forks)) if timeline else ()
    return Position(text(system), lsn, as_of, withheld, timeline or 0, before)


def text(value: str | bytes) -> str:
    """A TEXT column of a connection whose text factory is str or bytes."""
    return value.decode() if isinstance(value, bytes) else value
