"""The file that API keys are kept in: one JSON object, written whole or not at all, read again when
it has changed, so that a revoked key is refused within a second."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from gateway.security.api_keys import ApiKey, recognised
from stores import private_files
from stores.errors import SetupError

log = logging.getLogger("gateway")

LARGEST = 10_000_000
"""Bytes; some 40,000 keys."""
LOOK_AGAIN = 1.0
"""Seconds after which it is seen whether the file has changed."""


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[ApiKey]


def read_keys(path: Path) -> dict[str, ApiKey]:
    """The keys by id; none where there is no file. Raises SetupError."""
    if path.exists() and not path.is_file():
        # A pipe that nobody writes to would be waited for without end.
        raise SetupError(f"the API keys {path} are not a file")
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SetupError(f"the API keys {path} cannot be read: {error.strerror}") from None
    if len(raw) > LARGEST:
        raise SetupError(f"the API keys {path} are larger than {LARGEST} bytes")
    try:
        found = msgspec.json.decode(raw, type=_Content)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        raise SetupError(
            f"{path} holds no API keys of recordgate",
            hint="`recordgate keys create` makes the file",
        ) from None
    return {key.id: key for key in found.keys}


@contextlib.contextmanager
def changing_keys(path: Path) -> Iterator[dict[str, ApiKey]]:
    """The keys, to be changed; written where the block ends well. One process at a time."""
    try:
        private_files.make_folder(path.parent)
        with open(
            os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = read_keys(path)
            yield keys
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                _write(draft, keys)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(f"the API keys {path} cannot be written: {error.strerror}") from None


def _write(path: Path, keys: Mapping[str, ApiKey]) -> None:
    body = msgspec.json.format(msgspec.json.encode(_Content(list(keys.values()))), indent=1)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body + b"\n")
        file.flush()
        os.fsync(file.fileno())


class KeyFile:
    """The keys of a file as they are now. Raises SetupError where the file is wrong at the start;
    one that becomes wrong later leaves the keys as they were, and is logged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._changed = self._mark()
        self._keys = read_keys(path)
        self._looked = time.monotonic()
        self._lock = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    async def find(self, text: str) -> ApiKey | None:
        """The key that `text` is, or None."""
        if time.monotonic() - self._looked >= LOOK_AGAIN:
            async with self._lock:
                if time.monotonic() - self._looked >= LOOK_AGAIN:
                    await asyncio.to_thread(self._look)
        return recognised(text, self._keys, time.time())

    async def look_again(self) -> None:
        """See at once whether the file has changed."""
        async with self._lock:
            await asyncio.to_thread(self._look)

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def _look(self) -> None:
        mark = self._mark()
        if mark != self._changed:
            try:
                self._keys = read_keys(self.path)
                self._changed = mark
            except SetupError as error:
                log.error("%s; the previous keys stay in use", error)
        self._looked = time.monotonic()
