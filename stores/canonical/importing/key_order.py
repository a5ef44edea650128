"""Notices that a file's keys ascend, which proves without a sort that no two of them are equal."""

from __future__ import annotations

from itertools import pairwise
from threading import Lock

import pyarrow as pa

from stores.canonical.importing.arrow import Array
from stores.canonical.importing.arrow import compute as pc

INTEGERS = frozenset({"smallint", "integer", "bigint"})


class KeyOrder:
    """Collects, from any thread and in any order, the parts of one integer key column."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: list[tuple[int, int, int]] = []
        self._ascends = True

    def add(self, first_row: int, key: Array) -> None:
        """A part that begins at row `first_row`: text that is known to be whole numbers."""
        if not self._ascends or not len(key):
            return
        numbers = pc.cast(key, pa.int64())
        ascends = pc.all(pc.less(numbers[:-1], numbers[1:]), min_count=0).as_py()
        with self._lock:
            self._ascends = self._ascends and bool(ascends)
            self._parts.append((first_row, numbers[0].as_py(), numbers[-1].as_py()))

    def give_up(self) -> None:
        """A part cannot be looked at: nothing is proven."""
        self._ascends = False

    def distinct(self) -> bool:
        """True where the keys of all parts are surely distinct."""
        parts = sorted(self._parts)
        return self._ascends and all(
            last < first for (_, _, last), (_, first, _) in pairwise(parts)
        )
