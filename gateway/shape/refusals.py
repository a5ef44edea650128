"""Decides what a caller is told when canonical refuses a row. Pure.

A constraint compares what is written with other rows and columns: a caller who may not see all of
these is told that the record is refused, and nothing of why. A refusal can still be told apart from
a success; what follows from this is in docs/explanation/promises.md.
"""

from __future__ import annotations

from gateway.shape.visibility import Form, Visibility
from stores.errors import ConstraintError, RecordgateError, Told

REFUSED = "the record is refused"


def as_seen(error: RecordgateError, visibility: Visibility) -> RecordgateError:
    """`error` as the viewer may see it."""
    if not isinstance(error, ConstraintError) or error.told is None:
        return error
    return error if _sees(error.told, visibility) else bare(error)


def bare(error: RecordgateError) -> RecordgateError:
    """`error` without what it tells of rows and columns."""
    return ConstraintError(REFUSED) if isinstance(error, ConstraintError) else error


def _sees(told: Told, visibility: Visibility) -> bool:
    types = visibility.contract.types
    return (
        told.known
        and all(
            visibility.form(types[name].by_name[prop]) is Form.PLAIN
            for name, prop in told.properties
        )
        and all(
            visibility.row_filters(types[name]) is None
            and (visibility.may(types[name], "get") or visibility.may(types[name], "list"))
            for name in told.rows
        )
    )
