"""The protocols that every store implements, whatever its backend; `tests/conformance` holds each
to them.

A store keeps, per record type, numbered *generations*; one of them is active and is what readers
see. Into a generation go *writes*: (key, version, document or delete). Versions are made of WAL
positions of canonical (see `stores.lineage`), unique and growing per reading; documents are
finished JSON that the store returns byte for byte, or equal as parsed JSON where it lacks
`Capability.EXACT_BYTES`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, runtime_checkable

from stores.contract.model import Contract
from stores.lineage import Forks
from stores.query import (
    Children,
    ChildrenQuery,
    Filter,
    Listed,
    ListQuery,
    SearchQuery,
    SearchResult,
    Statistics,
    Suggestion,
)
from stores.roles import StoreRole


class Capability(StrEnum):
    """The abilities of a store beyond the protocol's core. The router and the tests read the same
    names."""

    EXACT_BYTES = "exact_bytes"
    """Documents come back byte for byte."""
    CHILDREN = "children"
    """`DocumentStore.children`, in canonical's key order."""
    LISTS = "lists"
    """`DocumentStore.page` and `statistics`: filtered, ordered pages, as canonical gives them."""
    HIGHLIGHTS = "highlights"
    FACETS = "facets"
    SUGGEST = "suggest"
    FUZZY = "fuzzy"
    SEARCH_SORT = "search_sort"
    SHARED = "shared"
    """Processes on other hosts can read the store. Without it, only processes on this machine can.
    """
    TOMBSTONES_FOREVER = "tombstones_forever"
    """A delete's version is remembered as long as the generation lives, not for a time only."""


SEARCH = frozenset(
    {
        Capability.EXACT_BYTES,
        Capability.HIGHLIGHTS,
        Capability.FACETS,
        Capability.SUGGEST,
        Capability.FUZZY,
        Capability.SEARCH_SORT,
    }
)
"""The capabilities of every search store so far."""


class Outcome(StrEnum):
    """The store's verdict on one write."""

    APPLIED = "applied"
    STALE = "stale"
    """The store holds a version at least as new. The writer reads once more and tries again."""
    RETRY = "retry"
    """The write was not accepted now (overloaded, timed out) and may be sent again."""
    REJECT = "reject"
    """Will never be taken as it is; `reason` says why. Becomes a dead letter."""


@dataclass(frozen=True, slots=True)
class Write:
    """`document` None is a delete. `version` is positive and fits 63 bits."""

    key: str
    version: int
    document: bytes | None


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    reason: str = ""


APPLIED = Verdict(Outcome.APPLIED)
STALE = Verdict(Outcome.STALE)


@dataclass(frozen=True, slots=True, order=True)
class Withheld:
    """The position of one record type that stays behind the others; see Position."""

    type_name: str
    lsn: int
    as_of: float


@dataclass(frozen=True, slots=True)
class Position:
    """The point up to which a reader of the store sees: every commit up to `lsn` of the database
    `system`.

    `as_of` (seconds since the epoch, canonical's clock) is a moment at which nothing beyond `lsn`
    had been committed: the reader's view is at most `now - as_of` old. `timeline` is the one that
    `lsn` is of, 0 where that was not recorded; `forks` say where canonical left the ones before it.

    `withheld`: record types that canonical could not be read of for a while, in order of names,
    each with the `lsn` and `as_of` that hold for it alone; both are 0 for one that is not to be
    believed at all.
    """

    system: str
    lsn: int
    as_of: float
    withheld: tuple[Withheld, ...] = ()
    timeline: int = 0
    forks: Forks = ()

    def of(self, types: Collection[str]) -> Position:
        """Return the position that holds for a reader of `types`."""
        mine = [w for w in self.withheld if w.type_name in types]
        if not mine:
            return self
        lsn = min(self.lsn, *(w.lsn for w in mine))
        as_of = min(self.as_of, *(w.as_of for w in mine))
        return replace(self, lsn=lsn, as_of=as_of, withheld=())

    @property
    def withdrawn(self) -> bool:
        """Return whether nothing is promised any more, until the next position."""
        return not self.system

    def covers(self, timeline: int, lsn: int) -> bool:
        """Return whether a reader sees the commit at `lsn` of `timeline`. False for a timeline that
        was left before the commit came, and for one that the store knows nothing of."""
        if timeline == self.timeline:
            return lsn <= self.lsn
        end = dict(self.forks).get(timeline)
        return end is not None and lsn <= min(end, self.lsn)


WITHDRAWN = Position("", 0, 0.0)
"""Published in place of a position that turned out to be of a history that canonical has left."""


@dataclass(frozen=True, slots=True)
class Generation:
    """`state`: building, active, retired."""

    number: int
    state: str
    shape: str
    """Fingerprint of what the contract said when it was built; another one needs a reload."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as a store holds it, for verify."""

    key: str
    version: int
    document: bytes


