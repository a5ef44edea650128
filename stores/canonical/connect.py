"""Connections to canonical: session settings pinned, the server's version checked, errors
translated."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from stores.canonical.driver_errors import translate
from stores.canonical.joint_reads import JointReads
from stores.canonical.json_form import session_options
from stores.canonical.readers import Readers
from stores.errors import SetupError
from stores.lineage import Lineage

MINIMUM_VERSION = 160000
STORE = "postgres"

Connection: TypeAlias = "psycopg.Connection[TupleRow]"
AsyncConnection: TypeAlias = "psycopg.AsyncConnection[TupleRow]"


def database_of(url: str) -> str:
    """The name of the database that `url` leads to, as libpq finds it. Raises SetupError."""
    given = conninfo_to_dict(conninfo(url))
    return str(given.get("dbname") or given.get("user") or "")


def conninfo(url: str, **parameters: Any) -> str:
    """The connection string of `url` with our session settings. Options in `url` come before ours,
    so that they count only where ours say nothing; `parameters` are libpq's."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SetupError(
            "the URL of canonical is not a valid Postgres connection URL",
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
    """Open a connection as `connect` does, for an event loop."""
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


SURE_WITHIN = 2.0
"""Seconds in which a connection that is in doubt must answer."""
RECONNECT = 4.0
"""Seconds for which the pool tries by itself to connect again: its pauses double, and after a long
outage the next request must not wait for the end of one."""


class Pool(AsyncConnectionPool["AsyncConnection"]):
    """A pool, and as many connections again for `readers`: reads and everything else cannot starve
    each other.

    A restart of the server ends every idle connection, and who sends a write on such a one cannot
    know what came of it: so a connection is looked at before it is handed out. That the server
    ended it is seen on its socket without asking; once any connection was lost, each of the others
    is asked once, for not every end is seen so.
    """

    def __init__(self, conninfo: str, *, max_size: int, **options: Any) -> None:
        self._sure: WeakKeyDictionary[AsyncConnection, float] = WeakKeyDictionary()
        self._lost_at = 0.0
        self.systems: WeakKeyDictionary[AsyncConnection, str] = WeakKeyDictionary()
        """The database that each connection has led to: the same address may lead to another one
        tomorrow."""
        super().__init__(conninfo, max_size=max_size, configure=self._made, **options)
        self.readers = Readers(self._reader, max_size, self.lost)
        self.joint = JointReads(self.readers)

    async def _made(self, conn: AsyncConnection) -> None:
        check_version(conn)
        row = await (await conn.execute(SYSTEM_IDENTITY.encode())).fetchone()
        assert row is not None
        self.systems[conn] = str(row[0])
        self._sure[conn] = monotonic()

    async def _reader(self) -> AsyncConnection:
        return await psycopg.AsyncConnection.connect(str(self.conninfo), autocommit=True)

    def lost(self) -> None:
        """A connection was lost: the others are in doubt."""
        self._lost_at = monotonic()

    async def getconn(self, timeout: float | None = None) -> AsyncConnection:  # noqa: ASYNC109
        """A connection that lived a moment ago. Raises PoolTimeout, PoolClosed."""
        until = monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            conn = await super().getconn(until - monotonic())
            try:
                alive = await self._lives(conn)
            except BaseException:
                await self.putconn(conn)
                raise
            if alive:
                return conn
            await conn.close()
            await self.putconn(conn)  # it is replaced

    async def _lives(self, conn: AsyncConnection) -> bool:
        if not _heard_from(conn) and self._sure.get(conn, 0.0) >= self._lost_at:
            return True
        try:
            async with asyncio.timeout(SURE_WITHIN):
                await conn.execute(b"")
        except (psycopg.Error, TimeoutError):
            return False
        self._sure[conn] = monotonic()
        return True

    async def putconn(self, conn: AsyncConnection) -> None:
        if conn.closed:
            self.lost()
        await super().putconn(conn)

    async def check(self) -> None:
        self.lost()
        self.readers.drop_idle()
        await super().check()

    async def close(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 (the base class)
        await self.readers.close()
        await super().close(timeout)


def _heard_from(conn: AsyncConnection) -> bool:
    """Return whether the server has sent something on a connection that asks nothing: most often
    the notice that it ends the connection. No round trip."""
    socket = conn.pgconn.socket
    if socket < 0:
        return True
    look = select.poll()
    look.register(socket, select.POLLIN)
    return bool(look.poll(0))


def make_pool(url: str, size: int, **parameters: Any) -> Pool:
    """A pool of up to `size` autocommit connections, not yet open: `await pool.open()`. A
    connection that is returned broken is replaced in the background."""
    return Pool(
        conninfo(url, **parameters),
        kwargs={"autocommit": True},
        min_size=min(2, size),
        max_size=size,
        timeout=10.0,
        reconnect_timeout=RECONNECT,
        max_idle=300.0,
        open=False,
        name=f"canonical-{os.getpid()}",
    )


def check_version(conn: Connection | AsyncConnection) -> None:
    """Raise SetupError where the server is too old."""
    version = conn.info.server_version
    if version < MINIMUM_VERSION:
        raise SetupError(
            f"canonical runs Postgres {version // 10000}, but recordgate needs"
            f" {MINIMUM_VERSION // 10000} or newer",
            hint="upgrade the server, or set `postgres` to another one",
        )


SYSTEM_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text || '/' || oid::text
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""

TIMELINE = """(CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE
 ('x' || left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()),
   8))::bit(32)::bigint END)"""
"""The timeline that is written, 0 on a standby. Of all that tell it, only the names of WAL files
need no rights and are right at once: what pg_control_checkpoint() says is of the last
checkpoint, which comes after a promotion."""

LINEAGE = f"""
SELECT i.system, {TIMELINE}, coalesce((SELECT l.first FROM recordgate.lineage AS l
  WHERE l.system = i.system), 0)
  FROM ({SYSTEM_IDENTITY}) AS i(system)
"""  # noqa: S608 - made of our own constants
"""Identity, timeline, and the timeline of what was recorded without one (0: not known)."""

TEXT_ORDER_IS_BYTEWISE = """
SELECT CASE datlocprovider WHEN 'b' THEN true ELSE datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8')
  END
  FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""
"""The builtin provider's locales (C, C.UTF-8, PG_UNICODE_FAST) all order by code point, which is
the order of UTF-8's bytes; so does the C locale of libc."""


def system_identity(conn: Connection) -> str:
    """ "<system identifier>/<database OID>": which database this is, whatever address it has."""
    return str(_one(conn, SYSTEM_IDENTITY))


def lineage(conn: Connection) -> Lineage:
    """Return the database's identity and the timeline that it writes, without the forks, which not
    every role can read."""
    try:
        row = conn.execute(LINEAGE.encode()).fetchone()
    except psycopg.Error as error:
        raise translate(error) from None
    assert row is not None
    return Lineage(str(row[0]), int(row[1]), first=int(row[2] or row[1]))


def text_order_is_bytewise(conn: Connection) -> bool:
    """Return whether the database's default collation orders text by its UTF-8 bytes."""
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
    """An SQLAlchemy connection over `conn` in one transaction, for Alembic; committed at the
    end."""
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
