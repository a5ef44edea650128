"""The rows of a COPY … TO STDOUT in blocks, read through libpq itself: a driver's loop costs more a
row than Postgres takes to make one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

CANCEL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Block:
    """Some whole rows; in CSV the head line counts as one of them."""

    data: bytes
    rows: int


async def copy_out(
    conn: psycopg.AsyncConnection[Any], statement: sql.Composable, size: int
) -> AsyncGenerator[Block, None]:
    """Blocks of about `size` bytes. A generator that is closed early cancels the COPY and closes
    the connection. Raises psycopg.Error."""
    pgconn = conn.pgconn
    whole = False
    try:
        pgconn.send_query(statement.as_bytes(conn))
        while pgconn.flush():
            await _readable(pgconn)
        result = await _result(pgconn)
        if result is None or result.status != ExecStatus.COPY_OUT:
            whole = True
            raise _refused(result)
        parts: list[bytes | memoryview] = []
        held = 0
        while True:
            count, data = pgconn.get_copy_data(1)
            if count > 0:
                parts.append(data)
                held += count
                if held >= size:
                    yield Block(b"".join(parts), len(parts))
                    parts, held = [], 0
            elif count == 0:
                await _readable(pgconn)
            else:
                break
        if parts:
            yield Block(b"".join(parts), len(parts))
        result = await _result(pgconn)
        while result is not None and await _result(pgconn) is not None:
            pass
        whole = True
        if result is None or result.status != ExecStatus.COMMAND_OK:
            raise _refused(result)
    finally:
        if not whole:
            with suppress(psycopg.Error, TimeoutError):
                await conn.cancel_safe(timeout=CANCEL_SECONDS)
            await conn.close()


def _refused(result: PGresult | None) -> psycopg.Error:
    if result is None:
        return psycopg.OperationalError("the connection is lost")
    return error_from_result(result, encoding="utf-8")


async def _result(pgconn: PGconn) -> PGresult | None:
    while pgconn.is_busy():
        await _readable(pgconn)
    return pgconn.get_result()


async def _readable(pgconn: PGconn) -> None:
    """Wait until the server has sent something, and read it."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    socket = pgconn.socket
    loop.add_reader(socket, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(socket)
    pgconn.consume_input()


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
