"""Exports as files below `data_dir`, so that one snapshot can be read again: after a cut, from any
byte, at any speed, also by another process of this machine.

An export is written as fast as canonical gives it, whoever reads how slowly, so its snapshot is
freed early. Its readers follow the file as it grows. Where the room for spooled exports is used up,
the rest goes straight to the one reader that is left, at its speed, and cannot be read again.

`<id>.part` is being written, `<id>.json` says that `<id>.data` is whole. The id begins with the key
of the query: only who asks the same, and may see the same, is served from it.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import orjson

from gateway.export.rows import Written
from stores import private_files
from stores.errors import StoreUnavailable

ROOM = 2 * 1024**3
AGE = 3600.0
READ = 256 * 1024
ABANDONED = 60.0
"""Seconds after which an export that nobody reads any more is given up, while it is being
written."""
FORGOTTEN = 900.0
"""Seconds without a write after which another process's unfinished file is a leftover."""
_ID = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\Z")

Source = Callable[[Written], AsyncGenerator[bytes, None]]


class Spooled:
    """One export: being written, whole, or failed. `size` bytes can be read from its file."""

    def __init__(self, id: str, path: Path) -> None:
        self.id, self.path = id, path
        self.written = Written()
        self.size = 0
        self.whole = False
        self.error: BaseException | None = None
        self.manifest: dict[str, Any] | None = None
        self.readers = 0
        self.read_at = time.monotonic()
        self.direct: asyncio.Queue[bytes] | None = None
        """The queue for the rest once there is no more room."""
        self.task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    @property
    def changes(self) -> str:
        """The position of its snapshot in the type's changes; empty where it is of none."""
        if self.manifest:
            return str(self.manifest["snapshot"].get("changes", ""))
        return self.written.changes

    @property
    def ended(self) -> bool:
        return self.whole or self.error is not None

    def changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until `met`, which is looked at whenever something changes."""
        while not met():
            await self._changed.wait()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:  # it has become whole just now
            return os.open(self.path.with_suffix(".data"), os.O_RDONLY)

    async def read(self, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to `end` (None: to the end of the export), as they come. Raises
        what the export failed with."""
        self.readers += 1
        place = start
        file = -1
        try:
            while end is None or place < end:
                if place < self.size:
                    if file < 0:
                        file = await asyncio.to_thread(self._open)
                    most = min(READ, self.size - place, READ if end is None else end - place)
                    part = await asyncio.to_thread(os.pread, file, most, place)
                elif self.error is not None and (self.direct is None or self.direct.empty()):
                    raise self.error
                elif self.direct is not None:
                    part = await self.direct.get()
                    self.direct.task_done()
                    if not part and self.error is None:
                        return
                    if not part:
                        continue
                elif self.whole:
                    return
                else:
                    await self._changed.wait()
                    continue
                place += len(part)
                self.read_at = time.monotonic()
                yield part
        finally:
            if file >= 0:
                os.close(file)
            self.readers -= 1
            self.read_at = time.monotonic()
            if self.direct is not None and self.task is not None:
                self.task.cancel()


