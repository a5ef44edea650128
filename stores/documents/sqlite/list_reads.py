"""Reads lists of the SQLite document store, and keeps what their planning needs: the indexes that
the contract asks for, and statistics of them."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stores import local_state
from stores.contract.model import Contract, RecordType
from stores.documents.list_indexes import list_indexes
from stores.documents.sqlite import lists, tables
from stores.errors import StoreRefused, TooMuchWork
from stores.local_state import text
from stores.query import Listed, Statistics
from stores.sqlite_errors import primary_code

log = logging.getLogger(__name__)

KIND = "sqlite"
STEPS = 20_000
"""Steps of SQLite's machine, about a millisecond, after which it is looked whether the time is
over."""
LOOK_EVERY = 60.0
"""Seconds between two looks at a table that is written to."""
LOOK_AGAIN = 2.0
"""And where what was written is much beside what was there."""
MUCH = 1_000
"""Records that are much wherever they are written; of a large table a quarter is."""
SAMPLED = 10_000
"""Entries of each index that a look reads: more than a list may read by one value, so that a value
which too many share is seen to be one."""
_ROWS = """
CREATE TABLE IF NOT EXISTS list_rows (generation INTEGER PRIMARY KEY, rows INTEGER NOT NULL)
"""
"""A table of its own, so that an older version goes on with files that have it."""
_NO_INDEX = ("no such index", "no query solution")
_TOO_COMPLEX = ("Expression tree is too large", "parser stack overflow", "too many")
"""The beginnings of what SQLite says to a statement that is too much for it."""


def read_list(connection: sqlite3.Connection, statements: lists.ListStatements) -> Listed:
    """Return the page. Raises TooMuchWork after `query.seconds`, and StoreRefused where the index
    is not there."""
    query = statements.query
    with _limited(connection, query.seconds):
        documents: list[bytes] = []
        if query.limit:
            for statement, parameters in statements.pages():
                left = query.limit - len(documents)
                rows = connection.execute(statement, (*parameters, left))
                documents += [document for (document,) in rows]
                if len(documents) >= query.limit:
                    break
        if query.backward:
            documents.reverse()
        total = None
        if query.count:
            statement, parameters = statements.count()
            total = int(connection.execute(statement, parameters).fetchone()[0])
        before = query.look_before and _any(connection, statements.before())
        after = query.look_after and _any(connection, statements.after())
    return Listed(documents, total, before, after)


def _any(connection: sqlite3.Connection, statements: Iterator[lists.Statement]) -> bool:
    return any(connection.execute(text, (*given, 1)).fetchone() for text, given in statements)


@contextmanager
def _limited(connection: sqlite3.Connection, seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    except sqlite3.Error as error:
        code = primary_code(error)
        if code == sqlite3.SQLITE_INTERRUPT:
            raise TooMuchWork(
                f"{KIND}: the list would read more than its statistics say",
                store=KIND,
                hint="let an index serve it: `route` of the type in the contract",
            ) from None
        if code == sqlite3.SQLITE_ERROR and str(error).startswith(_NO_INDEX):
            raise StoreRefused(
                f"{KIND}: the index that the list is to be read by is not there", store=KIND
            ) from None
        if code == sqlite3.SQLITE_ERROR and str(error).startswith(_TOO_COMPLEX):
            raise StoreRefused(f"{KIND}: the filter is too large for it", store=KIND) from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


# Indexes -----------------------------------------------------------------------------------------


def missing_indexes(connection: sqlite3.Connection, contract: Contract) -> list[str]:
    """The statements that bring the indexes of all generations to what the contract says."""
    there = _indexes(connection, "")
    statements: list[str] = []
    for generation_id, type_name, _ in local_state.everything(connection):
        record_type = contract.types.get(type_name)
        if record_type is None:
            continue
        wanted = {
            lists.index_name(generation_id, record_type, names): names
            for names in list_indexes(record_type)
        }
        prefix = lists.index_prefix(generation_id)
        statements += [
            lists.create_index(generation_id, record_type, names)
            for name, names in wanted.items()
            if name not in there
        ]
        statements += [
            f"DROP INDEX {name}" for name in there if name.startswith(prefix) and name not in wanted
        ]
    return statements


def _indexes(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of all indexes, or of those of a table."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND (?1 = '' OR tbl_name = ?1)",
        (table,),
    )
    return {text(name) for (name,) in rows}


# Statistics --------------------------------------------------------------------------------------


class ListUpkeep:
    """Looks at the tables that are written to, now and then, so that lists are planned by what is
    there. Used in the writing thread only."""

    def __init__(self) -> None:
        self._written: dict[int, int] = {}
        self._looked: dict[int, float] = {}
        self._rows: dict[int, int] = {}

    def written(self, generation_id: int, rows: int) -> None:
        self._written[generation_id] = self._written.get(generation_id, 0) + rows

    def look_where_due(self, connection: sqlite3.Connection) -> None:
        """After a publish; costs nothing where nothing is due."""
        if not self._written:
            return
        now = time.monotonic()
        due = [
            g
            for g, written in self._written.items()
            if now - self._looked.get(g, float("-inf"))
            > (LOOK_AGAIN if written > max(MUCH, self._rows.get(g, 0) // 4) else LOOK_EVERY)
        ]
        for generation_id in due:
            self.look(connection, generation_id)

    def look(self, connection: sqlite3.Connection, generation_id: int) -> None:
        """Note how many rows there are, and have SQLite note how many share a value, by a
        sample."""
        self._written.pop(generation_id, None)
        self._looked[generation_id] = time.monotonic()
        try:
            self._note(connection, generation_id)
        except sqlite3.Error as error:  # what is noted of before is as good as it was
            log.warning("%s: a table cannot be looked at: %s", KIND, error)

    def _note(self, connection: sqlite3.Connection, generation_id: int) -> None:
        connection.execute(f"PRAGMA analysis_limit = {SAMPLED}")
        name = tables.table(generation_id)
        if not connection.execute(tables.EXISTS, (name,)).fetchone():
            return
        connection.execute(f"ANALYZE {name}")
        rows = int(connection.execute(tables.count(generation_id)).fetchone()[0])
        self._rows[generation_id] = rows
        connection.execute(_ROWS)
        connection.execute(
            "INSERT INTO list_rows VALUES (?1, ?2) ON CONFLICT DO UPDATE SET rows = ?2",
            (generation_id, rows),
        )


def read_statistics(
    connection: sqlite3.Connection, record_type: RecordType, generation_id: int, number: int
) -> Statistics:
    """Return what the last look has noted, and which indexes are there now."""
    name = tables.table(generation_id)
    there = _indexes(connection, name)
    noted: dict[str, str] = {}
    if connection.execute(tables.EXISTS, ("sqlite_stat1",)).fetchone():
        rows = connection.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = ?", (name,))
        noted = {text(index): text(stat) for index, stat in rows if index is not None}
    found: dict[tuple[str, ...], tuple[float, ...]] = {}
    for names in list_indexes(record_type):
        index = lists.index_name(generation_id, record_type, names)
        if index in there:
            found[names] = _shares(noted.get(index, ""))
    counted: int | None = None
    if connection.execute(tables.EXISTS, ("list_rows",)).fetchone():
        row = connection.execute(
            "SELECT rows FROM list_rows WHERE generation = ?", (generation_id,)
        ).fetchone()
        counted = int(row[0]) if row else None
    return Statistics(number, counted, tuple(found.items()))


def _shares(stat: str) -> tuple[float, ...]:
    """About how many share the first column, the first two, …: what follows the number of rows."""
    return tuple(float(word) for word in stat.split()[1:] if word.isdigit())
