"""Connections to canonical: session settings pinned, the server's version checked, errors translated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from stores.canonical.driver_errors import translate
from stores.canonical.joint_reads import JointReads
from stores.canonical.json_form import session_options
from stores.canonical.readers import Readers
from stores.errors import SetupError

MINIMUM_VERSION = 160000
STORE = "postgres"

Connection: TypeAlias = "psycopg.Connection[TupleRow]"
AsyncConnection: TypeAlias = "psycopg.AsyncConnection[TupleRow]"


def database_of(url: str) -> str:
    """The name of the database that `url` leads to, as libpq finds it. Raises SetupError."""
    given = conninfo_to_dict(conninfo(url))
    return str(given.get("dbname") or given.get("user") or "")


def conninfo(url: str, **parameters: Any) -> str:
    """The connection string of `url` with our session settings. Options in `url` come before ours, so
    that they count only where ours say nothing; `parameters` are libpq's."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SetupError(
            "the URL of canonical is not one that Postgres understands",
            hint="write it as postgresql://user@host:5432/database",
        ) from None
    options = f"{given.pop('options', '') or ''} {session_options()}".strip()
    if parameters.get("options"):
        options += f" {parameters.pop('options')}"
    defaults: dict[str, Any] = {
        "application_name": "recordgate",
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
    }
    forced = {"options": options, "client_encoding": "UTF8"}
    return make_conninfo("", **{**defaults, **given, **parameters, **forced})


def connect(
    url: str, *, autocommit: bool = True, prepare_threshold: int | None = 5, **parameters: Any
) -> Connection:
    """A connection with SESSION_SETTINGS. Raises StoreUnavailable or SetupError."""
    try:
        conn = psycopg.connect(
            conninfo(url, **parameters), autocommit=autocommit, prepare_threshold=prepare_threshold
        )
    except psycopg.Error as error:
        raise translate(error) from None
    try:
        check_version(conn)
    except SetupError:
        conn.close()
        raise
    return conn


async def connect_async(
    url: str, *, autocommit: bool = True, prepare_threshold: int | None = 5, **parameters: Any
) -> AsyncConnection:
    """As `connect`, for an event loop."""
    try:
        conn = await psycopg.AsyncConnection.connect(
            conninfo(url, **parameters), autocommit=autocommit, prepare_threshold=prepare_threshold
        )
    except psycopg.Error as error:
        raise translate(error) from None
    try:
        check_version(conn)
    except SetupError:
        await conn.close()
        raise
    return conn


class Pool(AsyncConnectionPool["AsyncConnection"]):
    """A pool, and as many connections again for `readers`: reads and everything else cannot starve each
    other."""

    def __init__(self, conninfo: str, *, max_size: int, **options: Any) -> None:
        super().__init__(conninfo, max_size=max_size, **options)
        self.readers = Readers(self._reader, max_size)
        self.joint = JointReads(self.readers)

    async def _reader(self) -> AsyncConnection:
        return await psycopg.AsyncConnection.connect(str(self.conninfo), autocommit=True)

    async def check(self) -> None:
        self.readers.drop_idle()
        await super().check()

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 (as the base class has it)
        await self.readers.close()
        await super().close(timeout)


def make_pool(url: str, size: int, **parameters: Any) -> Pool:
    """A pool of up to `size` autocommit connections, not yet open: `await pool.open()`. A connection
    that is returned broken is replaced in the background."""

    async def configure(conn: AsyncConnection) -> None:
        check_version(conn)

    return Pool(
        conninfo(url, **parameters),
        kwargs={"autocommit": True},
        min_size=min(2, size),
        max_size=size,
        configure=configure,
        timeout=10.0,
        max_idle=300.0,
        open=False,
        name=f"canonical-{os.getpid()}",
    )


def check_version(conn: Connection | AsyncConnection) -> None:
    """Raise SetupError where the server is too old."""
    version = conn.info.server_version
    if version < MINIMUM_VERSION:
        raise SetupError(
            f"canonical is Postgres {version // 10000}; recordgate needs {MINIMUM_VERSION // 10000} or newer",
            hint="upgrade the server, or set `postgres` to another one",
        )


SYSTEM_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text || '/' || oid::text
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""

TEXT_ORDER_IS_BYTEWISE = """
SELECT CASE datlocprovider WHEN 'b' THEN true ELSE datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') END
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
"""The builtin provider's locales (C, C.UTF-8, PG_UNICODE_FAST) all order by code point, which is the
order of UTF-8's bytes; so does the C locale of libc."""


def system_identity(conn: Connection) -> str:
    """ "<system identifier>/<database OID>": which database this is, whatever address it has."""
    return str(_one(conn, SYSTEM_IDENTITY))


def text_order_is_bytewise(conn: Connection) -> bool:
    """Whether the database's default collation orders text by its UTF-8 bytes."""
    return bool(_one(conn, TEXT_ORDER_IS_BYTEWISE))


def _one(conn: Connection, query: str) -> Any:
    try:
        row = conn.execute(query.encode()).fetchone()
    except psycopg.Error as error:
        raise translate(error) from None
    assert row is not None
    return row[0]


@contextmanager
def transaction_for_ddl(conn: Connection) -> Iterator[Any]:
    """An SQLAlchemy connection over `conn` in one transaction, for Alembic; committed at the end."""
    import sqlalchemy as sa
    from sqlalchemy.pool import StaticPool

    before = conn.autocommit
    conn.autocommit = False  # SQLAlchemy leaves BEGIN to the driver
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=lambda: conn,
        poolclass=StaticPool,
        use_native_hstore=False,
    )
    try:
        try:
            with engine.begin() as bound:
                yield bound
        except sa.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise error.orig from None
            raise
    except BaseException:
        if not conn.closed:
            conn.rollback()
        raise
    finally:
        if not conn.closed:
            conn.autocommit = before
