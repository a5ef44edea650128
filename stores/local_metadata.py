"""The open metadata of an embedded store: whose lock, connections and threads the store reads and
writes with.

Reads run in a few threads, each with a connection of its own; writes run in one thread. Of the
processes of a folder one writes, which holds the lock; any number read.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from stores import local_state, private_files
from stores.errors import (
    NotLoaded,
    RecordgateError,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
)
from stores.protocols import Health, Position
from stores.sqlite_errors import translated

READERS = 4
"""Reading threads; a read takes tens of microseconds, so more would only fight for the interpreter.
"""
HEALTH_SECONDS = 2.0
HELPERS = ("-wal", "-shm")
WRITER_LOCK = ".writer"
"""The suffix of the lock file, after the metadata file's name."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


def path_in(url: str, data_dir: Path, default: str) -> Path:
    """Return the path that a URL such as `sqlite:PATH` names, else `default` in data_dir."""
    path = url.partition(":")[2]
    return Path(path) if path else data_dir / default


class LocalMetadata:
    """The records of the store `kind`, in the file `path`. With `snapshot`, everything that one
    read asks is seen at one moment. With `raw`, readers get text as bytes."""

    def __init__(self, kind: str, path: Path, *, snapshot: bool, raw: bool) -> None:
        self.kind, self.path = kind, path
        self._snapshot, self._raw = snapshot, raw
        self.writer: sqlite3.Connection | None = None
        """Used in the writing thread only; None where the metadata is open for reading."""
        self._lock: sqlite3.Connection | None = None
        self._position: sqlite3.Connection | None = None
        self._write_thread: ThreadPoolExecutor | None = None
        self._read_threads: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._place: tuple[int, int] | None = None
        self._helpers: tuple[int, ...] = ()
        self.renewed = 0
        """The number of times that a reader has found other files in the place of those that it
        read."""

    def open(self, contract_id: str, *, write: bool) -> None:
        """Blocks. Raises StoreUnavailable, StoreLost, and ConflictError where another process
        writes."""
        folder = self.path.parent
        try:
            private_files.make_folder(folder)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.kind}: {folder} cannot be created: {error.strerror}", store=self.kind
            ) from error
        names = (self.path.name + end for end in ("", *HELPERS, WRITER_LOCK))
        private_files.tighten_all(self.path.with_name(name) for name in names)
        try:
            with translated(self.kind, self.path.name):
                if write:
                    lock = self.path.with_name(self.path.name + WRITER_LOCK)
                    self._lock = local_state.hold_writer_lock(lock, self.kind)
                self.writer = local_state.connect(self.path)
                local_state.claim(self.writer, contract_id, self.kind)
                self._position = local_state.connect(self.path, busy_seconds=0, read_only=True)
                local_state.get_position(self._position)  # from now on the helpers stay
        except BaseException:
            self._close_connections()
            raise
        self._place = self._found()
        self._helpers = self._found_helpers()
        if not write:
            self.writer.close()
            self.writer = None
        self._local = threading.local()
        self._read_threads = ThreadPoolExecutor(READERS, f"{self.kind}-read")
        if write:
            self._write_thread = ThreadPoolExecutor(1, f"{self.kind}-write")

    async def close(self) -> None:
        """Ends what runs first; what was not committed is rolled back."""
        ending = self._write_thread, self._read_threads
        self._write_thread = self._read_threads = None
        for threads in ending:
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)
        self._close_connections()

    def _close_connections(self) -> None:
        everything = [self.writer, self._position, self._lock, *self._readers]
        self.writer = self._position = self._lock = None
        self._readers = []
        for connection in everything:
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    def reader(self, busy_seconds: float = 5.0) -> sqlite3.Connection:
        """Open another connection for reading, which is closed with the records. Raise
        StoreUnavailable if they are not open."""
        if self._read_threads is None:
            raise self._not_open()
        connection = local_state.connect(self.path, busy_seconds=busy_seconds, read_only=True)
        if self._raw:
            connection.text_factory = bytes
        self._readers.append(connection)
        return connection

    # Reading and writing -----------------------------------------------------------------------

    async def read(self, work: Work[T]) -> T:
        """`work` in a reading thread."""
        threads = self._read_threads
        if threads is None:
            raise self._not_open()
        return await asyncio.get_running_loop().run_in_executor(threads, self._read_now, work)

    def _read_now(self, work: Work[T]) -> T:
        with translated(self.kind, self.path.name):
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self.reader()
            return in_one_snapshot(connection, work) if self._snapshot else work(connection)

    async def write(self, work: Work[T]) -> T:
        """`work` in the writing thread."""
        threads = self._write_thread
        if threads is None:
            raise StoreRefused(
                f"{self.kind}: not open for writing",
                store=self.kind,
                hint="only the worker opens a store for writing",
            )
        return await asyncio.get_running_loop().run_in_executor(threads, self._write_now, work)

    async def begin(self, work: Work[None]) -> None:
        """Write what has to be written before the store is open. Where that fails nothing stays
        open: the writer's lock would keep the next try out, as another process's does."""
        try:
            await self.write(work)
        except BaseException:
            await self.close()
            raise

    def _write_now(self, work: Work[T]) -> T:
        if self.writer is None:
            raise self._not_open()
        with translated(self.kind, self.path.name):
            return work(self.writer)

    # The files ------------------------------------------------------------------------------------

    def _found(self) -> tuple[int, int] | None:
        """Return device and inode of the file at the path, or None."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _found_helpers(self) -> tuple[int, ...]:
        """SQLite's -wal and -shm, which stay the same while a connection is open; empty where one
        is missing."""
        try:
            return tuple(os.stat(f"{self.path}{end}").st_ino for end in HELPERS)
        except OSError:
            return ()

    def check_place(self) -> None:
        """Raises StoreLost where somebody has removed or replaced the file that is open: nobody
        else would ever see what is written into it. Where only a helper is gone, what it held is
        too, and the rest cannot be opened again while anybody has it open: then the file is
        removed, so that all who read it see that it is another one."""
        if self._found() == self._place and self._found_helpers() != self._helpers:
            for end in ("", *HELPERS):
                Path(f"{self.path}{end}").unlink(missing_ok=True)
        if self._found() != self._place:
            raise StoreLost(
                f"{self.kind}: {self.path.name} was removed or replaced by another program",
                store=self.kind,
                hint="it is reloaded from canonical",
            )

    def _renew(self) -> None:
        """Read what is there now. Raises StoreUnavailable where nothing is."""
        found = self._found()
        if found is None:
            raise StoreUnavailable(
                f"{self.kind}: {self.path.name} is missing",
                store=self.kind,
                hint="the worker creates it again",
            )
        with translated(self.kind, self.path.name):
            position = local_state.connect(self.path, busy_seconds=0, read_only=True)
        # Those of other threads may be in use: they end with their last user.
        self._position, self._local, self._readers = position, threading.local(), []
        self._place = found
        self.renewed += 1

    def _not_open(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.kind}: not open", store=self.kind)

    # What every embedded store answers alike ----------------------------------------------------

    async def position(self) -> Position | None:
        """Return the published position. It is read without a thread: it takes ten microseconds
        and never waits for a lock."""
        if self._position is None:
            raise self._not_open()
        if self.writer is None and self._found() != self._place:
            self._renew()
        try:
            return local_state.get_position(self._position)
        except sqlite3.Error:
            return await self.read(local_state.get_position)

    async def health(self, version: str, check: Work[object]) -> Health:
        """`check` raises where the store cannot be read."""
        try:
            await asyncio.wait_for(self.read(check), HEALTH_SECONDS)
        except RecordgateError as error:
            return Health(False, version, error.message, error.hint)
        except TimeoutError:
            return Health(False, version, f"{self.kind}: no answer in two seconds")
        return Health(True, version)

    def active(self, connection: sqlite3.Connection, type_name: str) -> tuple[int, int]:
        """(row id, number) of the active generation. Raises NotLoaded where there is none."""
        found = local_state.active(connection, type_name)
        if found is None:
            raise NotLoaded(
                f"{self.kind}: {type_name} is not loaded yet",
                store=self.kind,
                hint="wait until its first load has finished; `recordgate status` shows it",
            )
        return found

    def lost_writes(self) -> StoreUnavailable:
        """Return the error that `publish` raises where writes since the last one are gone."""
        return StoreUnavailable(
            f"{self.kind}: unpublished writes are lost and must be sent again",
            store=self.kind,
        )


def in_one_snapshot(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        connection.rollback()
