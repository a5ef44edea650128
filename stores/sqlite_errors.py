"""SQLite's errors in our terms, for the stores that keep files of this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from stores.errors import StoreError, StoreLost, StoreRefused, StoreUnavailable

_LOST = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""SQLITE_ERROR is "no such table": every statement is ours, so the file is not what we left."""
_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_ACCESS = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_AUTH,
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_TOO_LARGE = {sqlite3.SQLITE_TOOBIG}


def primary_code(error: sqlite3.Error) -> int:
    """The primary result code of `error` (extended codes hold it in the low byte), 0 if unknown."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def translate(error: sqlite3.Error, store: str, where: str) -> StoreError:
    """Return one of our errors for `error`, without SQL and values. `where` names the file."""
    code = primary_code(error)
    if code in _LOST:
        return StoreLost(
            f"{store}: {where} is damaged",
            store=store,
            hint="remove the file; the next start reloads it from canonical",
        )
    if code in _DISK:
        return StoreUnavailable(
            f"{store}: {where} cannot be written or read: the disk is full or failing",
            store=store,
            hint="free space on the disk of data_dir; writing then continues by itself",
        )
    if code in _ACCESS:
        return StoreUnavailable(
            f"{store}: {where} cannot be opened",
            store=store,
            hint="give this account read and write access to data_dir",
        )
    if code in _BUSY:
        return StoreUnavailable(
            f"{store}: {where} is locked by another process", store=store, retry_after=0.5
        )
    if code in _TOO_LARGE:
        return StoreRefused(f"{store}: a value is larger than the store accepts", store=store)
    return StoreUnavailable(f"{store}: {where} failed (SQLite code {code})", store=store)


@contextmanager
def translated(store: str, where: str) -> Iterator[None]:
    """Raise `translate`'s error for any error of SQLite inside the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, store, where) from error
