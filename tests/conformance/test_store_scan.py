"""Verify reads a generation in pages: every record once, in bytewise order of keys, whatever is in
them."""

from __future__ import annotations

import random

import pytest

from tests.conformance.store_backends import Place, load, run
from tests.conformance.store_contract import author, delete, put

ODD_KEYS = [
    "", " ", "  a", "\t", "\n", "\x01", "\x7f", "a,b", "a\\,b", "a\\\\b", ",", '"', "'", "''",
    "'; DROP TABLE x; --", "%", "_", "*", "?", "[a]", "{}", "$", "a.b", "a/b", "../..", "NULL",
    "é", "e\u0301", "ß", "İ", "ﬁ", "東京", "🙂", "\ud7ff", "\ue000", "\uffff", "\U0010ffff",
    "A", "a", "Z", "z", "10", "9", "-1", "0", "k" * 512, "é" * 256, "\u200d", "\ufeff",
]  # fmt: skip


@pytest.mark.parametrize("page", [1, 7, 1000])
def test_a_scan_gives_every_key_once_in_bytewise_order(place: Place, page: int) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            keys = list(ODD_KEYS)
            random.Random(1).shuffle(keys)
            await load(store, "author", [put(k, 1, author(k, "x")) for k in keys])
            found: list[str] = []
            after: str | None = None
            while True:
                stored = await store.scan("author", 1, after, page)
                assert len(stored) <= page
                found += [s.key for s in stored]
                assert all(s.document == author(s.key, "x") for s in stored)
                if len(stored) < page:
                    break
                after = stored[-1].key
            assert found == sorted(ODD_KEYS, key=str.encode)
            assert await store.count("author", 1) == len(ODD_KEYS)

    run(story())


def test_a_scan_leaves_deleted_records_out(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            keys = [f"{n:04}" for n in range(300)]
            await load(store, "author", [put(k, 1) for k in keys])
            await load(store, "author", [delete(k, 2) for k in keys if int(k) % 10])
            # Fewer than asked would mean the end, so gaps must not shorten a page.
            page = await store.scan("author", 1, None, 20)
            assert [s.key for s in page] == [k for k in keys if int(k) % 10 == 0][:20]
            rest = await store.scan("author", 1, page[-1].key, 20)
            assert [s.key for s in rest] == [k for k in keys if int(k) % 10 == 0][20:]
            assert await store.count("author", 1) == 30

    run(story())


def test_a_scan_of_an_empty_generation_ends_at_once(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            assert await store.scan("author", 1, None, 10) == []
            assert await store.scan("author", 1, "z", 10) == []
            assert await store.count("author", 1) == 0

    run(story())


def test_a_scan_goes_on_from_a_key_that_is_not_there(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put(k, 1) for k in ("a", "c", "e")])
            assert [s.key for s in await store.scan("author", 1, "b", 10)] == ["c", "e"]
            assert [s.key for s in await store.scan("author", 1, "c", 10)] == ["e"]

    run(story())
