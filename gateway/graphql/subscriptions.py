"""Delivers the feed of changes (`sync.feed`) to the subscriptions of this process.

Subscriptions that ask the same, and may see the same, are one group: its events are read and made
once, whoever many they are. Each has a bounded queue; one that does not take its events is ended,
and may go on by the token of the last one it saw. Events come at least once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
from psycopg_pool import PoolClosed

from gateway.context.freshness import required_commit
from gateway.context.services import Freshness, Services
from gateway.graphql.subscription_memory import MOST_REMEMBERED
from gateway.graphql.subscription_plan import Changed, Event, SubscriptionPlan
from gateway.query.canonical import NO_CONNECTION, no_connection
from stores.canonical.connect import TIMELINE, AsyncConnection
from stores.canonical.driver_errors import translate
from stores.canonical.notices import FEED
from stores.errors import LimitError, RecordgateError, StaleError, StoreUnavailable

log = logging.getLogger("gateway")

T = TypeVar("T")

MOST = 5_000
"""Subscriptions of a process."""
MOST_EVENTS = 2_000
MOST_BYTES = 4_000_000
"""The most bytes in one subscription's queue."""
MOST_REMEMBERED_BY_ALL = 500_000
"""Records that the subscriptions of a process remember."""
PAGE = 5_000
LEASE = 20.0
"""Seconds between two words that a feed is wanted."""
SAFETY = 1.0
"""Seconds between two looks at the feed where nothing is told."""
BEGIN_WAIT = 15.0
"""Seconds that a subscription waits for the worker to begin a feed."""

_WANT = f"""
UPDATE recordgate.feed_state SET wanted_until = greatest(wanted_until,
  now() + interval '10 minutes')
RETURNING (since - '0/0'::pg_lsn)::bigint, (horizon - '0/0'::pg_lsn)::bigint,
  (SELECT coalesce(max(id), 0) FROM recordgate.feed), {TIMELINE}
"""  # noqa: S608 - TIMELINE is a constant
_NEW = """
SELECT id, (lsn - '0/0'::pg_lsn)::bigint, type, key, kind FROM recordgate.feed
WHERE id > %s ORDER BY id LIMIT %s
"""
_SINCE = """
SELECT id, (lsn - '0/0'::pg_lsn)::bigint, type, key, kind FROM recordgate.feed
WHERE lsn >= '0/0'::pg_lsn + %s::numeric AND id > %s AND id <= %s AND type = %s ORDER BY id LIMIT %s
"""


class Ended(Exception):
    """The stream breaks off: the client may connect again and go on by its last token."""


class Subscription:
    """`async for` gives events as they are to be sent. Raises RecordgateError where it is ended
    with a reason, Ended where the process ends."""

    def __init__(self) -> None:
        self._queue: deque[Event] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._end: BaseException | None = None

    def put(self, events: Sequence[Event]) -> None:
        self._queue.extend(events)
        self._bytes += sum(len(e.body) for e in events)
        if len(self._queue) > MOST_EVENTS or self._bytes > MOST_BYTES:
            self.end(
                LimitError(
                    "the client reads events too slowly",
                    hint="subscribe again with the token of the last event as `after`",
                )
            )
        self._wake()

    def end(self, why: BaseException) -> None:
        """End the subscription with an error, and drop what is queued."""
        self._queue.clear()
        self._end = self._end or why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> Event:
        while True:
            if self._end is not None:
                raise self._end
            if self._queue:
                event = self._queue.popleft()
                self._bytes -= len(event.body)
                return event
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


@dataclass(slots=True)
class _Group:
    plan: SubscriptionPlan
    members: set[Subscription] = field(default_factory=set)


