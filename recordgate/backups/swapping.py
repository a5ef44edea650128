"""Puts a new database in the place of another one: made beside it, filled, and renamed.

A database that is filled anew in its place would keep its identity, and stores and freshness
tokens that know of changes after the backup would be believed. A new one has an identity of its
own: everything that was recorded of the old one is of another database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from zlib import crc32

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stores.canonical.driver_errors import translate
from stores.errors import ConflictError, SetupError

Admin: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_NEW, _OLD = "_recordgate_new_", "_recordgate_old_"
_SAME = """
SELECT pg_encoding_to_char(encoding), datlocprovider::text, datcollate, datctype,
  coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
FROM pg_database AS d WHERE datname = %s
"""
_SLOTS = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
WHERE database = %s AND NOT active
"""
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


@contextmanager
def replacement(url: str) -> Iterator[str]:
    """Give the URL of a new, empty database beside that of `url`; it takes its place when the block
    ends well, and is dropped when it does not.

    Raises SetupError where the account may not make databases, ConflictError where somebody is
    connected to the old one.
    """
    name = str(conninfo_to_dict(url).get("dbname") or "")
    new = f"{_begins(name, _NEW)}{os.getpid()}"
    with _admin(url) as conn:
        row = conn.execute("SELECT pg_try_advisory_lock(%s)", (_lock(name),)).fetchone()
        if not row or not row[0]:
            raise ConflictError(
                "another restore of this database runs", hint="wait until it has ended"
            )
        _remove_abandoned(conn, name)
        _create(conn, new, like=name)
        try:
            yield make_conninfo(url, dbname=new)
            _swap(conn, name, new)
        except BaseException:
            _drop(conn, new)
            raise
        _remove_abandoned(conn, name)


@contextmanager
def _admin(url: str) -> Iterator[Admin]:
    """Connect to a database of the server that is not replaced."""
    try:
        conn = psycopg.connect(
            make_conninfo(url, dbname="postgres", application_name="recordgate restore"),
            autocommit=True,
        )
    except psycopg.Error as error:
        raise translate(error) from None
    with conn:
        yield conn


def _begins(name: str, mark: str) -> str:
    """Return how the name of a database beside `name` begins: never as one beside another does."""
    return f"{name.encode()[:20].decode(errors='ignore')}{mark}{crc32(name.encode()):08x}_"


def _lock(name: str) -> int:
    """Return the key of the lock that one restore of a database holds."""
    return 0x7265_636F_0000_0000 | crc32(name.encode())


def _create(conn: Admin, new: str, *, like: str) -> None:
    row = conn.execute(_SAME.encode(), (like,)).fetchone()
    assert row is not None
    encoding, provider, collate, ctype, locale = row
    options = [
        sql.SQL("ENCODING {}").format(sql.Literal(encoding)),
        sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(_PROVIDERS[provider])),
        sql.SQL("LC_COLLATE {}").format(sql.Literal(collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(ctype)),
    ]
    if provider == "i":
        options.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(locale)))
    if provider == "b":
        options.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(locale)))
    try:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(
                sql.Identifier(new), sql.SQL(" ").join(options)
            )
        )
    except psycopg.errors.InsufficientPrivilege:
        raise SetupError(
            "the account of the setting `postgres` may not make a database",
            hint="give it CREATEDB; or restore into an empty database, and name that one",
        ) from None
    except psycopg.Error as error:
        raise translate(error) from None


def _swap(conn: Admin, name: str, new: str) -> None:
    """Rename both in one transaction. Slots of the old one have names that a worker would look
    for."""
    old = f"{_begins(name, _OLD)}{os.getpid()}"
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    try:
        conn.execute(_SLOTS.encode(), (name,))
        with conn.transaction():
            conn.execute(rename.format(sql.Identifier(name), sql.Identifier(old)))
            conn.execute(rename.format(sql.Identifier(new), sql.Identifier(name)))
    except psycopg.errors.ObjectInUse:
        raise ConflictError(
            "somebody is connected to the database",
            hint="stop what uses it, restore, and start it again",
        ) from None
    except psycopg.Error as error:
        raise translate(error) from None


def _remove_abandoned(conn: Admin, name: str) -> None:
    """Drop what this restore, or one that was killed, has left."""
    names = conn.execute("SELECT datname FROM pg_database").fetchall()
    for (found,) in names:
        for mark in (_NEW, _OLD):
            if found.startswith(_begins(name, mark)) and found.rpartition("_")[2].isdecimal():
                _drop(conn, found)


def _drop(conn: Admin, name: str) -> None:
    try:
        conn.execute(_SLOTS.encode(), (name,))
        conn.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )
    except psycopg.Error as error:
        raise translate(error) from None
