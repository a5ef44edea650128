"""Compares stores with canonical, range by range, while both change.

Canonical's keys come in bytewise order of their text, as `Store.scan` gives them, so a store is
read by one walk. Of each range canonical says a checksum; only where a store's differs are its
documents read and compared. What differs at first sight is only a suspect: it counts when the
store's position has passed the first reading, and canonical still says the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

from stores.canonical.connect import AsyncConnection
from stores.canonical.document_sql import keys_in_text_order
from stores.contract.model import Contract
from stores.errors import NotReadable, StoreLost, StoreRefused
from stores.protocols import Store
from sync.ending import end
from sync.failures import reading_all
from sync.patient_store import PatientStore
from sync.projection import (
    Digest,
    Projector,
    Reading,
    connect_for_documents,
    connect_for_reading,
)
from sync.ranges import RANGE, StoreWalk, can_be_digested, just_before, same
from sync.reload import same_document

EXAMPLES = 20
"""Keys that a report names of each kind."""
SUSPECTS = 100_000
"""Maximum suspects of a type and sink that are compared again; the rest counts as found."""
ROUNDS = 5
NAP = 0.05
STORE_SECONDS = 60.0
"""The time for which a store that does not answer is asked again: as long as a server takes to
start anew."""
SWAPS = 5
"""Looks, a moment apart, before a generation that only the store calls active counts as wrong."""

Progress = Callable[[str, int, int | None], None]
"""Called with the type, the records compared and the records in all."""


@dataclass(slots=True)
class Differences:
    """The differences of one type in one sink. `missing`, `extra` and `different` are counts;
    `examples` has some keys by kind. `unsettled` counts records that changed at every
    comparison. With `behind`, the sink's position did not move past the reading, so that
    records which are only late count as well. `expected` is the generation that canonical's
    records call active, if readers see another one. `unreadable` says why canonical could not
    be read; nothing was compared then."""

    generation: int | None = None
    expected: int | None = None
    canonical: int = 0
    documents: int = 0
    """Records that were compared document by document; a checksum was enough for the others."""
    missing: int = 0
    extra: int = 0
    different: int = 0
    unsettled: int = 0
    behind: bool = False
    unreadable: str = ""
    examples: dict[str, list[str]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    """Keys of all differences, up to SUSPECTS of them, which a repair marks."""

    @property
    def total(self) -> int:
        told = (self.expected is not None) + bool(self.unreadable)
        return self.missing + self.extra + self.different + told

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
class Suspect:
    version: int
    digest: bytes
    """Digest of canonical's document at the first comparison."""


Suspects = dict[str, Suspect]

