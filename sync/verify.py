"""Compares stores with canonical, record by record, while both change.

Canonical's keys come in bytewise order of their text, as `Store.scan` gives them, so each store is
compared by one merge; documents are read in pages. What differs at first sight is only a suspect: it
counts when the store's position has passed the first reading, and canonical still says the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b

from stores.canonical.connect import AsyncConnection
from stores.canonical.document_sql import keys_in_text_order
from stores.contract.model import Contract
from stores.errors import StoreLost
from stores.protocols import Store
from sync.projection import Projector, Reading, connect_for_reading
from sync.reload import same_document

PAGE = 2000
EXAMPLES = 20
"""Keys that a report names of each kind."""
SUSPECTS = 100_000
"""Most suspects of a type and sink that are looked at again; what is beyond counts as it is."""
ROUNDS = 5
NAP = 0.05

Progress = Callable[[str, int, int | None], None]
"""Called with (type, records compared, records in all)."""


@dataclass(slots=True)
class Differences:
    """One type in one sink. `missing`, `extra`, `different`: how many; `examples`: kind → some keys.
    `unsettled`: records that changed at every look. `behind`: the sink's position did not move past the
    reading, so that what is only late counts too."""

    generation: int | None = None
    canonical: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    unsettled: int = 0
    behind: bool = False
    examples: dict[str, list[str]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Of all differences, up to SUSPECTS of them: what a repair marks."""

    @property
    def total(self) -> int:
        return self.missing + self.extra + self.different

    def note(self, kind: str, key: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        named = self.examples.setdefault(kind, [])
        if len(named) < EXAMPLES:
            named.append(key)
        if len(self.keys) < SUSPECTS:
            self.keys.append(key)


@dataclass(slots=True)
class Report:
    """type → sink → what differs."""

    types: dict[str, dict[str, Differences]] = field(default_factory=dict)

    @property
    def differences(self) -> int:
        return sum(d.total for sinks in self.types.values() for d in sinks.values())


@dataclass(slots=True)
class _Suspect:
    version: int
    digest: bytes
    """Of canonical's document at the first look."""


async def verify(
    contract: Contract,
    canonical_url: str,
    stores: Mapping[str, Store],
    *,
    types: Sequence[str] | None = None,
    patience: float = 15.0,
    progress: Progress | None = None,
) -> Report:
    """Compare `types` (default: all) in `stores`, which are open. `patience`: seconds for which a
    sink's position may stand still before its lag counts as difference. Raises StoreUnavailable where
    canonical or a store is not reached."""
    report = Report()
    async with _connections(canonical_url) as (walking, reading):
        projector = Projector(reading, contract)
        for type_name in types or list(contract.types):
            found = await _type(contract, walking, projector, stores, type_name, patience, progress)
            report.types[type_name] = found
    return report


@asynccontextmanager
async def _connections(url: str) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
    async with (
        await connect_for_reading(url, "recordgate verify") as walking,
        await connect_for_reading(url, "recordgate verify") as reading,
    ):
        yield walking, reading


async def _type(
    contract: Contract,
    walking: AsyncConnection,
    projector: Projector,
    stores: Mapping[str, Store],
    type_name: str,
    patience: float,
    progress: Progress | None,
) -> dict[str, Differences]:
    found = {name: Differences() for name in stores}
    walks: dict[str, StoreWalk] = {}
    for name, store in stores.items():
        active = await active_generation(store, type_name)
        found[name].generation = active
        if active is not None:
            walks[name] = StoreWalk(store, type_name, active)
    suspects: dict[str, dict[str, _Suspect]] = {name: {} for name in stores}
    total = await projector.count(type_name) if progress else None
    done = 0
    async with walking.transaction(), walking.cursor(name="recordgate_verify") as cursor:
        await cursor.execute(keys_in_text_order(contract.types[type_name]))
        while rows := await cursor.fetchmany(PAGE):
            keys = [str(row[0]) for row in rows]
            reading = await projector.read(type_name, keys)
            for name in stores:
                held = await walks[name].up_to(keys[-1]) if name in walks else {}
                _compare(found[name], suspects[name], reading, keys, held)
            done += len(keys)
            if progress:
                progress(type_name, done, total)
    # What a store holds beyond canonical's last key.
    for name, walk in walks.items():
        while held := await walk.page():
            reading = await projector.read(type_name, list(held))
            _compare(found[name], suspects[name], reading, (), held)
    for name, store in stores.items():
        found[name].canonical = done
        if suspects[name]:
            await _look_again(store, projector, type_name, found[name], suspects[name], patience)
    return found


def _compare(
    found: Differences,
    suspects: dict[str, _Suspect],
    reading: Reading,
    keys: Sequence[str],
    held: Mapping[str, bytes],
) -> None:
    for key in dict.fromkeys([*keys, *held]):
        document = reading.documents.get(key)
        if same_document(document, held.get(key)):
            continue
        if len(suspects) < SUSPECTS:
            suspects[key] = _Suspect(reading.version, _digest(document))
        else:
            found.note(_kind(document, held.get(key)), key)


async def _look_again(
    store: Store,
    projector: Projector,
    type_name: str,
    found: Differences,
    suspects: dict[str, _Suspect],
    patience: float,
) -> None:
    for _ in range(ROUNDS):
        newest = max(s.version for s in suspects.values())
        if not await passed(store, newest, patience):
            found.behind = True
        active = await active_generation(store, type_name)
        found.generation = active
        left: dict[str, _Suspect] = {}
        ordered = sorted(suspects)
        for start in range(0, len(ordered), PAGE):
            keys = ordered[start : start + PAGE]
            held = await look_up(store, type_name, active, keys)
            # Canonical after the store: if it still says what it said first, the store had its chance.
            reading = await projector.read(type_name, keys)
            for key in keys:
                document = reading.documents.get(key)
                if same_document(document, held.get(key)):
                    continue
                if _digest(document) == suspects[key].digest:
                    found.note(_kind(document, held.get(key)), key)
                else:
                    left[key] = _Suspect(reading.version, _digest(document))
        suspects = left
        if not suspects:
            return
    found.unsettled = len(suspects)


async def passed(store: Store, lsn: int, patience: float) -> bool:
    """Wait until the store's position is at `lsn`; False where it has not moved for `patience` seconds."""
    seen, since = -1, time.monotonic()
    while True:
        position = await store.position()
        at = position.lsn if position else 0
        if at >= lsn:
            return True
        if at > seen:
            seen, since = at, time.monotonic()
        elif time.monotonic() - since > patience:
            return False
        await asyncio.sleep(NAP)


async def active_generation(store: Store, type_name: str) -> int | None:
    """The number of the generation that readers see."""
    for generation in await store.generations(type_name):
        if generation.state == "active":
            return generation.number
    return None


async def look_up(
    store: Store, type_name: str, generation: int | None, keys: Sequence[str]
) -> dict[str, bytes]:
    """What the generation holds of `keys`, which are in bytewise order."""
    held: dict[str, bytes] = {}
    if generation is None:
        return held
    buffer: dict[str, bytes] = {}
    seen_to: str | None = None
    for key in keys:
        if seen_to is None or key > seen_to:
            page = await store.scan(type_name, generation, just_before(key), 50)
            buffer = {s.key: s.document for s in page}
            seen_to = page[-1].key if len(page) == 50 else keys[-1]
        if key in buffer:
            held[key] = buffer[key]
    return held


def just_before(key: str) -> str | None:
    """A text that is smaller than `key` in bytewise order, with hardly anything in between; None where
    there is none."""
    if not key:
        return None
    last = ord(key[-1])
    if last == 0:
        return key[:-1]
    smaller = 0xD7FF if last == 0xE000 else last - 1
    return key[:-1] + chr(smaller) + "\U0010ffff"


class StoreWalk:
    """Reads a generation in order of keys, in step with somebody else's order."""

    def __init__(self, store: Store, type_name: str, generation: int) -> None:
        self._store, self._type, self._generation = store, type_name, generation
        self._after: str | None = None
        self._ahead: dict[str, bytes] = {}
        self._ended = False

    async def up_to(self, last: str) -> dict[str, bytes]:
        """The next records with keys up to `last`."""
        found: dict[str, bytes] = {}
        while self._ahead or await self._fill():
            for key in list(self._ahead):
                if key > last:
                    return found
                found[key] = self._ahead.pop(key)
        return found

    async def page(self) -> dict[str, bytes]:
        """The next records, at most PAGE; empty at the end."""
        if not self._ahead:
            await self._fill()
        found, self._ahead = self._ahead, {}
        return found

    async def _fill(self) -> bool:
        if self._ended:
            return False
        page = await self._store.scan(self._type, self._generation, self._after, PAGE)
        self._ended = len(page) < PAGE
        if not page:
            return False
        if self._after is not None and page[0].key <= self._after:
            raise StoreLost(
                f"{self._store.kind} gives {self._type} out of order", store=self._store.kind
            )
        self._after = page[-1].key
        self._ahead = {s.key: s.document for s in page}
        return True


def _kind(canonical: bytes | None, held: bytes | None) -> str:
    if held is None:
        return "missing"
    return "extra" if canonical is None else "different"


def _digest(document: bytes | None) -> bytes:
    return b"" if document is None else blake2b(document, digest_size=16).digest()
