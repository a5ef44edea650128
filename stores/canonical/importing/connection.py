"""Connections of an import: no time limits, locks freed when the process dies, errors made ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from stores.canonical import connect as canonical
from stores.canonical.driver_errors import translate
from stores.contract.model import Contract

Connection = canonical.Connection

_OPTIONS = (
    " -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c lock_timeout=0"
    # A statement ends within a second of its client's death, and its locks with it.
    " -c client_connection_check_interval=1000"
    " -c work_mem=64MB -c maintenance_work_mem=64MB -c jit=off"
)


def connect(url: str) -> Connection:
    """An autocommit connection that prepares nothing. Raises StoreUnavailable or SetupError."""
    return canonical.connect(url, prepare_threshold=None, options=_OPTIONS)


@contextmanager
def translated(contract: Contract | None = None) -> Iterator[None]:
    """Turns an error of the driver into one of ours."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, contract) from error
