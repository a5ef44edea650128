"""Classifies the worker's failures: their code, whether they mend themselves while somebody waits,
and how much of the work they are about: the session, one record type, or one record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from stores.errors import ContractError, NotReadable, RecordgateError, SetupError

_OF_THE_SESSION = frozenset(("08", "25", "26", "28", "3D", "57"))
"""Classes of SQLSTATE: connection, state of the transaction, a statement that the session has
forgotten, log-in, database, the operator who ends it."""
_OF_A_VALUE = frozenset(("22", "23", "2F", "38", "39", "44", "54", "P0", "XX"))
"""Data, constraint, routine, check option, program limit, a raised exception, and damaged data."""
_CANCELED = "57014"
"""A statement that took longer than the server allows, or that somebody has stopped."""

HINT = "correct what the reason names; the worker retries by itself"
_HINTS = {
    "42501": "grant the worker's user SELECT on the tables of the type, and of those it embeds",
    "42P01": "`recordgate plan` shows what the contract declares and the tables lack",
    "42703": "`recordgate plan` shows what the contract declares and the tables lack",
    "3F000": "`recordgate plan` shows what the contract declares and the tables lack",
    _CANCELED: "raise statement_timeout of the worker's user, or find out who cancels its"
    " statements",
}


def unexpected(error: Exception) -> RecordgateError:
    """Return the error for a fault that no table of errors lists. Its text goes to the log only."""
    return RecordgateError(f"unexpected failure: {type(error).__name__}", hint="see the log")


def waiting_mends(error: RecordgateError) -> bool:
    """Return whether the next try may succeed without anybody's help."""
    return not isinstance(error, SetupError | ContractError) and error.code != RecordgateError.code


def ends_the_session(error: psycopg.Error) -> bool:
    """Return whether the connection is lost or of no further use."""
    state = error.sqlstate
    return state is None or (state[:2] in _OF_THE_SESSION and state != _CANCELED)


def is_about_a_value(error: psycopg.Error) -> bool:
    """Return whether a value of some record may be the reason, so that the statement may succeed
    without that record."""
    return (error.sqlstate or "")[:2] in _OF_A_VALUE


def not_readable(type_name: str, error: psycopg.Error) -> NotReadable:
    """Return the error for a statement about `type_name` that canonical refuses. Only faults of
    the statement itself are told in the server's words, which name tables and columns; its
    words about values may show them."""
    state = error.sqlstate or ""
    reason = f"{type(error).__name__} ({state})"
    if not is_about_a_value(error) and error.diag.message_primary:
        reason = f"{error.diag.message_primary} (SQLSTATE {state})"
    hint = _HINTS.get(state, HINT)
    return NotReadable(type_name, reason, hint=hint)


@contextmanager
def reading_all(type_name: str) -> Iterator[None]:
    """Around a statement that cannot do without any record of `type_name`. Raises NotReadable, and
    psycopg.Error where the session is lost."""
    try:
        yield
    except psycopg.Error as error:
        if ends_the_session(error):
            raise
        raise not_readable(type_name, error) from error
