"""A store as who compares it reads it: where it is not reached it is asked again, as a server that
starts anew comes back. A long comparison is not to be begun again for a moment's silence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from stores.errors import StoreUnavailable
from stores.protocols import Generation, Position, Store, Stored
from sync.pace import Backoff

log = logging.getLogger(__name__)

T = TypeVar("T")


class PatientStore:
    """`store`, whose reads go on for `seconds` after it was last reached, and raise
    StoreUnavailable then. What is not read here is the store's own."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store, self._seconds = store, seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def position(self) -> Position | None:
        return await self._ask(self._store.position)

    async def generations(self, type_name: str) -> list[Generation]:
        return await self._ask(lambda: self._store.generations(type_name))

    async def scan(
        self, type_name: str, generation: int, after: str | None, limit: int
    ) -> list[Stored]:
        return await self._ask(lambda: self._store.scan(type_name, generation, after, limit))

    async def _ask(self, read: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._seconds
        backoff = Backoff(first=0.2, most=5.0)
        while True:
            try:
                return await read()
            except StoreUnavailable as error:
                pause = backoff.next(error.retry_after)
                if time.monotonic() + pause > deadline:
                    raise
                log.warning("%s; asking again", error.message)
                await asyncio.sleep(pause)
