"""Follows what canonical's tables become: mends what may be mended, has loaded anew what no change
told, says the rest.

It looks when a session begins, on a pace, and when the source comes upon a table whose description
has changed. What was found is in the sinks' records in the same transaction as the forms that it
was found by, so a crash loses none of it; what changed while no worker ran is found by the forms
that were kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack

from stores.canonical import followed
from stores.canonical.catalog import Name
from stores.canonical.conditions import Condition
from stores.canonical.connect import AsyncConnection
from stores.canonical.followed import Forms
from stores.canonical.publication import full_identity_types
from stores.canonical.steps import table_text
from stores.contract.model import Contract, RecordType
from stores.errors import RecordgateError
from sync import forms, generations, watermarks
from sync.changes import ChangeSource
from sync.impact import reaches
from sync.mending import Problem, mend
from sync.session import Session
from sync.writer import SinkWriter

log = logging.getLogger(__name__)

PACE = 1.0
"""Seconds between two looks: for so long a store may hold what a statement about tables has made
wrong."""
AGAIN = 5.0
"""Seconds between two tries to mend what could not be mended."""
PASSING = 15.0
"""Seconds after which something that others' locks keep from being mended is said."""
LACKING, UNCAPTURED = "table-differs", "not-captured"
LACKING_HINT = "make the table match the contract, or change the contract: see `recordgate plan`"


def why(missed: Mapping[str, str]) -> str:
    """Return why loads are required, for people; the condition `loading` says it while they are."""
    return "; ".join(dict.fromkeys(missed.values()))


def say_missed(missed: Mapping[str, str]) -> None:
    for type_name, reason in missed.items():
        log.warning("%s: changes were missed (%s); it is reloaded", type_name, reason)