_ACTIVE = """
SELECT number FROM recordgate.generations WHERE sink = %s AND type = %s AND state = 'active'
"""


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
    sink's position may stand still before its lag counts as difference. A store that stops
    answering is asked again for STORE_SECONDS. Raises StoreUnavailable where canonical or a
    store is not reached."""
    report = Report()
    patient = {n: cast(Store, PatientStore(s, STORE_SECONDS)) for n, s in stores.items()}
    async with _connections(canonical_url) as (walking, reading):
        projector = Projector(reading, contract)
        for type_name in types or list(contract.types):
            try:
                found = await _settled(
                    contract, walking, projector, patient, type_name, patience, progress
                )
            except NotReadable as error:
                found = {name: Differences(unreadable=error.reason) for name in stores}
            report.types[type_name] = found
    return report


@asynccontextmanager
async def _connections(url: str) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
    async with (
        await connect_for_reading(url, "recordgate verify") as walking,
        await connect_for_documents(url, "recordgate verify") as reading,
    ):
        yield walking, reading


async def _settled(
    contract: Contract,
    walking: AsyncConnection,
    projector: Projector,
    stores: Mapping[str, Store],
    type_name: str,
    patience: float,
    progress: Progress | None,
) -> dict[str, Differences]:
    """Return the differences that `_type` finds. Begin again where a load put another generation in
    the place of the one that was read."""
    for attempt in range(SWAPS):
        before = [await active_generation(store, type_name) for store in stores.values()]
        try:
            return await _type(contract, walking, projector, stores, type_name, patience, progress)
        except (StoreRefused, StoreLost):
            after = [await active_generation(store, type_name) for store in stores.values()]
            if after == before or attempt == SWAPS - 1:
                raise
    raise AssertionError("unreachable")


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
        await _generation(walking, found[name], name, store, type_name)
        active = found[name].generation
        if active is not None:
            walks[name] = StoreWalk(store, type_name, active)
    suspects: dict[str, Suspects] = {name: {} for name in stores}
    total = await projector.count(type_name) if progress else None
    done = 0
    async with aclosing(_ranges(contract, walking, projector, type_name)) as ranges:
        async for keys, canonical in ranges:
            held = dict(
                zip(walks, await _all(w.up_to(keys[-1]) for w in walks.values()), strict=True)
            )
            digest = await canonical
            differ = [
                name
                for name in stores
                if name not in walks
                or not can_be_digested(stores[name])
                or not same(digest, held[name])
            ]
            if differ:
                async with projector.lock:
                    reading = await projector.read(type_name, keys)
                for name in differ:
                    compare(found[name], suspects[name], reading, keys, held.get(name, {}))
            done += len(keys)
            if progress:
                progress(type_name, done, total)
    # What a store holds beyond canonical's last key.
    for name, walk in walks.items():
        while rest := await walk.page():
            reading = await projector.read(type_name, list(rest))
            compare(found[name], suspects[name], reading, (), rest)
    for name, store in stores.items():
        found[name].canonical = done
        if suspects[name]:
            await look_again(store, projector, type_name, found[name], suspects[name], patience)
    return found


async def _ranges(
    contract: Contract, walking: AsyncConnection, projector: Projector, type_name: str
) -> AsyncGenerator[tuple[list[str], asyncio.Task[Digest | None]], None]:
    """Keys of a range, and canonical's checksum of it, which canonical computes while the range
    before is compared."""

    async def digest(keys: list[str]) -> Digest | None:
        async with projector.lock:
            return await projector.digest(type_name, keys)

    before: tuple[list[str], asyncio.Task[Digest | None]] | None = None
    tasks: list[asyncio.Task[Digest | None]] = []
    try:
        async with walking.transaction(), walking.cursor(name="recordgate_verify") as cursor:
            with reading_all(type_name):
                await cursor.execute(keys_in_text_order(contract.types[type_name]))
            while rows := await cursor.fetchmany(RANGE):
                keys = [str(row[0]) for row in rows]
                tasks = [*tasks[-1:], asyncio.create_task(digest(keys))]
                if before is not None:
                    yield before
                before = keys, tasks[-1]
            if before is not None:
                yield before
    finally:
        await end(tasks)


async def _all(reads: Iterable[Coroutine[Any, Any, dict[str, bytes]]]) -> list[dict[str, bytes]]:
    return await asyncio.gather(*reads)


async def _generation(
    conn: AsyncConnection, found: Differences, sink: str, store: Store, type_name: str
) -> None:
    """The generation that readers see, and whether canonical has recorded it as such; a swap is in
    both a moment apart."""
    for _ in range(SWAPS):
        found.generation = await active_generation(store, type_name)
        cursor = await conn.execute(_ACTIVE, (sink, type_name))
        row = await cursor.fetchone()
        found.expected = None if row is None or row[0] == found.generation else int(row[0])
        if found.expected is None:
            return
        await asyncio.sleep(0.2)


def compare(
    found: Differences,
    suspects: Suspects,
    reading: Reading,
    keys: Sequence[str],
    held: Mapping[str, bytes],
) -> None:
    """Add to `suspects` the keys whose document in `held` differs from the reading; count those for
    which there is no room in `found`."""
    found.documents += len(keys) or len(held)
    for key in dict.fromkeys([*keys, *held]):
        document = reading.documents.get(key)
        if same_document(document, held.get(key)):
            continue
        if len(suspects) < SUSPECTS:
            suspects[key] = Suspect(reading.version, _digest(document))
        else:
            found.note(_kind(document, held.get(key)), key)


async def look_again(
    store: Store,
    projector: Projector,
    type_name: str,
    found: Differences,
    suspects: Suspects,
    patience: float,
) -> None:
    """Note of the suspects those that differ for good."""
    for _ in range(ROUNDS):
        newest = max(s.version for s in suspects.values())
        if not await passed(store, newest, patience):
            found.behind = True
        active = await active_generation(store, type_name)
        found.generation = active
        left: Suspects = {}
        ordered = sorted(suspects)
        for start in range(0, len(ordered), RANGE):
            keys = ordered[start : start + RANGE]
            held = await look_up(store, type_name, active, keys)
            # Canonical after the store: if it still says what it said first, the store had its
            # chance.
            reading = await projector.read(type_name, keys)
            for key in keys:
                document = reading.documents.get(key)
                if same_document(document, held.get(key)):
                    continue
                if _digest(document) == suspects[key].digest:
                    found.note(_kind(document, held.get(key)), key)
                else:
                    left[key] = Suspect(reading.version, _digest(document))
        suspects = left
        if not suspects:
            return
    found.unsettled = len(suspects)


async def passed(store: Store, lsn: int, patience: float) -> bool:
    """Wait until the store's position is at `lsn`; False where it has not moved for `patience`
    seconds."""
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
    """Return the number of the generation that readers see, or None."""
    for generation in await store.generations(type_name):
        if generation.state == "active":
            return generation.number
    return None


async def look_up(
    store: Store, type_name: str, generation: int | None, keys: Sequence[str]
) -> dict[str, bytes]:
    """Return the documents that the generation holds of `keys`, which are in bytewise order."""
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


def _kind(canonical: bytes | None, held: bytes | None) -> str:
    if held is None:
        return "missing"
    return "extra" if canonical is None else "different"


def _digest(document: bytes | None) -> bytes:
    return b"" if document is None else blake2b(document, digest_size=16).digest()
