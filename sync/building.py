"""The generations of one sink in motion: which are written to, loads under way, activation,
rollback.

`sync.generations.plan` decides; this carries it out in the store and in recordgate's tables, in an
order in which a crash between any two steps leaves something that `prepare` understands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import psycopg

from stores.canonical.conditions import Condition
from stores.contract.model import Contract
from stores.crash_points import crash_point
from stores.errors import (
    ConflictError,
    FencedError,
    InputError,
    RecordgateError,
    StoreLost,
    StoreUnavailable,
)
from stores.protocols import WITHDRAWN, Position, Store
from stores.roles import STORE_ROLES
from sync import durable_backlog, generations, watermarks
from sync.conditions import Conditions
from sync.projection import Projector
from sync.reload import PATIENCE, Load, problem
from sync.session import SinkConnections
from sync.timelines import left_behind
from sync.watermarks import Watermark

log = logging.getLogger(__name__)


RECORDED = 60.0
"""Seconds that a store may be newer than the last record of its watermark, which is written every
few seconds."""

LOOK_AGAIN = 5.0
"""Seconds between two looks at a type whose place in the store somebody else's data has."""
PLACE_TAKEN = "place-taken"

Note = Callable[[int], Awaitable[None]]
"""Writes down which generation a request is about, before anything is done about it."""


@dataclass(slots=True)
class Asked:
    """`action`: reload or rollback. `number`: the generation that was noted for it by a worker that
    died, None for a request that is new. `answer`: the generation that is being built, or is
    active now."""

    action: str
    type_name: str
    number: int | None
    note: Note
    answer: asyncio.Future[int]


