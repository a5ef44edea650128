"""Ranges of a type's keys, in bytewise order of their text, and the checksum that says that two
sides hold the same.

The checksum is taken of what is really there: canonical computes it of the documents that it
projects now, we compute it of the documents that a store gives back. A checksum that a store had
kept beside a document would say what was written, not what is held. So only checksums of
canonical's documents travel, and documents where they differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import partial
from hashlib import md5

from stores.errors import StoreLost
from stores.protocols import Capability, Store
from sync.projection import Digest

RANGE = 2000
"""Records of a range."""

_md5 = partial(md5, usedforsecurity=False)


def same(canonical: Digest | None, held: Mapping[str, bytes]) -> bool:
    """Return whether `held`, in key order, is what the digest was computed of
    (`document_sql.digest_of_keys`)."""
    return (
        canonical is not None and len(held) == canonical.count and _digest(held) == canonical.digest
    )


def _digest(held: Mapping[str, bytes]) -> str:
    parts = [
        _md5(b"%b\n%b" % (key.encode("utf-8", "surrogatepass"), document)).hexdigest()
        for key, document in held.items()
    ]
    return _md5("".join(parts).encode()).hexdigest()


def can_be_digested(store: Store) -> bool:
    """Return whether the store returns documents byte for byte; others are compared document by
    document."""
    return Capability.EXACT_BYTES in store.capabilities


class StoreWalk:
    """Reads a generation in order of keys, in step with somebody else's order."""

    def __init__(self, store: Store, type_name: str, generation: int) -> None:
        self.store = store
        self._type, self._generation = type_name, generation
        self._after: str | None = None
        self._keys: list[str] = []
        self._documents: list[bytes] = []
        self._ended = False

    async def up_to(self, last: str) -> dict[str, bytes]:
        """Return the next records with keys up to `last`."""
        found: dict[str, bytes] = {}
        while self._keys or await self._fill():
            stop = bisect_right(self._keys, last)
            found |= zip(self._keys[:stop], self._documents[:stop], strict=True)
            self._keys, self._documents = self._keys[stop:], self._documents[stop:]
            if self._keys:
                break
        return found

    async def page(self) -> dict[str, bytes]:
        """Return the next records, at most RANGE, or none at the end."""
        if not self._keys:
            await self._fill()
        found = dict(zip(self._keys, self._documents, strict=True))
        self._keys, self._documents = [], []
        return found

    async def _fill(self) -> bool:
        if self._ended:
            return False
        page = await self.store.scan(self._type, self._generation, self._after, RANGE)
        self._ended = len(page) < RANGE
        if not page:
            return False
        if self._after is not None and page[0].key <= self._after:
            raise StoreLost(
                f"{self.store.kind} returns {self._type} out of order", store=self.store.kind
            )
        self._after = page[-1].key
        self._keys = [s.key for s in page]
        self._documents = [s.document for s in page]
        return True


def just_before(key: str) -> str | None:
    """Return a text just below `key` in bytewise order, with hardly anything in between, or None
    if there is none."""
    if not key:
        return None
    last = ord(key[-1])
    if last == 0:
        return key[:-1]
    smaller = 0xD7FF if last == 0xE000 else last - 1
    return key[:-1] + chr(smaller) + "\U0010ffff"
