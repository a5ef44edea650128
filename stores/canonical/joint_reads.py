"""Reads of canonical by key that go together: those of one statement, whose keys alone differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from stores.canonical.readers import Readers
from stores.together import Together


@dataclass(frozen=True, slots=True)
class JointStatement:
    """`one` takes a text for each of its parameters, and gives one JSON value or no row; `many`
    takes a list of texts for each, and gives rows of (place in the lists from 1, value or null)."""

    one: str
    many: str


class JointReads:
    """Over `readers`; bound to its event loop."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._kinds: dict[str, Together[Sequence[str], bytes]] = {}

    async def read(
        self, statement: JointStatement, values: Sequence[str], *, wait: float, seconds: float
    ) -> bytes | None:
        """Read as `Readers.read` does, together with other callers. Cancelling one caller does not
        affect the others. Raise TimeoutError if the joint statement takes longer than
        `seconds`."""
        kind = self._kinds.get(statement.one)
        if kind is None:
            kind = self._kinds[statement.one] = self._kind(statement, wait, seconds)
        try:
            return await kind.read(values)
        finally:
            if kind.idle:
                self._kinds.pop(statement.one, None)

    def _kind(
        self, statement: JointStatement, wait: float, seconds: float
    ) -> Together[Sequence[str], bytes]:
        async def one(values: Sequence[str]) -> bytes | None:
            return await self._readers.read(statement.one, values, prepare=True, wait=wait)

        async def many(several: Sequence[Sequence[str]]) -> dict[int, bytes | None]:
            columns = [list(column) for column in zip(*several, strict=True)]
            rows = await self._readers.rows(statement.many, columns, wait=wait)
            return {place - 1: value for place, value in rows.items()}

        return Together(one, many, _common, seconds)


def _common(error: Exception) -> bool:
    """Tell whether the error concerns the whole statement (connection, server shutdown,
    cancellation) and not one value."""
    if not isinstance(error, psycopg.Error):
        return True
    return error.sqlstate is None or error.sqlstate.startswith("57")
