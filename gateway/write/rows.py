"""Several records in one mutation, of which some are bad: which ones, and why, by their place in
the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection, sql

from gateway.write.sql import IMMEDIATE, Values
from stores.errors import ConstraintError, InputError, LimitError, RecordgateError

T = TypeVar("T")
MOST_TOLD = 100
"""Bad rows that an error lists."""

Row: TypeAlias = tuple[int, Values]
"""A record with its place in the input."""
Statement: TypeAlias = "Callable[[Values], tuple[sql.Composed, list[Any]]]"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A record of the input, at `index`, that cannot be written, and the reason."""

    index: int
    error: RecordgateError

    def told(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "code": self.error.detail_code,
            "message": self.error.message,
            "field": self.error.field if isinstance(self.error, ConstraintError) else None,
        }


def is_of_a_row(error: RecordgateError) -> bool:
    """Return whether the error is one record's fault, and the others may be good."""
    return isinstance(error, ConstraintError | InputError) and not isinstance(error, LimitError)


def each(
    inputs: Iterable[Any], read: Callable[[Any], T]
) -> tuple[list[tuple[int, T]], list[BadRow]]:
    """`read` of each input, and what it refused."""
    good: list[tuple[int, T]] = []
    bad: list[BadRow] = []
    for index, given in enumerate(inputs):
        try:
            good.append((index, read(given)))
        except RecordgateError as error:
            if not is_of_a_row(error):
                raise
            bad.append(BadRow(index, error))
    return good, bad


async def write_each(
    conn: AsyncConnection[Any],
    rows: Sequence[Row],
    statement: Statement,
    understood: Callable[[psycopg.Error], RecordgateError],
) -> tuple[list[tuple[int, Any]], list[BadRow]]:
    """Write one record after the other, each in a savepoint: by place the first value that its
    statement returned (None where none), and the bad ones. `understood`: an error of the driver as
    ours."""
    await conn.execute(IMMEDIATE)  # what breaks one is told of its row
    written: list[tuple[int, Any]] = []
    bad: list[BadRow] = []
    for index, values in rows:
        text, parameters = statement(values)
        try:
            async with conn.transaction():
                cursor = await conn.execute(text, parameters)
                row = await cursor.fetchone() if cursor.description else None
        except psycopg.Error as failed:
            error = understood(failed)
            if not is_of_a_row(error):
                raise
            bad.append(BadRow(index, error))
        else:
            written.append((index, row[0] if row else None))
    return written, bad


def refusal(bad: Sequence[BadRow], of: int, plural: str) -> RecordgateError:
    """The error of a call that writes nothing because of `bad`; it lists them."""
    first = bad[0]
    if of == 1:
        return first.error
    some = f"{len(bad)} of {of} {plural} cannot be written"
    message = f"{some}, so none is written; the one at index {first.index}: {first.error.message}"
    hint = "`onError: CONTINUE` writes the others"
    found: RecordgateError
    if isinstance(first.error, ConstraintError):
        found = ConstraintError(message, hint=hint, field=first.error.field)
    else:
        found = InputError(message, hint=hint)
    found.rows = tuple(row.told() for row in bad[:MOST_TOLD])
    return found