class TableWatch:
    """Watches the tables for one session, and tells `source` which of them it follows."""

    def __init__(
        self,
        contract: Contract,
        canonical_url: str,
        session: Session,
        source: ChangeSource,
        tell_missed: Callable[[str], None],
    ) -> None:
        self.missed: dict[str, str] = {}
        """Types of which changes were missed before the session began → why."""
        self._contract = contract
        self._url = canonical_url
        self._session = session
        self._source = source
        self._tell_missed = tell_missed
        self._reaches = reaches(contract)
        self._full = full_identity_types(contract)
        self._writers: Mapping[str, SinkWriter] = {}
        self._forms: Forms = {}
        self._kept: Forms = {}
        self._oids: dict[int, Name] = {}
        self._problems: list[Problem] = []
        self._problem_since = self._mended_at = 0.0
        self._required_at: dict[str, int] = {}
        self._untold: dict[str, None] = {}
        self._looking = asyncio.Lock()

    # At the start of a session --------------------------------------------------------------------

    async def begin(self) -> None:
        """Find out what became of the tables since a worker looked last. Only what was followed
        before is mended: the first time is for `recordgate apply`."""
        async with self._session.guard.lock:
            self._kept = await followed.kept(self._session.guard.conn)
        seen = self._forms = await self._read()
        if any(name in self._kept for name in seen):
            await self._mend()
            self._forms = await self._read()
        self.missed = await self._missed(self._kept, seen, self._forms)
        say_missed(self.missed)
        self._tell_source()
        await self._say()

    async def keep(self, conn: AsyncConnection) -> None:
        """Keep the forms, in the transaction that makes `missed` required loads."""
        await followed.keep(conn, self._forms)
        self._kept = dict(self._forms)
        self._required_at = dict.fromkeys(self.missed, await self._position(conn))

    def _tell_source(self) -> None:
        """The tables by OID, also those that go by another name now; and those that are not what
        the contract says, whose types are set aside while the others go on."""
        for name, form in (*self._kept.items(), *self._forms.items()):
            if form and name in self._forms:
                self._oids[form.oid] = name
        lacking = {
            (t.schema, t.table)
            for t in self._contract.types.values()
            if forms.lacking(t, self._forms[t.schema, t.table]) or self._problem_of(t)
        }
        self._source.expect(self._oids, lacking)

    # While it runs --------------------------------------------------------------------------------

    async def run(self, writers: Mapping[str, SinkWriter]) -> None:
        """Watch until cancelled. Raise psycopg.Error and FencedError."""
        self._writers = writers
        while True:
            await self.look()
            await asyncio.sleep(PACE)

    async def look(self) -> None:
        """Compare the tables with what they were, and act."""
        async with self._looking:
            seen = await self._read()
            if seen == self._forms and not self._due():
                return
            await self._mend()
            now = await self._read()
            missed = await self._missed(self._forms, seen, now)
            if now != self._forms or missed:
                self._forms = now
                self._tell_source()
                await self._require(missed)
            await self._say()

    async def untold(self, types: Collection[str], lsn: int) -> None:
        """The source was not told all of a change that touches `types`; `lsn`: of the last
        transaction that was whole, 0 where the one with the change is not whole yet."""
        self._untold.update(dict.fromkeys(types))
        if not self._untold or not lsn:
            return
        late = {
            name: "a change of it was received only in part"
            for name in self._untold
            if lsn > self._required_at.get(name, 0)
        }
        self._untold.clear()
        if late:
            async with self._looking:
                await self._require(late)

    # How ------------------------------------------------------------------------------------------

    async def _read(self) -> Forms:
        async with self._session.guard.lock:
            return await followed.read(self._session.guard.conn, self._contract)

    async def _missed(self, before: Forms, seen: Forms, now: Forms) -> dict[str, str]:
        """Type → why it has to be loaded anew. `seen` is before what was mended, `now` behind
        it."""
        fresh = [o for n, form in now.items() for o in forms.new_leaves(before.get(n), form)]
        filled: Collection[str] = ()
        if fresh:
            async with self._session.guard.lock:
                filled = await followed.with_rows(self._session.guard.conn, fresh)
        found: dict[str, str] = {}
        for record_type in self._contract.types.values():
            name = (record_type.schema, record_type.table)
            if name not in before:
                continue
            touched = forms.touched(self._reaches, record_type.name)
            reason = forms.missed(before[name], now[name], filled)
            if not reason and not self._source.tells_untold and record_type.name in self._full:
                touched, reason = touched[1:], forms.blind(before[name], seen[name])
            if reason:
                table = f"table {record_type.schema}.{record_type.table}: {reason}"
                found = dict.fromkeys(touched, table) | found
        return found

    async def _require(self, missed: Mapping[str, str]) -> None:
        """Make `missed` required loads of every sink, and keep the forms, all of it or nothing."""
        for name in missed:
            self._tell_missed(name)
        guard = self._session.guard
        async with AsyncExitStack() as locks:
            for writer in self._writers.values():
                await locks.enter_async_context(writer.watermark.lock)
                # Before anything is written: a load that ends meanwhile is no answer to it.
                writer.building.missed |= missed.keys()
            conn = await locks.enter_async_context(guard.changing())
            for sink, writer in self._writers.items() if missed else ():
                mark = writer.watermark
                mark.required |= missed.keys()
                mark.reason = why(missed)
                mark.published = 0
                await watermarks.write(conn, sink, mark)
                await generations.forget_building(conn, sink, missed)
            await followed.keep(conn, self._forms)
            lsn = await self._position(conn) if missed else 0
        self._required_at |= dict.fromkeys(missed, lsn)
        for writer in self._writers.values() if missed else ():
            writer.wake()
        say_missed(missed)

    async def _position(self, conn: AsyncConnection) -> int:
        cursor = await conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])

    # Mending --------------------------------------------------------------------------------------

    def _due(self) -> bool:
        pause = PACE if all(p.passing for p in self._problems) else AGAIN
        return bool(self._problems) and time.monotonic() - self._mended_at >= pause

    async def _mend(self) -> None:
        try:
            found = await asyncio.to_thread(mend, self._url, self._contract)
        except RecordgateError as error:
            found = [Problem("", error.message, error.hint, passing=True)]
        self._mended_at = time.monotonic()
        if found and not self._problems:
            self._problem_since = self._mended_at
        self._problems = found

    # What is said ---------------------------------------------------------------------------------

    def _problem_of(self, record_type: RecordType) -> Problem | None:
        """Return what keeps changes of the type's table, or of one of its partitions, from being
        captured, or None."""
        form = self._forms[record_type.schema, record_type.table]
        named = {table_text(record_type.schema, record_type.table)}
        if form:
            named |= {leaf.name for leaf in form.leaves.values()}
        return next((p for p in self._problems if p.table in named), None)

    async def _say(self) -> None:
        found: dict[tuple[str, str], tuple[str, str]] = {}
        of_all = [p for p in self._problems if not p.table]
        for record_type in self._contract.types.values():
            form = self._forms[record_type.schema, record_type.table]
            lacking = forms.lacking(record_type, form)
            if lacking:
                found[LACKING, record_type.name] = lacking, LACKING_HINT
            problem = self._problem_of(record_type)
            if problem and self._lasts(problem):
                found[UNCAPTURED, record_type.name] = problem.message, problem.hint
        for problem in of_all:
            if self._lasts(problem):
                found[UNCAPTURED, ""] = problem.message, problem.hint
        conditions = self._session.conditions
        for type_name in ("", *self._contract.types):
            for code in (LACKING, UNCAPTURED):
                said = found.get((code, type_name))
                if said:
                    await conditions.raise_(Condition(code, *said, type=type_name))
                else:
                    await conditions.over(code=code, type=type_name)

    def _lasts(self, problem: Problem) -> bool:
        return not problem.passing or time.monotonic() - self._problem_since > PASSING
