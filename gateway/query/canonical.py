"""Sends compiled statements to canonical and brings back their one JSON value."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from gateway.compiler import Statement
from gateway.context.services import Services
from gateway.http.deadlines import Limit
from stores.canonical.driver_errors import STORE, translate
from stores.canonical.readers import Parameter
from stores.errors import StoreUnavailable, TimeoutExceeded

NO_CONNECTION = (PoolTimeout, PoolClosed, TooManyRequests)
MAX_WAIT = 5.0
"""Seconds that a query waits for a connection; less where queries themselves are given little
time."""


async def fetch_json(
    services: Services,
    statement: Statement,
    parameters: Sequence[Parameter],
    *,
    prepare: bool = False,
) -> bytes | None:
    """The JSON that a statement gives, marks included; None where it gives no row. `prepare`: it
    will be sent again.

    Stopped after `Limits.statement_timeout`. Raises TimeoutExceeded, StoreUnavailable, InputError
    for a value that its type cannot hold, and what else `driver_errors` knows.
    """
    began = time.monotonic()
    try:
        found = await _read(services, statement, parameters, prepare)
    except StoreUnavailable:
        connected = services.listener.connected
        services.away.failed(began, time.monotonic(), connected=connected)
        raise
    services.away.succeeded(time.monotonic())
    return found


async def _read(
    services: Services, statement: Statement, parameters: Sequence[Parameter], prepare: bool
) -> bytes | None:
    seconds = services.limits.statement_timeout
    try:
        with Limit(seconds):
            try:
                return await _fetch(services, statement, parameters, prepare)
            except NO_CONNECTION:
                raise
            except psycopg.OperationalError as error:
                if error.sqlstate is not None and not error.sqlstate.startswith("57P"):
                    raise
                # The connection was lost, as all are when the server restarts: a read may go again.
                await services.pool.check()
                return await _fetch(services, statement, parameters, prepare)
    except TimeoutError:
        raise TimeoutExceeded(
            f"the query took longer than {seconds:g} s", hint="ask for less, or by an indexed field"
        ) from None
    except NO_CONNECTION:
        raise no_connection() from None
    except psycopg.errors.QueryCanceled:
        raise TimeoutExceeded("canonical stopped the query: it took too long") from None
    except psycopg.Error as error:
        raise translate(error, services.contract) from error


def no_connection() -> StoreUnavailable:
    return StoreUnavailable("canonical has no connection free", store=STORE)


async def _fetch(
    services: Services,
    statement: Statement,
    parameters: Sequence[Parameter],
    prepare: bool,
) -> bytes | None:
    seconds = services.limits.statement_timeout
    wait = min(MAX_WAIT, seconds / 2)
    if statement.joint is not None:
        keys = cast(list[str], parameters)  # it has no other parameters
        return await services.pool.joint.read(statement.joint, keys, wait=wait, seconds=seconds)
    return await services.pool.readers.read(statement.text, parameters, prepare=prepare, wait=wait)
