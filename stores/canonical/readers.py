"""Connections for statements that give JSON: kept prepared, handed out last in first out, and
driven through libpq itself, since a pool's and a cursor's own work costs more than such a
statement does.

A connection's socket stays watched by the event loop, so that one that the server ended is dropped
at once, and a query waits for one wake-up only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg_pool import PoolClosed, PoolTimeout

from stores.recent import Recent

KEPT_STATEMENTS = 200
"""Prepared statements a connection; the one that was not used for longest is given up for a new
one."""
CANCEL_SECONDS = 2.0

Parameter = str | list[str]


class Readers:
    """A pool of at most `size` connections, which `connect` opens on demand. It belongs to one
    event loop. `lost` is called when the server closes an idle connection."""

    def __init__(
        self, connect: Callable[[], Any], size: int, lost: Callable[[], None] = lambda: None
    ) -> None:
        self._lost = lost
        self._connect, self._size = connect, size
        self._idle: list[PooledConnection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._count = 0
        self._closed = False

    async def read(
        self, text: str, parameters: Sequence[Parameter], *, prepare: bool, wait: float
    ) -> bytes | None:
        """Return the first value of the first row, or None if there is no row. Wait up to `wait`
        seconds for a free connection. Raise PoolTimeout, PoolClosed and psycopg.Error. A
        cancelled caller leaves no statement running."""
        result = await self._result(text, parameters, prepare, wait)
        return result.get_value(0, 0) if result.ntuples else None

    async def rows(
        self, text: str, parameters: Sequence[Parameter], *, wait: float
    ) -> dict[int, bytes | None]:
        """Return the second column of a statement's rows by the first one, which is a number. Wait
        and raise as `read` does."""
        result = await self._result(text, parameters, True, wait)
        value = result.get_value
        return {int(value(row, 0) or 0): value(row, 1) for row in range(result.ntuples)}

    async def _result(
        self, text: str, parameters: Sequence[Parameter], prepare: bool, wait: float
    ) -> PGresult:
        reader = self._idle.pop() if self._idle else await self._take(wait)
        try:
            return await reader.read(text, parameters, prepare=prepare)
        finally:
            self._give_back(reader)

    async def close(self) -> None:
        """Close what is idle now, and what is in use when it is given back."""
        self._closed = True
        self.drop_idle()
        self._wake(len(self._waiting))

    def drop_idle(self) -> None:
        """End the idle connections: after a restart of the server all of them are dead."""
        idle, self._idle = self._idle, []
        for reader in idle:
            self._end(reader)

    async def _take(self, wait: float) -> PooledConnection:
        try:
            async with asyncio.timeout(wait):
                while True:
                    if self._closed:
                        raise PoolClosed("the connections are closed")
                    if self._idle:
                        return self._idle.pop()
                    if self._count < self._size:
                        return await self._make()
                    await self._turn()
        except TimeoutError:
            raise PoolTimeout("no connection became free in time") from None

    async def _make(self) -> PooledConnection:
        self._count += 1
        try:
            return PooledConnection(await self._connect(), self._gone)
        except BaseException:
            self._count -= 1
            self._wake(1)
            raise

    async def _turn(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._wake(1)
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(future)

    def _wake(self, number: int) -> None:
        while number and self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                number -= 1

    def _give_back(self, reader: PooledConnection) -> None:
        if self._closed or not reader.usable:
            self._end(reader)
            return
        self._idle.append(reader)
        if self._waiting:
            self._wake(1)

    def _gone(self, reader: PooledConnection) -> None:
        """The server ended an idle connection."""
        if reader in self._idle:
            self._lost()
            self._idle.remove(reader)
            self._end(reader)

    def _end(self, reader: PooledConnection) -> None:
        reader.end()
        self._count -= 1
        self._wake(1)


class PooledConnection:
    """A connection of the pool. `gone` is called when it turns out to be broken while idle."""

    def __init__(
        self, conn: psycopg.AsyncConnection[Any], gone: Callable[[PooledConnection], None]
    ) -> None:
        self._conn, self._gone = conn, gone
        self._pgconn = conn.pgconn
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._writing = False
        self._names: Recent[str, bytes] = Recent(KEPT_STATEMENTS)
        self._made = 0
        self._socket = self._pgconn.socket  # libpq forgets it when it closes it
        self._loop.add_reader(self._socket, self._ready)

    @property
    def usable(self) -> bool:
        return (
            self._pgconn.status == ConnStatus.OK
            and self._pgconn.transaction_status == TransactionStatus.IDLE
        )

    def end(self) -> None:
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1
        self._pgconn.finish()

    async def read(self, text: str, parameters: Sequence[Parameter], *, prepare: bool) -> PGresult:
        values = [p.encode() if isinstance(p, str) else array_text(p) for p in parameters]
        name = self._names.get(text)
        try:
            if name is not None:
                self._pgconn.send_query_prepared(name, values)
            elif prepare:
                self._pgconn.send_query_prepared(await self._prepare(text), values)
            else:
                self._pgconn.send_query_params(text.encode(), values)
            result = await self._result()
        except asyncio.CancelledError:
            await self._stop()
            raise
        if result.status != ExecStatus.TUPLES_OK:
            raise error_from_result(result, encoding="utf-8")
        return result

    async def _prepare(self, text: str) -> bytes:
        old = self._names.make_room()
        if old is not None:
            self._pgconn.send_query_params(b"DEALLOCATE " + old, None)
            await self._result()
        self._made += 1
        name = b"r%d" % self._made
        self._pgconn.send_prepare(name, text.encode())
        result = await self._result()
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, encoding="utf-8")
        self._names.keep(text, name)
        return name

    async def _result(self) -> PGresult:
        """The result of what was sent, once it is there whole."""
        pgconn = self._pgconn
        if pgconn.flush():
            self._writing = True
            self._loop.add_writer(self._socket, self._ready)
        last: PGresult | None = None
        while True:
            while pgconn.is_busy() or self._writing:
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
                if pgconn.status != ConnStatus.OK:
                    raise psycopg.OperationalError("the connection is lost")
            result = pgconn.get_result()
            if result is None:
                break
            last = result
        if last is None:
            raise psycopg.OperationalError("the connection is lost")
        return last

    def _ready(self) -> None:
        """The socket has something to read, or room to write."""
        pgconn = self._pgconn
        try:
            if self._writing and not pgconn.flush():
                self._writing = False
                self._loop.remove_writer(self._socket)
            pgconn.consume_input()
            busy = pgconn.is_busy()
        except psycopg.Error:
            self._lost()
            return
        if pgconn.status != ConnStatus.OK:
            self._lost()
        elif self._waiter is not None and not self._waiter.done() and not busy:
            self._waiter.set_result(None)

    def _lost(self) -> None:
        self.end()
        if self._waiter is None:
            self._gone(self)
        elif not self._waiter.done():
            self._waiter.set_result(None)

    async def _stop(self) -> None:
        """Cancel what runs, so that the connection can be used again; end it where that takes
        long."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._conn.cancel_safe(timeout=CANCEL_SECONDS)
                await self._result()
        except (TimeoutError, psycopg.Error, asyncio.CancelledError):
            self.end()


def array_text(items: Sequence[str]) -> bytes:
    """A list as the text of a one-dimensional array."""
    quoted = ('"' + i.replace("\\", "\\\\").replace('"', '\\"') + '"' for i in items)
    return ("{" + ",".join(quoted) + "}").encode()