class Spool:
    """The folder; None is one of the system's, made when it is needed. `room`: bytes of all exports
    in it; `age`: seconds that a whole one is kept; `running`: exports that are written at once."""

    def __init__(
        self, folder: Path | None, *, room: int = ROOM, age: float = AGE, running: int = 2
    ) -> None:
        self._folder, self.room, self.age, self.most = folder, room, age, running
        self._known: dict[str, Spooled] = {}
        self._used_by_others = 0

    @property
    def folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="recordgate-exports-"))
        return self._folder

    @property
    def running(self) -> int:
        return sum(not s.ended for s in self._known.values())

    @property
    def full(self) -> bool:
        return self.running >= self.most

    async def begin(self, key: str, source: Source, describe: Callable[[Written], Any]) -> Spooled:
        """Start an export; the first bytes are there, or it has ended, when this returns. Raises
        what it fails with before that. It counts as running from the call on: who looked at `full`
        before may rely on it."""
        id = f"{key}-{secrets.token_hex(8)}"
        spooled = Spooled(id, self.folder / f"{id}.part")
        self._known[id] = spooled
        spooled.readers += 1
        spooled.task = asyncio.create_task(self._write(spooled, source, describe))
        try:
            await spooled.until(
                lambda: spooled.ended or spooled.size > 0 or spooled.direct is not None
            )
        except asyncio.CancelledError:
            spooled.task.cancel()
            raise
        finally:
            spooled.readers -= 1
            spooled.read_at = time.monotonic()
        if spooled.error is not None and not spooled.size:
            raise spooled.error
        return spooled

    async def find(self, id: str, key: str) -> Spooled | None:
        """The export of that id, where it is of the query `key`; None where it is not, or no
        more."""
        if not _ID.match(id) or not id.startswith(key):
            return None
        known = self._known.get(id)
        if known is not None:
            return None if known.error is not None or known.direct is not None else known
        return await asyncio.to_thread(self._load, id)

    async def close(self) -> None:
        """Give up the exports that are being written."""
        tasks = [s.task for s in self._known.values() if s.task is not None and not s.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Writing --------------------------------------------------------------------------------------

    async def _write(
        self, spooled: Spooled, source: Source, describe: Callable[[Written], Any]
    ) -> None:
        watch = asyncio.create_task(self._watch(spooled, asyncio.current_task()))
        file = -1
        try:
            try:
                await asyncio.to_thread(self._sweep)
                file = await asyncio.to_thread(_create, spooled.path)
            except OSError:  # a folder that cannot be written to has no room
                self._pass_on(spooled)
            async with aclosing(source(spooled.written)) as blocks:
                async for block in blocks:
                    await self._keep(spooled, file, block)
            spooled.manifest = describe(spooled.written)
            if spooled.direct is not None:
                await spooled.direct.put(b"")
                await spooled.direct.join()  # its reader may not have opened the file yet
                self._forget(spooled)
            else:
                await asyncio.to_thread(self._finish, spooled)
            spooled.whole = True
        except asyncio.CancelledError:
            spooled.error = StoreUnavailable("the export was given up", store="postgres")
            self._forget(spooled)
        except Exception as error:
            spooled.error = error
            self._forget(spooled)
            if spooled.direct is not None:
                with suppress(asyncio.QueueFull):
                    spooled.direct.put_nowait(b"")
        finally:
            watch.cancel()
            if file >= 0:
                os.close(file)
            spooled.changed()

    async def _keep(self, spooled: Spooled, file: int, block: bytes) -> None:
        if spooled.direct is None and await asyncio.to_thread(self._fits, spooled, len(block)):
            try:
                await asyncio.to_thread(_write_all, file, block, spooled.size)
            except OSError:
                pass  # the disk is full before the room is: the same as no room
            else:
                spooled.size += len(block)
                spooled.changed()
                return
        if spooled.direct is None:
            if spooled.readers > 1:
                raise StoreUnavailable(
                    "there is no more room for spooled exports", store="postgres", retry_after=60.0
                )
            self._pass_on(spooled)
        assert spooled.direct is not None
        await spooled.direct.put(block)

    def _pass_on(self, spooled: Spooled) -> None:
        spooled.direct = asyncio.Queue(2)
        spooled.changed()

    def _fits(self, spooled: Spooled, more: int) -> bool:
        if self._used() + more <= self.room:
            return True
        for old in sorted(self._known.values(), key=lambda s: s.read_at):
            if old is not spooled and old.whole and not old.readers:
                self._forget(old)
                if self._used() + more <= self.room:
                    return True
        return False

    def _used(self) -> int:
        return self._used_by_others + sum(s.size for s in list(self._known.values()))

    def _finish(self, spooled: Spooled) -> None:
        data = spooled.path.with_suffix(".data")
        os.rename(spooled.path, data)
        spooled.path = data
        draft = data.with_suffix(".draft")
        private_files.create(draft)
        draft.write_bytes(orjson.dumps(spooled.manifest))
        os.rename(draft, data.with_suffix(".json"))

    def _forget(self, spooled: Spooled) -> None:
        self._known.pop(spooled.id, None)
        for suffix in (".json", ".data", ".part"):
            with suppress(OSError):
                spooled.path.with_suffix(suffix).unlink()

    async def _watch(self, spooled: Spooled, task: asyncio.Task[Any] | None) -> None:
        """Give up an export that nobody reads, and soon one that nobody can read any more."""
        while True:
            await asyncio.sleep(min(1.0, ABANDONED / 4))
            most = ABANDONED if spooled.direct is None else min(1.0, ABANDONED)
            if not spooled.readers and time.monotonic() - spooled.read_at > most:
                assert task is not None
                task.cancel()
                return

    # The folder -----------------------------------------------------------------------------------

    def _load(self, id: str) -> Spooled | None:
        path = self.folder / f"{id}.data"
        try:
            manifest = orjson.loads(path.with_suffix(".json").read_bytes())
            size = path.stat().st_size
        except (OSError, orjson.JSONDecodeError):
            return None
        if size != manifest["bytes"]:
            return None
        spooled = Spooled(id, path)
        spooled.size, spooled.whole, spooled.manifest = size, True, manifest
        self._known[id] = spooled
        return spooled

    def _sweep(self) -> None:
        """Remove what is too old, and count what other processes have."""
        private_files.make_folder(self.folder)
        for spooled in [s for s in list(self._known.values()) if s.whole and not s.readers]:
            if time.monotonic() - spooled.read_at > self.age:
                self._forget(spooled)
        now = time.time()
        self._used_by_others = 0
        for path in self.folder.iterdir():
            if path.stem in self._known:
                continue
            with suppress(OSError):
                found = path.stat()
                most = FORGOTTEN if path.suffix in (".part", ".draft") else self.age
                if now - found.st_mtime > most:
                    path.unlink()
                else:
                    self._used_by_others += found.st_size


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _write_all(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, place)
        view, place = view[count:], place + count
