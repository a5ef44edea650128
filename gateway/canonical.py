"""Sends compiled statements to canonical and brings back their one JSON value."""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import AsyncRawCursor
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from gateway.compiler import Statement
from gateway.services import Services
from stores.canonical.driver_errors import STORE, translate
from stores.errors import StoreUnavailable, TimeoutExceeded


async def fetch_json(services: Services, statement: Statement) -> bytes | None:
    """The JSON text that `statement` gives; None where it gives no row.

    Stopped after `Limits.statement_timeout`. Raises TimeoutExceeded, StoreUnavailable, InputError for a
    value that its type cannot hold, and what else `driver_errors` knows.
    """
    seconds = services.limits.statement_timeout
    try:
        # The driver cancels the statement in the server when the time is up, or the caller gone.
        async with (
            asyncio.timeout(seconds),
            services.pool.connection(timeout=seconds) as conn,
            AsyncRawCursor(conn) as cursor,
        ):
            await cursor.execute(statement.text.encode(), statement.parameters, prepare=True)
            result = cursor.pgresult
            if result is None or result.ntuples == 0:
                return None
            return result.get_value(0, 0)
    except TimeoutError:
        raise TimeoutExceeded(
            f"the query took longer than {seconds:g} s", hint="ask for less, or by an indexed field"
        ) from None
    except (PoolTimeout, PoolClosed, TooManyRequests):
        raise StoreUnavailable("canonical has no connection free", store=STORE) from None
    except psycopg.errors.QueryCanceled:
        raise TimeoutExceeded("canonical stopped the query: it took too long") from None
    except psycopg.Error as error:
        raise translate(error, services.contract) from error
