"""The stores as the gateway reads them: every call has a time limit, a breaker before it, and is
counted.

The rest of the gateway sees an ordinary store whose errors come soon; what is not a read goes to
the store itself.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from gateway.context.breakers import Breaker, State
from gateway.http.deadlines import Limit
from stores.errors import NotLoaded, StoreLost, StoreUnavailable
from stores.protocols import Generation, Position
from stores.query import (
    Children,
    ChildrenQuery,
    Listed,
    ListQuery,
    SearchQuery,
    SearchResult,
    Statistics,
    Suggestion,
)
from stores.roles import StoreRole
from stores.together import Together

T = TypeVar("T")

REMEMBERED = 128
"""Durations of the last key reads, of which the 95th percentile is taken."""
_LOOK_EVERY = 32
FIRST_USUAL = 0.1


class GuardedStore:
    """A document or search store under its role. `seconds`: the most a read may take."""

    def __init__(self, store: Any, role: StoreRole, seconds: float) -> None:
        self.store = store
        self.role = role
        self.seconds = seconds
        self.breaker = Breaker()
        self.calls: Counter[str] = Counter()
        """The number of calls by outcome: ok, failed, given_up, refused."""
        self.usual = min(seconds, FIRST_USUAL)
        """Seconds that 95 of 100 key reads take at most."""
        self._reads: dict[str, Together[str, bytes]] = {}
        self._took: deque[float] = deque(maxlen=REMEMBERED)
        self._looked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    # Reads ----------------------------------------------------------------------------------------

    async def position(self) -> Position | None:
        found: Position | None = await self._call(self.store.position())
        return found

    async def generations(self, type_name: str) -> list[Generation]:
        return await self._call(self.store.generations(type_name))

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        began = time.monotonic()
        if len(keys) == 1:
            value = await self._call(self._reads_of(type_name).read(keys[0]))
            found = {} if value is None else {keys[0]: value}
        else:
            found = await self._call(self.store.get(type_name, keys))
        self._note(time.monotonic() - began)
        return found

    def _reads_of(self, type_name: str) -> Together[str, bytes]:
        """Reads of single documents of a type, which go together while the store is busy."""
        reads = self._reads.get(type_name)
        if reads is None:

            async def one(key: str) -> bytes | None:
                found: dict[str, bytes] = await self.store.get(type_name, [key])
                return found.get(key)

            async def many(keys: Sequence[str]) -> dict[int, bytes | None]:
                found = await self.store.get(type_name, list(dict.fromkeys(keys)))
                return {place: found.get(key) for place, key in enumerate(keys)}

            reads = self._reads[type_name] = Together(one, many, _common, self.seconds)
        return reads

    async def children(self, query: ChildrenQuery) -> dict[tuple[object, ...], Children]:
        return await self._call(self.store.children(query))

    async def page(self, query: ListQuery) -> Listed:
        return await self._call(self.store.page(query))

    async def statistics(self, type_name: str) -> Statistics:
        return await self._call(self.store.statistics(type_name))

    async def search(self, query: SearchQuery) -> SearchResult:
        return await self._call(self.store.search(query))

    async def suggest(
        self, type_name: str, text: str, first: int, properties: tuple[str, ...] | None = None
    ) -> list[Suggestion]:
        return await self._call(self.store.suggest(type_name, text, first, properties))

    # Guarding -------------------------------------------------------------------------------------

    def state(self) -> State:
        return self.breaker.state(time.monotonic())

    def refusal(self) -> str:
        """Return why a call would not be made now, or an empty string."""
        if self.breaker.admits(time.monotonic()):
            return ""
        return "it failed recently and is not asked for a moment"

    def passed_over(self, began: float) -> None:
        """A caller that waits since `began` for the answer to another's question went elsewhere.
        One with a call of its own need not say so: the call does."""
        self.breaker.given_up(self.breaker.ticket, began, time.monotonic())

    async def _call(self, call: Awaitable[T]) -> T:
        """The answer to `call`. Raises StoreUnavailable at once while the breaker is open, after
        `seconds` where the store does not answer, and what the call raises. What the store does not
        hold yet is no failure of it: one type that is not loaded closes no other."""
        breaker = self.breaker
        began = time.monotonic()
        ticket = breaker.admit(began)
        if ticket is None:
            close = getattr(call, "close", None)
            if close is not None:
                close()
            self.calls["refused"] += 1
            raise StoreUnavailable(
                f"the {self.role} store failed recently and is not asked for a moment",
                store=self.role,
                retry_after=round(breaker.retry_after(began), 1) or 1.0,
            )
        outcome = "given_up"
        try:
            with Limit(self.seconds):
                found = await call
            outcome = "ok"
            return found
        except TimeoutError:
            outcome = "failed"
            raise StoreUnavailable(
                f"the {self.role} store did not answer within {self.seconds:g} s",
                store=self.role,
                retry_after=1.0,
            ) from None
        except NotLoaded:
            outcome = "ok"  # it is well, and will hold it
            raise
        except StoreUnavailable:
            outcome = "failed"
            raise
        except Exception:
            outcome = "ok"  # it was reached, and said no
            raise
        finally:
            self.calls[outcome] += 1
            now = time.monotonic()
            if outcome == "ok":
                breaker.succeeded(ticket, now)
            elif outcome == "failed":
                breaker.failed(ticket, now)
            else:
                breaker.given_up(ticket, began, now)

    def _note(self, seconds: float) -> None:
        self._took.append(seconds)
        self._looked += 1
        if self._looked >= _LOOK_EVERY:
            self._looked = 0
            self.usual = sorted(self._took)[len(self._took) * 95 // 100]


def _common(error: Exception) -> bool:
    """An error of the store itself, not one that a key may be the reason of."""
    return isinstance(error, StoreUnavailable | StoreLost)
