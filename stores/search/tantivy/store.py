"""The embedded search store: a Tantivy index per type and generation, under `search/` in data_dir.

    search/state.sqlite          whose data, generations, the published position
    search/state.sqlite.writer   the lock of the one writing process
    search/TYPE/NUMBER/index/    Tantivy
    search/TYPE/NUMBER/guard.sqlite   the newest version of each key (see tantivy_index)

All writing is done in one thread. `publish` commits each generation that was written to, then the
position. Readers, of any process, see the last commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import tantivy

from stores import local_state, private_files
from stores.contract.model import Contract
from stores.contract.shape import search_shape
from stores.errors import RecordgateError, StoreLost, StoreRefused, StoreUnavailable
from stores.local_metadata import LocalMetadata, path_in
from stores.protocols import (
    SEARCH,
    Capability,
    Generation,
    Health,
    Position,
    Stored,
    Verdict,
    Write,
)
from stores.query import Filter, SearchQuery, SearchResult, Suggestion
from stores.roles import StoreRole
from stores.search import filter_plan
from stores.search.fields import Level, levels, text_fields
from stores.search.tantivy import guard as tantivy_guard
from stores.search.tantivy import index as tantivy_index
from stores.search.tantivy import suggest as tantivy_suggest
from stores.search.tantivy.analyzers import analyzer
from stores.search.tantivy.errors import KIND, lost, translated
from stores.search.tantivy.index import Reading, Writing
from stores.search.tantivy.search import Search

CHECK_SECONDS = 2.0
"""The shortest time between two looks at whether the files of all generations are there."""
OPEN_WRITERS = 4
"""Generations that may have a writer at once; each has a heap and threads of its own."""


def from_url(url: str, data_dir: Path) -> TantivyStore:
    """`tantivy:` is the folder `search` in data_dir; `tantivy:PATH` another folder."""
    return TantivyStore(path_in(url, data_dir, "search"))


class TantivyStore:
    """SearchStore on a folder of this machine; see the module for what it promises."""

    kind = KIND
    role = StoreRole.SEARCH
    capabilities = SEARCH | {Capability.TOMBSTONES_FOREVER}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state_file = LocalMetadata(KIND, folder / "state.sqlite", snapshot=False, raw=False)
        self._contract: Contract | None = None
        self._levels: dict[str, Level] = {}
        self._writers: OrderedDict[tuple[str, int], Writing] = OrderedDict()
        self._lost_writes = False
        self._checked = 0.0
        self._readings: dict[tuple[str, int], Reading] = {}
        self._readings_lock = threading.Lock()
        self._readings_of = 0

    # Opening -----------------------------------------------------------------------------------

    async def open(self, contract: Contract, *, write: bool) -> None:
        await asyncio.to_thread(self._state_file.open, contract.id, write=write)
        await asyncio.to_thread(private_files.tighten_tree, self.folder)
        self._contract = contract
        self._levels = {name: levels(contract, t) for name, t in contract.types.items()}
        self._lost_writes = False
        if write:
            await self._state_file.begin(self._remove_leftovers)

    def _remove_leftovers(self, state: sqlite3.Connection) -> None:
        """Folders of generations that were dropped or never finished being made."""
        known = {
            self._folder(type_name, number)
            for type_name, number in state.execute("SELECT type, number FROM generations")
        }
        for folder in self.folder.glob("*/*"):
            if folder.is_dir() and folder not in known:
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        if self._state_file.writer is not None:
            await self._state_file.write(lambda _: self._close_writers(wait=True))
        await self._state_file.close()
        self._readings.clear()

    async def health(self) -> Health:
        return await self._state_file.health(metadata.version("tantivy"), self._check)

    def _check(self, state: sqlite3.Connection) -> None:
        """Every active generation can be read."""
        for (type_name,) in state.execute("SELECT type FROM generations WHERE state = 'active'"):
            if type_name in self._levels:
                self._active(state, type_name).searcher()

    async def take_charge(self, term: int) -> None:
        """The lock on the files lets one process write."""

    def _folder(self, type_name: str, number: int) -> Path:
        return self.folder / folder_name(type_name) / str(number)

    def _level(self, type_name: str) -> Level:
        found = self._levels.get(type_name)
        if found is None:
            raise StoreRefused(f"{KIND}: the contract has no type {type_name!r}", store=KIND)
        return found

    # Generations -------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]:
        return await self._state_file.read(lambda state: local_state.generations(state, type_name))

    async def create_generation(self, type_name: str, number: int) -> None:
        level = self._level(type_name)
        contract = self._contract
        assert contract is not None
        for field in text_fields(level):
            _check_analyzer(field.path, field.prop.search.analyzer)
        shape = search_shape(contract, type_name)

        def work(state: sqlite3.Connection) -> None:
            if any(g.number == number for g in local_state.generations(state, type_name)):
                return
            tantivy_index.create(self._folder(type_name, number), level, type_name)
            with local_state.transaction(state):
                local_state.add(state, type_name, number, shape)

        await self._state_file.write(work)

    async def activate(self, type_name: str, number: int) -> None:
        def work(state: sqlite3.Connection) -> None:
            with local_state.transaction(state):
                local_state.activate(state, type_name, number, KIND)
            writer = self._writers.get((type_name, number))
            if writer is not None and not writer.dirty:
                # The next write opens it with the memory of an active one.
                self._writers.pop((type_name, number)).close(wait=True)

        await self._state_file.write(work)

    async def drop_generation(self, type_name: str, number: int) -> None:
        def work(state: sqlite3.Connection) -> None:
            with local_state.transaction(state):
                known = local_state.remove(state, type_name, number, KIND)
            writer = self._writers.pop((type_name, number), None)
            if writer is not None:
                writer.close(wait=False)
            if known is not None:
                shutil.rmtree(self._folder(type_name, number), ignore_errors=True)

        await self._state_file.write(work)

    # Writing -----------------------------------------------------------------------------------

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        level = self._level(type_name)

        def work(state: sqlite3.Connection) -> list[Verdict]:
            writer = self._writer(state, level, generation)
            try:
                return writer.write(writes)
            except BaseException:
                self._give_up(type_name, generation)
                raise

        def guarded(state: sqlite3.Connection) -> list[Verdict]:
            try:
                return work(state)
            except StoreLost:
                raise self._strike_off(state, type_name, generation) from None

        return await self._state_file.write(guarded)

    def _strike_off(
        self, state: sqlite3.Connection, type_name: str, generation: int
    ) -> StoreUnavailable:
        """Forget a generation that is damaged or gone: it alone is loaded anew."""
        self._give_up(type_name, generation)
        with local_state.transaction(state):
            local_state.strike_off(state, type_name, generation)
        shutil.rmtree(self._folder(type_name, generation), ignore_errors=True)
        return StoreUnavailable(
            f"{KIND}: generation {generation} of {type_name} is damaged or was removed",
            store=KIND,
            hint="it is reloaded from canonical",
        )

    def _check_folders(self, state: sqlite3.Connection) -> None:
        """Raises StoreLost where the files are other ones, StoreUnavailable where a generation's
        are gone."""
        self._state_file.check_place()
        if time.monotonic() - self._checked <= CHECK_SECONDS:
            return
        for _, type_name, number in local_state.everything(state):
            if not tantivy_index.is_whole(self._folder(type_name, number)):
                raise self._strike_off(state, type_name, number)
        self._checked = time.monotonic()

    def _writer(self, state: sqlite3.Connection, level: Level, generation: int) -> Writing:
        name = level.record_type.name
        writer = self._writers.get((name, generation))
        if writer is None:
            local_state.find(state, name, generation, KIND)
            building = local_state.state(state, name, generation) == "building"
            for place in [p for p, w in self._writers.items() if not w.dirty]:
                if len(self._writers) < OPEN_WRITERS:
                    break
                self._writers.pop(place).close(wait=True)
            heap = tantivy_index.BULK_HEAP_BYTES if building else tantivy_index.HEAP_BYTES
            writer = Writing(self._folder(name, generation), level, name, heap)
            self._writers[name, generation] = writer
        self._writers.move_to_end((name, generation))
        return writer

    def _give_up(self, type_name: str, generation: int) -> None:
        """Discard a generation's writer after a failure; it is never used again."""
        writer = self._writers.pop((type_name, generation), None)
        if writer is not None:
            self._lost_writes = True
            with suppress(RecordgateError):
                writer.close(wait=False)

    def _close_writers(self, wait: bool) -> None:
        while self._writers:
            _, writer = self._writers.popitem()
            with suppress(RecordgateError):
                writer.close(wait=wait)

    async def publish(self, position: Position | None) -> None:
        def work(state: sqlite3.Connection) -> None:
            if self._lost_writes:
                self._lost_writes = False
                self._close_writers(wait=False)
                raise self._state_file.lost_writes()
            self._check_folders(state)
            for (type_name, generation), writer in list(self._writers.items()):
                try:
                    writer.commit()
                except BaseException as error:
                    self._give_up(type_name, generation)
                    self._lost_writes = False
                    self._close_writers(wait=False)
                    if isinstance(error, StoreLost):
                        raise self._strike_off(state, type_name, generation) from None
                    raise
            if position is not None:
                with local_state.transaction(state):
                    local_state.set_position(state, position)

        await self._state_file.write(work)

    async def position(self) -> Position | None:
        return await self._state_file.position()

    # Reading -----------------------------------------------------------------------------------

    def _reading(self, type_name: str, number: int) -> Reading:
        reading = self._readings.get((type_name, number))
        if reading is None:
            with self._readings_lock:
                reading = self._readings.get((type_name, number))
                if reading is None:
                    reading = Reading(number, self._folder(type_name, number), type_name)
                    self._readings[type_name, number] = reading
        return reading

    def _active(self, state: sqlite3.Connection, type_name: str) -> Reading:
        """The active generation. Between the look into the metadata and the opening of the index it
        may have been retired and dropped: then the metadata is looked into once more."""
        for attempt in (1, 2):
            found = self._state_file.active(state, type_name)
            try:
                reading = self._reading(type_name, found[1])
            except RecordgateError:
                if attempt == 2 or local_state.active(state, type_name) == found:
                    raise
                continue
            for key in [k for k in self._readings if k[0] == type_name and k[1] != found[1]]:
                self._readings.pop(key, None)
            return reading
        raise lost(type_name)

    def _searched(
        self, state: sqlite3.Connection, type_name: str
    ) -> tuple[tantivy.Searcher, Reading]:
        reading = self._active(state, type_name)
        return reading.searcher(), reading

    async def search(self, query: SearchQuery) -> SearchResult:
        level = self._level(query.type)

        def work(state: sqlite3.Connection) -> SearchResult:
            searcher, reading = self._searched(state, query.type)
            with translated(query.type):
                return Search(searcher, reading.schema, level, reading.held(level)).run(query)

        return await self._state_file.read(work)

    async def suggest(
        self, type_name: str, text: str, first: int, properties: tuple[str, ...] | None = None
    ) -> list[Suggestion]:
        level = self._level(type_name)

        def work(state: sqlite3.Connection) -> list[Suggestion]:
            searcher, reading = self._searched(state, type_name)
            fields = reading.held(level).completed(properties, counted=False)
            with translated(type_name):
                return tantivy_suggest.suggest(searcher, reading.schema, fields, text, first)

        return await self._state_file.read(work)

    def can_filter(self, type_name: str, filter: Filter) -> str:
        try:
            filter_plan.plan(self._level(type_name), filter)
        except filter_plan.CannotFilter as error:
            return str(error)
        except StoreRefused as error:
            return error.message
        return ""

    # Verify ------------------------------------------------------------------------------------

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        def work(state: sqlite3.Connection) -> list[Stored]:
            local_state.find(state, type_name, generation, KIND)
            reading = self._reading(type_name, generation)
            with translated(type_name):
                folder = self._folder(type_name, generation)
                return tantivy_index.scan(folder, reading, after, limit)

        return await self._state_file.read(work)

    async def count(self, type_name: str, generation: int) -> int:
        def work(state: sqlite3.Connection) -> int:
            local_state.find(state, type_name, generation, KIND)
            with translated(type_name):
                return self._reading(type_name, generation).searcher().num_docs

        return await self._state_file.read(work)

    async def newer(self, type_name: str, generation: int, version: int) -> list[str]:
        def work(state: sqlite3.Connection) -> list[str]:
            local_state.find(state, type_name, generation, KIND)
            guard = tantivy_index.guard_path(self._folder(type_name, generation))
            if not guard.is_file():
                raise lost(type_name)
            return tantivy_guard.newer(guard, KIND, version)

        return await self._state_file.read(work)


def folder_name(type_name: str) -> str:
    """A folder for a type's name: itself where every file system takes it as it is."""
    if re.fullmatch(r"[a-z0-9_]{1,40}", type_name):
        return type_name
    return "type-" + hashlib.sha256(type_name.encode()).hexdigest()[:16]


def _check_analyzer(path: str, name: str) -> None:
    try:
        analyzer(name)
    except ValueError:
        raise StoreRefused(
            f"{KIND}: {path} has the analyzer {name!r}, which the store does not have",
            store=KIND,
            hint="use standard, keyword or a language such as english",
        ) from None