class Hub:
    """The subscriptions of a process. `run` delivers while there are any."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._groups: dict[Hashable, _Group] = {}
        self._count = 0
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._begun: tuple[int, int] | None = None
        """Timeline and position at which the feed begins that is delivered."""
        self._known = asyncio.Event()
        self._delivering = asyncio.Lock()
        """Is held while a batch goes out, so that a subscriber who joins is either before it or
        after it."""
        self._ending = asyncio.Event()
        services.listener.also(FEED, self._hear)

    def __len__(self) -> int:
        return self._count

    def _hear(self, _: str) -> None:
        self._stirred.set()

    async def subscribe(self, plan: SubscriptionPlan, same: Hashable) -> Subscription:
        """Begin. `same` is equal for those whose events are the same. Raises LimitError, StaleError
        where `after` is further back than the feed, StoreUnavailable where no worker tells of
        changes."""
        self._enter()
        subscription = Subscription()
        try:
            if self._task is None or self._task.done():
                self._known.clear()
                self._task = asyncio.create_task(self._run())
            try:
                async with asyncio.timeout(BEGIN_WAIT):
                    await self._known.wait()
            except TimeoutError:
                raise StoreUnavailable(
                    "no worker publishes changes now", store="postgres", retry_after=5.0
                ) from None
            place = await self._begin(subscription, plan, same)
            async with self._delivering:
                if plan.memory is not None:
                    await self._compare(subscription, plan, same, place)
                elif place is not None:
                    await self._catch_up(subscription, plan, place)
                group = self._groups.setdefault(same, _Group(plan))
                group.members.add(subscription)
        except BaseException:
            self._count -= 1
            raise
        return subscription

    def _enter(self) -> None:
        if self._ending.is_set():
            raise Ended
        if self._count >= MOST:
            raise StoreUnavailable(
                "there are too many subscriptions", store="postgres", retry_after=10.0
            )
        self._count += 1

    async def own(self, events: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield the events of a subscription that the product adds, which counts and breaks off as
        all others do. Raises Ended, StoreUnavailable."""
        self._enter()
        asked: asyncio.Queue[None] = asyncio.Queue()
        answers: asyncio.Queue[T] = asyncio.Queue()

        async def step() -> None:
            async with aclosing(events):
                await asked.get()
                async for event in events:
                    answers.put_nowait(event)
                    await asked.get()

        # One task from beginning to end, as what a generator holds open may demand.
        steps = asyncio.ensure_future(step())
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while True:
                asked.put_nowait(None)
                answer = asyncio.ensure_future(answers.get())
                try:
                    await asyncio.wait({answer, steps, ending}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    answered = answer.done()
                    answer.cancel()
                if answered:
                    yield answer.result()
                elif steps.done():
                    steps.result()
                    return
                else:
                    raise Ended
        finally:
            self._count -= 1
            for task in (ending, steps):
                task.cancel()
            await asyncio.gather(ending, steps, return_exceptions=True)

    def leave(self, subscription: Subscription, same: Hashable) -> None:
        group = self._groups.get(same)
        if group is not None and subscription in group.members:
            group.members.discard(subscription)
            self._count -= 1
            if not group.members:
                del self._groups[same]

    def end(self) -> None:
        """The process ends: every stream breaks off, so that its client goes on elsewhere."""
        self._ending.set()
        for group in self._groups.values():
            for subscription in group.members:
                subscription.end(Ended())

    # Catching up ----------------------------------------------------------------------------------

    async def _begin(
        self, subscription: Subscription, plan: SubscriptionPlan, same: Hashable
    ) -> int | None:
        """Prepare a subscription while others are delivered to, as it may take long. Return the row
        of the feed up to which it has come."""
        if plan.memory is None:
            return None if plan.after is None else await self._catch_up(subscription, plan)
        if plan.after is not None:
            # What was seen at the token is not known: told always, so that it tells nothing of what
            # is hidden.
            subscription.put(
                [plan.refresh(required_commit(Freshness(after=plan.after), self._services).lsn)]
            )
        if same in self._groups:
            return None
        place = self._last
        await plan.memory.take(self._room())
        return place

    async def _compare(
        self, subscription: Subscription, plan: SubscriptionPlan, same: Hashable, place: int | None
    ) -> None:
        """Bring what `plan` remembers up to where the others are, where it is the first of its
        group."""
        assert plan.memory is not None
        if same in self._groups:
            return
        if place is None:  # its group ended meanwhile
            await plan.memory.take(self._room())
            return
        while place < self._last:
            rows = await self._rows(_SINCE, (0, place, self._last, plan.type.name, PAGE))
            subscription.put(await plan.events(rows))
            place = rows[-1].id if len(rows) == PAGE else self._last

    def _room(self) -> int:
        """Return how many records one more group may remember."""
        plans = [group.plan for group in self._groups.values()]
        held = sum(len(p.memory.known) for p in plans if p.memory is not None)
        return max(0, min(MOST_REMEMBERED, MOST_REMEMBERED_BY_ALL - held))

    async def _catch_up(
        self, subscription: Subscription, plan: SubscriptionPlan, place: int = 0
    ) -> int:
        """Queue what was missed since `after`, from the row `place` on, up to where the others are;
        that place."""
        services = self._services
        seen = required_commit(Freshness(after=plan.after), services)
        _, horizon, _, timeline = await self._ask(_WANT, ())
        # The feed begins anew with every timeline.
        if horizon is None or seen.timeline != timeline or seen.lsn < horizon:
            raise StaleError(
                "the changes after the token are no longer known",
                hint="read the records again, and subscribe without `after`",
            )
        while place < self._last:
            head = self._last
            rows = await self._rows(_SINCE, (seen.lsn, place, head, plan.type.name, PAGE))
            subscription.put(await plan.events(rows))
            place = rows[-1].id if len(rows) == PAGE else head
        return place

    # Delivering -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Run until no subscriber is left."""
        wanted, place = 0.0, ("", 0)
        loop = asyncio.get_running_loop()
        while self._count:
            self._stirred.clear()
            try:
                now = loop.time()
                there = (self._services.system, self._services.timeline)
                if now - wanted > LEASE or not self._known.is_set() or there != place:
                    await self._want()
                    wanted, place = now, there
                if self._known.is_set():
                    await self._deliver()
            except RecordgateError as error:
                log.warning("subscriptions wait: %s", error.message)
            except Ended:
                return
            except Exception:
                log.exception("unexpected failure; subscriptions go on")
            wait = SAFETY if self._known.is_set() else 0.2
            try:
                async with asyncio.timeout(wait):
                    await self._stirred.wait()
            except TimeoutError:
                pass
        self._known.clear()

    async def _want(self) -> None:
        since, _, last, timeline = await self._ask(_WANT, ())
        if since is None:
            return
        begun = (timeline, since)
        if not self._known.is_set():
            self._last = last
        elif begun != self._begun:
            # The feed was not written for a while, or changes were missed. After a failover of
            # canonical its rows are counted from further back.
            async with self._delivering:
                self._last = min(self._last, last)
                for group in list(self._groups.values()):
                    await self._refresh(group, since)
        self._begun = begun
        self._known.set()

    async def _deliver(self) -> None:
        while rows := await self._rows(_NEW, (self._last, PAGE)):
            by_type: dict[str, list[Changed]] = {}
            for row in rows:
                by_type.setdefault(row.type, []).append(row)
            async with self._delivering:
                for group in list(self._groups.values()):
                    found = by_type.get(group.plan.type.name)
                    if found:
                        await self._deliver_to(group, found)
                self._last = rows[-1].id
            if len(rows) < PAGE:
                return

    async def _refresh(self, group: _Group, lsn: int) -> None:
        try:
            if group.plan.memory is not None:
                await group.plan.memory.take()
        except StoreUnavailable:
            raise
        except RecordgateError as error:
            self._end(group, error)
        else:
            self._tell(group, [group.plan.refresh(lsn)])

    async def _deliver_to(self, group: _Group, rows: Sequence[Changed]) -> None:
        """Deliver changes to a group. An error in reading what this group asks ends the group, and
        holds up nobody else."""
        try:
            events = await group.plan.events(rows)
        except StoreUnavailable:
            raise
        except RecordgateError as error:
            self._end(group, error)
        except Exception:
            log.exception("events of %s cannot be made", group.plan.type.name)
            self._end(group, RecordgateError("an event could not be made"))
        else:
            self._tell(group, events)

    def _end(self, group: _Group, why: RecordgateError) -> None:
        for subscription in group.members:
            subscription.end(why)

    def _tell(self, group: _Group, events: Sequence[Event]) -> None:
        for subscription in group.members:
            subscription.put(events)

    # Canonical ------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Raises what the driver raises as one of ours, Ended where the process ends."""
        try:
            async with self._services.pool.connection() as conn:
                yield conn
        except PoolClosed:
            raise Ended from None
        except NO_CONNECTION:
            raise no_connection() from None
        except psycopg.Error as error:
            raise translate(error) from error

    async def _ask(self, text: str, parameters: tuple[Any, ...]) -> Any:
        async with self._connection() as conn:
            return await (await conn.execute(text.encode(), parameters)).fetchone()

    async def _rows(self, text: str, parameters: tuple[Any, ...]) -> list[Changed]:
        async with self._connection() as conn:
            rows = await (await conn.execute(text.encode(), parameters)).fetchall()
        return [Changed(*row) for row in rows]
