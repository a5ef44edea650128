"""Brings the platform's own tables (schema `recordgate`) up to date, safely from several processes
at once."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg

from stores.canonical.connect import Connection, connect, transaction_for_ddl
from stores.canonical.driver_errors import translate
from stores.errors import SetupError

HEAD = "0015"
"""The newest revision in `versions/`; a test compares. Known here so that a check needs no
Alembic."""

LOCK = 0x7265_636F_7264_0001
"""Key of the advisory lock under which one process migrates."""

_ONE_THREAD = threading.Lock()
"""Alembic's `context` is one for the whole process."""


def migrate(where: str | Connection) -> bool:
    """Migrate the database at a URL, or of a connection that is in no transaction. True where
    something was done. All in one transaction: a crash leaves the old state. Raises SetupError
    where the database has been migrated by a newer recordgate."""
    if isinstance(where, str):
        with connect(where) as conn:
            return migrate(conn)
    try:
        if current(where) == HEAD:
            return False
        return _upgrade(where)
    except psycopg.Error as error:
        raise translate(error) from None


def current(conn: Connection) -> str | None:
    """The revision that the database has; None before the first migration."""
    if _one(conn, b"SELECT pg_catalog.to_regclass('recordgate.schema_version')") is None:
        return None
    found = _one(conn, b"SELECT version_num FROM recordgate.schema_version")
    return None if found is None else str(found)


def require_current(conn: Connection) -> None:
    """Raises SetupError where the tables are not those of this version."""
    if current(conn) != HEAD:
        raise SetupError(
            "recordgate's own tables in canonical belong to another version",
            hint="run `recordgate apply`",
        )


def _one(conn: Connection, query: bytes) -> object:
    row = conn.execute(query).fetchone()
    return row[0] if row else None


def _upgrade(conn: Connection) -> bool:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    known = {s.revision for s in ScriptDirectory.from_config(config).walk_revisions()}
    with _ONE_THREAD, transaction_for_ddl(conn) as bound:
        conn.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", (LOCK,))
        before = current(conn)  # another process may have been faster
        if before == HEAD:
            return False
        if before is not None and before not in known:
            raise SetupError(
                f"the database was migrated by a newer recordgate (revision {before})",
                hint="use that version of recordgate, or a newer one",
            )
        conn.execute("CREATE SCHEMA IF NOT EXISTS recordgate")
        config.attributes["connection"] = bound
        command.upgrade(config, "head")
    return True
