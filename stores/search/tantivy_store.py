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
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import tantivy

from stores import local_state
from stores.contract.model import Contract
from stores.contract.shape import search_shape
from stores.errors import InputError, RecordgateError, StoreRefused, StoreUnavailable
from stores.protocols import (
    Capability,
    Generation,
    Health,
    Position,
    Stored,
    Verdict,
    Write,
)
from stores.query import Filter, SearchQuery, SearchResult, Suggestion
from stores.search import filter_plan, tantivy_index, tantivy_suggest
from stores.search.fields import Level, levels, suggest_fields, text_fields, whole_mark
from stores.search.tantivy_analyzers import analyzer
from stores.search.tantivy_errors import KIND, lost, translated
from stores.search.tantivy_index import Reading, Writing
from stores.search.tantivy_search import Search
from stores.sqlite_errors import translated as sqlite_translated

READERS = 4
OPEN_WRITERS = 4
"""Generations that may have a writer at once; each has a heap and threads of its own."""
HEALTH_SECONDS = 2.0

T = TypeVar("T")


def from_url(url: str, data_dir: Path) -> TantivyStore:
    """`tantivy:` is the folder `search` in data_dir; `tantivy:PATH` another folder."""
    path = url.partition(":")[2]
    return TantivyStore(Path(path) if path else data_dir / "search")