@dataclass(frozen=True, slots=True)
class Health:
    """`ok` False: `problem` says what is wrong and `hint` how to mend it."""

    ok: bool
    version: str = ""
    problem: str = ""
    hint: str = ""


@runtime_checkable
class Store(Protocol):
    """The part that search and document stores share.

    All methods are safe to call again after a failure or a crash. Errors are `StoreUnavailable`
    (try later), `StoreRefused` (never) and `StoreLost`; nothing else leaves an adapter. Blocking
    work is done off the event loop. One process writes (a second `open(write=True)` raises
    `ConflictError` where the backend is local); any number read.
    """

    kind: str
    """The adapter's name: "sqlite", "tantivy", "elasticsearch", "mongodb"."""
    role: StoreRole
    """The role of the store; `stores.roles.STORE_ROLES` has a row for it."""
    capabilities: frozenset[Capability]

    async def open(self, contract: Contract, *, write: bool) -> None:
        """Connect and check that what is there is ours. Creates what belongs to no generation.
        Raises StoreLost where the place holds another contract's or somebody else's data."""

    async def close(self) -> None: ...

    async def health(self) -> Health:
        """Return the store's health within two seconds. Never raises."""
        ...

    async def take_charge(self, term: int) -> None:
        """Write from now on in `term`, which is greater than that of any earlier worker. A backend
        that several hosts can write to remembers the greatest term; a worker with a smaller one
        gets FencedError here, from `publish` with a position and from changes of generations. A
        store that only one process can open for writing does nothing."""
        ...

    # Generations ------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]: ...

    async def create_generation(self, type_name: str, number: int) -> None:
        """An empty generation in state building; nothing happens where it is there already."""

    async def activate(self, type_name: str, number: int) -> None:
        """Make `number` what readers see, in one step, and the one before it retired. A reader that
        began before sees the old one to its end or gets an error; never a mix."""

    async def drop_generation(self, type_name: str, number: int) -> None:
        """Remove it with all its data. Raises StoreRefused for the active one."""

    # Writing ----------------------------------------------------------------------------------

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        """Take each write whose version is greater than the one held, deleted or not; a verdict
        for each, in order. Keys are distinct within a call. An applied write is promised neither
        durable nor visible until `publish` returns, and a reader may see it before. Where the call
        raises, none of its writes are taken, and others since the last `publish` may be lost; the
        next `publish` says so by raising."""
        ...

    async def publish(self, position: Position | None) -> None:
        """Make all writes so far durable and visible, then record `position` (None: leave it) so
        that `position()` never says more than a reader can see. Where it raises
        StoreUnavailable, all writes since the last `publish` that returned are to be sent again
        (those that were taken after all are answered STALE)."""

    async def position(self) -> Position | None:
        """Return the last published position, or None. Must be cheap: it is asked for every
        query."""
        ...

    # Verify -----------------------------------------------------------------------------------

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        """Return up to `limit` records with a key greater than `after`, in bytewise key order,
        without deleted ones. Fewer than `limit` means the end."""
        ...

    async def count(self, type_name: str, generation: int) -> int: ...

    async def newer(self, type_name: str, generation: int, version: int) -> list[str]:
        """Keys, those of deleted records too, whose version is greater than `version`."""
        ...


@runtime_checkable
class DocumentStore(Store, Protocol):
    """Reads by key and by parent."""

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The documents of those keys that exist, from the active generation."""
        ...

    async def children(self, query: ChildrenQuery) -> dict[tuple[object, ...], Children]:
        """Return the records for each of `query.values`. Needs `Capability.CHILDREN`."""
        ...

    async def page(self, query: ListQuery) -> Listed:
        """Return a page. Only what `stores.exactness` says of each property is asked. Needs
        `Capability.LISTS`. Raises TooMuchWork after `query.seconds`, and StoreRefused where
        `query.index` is not there."""
        ...

    async def statistics(self, type_name: str) -> Statistics:
        """Return what is known of a type. Needs `Capability.LISTS`. Must be cheap."""
        ...


@runtime_checkable
class SearchStore(Store, Protocol):
    """Full-text reads. Not promised: that scores of two stores, or of two generations, agree."""

    async def search(self, query: SearchQuery) -> SearchResult: ...

    async def suggest(
        self, type_name: str, text: str, first: int, properties: tuple[str, ...] | None = None
    ) -> list[Suggestion]:
        """Completions of `text` from the properties that the contract marks `suggest`."""
        ...

    def can_filter(self, type_name: str, filter: Filter) -> str:
        """Empty where `search` can apply `filter` with canonical's meaning; else why it cannot."""
        ...
