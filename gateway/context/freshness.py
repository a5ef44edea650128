"""Decides whether a store is as fresh as the caller asked, waiting a moment where allowed, and how
fresh an answer is. A store is judged by what its readers can see (`Store.position`), never by what
was sent."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from gateway.context.services import Freshness, Services
from gateway.context.tokens import Commit, own_tokens, read_token
from stores.errors import InputError, LimitError, StaleError, StoreError, StoreUnavailable
from stores.lsn import format_lsn
from stores.protocols import DocumentStore, Generation, Position, Store
from stores.query import Statistics

MAX_WAIT = 30.0
"""Seconds; a caller that asks to wait longer waits this long."""
_POSITION_TTL = 0.005
_GENERATION_TTL = 0.1
_STATISTICS_TTL = 2.0

_SIMPLE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?", re.ASCII)
_ISO = re.compile(
    r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII | re.IGNORECASE
)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def parse_duration(value: object, what: str) -> float:
    """Seconds of "2s", "500ms", "PT1.5S", "3" or 3. Raises InputError that names `what`."""
    if isinstance(value, bool):
        value = "true"
    text = str(value).strip()[:40] if isinstance(value, str | int | float) else ""
    simple = _SIMPLE.fullmatch(text)
    if simple:
        seconds = float(simple[1]) * _UNITS[simple[2]]
        if seconds <= 366 * 86400:
            return seconds
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groups()):
        days, hours, minutes, rest = (float(part or 0) for part in iso.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + rest
    raise InputError(
        f"{what} is not a duration", hint='write "2s", "500ms", "PT2S" or a number of seconds'
    )


def asked(
    after: object, max_staleness: object, wait_up_to: object, *, base: Freshness | None = None
) -> Freshness:
    """Freshness from raw values (None: not given, take `base`'s). Raises InputError."""
    base = base or Freshness()
    if after is not None and not isinstance(after, str):
        raise InputError("a freshness token is a string", hint="pass it as a write returned it")
    return Freshness(
        after=base.after if after is None else after,
        max_staleness=base.max_staleness
        if max_staleness is None
        else parse_duration(max_staleness, "maxStaleness"),
        wait_up_to=base.wait_up_to
        if wait_up_to is None
        else min(parse_duration(wait_up_to, "waitUpTo"), MAX_WAIT),
    )


def from_headers(headers: Mapping[str, str]) -> Freshness:
    """Freshness of the `Recordgate-…` request headers."""
    return asked(
        headers.get("recordgate-token"),
        headers.get("recordgate-max-staleness"),
        headers.get("recordgate-wait-up-to"),
    )


def with_directive(base: Freshness, arguments: Mapping[str, Any] | None) -> Freshness:
    """`base` (of the headers) with what the operation's @freshness says on top."""
    if not arguments:
        return base
    return asked(
        arguments.get("after"),
        arguments.get("maxStaleness"),
        arguments.get("waitUpTo"),
        base=base,
    )


def of_federation(asked: Freshness, services: Services) -> Freshness:
    """Return the freshness that a federated gateway asks for: it passes the tokens of all products
    on to each, and another product's says nothing of this one. Text that is no token stays, and is
    refused with the request."""
    if asked.after is None:
        return asked
    try:
        own = own_tokens(asked.after, services.system, alone=False)
    except (InputError, LimitError):
        return asked
    return replace(asked, after=",".join(own) or None)


NOTHING = Commit(0)


def required_commit(freshness: Freshness, services: Services) -> Commit:
    """Return the commit that the caller's token asks for; NOTHING without one, or where none of
    several is of this database. A token that does not say of which timeline it is, is of the one on
    which such tokens were last made. Raises InputError."""
    if freshness.after is None:
        return NOTHING
    tokens = own_tokens(freshness.after, services.system)
    found = [read_token(t, services.system, services.token_secret) for t in tokens]
    dated = [c if c.timeline else replace(c, timeline=services.first_timeline) for c in found]
    return max(dated, key=lambda c: (c.timeline, c.lsn), default=NOTHING)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of a store against the freshness that was asked. `reason` says why it is not
    usable, "" where it is."""

    usable: bool
    position: Position | None = None
    reason: str = ""
    behind_ms: float | None = None


def judge(
    position: Position | None,
    system: str,
    wanted: Commit,
    max_staleness: float | None,
    now: float,
    *,
    timeline: int = 0,
) -> Standing:
    """The pure decision: `position` of a store against a `wanted` commit and staleness in seconds.
    `timeline`: the one that canonical is known to write, 0: none is. What a store took on an
    earlier one may have been lost by canonical; the worker finds out, and says so in the store's
    next position."""
    if position is None:
        return Standing(False, None, "not loaded yet")
    if position.system != system:
        return Standing(False, position, "holds records of another database")
    if position.timeline < timeline:
        return Standing(False, position, "has not been checked since canonical failed over")
    stale = max(0.0, now - position.as_of)
    if wanted.lsn and not position.covers(wanted.timeline, wanted.lsn):
        return Standing(False, position, "has not applied the token's write", stale * 1000)
    if max_staleness is not None and stale > max_staleness:
        return Standing(
            False,
            position,
            "is staler than the request allows",
            max(0.0, stale - max_staleness) * 1000,
        )
    return Standing(True, position)


class _Cached:
    """A store's position and active generations, asked at most every few milliseconds."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self.position_until = 0.0
        self.heard = 0
        """The count of the listener when the position was last asked for."""
        self.asking: asyncio.Future[Position | None] | None = None
        self.generations: dict[str, tuple[float, Generation | None]] = {}
        self.statistics: dict[str, tuple[float, Statistics]] = {}


_cache: WeakKeyDictionary[Store, _Cached] = WeakKeyDictionary()


def _cached(store: Store) -> _Cached:
    found = _cache.get(store)
    if found is None:
        found = _cache[store] = _Cached()
    return found


async def position_of(store: Store, heard: int = 0) -> Position | None:
    """`store.position()`, at most 5 ms old, and not from before `heard` was. All who ask at once
    share one question. Raises StoreError."""
    cached = _cached(store)
    if heard <= cached.heard and time.monotonic() < cached.position_until:
        return cached.position
    if cached.asking is None or heard > cached.heard:
        cached.heard = max(heard, cached.heard)
        cached.asking = asyncio.ensure_future(_ask(store, cached))
        cached.asking.add_done_callback(_looked_at)
    return await asyncio.shield(cached.asking)


async def _ask(store: Store, cached: _Cached) -> Position | None:
    began = time.monotonic()
    me = asyncio.current_task()
    try:
        position = await store.position()
        if position is not None and position.withdrawn:
            position = None
        cached.position = position
        cached.position_until = began + _POSITION_TTL
        return position
    finally:
        if cached.asking is me:
            cached.asking = None


def _looked_at(asked: asyncio.Future[Position | None]) -> None:
    """Mark the error as seen: those who asked may have gone, and the error is nobody's then."""
    if not asked.cancelled():
        asked.exception()


async def active_generation(store: Store, type_name: str) -> Generation | None:
    """The active generation, at most 100 ms old; None where there is none. Raises StoreError."""
    cached = _cached(store)
    now = time.monotonic()
    until, active = cached.generations.get(type_name, (0.0, None))
    if now >= until:
        generations = await store.generations(type_name)
        active = next((g for g in generations if g.state == "active"), None)
        cached.generations[type_name] = (now + _GENERATION_TTL, active)
    return active


async def statistics_of(store: DocumentStore, type_name: str) -> Statistics:
    """Return what the store knows of a type, as of two seconds ago at most. Raises StoreError."""
    cached = _cached(store)
    now = time.monotonic()
    found = cached.statistics.get(type_name)
    if found is None or now >= found[0]:
        found = now + _STATISTICS_TTL, await store.statistics(type_name)
        cached.statistics[type_name] = found
    return found[1]


async def generation_of(store: Store, type_name: str) -> int | None:
    """The number of the active generation; None where there is none. Raises StoreError."""
    active = await active_generation(store, type_name)
    return active.number if active else None


async def usable(
    services: Services, store: Store, freshness: Freshness, types: Collection[str] = ()
) -> Standing:
    """Return the state of `store` against `freshness` for a reader of `types`, after waiting up to
    `wait_up_to` for it to catch up.

    Never raises for a store that is down: it is not usable, with the reason. Raises InputError for
    a bad token.
    """
    wanted = required_commit(freshness, services)
    listener = services.listener
    deadline = time.monotonic() + freshness.wait_up_to if freshness.wait_up_to else 0.0
    while True:
        heard = listener.heard if deadline else 0
        try:
            position = await position_of(store, heard)
        except StoreError as error:
            return Standing(False, None, f"not reachable: {error.message}")
        if position is not None and position.withheld:
            position = position.of(types)
        if position is not None and not position.timeline:
            position = replace(position, timeline=services.first_timeline)
        standing = judge(
            position,
            services.system,
            wanted,
            freshness.max_staleness,
            listener.now(),
            timeline=services.timeline,
        )
        left = deadline - time.monotonic()
        if standing.usable or left <= 0 or (position and position.system != services.system):
            return standing
        if listener.heard == heard:
            await listener.wait(left)


async def require(
    services: Services, store: Store, freshness: Freshness, types: Collection[str] = ()
) -> Standing:
    """`usable`, for what no other store can answer. Raises StaleError with by how
    much, StoreUnavailable where the store is not reached or holds nothing yet."""
    standing = await usable(services, store, freshness, types)
    if standing.usable:
        return standing
    if standing.position is None:
        raise StoreUnavailable(
            f"the {store.kind} store cannot answer: {standing.reason}",
            store=store.kind,
            retry_after=1.0,
        )
    by = "" if standing.behind_ms is None else f", by {standing.behind_ms:.0f} ms"
    raise StaleError(
        f"the {store.kind} store is too far behind: it {standing.reason}{by}",
        hint="allow more staleness, or wait longer with waitUpTo",
        behind_ms=standing.behind_ms,
    )


def source_ages(services: Services, types: Collection[str] | None = None) -> dict[str, Any]:
    """Type → as of when its source was read whole, and how long ago; of `types`, else of all that
    are collected. What a source gives is looked at every ten seconds: an age is never said to be
    less than it is."""
    now = services.listener.now()
    return {
        name: {
            "sourceAsOf": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z"),
            "sourceStalenessMs": max(0, round((now - at) * 1000)),
        }
        for name, at in services.listener.sources.items()
        if types is None or name in types
    }


def report(
    store: str,
    reason: str,
    position: Position | None = None,
    generation: int | None = None,
    *,
    now: float | None = None,
) -> dict[str, Any]:
    """The entry of `extensions.recordgate.fields` for one field. Canonical has no position: its
    answer is as of now. `now`: canonical's time, for an answer with a position."""
    return {
        "store": store,
        "reason": reason,
        "generation": generation,
        "watermark": None if position is None else format_lsn(position.lsn),
        "stalenessMs": 0
        if position is None
        else max(0, round(((now or time.time()) - position.as_of) * 1000)),
    }