class TantivyStore:
    """SearchStore on a folder of this machine; see the module for what it promises."""

    kind = KIND
    capabilities = frozenset(
        {
            Capability.EXACT_BYTES,
            Capability.HIGHLIGHTS,
            Capability.FACETS,
            Capability.SUGGEST,
            Capability.FUZZY,
            Capability.SEARCH_SORT,
            Capability.TOMBSTONES_FOREVER,
        }
    )

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state_path = folder / "state.sqlite"
        self._contract: Contract | None = None
        self._levels: dict[str, Level] = {}
        self._lock: sqlite3.Connection | None = None
        self._state: sqlite3.Connection | None = None
        self._position_reader: sqlite3.Connection | None = None
        self._write_thread: ThreadPoolExecutor | None = None
        self._read_threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._state_readers: list[sqlite3.Connection] = []
        self._writers: OrderedDict[tuple[str, int], Writing] = OrderedDict()
        self._lost_writes = False
        self._readings: dict[tuple[str, int], Reading] = {}
        self._readings_lock = threading.Lock()

    # Opening -----------------------------------------------------------------------------------

    async def open(self, contract: Contract, *, write: bool) -> None:
        await asyncio.to_thread(self._open, contract, write)

    def _open(self, contract: Contract, write: bool) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(
                f"{KIND}: {self.folder} cannot be made: {error.strerror}", store=KIND
            ) from error
        try:
            with sqlite_translated(KIND, self._state_path.name):
                if write:
                    self._lock = local_state.hold_writer_lock(
                        self._state_path.with_name(self._state_path.name + ".writer"), KIND
                    )
                self._state = local_state.connect(self._state_path)
                local_state.claim(self._state, contract.id, KIND)
                self._position_reader = local_state.connect(
                    self._state_path, busy_seconds=0, read_only=True
                )
        except BaseException:
            self._close_connections()
            raise
        self._contract = contract
        self._levels = {name: levels(contract, t) for name, t in contract.types.items()}
        self._local = threading.local()
        self._read_threads = ThreadPoolExecutor(READERS, "tantivy-read")
        if write:
            self._remove_leftovers()
            self._write_thread = ThreadPoolExecutor(1, "tantivy-write")

    def _remove_leftovers(self) -> None:
        """Folders of generations that were dropped or never finished being made."""
        assert self._state is not None
        known = {
            self._folder(type_name, number)
            for type_name, number in self._state.execute("SELECT type, number FROM generations")
        }
        for folder in self.folder.glob("*/*"):
            if folder.is_dir() and folder not in known:
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        if self._write_thread is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._write_thread, self._close_writers, True)
        for threads in (self._write_thread, self._read_threads):
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)
        self._write_thread = self._read_threads = None
        self._readings.clear()
        self._close_connections()

    def _close_connections(self) -> None:
        everything = [self._state, self._position_reader, self._lock, *self._state_readers]
        self._state = self._position_reader = self._lock = None
        self._state_readers = []
        for connection in everything:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    async def health(self) -> Health:
        version = metadata.version("tantivy")
        try:
            await asyncio.wait_for(self._read(self._check), HEALTH_SECONDS)
        except RecordgateError as error:
            return Health(False, version, error.message, error.hint)
        except TimeoutError:
            return Health(False, version, f"{KIND}: no answer in two seconds")
        return Health(True, version)

    def _check(self, state: sqlite3.Connection) -> None:
        """Every active generation can be read."""
        for (type_name,) in state.execute("SELECT type FROM generations WHERE state = 'active'"):
            if type_name in self._levels:
                self._active(state, type_name).searcher()

    # Places ------------------------------------------------------------------------------------

    def _folder(self, type_name: str, number: int) -> Path:
        return self.folder / folder_name(type_name) / str(number)

    def _level(self, type_name: str) -> Level:
        found = self._levels.get(type_name)
        if found is None:
            raise StoreRefused(f"{KIND}: the contract has no type {type_name!r}", store=KIND)
        return found

    async def take_charge(self, term: int) -> None:
        """The lock on the files lets one process write."""

    # Threads -----------------------------------------------------------------------------------

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` with the state, in a reading thread."""
        threads = self._read_threads
        if threads is None:
            raise StoreUnavailable(f"{KIND}: not open", store=KIND)
        return await asyncio.get_running_loop().run_in_executor(threads, self._read_now, work)

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with sqlite_translated(KIND, self._state_path.name):
            state: sqlite3.Connection | None = getattr(self._local, "state", None)
            if state is None:
                state = local_state.connect(self._state_path, read_only=True)
                self._local.state = state
                self._state_readers.append(state)
            return work(state)

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        threads = self._write_thread
        if threads is None:
            raise StoreRefused(
                f"{KIND}: not open for writing", store=KIND, hint="only the worker writes"
            )
        return await asyncio.get_running_loop().run_in_executor(threads, self._write_now, work)

    def _write_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        state = self._state
        if state is None:
            raise StoreUnavailable(f"{KIND}: not open", store=KIND)
        with sqlite_translated(KIND, self._state_path.name):
            return work(state)

    # Generations -------------------------------------------------------------------------------

    async def generations(self, type_name: str) -> list[Generation]:
        return await self._read(lambda state: local_state.generations(state, type_name))

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

        await self._write(work)

    async def activate(self, type_name: str, number: int) -> None:
        def work(state: sqlite3.Connection) -> None:
            with local_state.transaction(state):
                local_state.activate(state, type_name, number, KIND)
            writer = self._writers.get((type_name, number))
            if writer is not None and not writer.dirty:
                # The next write opens it with the memory of an active one.
                self._writers.pop((type_name, number)).close(wait=True)

        await self._write(work)

    async def drop_generation(self, type_name: str, number: int) -> None:
        def work(state: sqlite3.Connection) -> None:
            with local_state.transaction(state):
                known = local_state.remove(state, type_name, number, KIND)
            writer = self._writers.pop((type_name, number), None)
            if writer is not None:
                writer.close(wait=False)
            if known is not None:
                shutil.rmtree(self._folder(type_name, number), ignore_errors=True)

        await self._write(work)

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

        return await self._write(work)

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
        """After a failure: a writer that failed once is never used again."""
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
                raise StoreUnavailable(
                    f"{KIND}: writes that were not published are lost and must be sent again",
                    store=KIND,
                )
            for (type_name, generation), writer in list(self._writers.items()):
                try:
                    writer.commit()
                except BaseException:
                    self._give_up(type_name, generation)
                    self._lost_writes = False
                    self._close_writers(wait=False)
                    raise
            if position is not None:
                with local_state.transaction(state):
                    local_state.set_position(state, position)

        await self._write(work)

    async def position(self) -> Position | None:
        """Read in place, without a thread: it costs ten microseconds and never waits for a lock."""
        reader = self._position_reader
        if reader is None:
            raise StoreUnavailable(f"{KIND}: not open", store=KIND)
        try:
            return local_state.get_position(reader)
        except sqlite3.Error:
            return await self._read(local_state.get_position)

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
        """The active generation. Between the look into the books and the opening of the index it may
        have been retired and dropped: then the books are looked into once more."""
        for attempt in (1, 2):
            found = local_state.active(state, type_name)
            if found is None:
                raise StoreUnavailable(
                    f"{KIND}: {type_name} is not loaded yet",
                    store=KIND,
                    hint="its first load is not finished",
                )
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
                return Search(searcher, reading.schema, reading.marks, level).run(query)

        return await self._read(work)

    async def suggest(
        self, type_name: str, text: str, first: int, properties: tuple[str, ...] | None = None
    ) -> list[Suggestion]:
        level = self._level(type_name)
        fields = suggest_fields(level)
        if properties is not None:
            unknown = set(properties) - {t.prop.name for t in fields}
            if unknown:
                raise InputError(f"{min(unknown)} is not a property with completions")
            fields = [t for t in fields if t.prop.name in properties]

        def work(state: sqlite3.Connection) -> list[Suggestion]:
            searcher, reading = self._searched(state, type_name)
            known = [t for t in fields if whole_mark(t) in reading.marks]
            with translated(type_name):
                return tantivy_suggest.suggest(searcher, reading.schema, known, text, first)

        return await self._read(work)

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

        return await self._read(work)

    async def count(self, type_name: str, generation: int) -> int:
        def work(state: sqlite3.Connection) -> int:
            local_state.find(state, type_name, generation, KIND)
            with translated(type_name):
                return self._reading(type_name, generation).searcher().num_docs

        return await self._read(work)


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
            f"{KIND}: {path} has the analyzer {name!r}, which the store does not know",
            store=KIND,
            hint="use standard, keyword or a language such as english",
        ) from None
