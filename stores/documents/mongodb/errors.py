"""MongoDB's errors in our terms, by code: servers that speak its protocol word their texts
differently.

Codes: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pymongo import errors

from stores.errors import SetupError, StoreError, StoreRefused, StoreUnavailable
from stores.protocols import STALE, Outcome, Verdict
from stores.write_checks import reject

KIND = "mongodb"

DUPLICATE_KEY = 11000
BAD_VALUE = 2
NAMESPACE_EXISTS = 48
WRITE_CONCERN_IMPOSSIBLE = 100
TRANSIENT = frozenset(
    (
        6, 7, 24, 46, 50, 63, 64, 82, 89, 91, 112, 117, 133, 134, 146, 150, 175, 189, 202, 225, 234,
        246, 262, 290, 317, 334, 358, 365, 384, 402, 406, 462, 9001, 10058, 10107, 11600, 11601,
        11602, 13388, 13435, 13436, 14031,
    )
)  # fmt: skip
"""The server, its primary or its disk is not able to now: elections, shutdowns, locks, limits of
time and memory, conflicts of writes, interrupted operations, disk full."""
ACCESS = frozenset((13, 18, 31, 33, 8000))
"""The account or its password, or what the account may do."""
_MISSING = frozenset((59, 115, 40324, 72, 9))
"""A command, stage or option that the server does not know."""


def item_verdict(error: Mapping[str, Any]) -> Verdict:
    """The verdict on one entry of `writeErrors`. A guarded upsert that finds a version at least as
    new tries to insert the key a second time: a duplicate key is a stale write."""
    code = error.get("code")
    if code == DUPLICATE_KEY:
        return STALE
    if code in TRANSIENT:
        return Verdict(Outcome.RETRY, f"MongoDB did not accept the write now (code {code})")
    return reject(f"MongoDB refuses the document (code {code})")


def refuses_all(error: Mapping[str, Any]) -> bool:
    """An entry of `writeErrors` that is about us and not about the document."""
    return error.get("code") in ACCESS


def translate(error: errors.PyMongoError, where: str) -> StoreError | SetupError:
    """One of our errors for the driver's. Carries neither texts of the server nor parts of the URL
    but `where`."""
    if isinstance(error, errors.OperationFailure):
        return _failure(error.code, where)
    if isinstance(error, errors.ConnectionFailure):
        if (problem := _certificate(error)) is not None:
            return problem
        late = isinstance(error, errors.NetworkTimeout)
        return StoreUnavailable(
            f"{KIND}: {where} {'did not answer in time' if late else 'is not reached'}",
            store=KIND,
            hint=""
            if late
            else "check that the server runs and that host, port and TLS options are right",
        )
    if isinstance(error, errors.ConfigurationError):
        return StoreRefused(
            f"{KIND}: the driver cannot talk to {where} as it is configured",
            store=KIND,
            hint="use MongoDB 5.0 or newer; else check the URL's options",
        )
    if isinstance(error, errors.InvalidOperation):
        return StoreUnavailable(f"{KIND}: not open", store=KIND)
    return StoreRefused(f"{KIND}: {where} failed ({type(error).__name__})", store=KIND)


def _failure(code: int | None, where: str) -> StoreError:
    if code in TRANSIENT:
        return StoreUnavailable(f"{KIND}: {where} cannot answer now (code {code})", store=KIND)
    if code in ACCESS:
        return StoreRefused(
            f"{KIND}: {where} refuses the account (code {code})",
            store=KIND,
            hint="check user, password and authSource of the URL; the role readWrite on the"
            " database is needed",
        )
    if code == WRITE_CONCERN_IMPOSSIBLE:
        return StoreUnavailable(
            f"{KIND}: {where} has too few members for a majority write", store=KIND
        )
    if code in _MISSING:
        return StoreRefused(
            f"{KIND}: {where} lacks a required feature (code {code})",
            store=KIND,
            hint="use MongoDB 5.0 or newer",
        )
    return StoreRefused(f"{KIND}: {where} refused (code {code})", store=KIND)


def _certificate(error: errors.ConnectionFailure) -> StoreRefused | None:
    """Return the error for a refused certificate, which waiting does not heal, else None. The
    driver does not pass the cause on; its text has the name that Python's ssl module gives it."""
    if "CERTIFICATE_VERIFY_FAILED" not in str(error):
        return None
    return StoreRefused(
        f"{KIND}: the server's certificate is not accepted",
        store=KIND,
        hint=(
            "check that it is not expired, names this host, and is signed by an authority in"
            " tlsCAFile"
        ),
    )


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Raise `translate`'s error for any error of the driver inside the block."""
    try:
        yield
    except errors.PyMongoError as error:
        raise translate(error, where) from error
