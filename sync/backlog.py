"""One sink's dirty keys in memory: coalescing, first in first out, and how far they let the sink's
position go.

Pure data. Every mark has a sequence number; a key that is marked again while it waits keeps its
first one, for one reading serves both. A *boundary* says which position all marks so far belong to;
it is reached when every key marked before it has been published. `sync.durable_backlog` is where
keys go when they are too many, or wait too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Boundary:
    """All changes up to `lsn` have been marked with numbers up to `number`. `as_of`: as in
    Position."""

    number: int
    lsn: int
    as_of: float


@dataclass(slots=True)
class Batch:
    """Keys of one type that are taken off together. `keys`: key → number of its first mark.
    `sweep`: every record of the type that the sink holds is meant, `keys` is empty."""

    type_name: str
    keys: dict[str, int]
    sweep: int | None = None

    @property
    def lowest(self) -> int:
        numbers = list(self.keys.values())
        if self.sweep is not None:
            numbers.append(self.sweep)
        return min(numbers, default=0)


@dataclass(slots=True)
class Backlog:
    """Dirty keys of one sink. `size` counts them; keys taken off and not yet published do not
    count."""

    size: int = 0
    _number: int = 0
    _waiting: dict[str, dict[str, int]] = field(default_factory=dict)
    _again: dict[str, dict[str, int]] = field(default_factory=dict)
    """Keys that were taken off and came back, with their old numbers."""
    _sweeps: dict[str, int] = field(default_factory=dict)
    _boundaries: deque[Boundary] = field(default_factory=deque)
    _passed: Boundary | None = None

    def mark(self, type_name: str, keys: Iterable[str]) -> None:
        """Mark `keys` dirty."""
        waiting = self._waiting.setdefault(type_name, {})
        before = len(waiting)
        self._number += 1
        number = self._number
        for key in keys:
            waiting.setdefault(key, number)
        self.size += len(waiting) - before

    def mark_all(self, type_name: str) -> None:
        """Mark every record of the type that the sink holds."""
        self._number += 1
        self._sweeps.setdefault(type_name, self._number)

    def boundary(self, lsn: int, as_of: float) -> None:
        """Note that all changes up to `lsn` are marked."""
        boundary = Boundary(self._number, lsn, as_of)
        if self._boundaries and self._boundaries[-1].number == self._number:
            self._boundaries[-1] = boundary
        else:
            self._boundaries.append(boundary)

    def take(self, limit: int, without: Collection[str] = ()) -> Batch | None:
        """Return up to `limit` keys of the type with the oldest mark, without the types in
        `without`, or None if nothing waits. A sweep comes in a batch of its own. The caller
        returns what it could not publish."""
        for type_name, number in self._sweeps.items():
            if type_name not in without:
                del self._sweeps[type_name]
                return Batch(type_name, {}, number)
        for pool in (self._again, self._waiting):
            oldest = min(
                (
                    (next(iter(keys.values())), name)
                    for name, keys in pool.items()
                    if keys and name not in without
                ),
                default=None,
            )
            if oldest is None:
                continue
            keys = pool[oldest[1]]
            if len(keys) <= limit:
                pool[oldest[1]] = {}
                taken = keys
            else:
                taken = {}
                for key in keys:
                    taken[key] = keys[key]
                    if len(taken) == limit:
                        break
                for key in taken:
                    del keys[key]
            self.size -= len(taken)
            return Batch(oldest[1], taken)
        return None

    def give_back(self, batch: Batch) -> None:
        """Put a batch, or a part of one, back in front."""
        if batch.sweep is not None:
            self._sweeps[batch.type_name] = min(
                batch.sweep, self._sweeps.get(batch.type_name, batch.sweep)
            )
        again = self._again.setdefault(batch.type_name, {})
        before = len(again)
        for key, number in batch.keys.items():
            again[key] = min(number, again.get(key, number))
        self.size += len(again) - before

    def take_all(self) -> list[Batch]:
        """Take everything that waits, for the durable backlog."""
        batches = [Batch(name, {}, number) for name, number in self._sweeps.items()]
        for pool in (self._again, self._waiting):
            batches += [Batch(name, keys) for name, keys in pool.items() if keys]
            pool.clear()
        self._sweeps.clear()
        self.size = 0
        return batches

    def take_types(self, types: Collection[str]) -> list[Batch]:
        """Take everything of `types` that waits, for the durable backlog."""
        batches = [Batch(n, {}, self._sweeps.pop(n)) for n in types if n in self._sweeps]
        for pool in (self._again, self._waiting):
            batches += [Batch(n, keys) for n in types if (keys := pool.pop(n, None))]
        self.size -= sum(len(batch.keys) for batch in batches)
        return batches

    @property
    def empty(self) -> bool:
        return not self.size and not self._sweeps

    def idle(self, without: Collection[str]) -> bool:
        """Return whether nothing waits of the types that are not in `without`."""
        if self.empty:
            return True
        pools = (self._again, self._waiting)
        waiting = {n for pool in pools for n, keys in pool.items() if keys} | self._sweeps.keys()
        return waiting <= set(without)

    def pending(self, type_name: str) -> int:
        """Return how many keys of the type wait."""
        return sum(len(pool.get(type_name, ())) for pool in (self._again, self._waiting))

    def reached(self, held: Iterable[int] = ()) -> Boundary | None:
        """Return the last boundary before everything that waits and before the numbers `held` by
        batches that were taken and are not published. Return None before the first boundary."""
        lowest = [n for n in held if n]
        lowest += self._sweeps.values()
        lowest += [min(keys.values()) for keys in self._again.values() if keys]
        lowest += [next(iter(keys.values())) for keys in self._waiting.values() if keys]
        limit = min(lowest, default=None)
        found = self._passed
        for boundary in self._boundaries:
            if limit is not None and boundary.number >= limit:
                break
            found = boundary
        return found

    def passed(self, boundary: Boundary) -> None:
        """Drop the boundaries before `boundary`, which `reached` returned and which is durable
        now."""
        while self._boundaries and self._boundaries[0].number <= boundary.number:
            last = self._boundaries.popleft()
            if self._passed is None or last.lsn > self._passed.lsn:
                self._passed = last
