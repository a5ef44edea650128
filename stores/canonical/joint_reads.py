"""Reads by key of many callers in one statement.

A read that comes while fewer than IN_FLIGHT of its kind are on their way is sent at once, as it is: nothing
waits for company. Those that come meanwhile go together when one of them is back, so the busier the server,
the less each read costs. Each begins after its caller asked, and sees all that was committed by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from stores.canonical.readers import Readers

IN_FLIGHT = 2
"""One connection reads keys faster than one event loop can ask for them; the other hides its way."""
MOST = 100
"""Reads that one statement carries."""


@dataclass(frozen=True, slots=True)
class JointStatement:
    """`one` takes a text for each of its parameters, and gives one JSON value or no row; `many` takes a list of
    texts for each, and gives rows of (place in the lists from 1, value or null)."""

    one: str
    many: str


@dataclass(slots=True)
class _Kind:
    """The reads of one statement."""

    running: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class _Waiting:
    values: Sequence[str]
    future: asyncio.Future[bytes | None]


class JointReads:
    """Over `readers`; bound to its event loop."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._kinds: dict[str, _Kind] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(
        self, statement: JointStatement, values: Sequence[str], *, wait: float
    ) -> bytes | None:
        """As `Readers.read`. A caller that is cancelled leaves the reads of others alone."""
        kind = self._kinds.get(statement.one)
        if kind is None:
            kind = self._kinds[statement.one] = _Kind()
        if kind.running < IN_FLIGHT:
            kind.running += 1
            try:
                return await self._readers.read(statement.one, values, prepare=True, wait=wait)
            finally:
                self._next(statement, kind, wait)
        future = asyncio.get_running_loop().create_future()
        kind.waiting.append(_Waiting(values, future))
        found: bytes | None = await future
        return found

    def _next(self, statement: JointStatement, kind: _Kind, wait: float) -> None:
        """One read is back: those that wait go."""
        kind.running -= 1
        members: list[_Waiting] = []
        while kind.waiting and len(members) < MOST:
            member = kind.waiting.popleft()
            if not member.future.done():
                members.append(member)
        if members:
            kind.running += 1
            task = asyncio.ensure_future(self._together(statement, kind, members, wait))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not kind.running:
            del self._kinds[statement.one]

    async def _together(
        self, statement: JointStatement, kind: _Kind, members: list[_Waiting], wait: float
    ) -> None:
        try:
            if len(members) == 1:
                await self._alone(statement, members[0], wait)
                return
            columns = [list(column) for column in zip(*(m.values for m in members), strict=True)]
            found = await self._readers.rows(statement.many, columns, wait=wait)
            for place, member in enumerate(members, 1):
                _settle(member, found.get(place))
        except psycopg.Error as error:
            if error.sqlstate is None or error.sqlstate.startswith("57"):
                _fail(members, error)
            else:  # a value of one of them is refused: the others shall not suffer for it
                await asyncio.gather(*(self._alone(statement, m, wait) for m in members))
        except BaseException as error:
            _fail(members, error)
            raise
        finally:
            self._next(statement, kind, wait)

    async def _alone(self, statement: JointStatement, member: _Waiting, wait: float) -> None:
        try:
            _settle(
                member,
                await self._readers.read(statement.one, member.values, prepare=True, wait=wait),
            )
        except psycopg.Error as error:
            _fail([member], error)


def _settle(member: _Waiting, value: bytes | None) -> None:
    if not member.future.done():
        member.future.set_result(value)


def _fail(members: Sequence[_Waiting], error: BaseException) -> None:
    for member in members:
        if member.future.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            member.future.cancel()
        else:
            member.future.set_exception(error)
