"""What a failure of the worker is called, and whether it mends itself while somebody waits."""

from __future__ import annotations

from stores.errors import ContractError, RecordgateError, SetupError


def unexpected(error: Exception) -> RecordgateError:
    """For a fault that is in no table of errors; its text stays in the log."""
    return RecordgateError(f"unexpected failure: {type(error).__name__}", hint="see the log")


def waiting_mends(error: RecordgateError) -> bool:
    """Whether the next try may succeed though nobody does anything."""
    return not isinstance(error, SetupError | ContractError) and error.code != RecordgateError.code