class Building:
    """The loads of one sink. All methods but `ask` run inside the sink's loop."""

    def __init__(
        self,
        name: str,
        store: Store,
        *,
        contract: Contract,
        watermark: Watermark,
        connections: SinkConnections,
        conditions: Conditions,
    ) -> None:
        self.asked: deque[Asked] = deque()
        self.loads: dict[str, Load] = {}
        self.active: dict[str, int] = {}
        self.missed: set[str] = set()
        """Types that became required while the sink works: nothing that is being built of them is
        good."""
        self._name = name
        self._store = store
        self._contract = contract
        self._watermark = watermark
        self._bookkeeping = connections.bookkeeping
        self._lineage = connections.lineage
        self._conditions = conditions
        self._occupied: dict[str, float] = {}
        """Types whose place somebody else's data has → when they are looked at again (monotonic
        seconds)."""
        self._targets: dict[str, list[int]] = {}
        self._prepared = False

    def ask(
        self, action: str, type_name: str, number: int | None, note: Note
    ) -> asyncio.Future[int]:
        """Ask the loop for a reload or a rollback; the caller wakes it."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.asked.append(Asked(action, type_name, number, note, answer))
        return answer

    def targets(self, type_name: str) -> list[int]:
        """Return the generations to which changes are written."""
        return self._targets.get(type_name, [])

    def shape(self, type_name: str) -> str:
        return STORE_ROLES[self._store.role].fingerprint(self._contract, type_name)

    def idle(self, type_name: str) -> bool:
        """Return whether the store's generations are known, and no load of the type is under way or
        asked for."""
        asked = any(a.type_name == type_name for a in self.asked)
        return self._prepared and type_name not in self.loads and not asked

    # Beginning ------------------------------------------------------------------------------------

    async def prepare(self) -> Position | None:
        """Find out what the store holds and what must be built. Return the position that readers
        may trust."""
        self._prepared = False
        position = await self._store.position()
        if position is not None and position.withdrawn:
            position = None
        mark = self._watermark
        untrue = "" if position is None else await self._untrue(position)
        held = _holds(position, mark.required)
        reason = untrue or (self._distrust(position) if held else "")
        if reason and mark.required != set(self._contract.types):
            await self.require_all(reason)
        if untrue:
            # Readers believe it, also where no worker is there to say otherwise.
            await self._store.publish(WITHDRAWN)
        mark.recorded = None
        self._occupied = {}
        for type_name in self._contract.types:
            await self._prepare_or_wait(type_name)
        if mark.suspect is not None:
            await self._mark_suspects(mark.suspect)
        self._prepared = True
        if not _holds(position, mark.required):
            mark.published = 0
            return None
        return position

    def _distrust(self, position: Position | None) -> str:
        """Return why the store cannot be what was left behind although its position is true, or an
        empty text."""
        if position is None:
            return "the store is empty after its restart"
        if position.lsn < self._watermark.published:
            return "the store has lost data that was already published"
        return ""

    async def _untrue(self, position: Position) -> str:
        """Return why the store's position shows what canonical never had, or an empty text if it
        belongs to canonical's history."""
        mark = self._watermark
        if position.system != mark.system:
            return "the store's position belongs to another database"
        if not self._lineage.holds(position.timeline, position.lsn, position.forks):
            return left_behind(self._lineage, position.timeline)
        if mark.recorded is not None and position.as_of > mark.recorded + RECORDED:
            return "the store is newer than canonical, which was restored from an older backup"
        cursor = await self._bookkeeping.conn.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
        )
        row = await cursor.fetchone()
        if row is not None and position.lsn > row[0]:
            return (
                "the store is ahead of canonical, which was restored from a backup or is another"
                " one"
            )
        return ""

    async def _mark_suspects(self, version: int) -> None:
        """Records that were read after the point at which canonical's present timeline began may
        show what was lost there: they are read again."""
        mark = self._watermark
        found: dict[str, set[str]] = {}
        for type_name in self._contract.types:
            load = self.loads.get(type_name)
            numbers = self.targets(type_name)
            if (
                type_name in mark.required
            ):  # what is there now is left soon, and is believed by nobody
                numbers = [load.number] if load else []
            for number in numbers:
                keys = await self._store.newer(type_name, number, version)
                found.setdefault(type_name, set()).update(keys)
        count = sum(map(len, found.values()))
        async with mark.lock, self._bookkeeping.changing() as conn:
            for type_name, keys_of_type in found.items():
                await durable_backlog.add(conn, self._name, type_name, list(keys_of_type), 0)
            mark.suspect = None
            await watermarks.write(conn, self._name, mark)
        log.info(
            "%s: %d records may show data that canonical has lost; they are read again",
            self._name,
            count,
        )

    async def require_all(self, reason: str) -> None:
        """Stop trusting the store's position until every type has been reloaded."""
        log.warning("%s: %s; every type is reloaded", self._name, reason)
        mark = self._watermark
        async with mark.lock, self._bookkeeping.changing() as conn:
            mark.required = set(self._contract.types)
            mark.reason = reason
            mark.published = 0
            for type_name in self._contract.types:
                for entry in await generations.read(conn, self._name, type_name):
                    if entry.state == "building":
                        await generations.forget(conn, self._name, type_name, entry.number)
            await watermarks.write(conn, self._name, mark)

    async def start_over(self) -> Position | None:
        """Start the loads that became required, while none is under way. Return the position that
        readers may trust."""
        async with self._watermark.lock:  # whoever notes it has recorded it, too
            missed, self.missed = self.missed, set()
        async with self._bookkeeping.changing() as conn:
            await generations.forget_building(conn, self._name, missed)
        for type_name in missed:
            self.loads.pop(type_name, None)
        return await self.prepare()

    async def _prepare_or_wait(self, type_name: str) -> None:
        """Prepare a type. If somebody else's data has its place in the store, it waits until the
        place is free, and the others go on."""
        try:
            await self._prepare_type(type_name)
        except StoreLost as error:
            if not error.foreign:
                raise
            self._targets[type_name] = []
            self.active.pop(type_name, None)
            self.loads.pop(type_name, None)
            self._watermark.required.add(type_name)
            self._occupied[type_name] = time.monotonic() + LOOK_AGAIN
            await self._taken(type_name, error)
        else:
            self._occupied.pop(type_name, None)
            await self._conditions.over(code=PLACE_TAKEN, sink=self._name, type=type_name)

    async def _taken(self, type_name: str, error: StoreLost) -> None:
        await self._conditions.raise_(
            Condition(PLACE_TAKEN, error.message, error.hint, self._name, type_name)
        )

    @property
    def looks_again(self) -> bool:
        """Return whether it is time to look at a type whose place was taken."""
        return any(at <= time.monotonic() for at in self._occupied.values())

    async def look_again(self) -> None:
        for type_name in list(self._occupied):
            await self._prepare_or_wait(type_name)

    async def _prepare_type(self, type_name: str) -> None:
        stored = await self._store.generations(type_name)
        async with self._bookkeeping.lock:
            entries = await generations.read(self._bookkeeping.conn, self._name, type_name)
        active = next((g for g in stored if g.state == "active"), None)
        entry = next((e for e in entries if active and e.number == active.number), None)
        if active is not None and entry is not None and entry.state != "active":
            # Activated in the store, and then we died.
            await self._note_active(type_name, active.number, active.shape)
        plan = generations.plan(
            stored,
            entries,
            self.shape(type_name),
            required=type_name in self._watermark.required,
            keep=self._contract.types[type_name].generations,
        )
        for number in plan.drop:
            await self._drop(type_name, number)
        self._targets[type_name] = plan.write
        if plan.active is not None:
            self.active[type_name] = plan.active
        else:
            self.active.pop(type_name, None)
            if type_name not in self._watermark.required:
                self._watermark.required.add(type_name)
                self._watermark.reason = "the store does not hold every type yet"
        if plan.resume is not None:
            entry = plan.resume
            self.loads[type_name] = Load(
                type_name,
                entry.number,
                cursor=entry.resume_key,
                kept=entry.resume_key,
                kept_rows=entry.rows,
                kept_version=entry.version or 0,
                walked=entry.walked,
                complete=entry.walked,
            )
        elif plan.build is not None:
            await self._begin(type_name, plan.build)
        else:
            self.loads.pop(type_name, None)

    async def _begin(self, type_name: str, number: int) -> None:
        async with self._bookkeeping.changing() as conn:
            await generations.begin(conn, self._name, type_name, number, self.shape(type_name))
        await self._store.create_generation(type_name, number)
        # From here on changes go into it; the first page is read later.
        self._targets.setdefault(type_name, []).append(number)
        self.loads[type_name] = Load(type_name, number)
        log.info("%s: building generation %d of %s", self._name, number, type_name)

    # Walking --------------------------------------------------------------------------------------

    @property
    def walking(self) -> bool:
        return any(not load.walked for load in self.loads.values())

    def next_walk(self, without: Collection[str] = ()) -> Load | None:
        """Return the load that reads its next page, without the types in `without`."""
        walking = (load for load in self.loads.values() if not load.walked)
        return next((load for load in walking if load.type_name not in without), None)

    def ready_to_finish(self, applied_lsn: int, without: Collection[str] = ()) -> Load | None:
        """Return a load that is complete and caught up with the changes, without the types in
        `without`."""
        now = time.monotonic()
        for load in self.loads.values():
            if load.type_name in without:
                continue
            if load.complete and load.kept_version <= applied_lsn and load.not_before <= now:
                return load
        return None

    def patience(self) -> float:
        """Seconds until a load may be worth another look."""
        waits = [
            load.not_before - time.monotonic() for load in self.loads.values() if load.complete
        ]
        return max(0.05, min((w for w in waits if w > 0), default=60.0))

    def restart(self) -> None:
        for load in self.loads.values():
            load.restart()

    async def note_published(
        self, load: Load, documents: Mapping[str, object], version: int, last: str | None
    ) -> None:
        """Record that a page is published, inside the caller's transaction."""
        load.note_published(len(documents), version, last)
        await generations.advance(
            self._bookkeeping.conn,
            self._name,
            load.type_name,
            load.number,
            resume_key=load.kept,
            version=load.kept_version,
            rows=load.kept_rows,
            walked=load.complete,
        )

    # Finishing ------------------------------------------------------------------------------------

    async def finish(self, load: Load, projector: Projector, slack: int) -> None:
        """Check the generation, and make it the one that readers see."""
        type_name = load.type_name
        wrong = load.wrong = await problem(self._store, projector, load, slack)
        if wrong:
            load.attempts += 1
            load.not_before = time.monotonic() + 1.0
            log.warning(
                "%s: generation %d of %s did not pass its check yet: %s",
                self._name, load.number, type_name, wrong,
            )  # fmt: skip
            if load.attempts >= PATIENCE:
                await self._begin_again(load)
            return
        crash_point("before-activate")
        await self._bookkeeping.assure()
        try:
            await self._store.activate(type_name, load.number)
        except StoreLost as error:
            if not error.foreign:
                raise
            load.not_before = time.monotonic() + LOOK_AGAIN
            await self._taken(type_name, error)
            return
        await self._conditions.over(code=PLACE_TAKEN, sink=self._name, type=type_name)
        crash_point("after-activate")
        was_required = type_name in self._watermark.required
        await self._note_active(type_name, load.number, self.shape(type_name))
        del self.loads[type_name]
        await self._retire(type_name, keep_any=not was_required)
        log.info(
            "%s: generation %d of %s is active, %d records",
            self._name, load.number, type_name, load.kept_rows,
        )  # fmt: skip

    async def _begin_again(self, load: Load) -> None:
        """Begin the next building before dropping this one, so that a worker that dies in between
        finds one."""
        await self._begin(load.type_name, load.number + 1)
        self._targets[load.type_name].remove(load.number)
        await self._drop(load.type_name, load.number)

    async def _note_active(self, type_name: str, number: int, shape: str) -> None:
        """Record it as active, and that the type is required no more, in one transaction."""
        mark = self._watermark
        async with mark.lock, self._bookkeeping.changing() as conn:
            await generations.activate(conn, self._name, type_name, number, shape)
            if type_name in mark.required and type_name not in self.missed:
                mark.required.discard(type_name)
                if not mark.required:
                    mark.reason = ""
                await watermarks.write(conn, self._name, mark)
        self.active[type_name] = number

    async def _retire(self, type_name: str, *, keep_any: bool) -> None:
        """Drop the generations beyond what the contract keeps; all old ones where they missed
        changes."""
        keep = self._contract.types[type_name].generations if keep_any else 1
        stored = await self._store.generations(type_name)
        shape = self.shape(type_name)
        retired = sorted((g for g in stored if g.state == "retired"), key=lambda g: -g.number)
        kept = [g for g in retired if g.shape == shape][: max(0, keep - 1)]
        for generation in retired:
            if generation not in kept:
                await self._drop(type_name, generation.number)
        self._targets[type_name] = [self.active[type_name], *(g.number for g in kept)]

    async def _drop(self, type_name: str, number: int) -> None:
        await self._bookkeeping.assure()
        await self._store.drop_generation(type_name, number)
        async with self._bookkeeping.changing() as conn:
            await generations.forget(conn, self._name, type_name, number)

    # What people ask for --------------------------------------------------------------------------

    async def answer(self) -> None:
        """Begin what was asked. A failure that another try may mend goes to the loop, and what was
        asked stays; every other one goes to who asked, for it would come again at every try."""
        while self.asked:
            asked = self.asked[0]
            try:
                number = await self._do(asked)
            except (psycopg.Error, FencedError, StoreUnavailable, StoreLost):
                raise
            except RecordgateError as error:
                self._refuse(error)
            except Exception as error:
                self._refuse(
                    RecordgateError(
                        f"{self._name}: {asked.action} {asked.type_name} failed unexpectedly:"
                        f" {type(error).__name__}",
                        hint="see the worker's log",
                    )
                )
                raise
            else:
                self.asked.popleft()
                if not asked.answer.done():
                    asked.answer.set_result(number)

    def _refuse(self, error: RecordgateError) -> None:
        asked = self.asked.popleft()
        if not asked.answer.done():
            asked.answer.set_exception(error)

    async def _do(self, asked: Asked) -> int:
        if asked.type_name not in self._contract.types:
            raise InputError(
                f"{self._name}: the worker's contract has no type {asked.type_name!r}",
                hint="restart the worker so that it reads the contract again",
            )
        if asked.action == "reload":
            return await self._reload(asked)
        return await self._rollback(asked)

    async def _reload(self, asked: Asked) -> int:
        type_name, number = asked.type_name, asked.number
        load = self.loads.get(type_name)
        if load is not None:  # under way already
            number = load.number
        elif number is None:
            async with self._bookkeeping.lock:
                entries = await generations.read(self._bookkeeping.conn, self._name, type_name)
            number = generations.next_number(await self._store.generations(type_name), entries)
        await asked.note(number)
        if load is None and number > self.active.get(type_name, 0):
            await self._begin(type_name, number)
        return number

    async def _rollback(self, asked: Asked) -> int:
        """Roll back to the generation recorded with the request, so that a worker that died on the
        way never causes a second rollback. Return its number."""
        type_name, number = asked.type_name, asked.number
        active = self.active.get(type_name)
        if number is not None and number == active:
            return number
        if type_name in self.loads:
            raise ConflictError(
                f"{self._name}: a generation of {type_name} is being built",
                hint="wait until it is done; `recordgate status` shows it",
            )
        before = [n for n in self.targets(type_name) if active is not None and n < active]
        if number is not None:
            before = [n for n in before if n == number]
        if not before:
            raise InputError(
                f"{self._name}: there is no earlier generation of {type_name} to roll back to",
                hint=(
                    "the contract's `generations` sets how many are kept; a generation of"
                    " another shape, or from before a gap, is not kept"
                ),
            )
        number = max(before)
        await asked.note(number)
        crash_point("rollback-noted")
        await self._bookkeeping.assure()
        await self._store.activate(type_name, number)
        crash_point("rolled-back")
        await self._note_active(type_name, number, self.shape(type_name))
        log.info("%s: generation %d of %s is active again", self._name, number, type_name)
        return number


def _holds(position: Position | None, required: Collection[str]) -> bool:
    """Return whether a store's position may be believed although the types `required` must be
    loaded, because it says nothing of them."""
    withheld = {w.type_name for w in position.withheld} if position else set()
    return withheld.issuperset(required)
