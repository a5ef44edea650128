"""No going back, no resurrection: a store takes a write only if its version is greater than the one
it holds for the key, deleted or not."""

from __future__ import annotations

import pytest

from stores.protocols import Outcome
from tests.conformance.store_backends import Place, held, load, outcomes, publish, run
from tests.conformance.store_contract import author, delete, put

APPLIED, STALE = Outcome.APPLIED, Outcome.STALE


def test_a_newer_version_replaces_an_older_one(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 5, author("a", "old"))])
            assert await outcomes(store, [put("a", 6, author("a", "new"))]) == [APPLIED]
            await publish(store)
            (stored,) = await store.scan("author", 1, None, 10)
            assert (stored.key, stored.version, stored.document) == ("a", 6, author("a", "new"))

    run(story())


@pytest.mark.parametrize("late", [4, 5], ids=["older", "equal"])
@pytest.mark.parametrize("published", [True, False], ids=["published", "unpublished"])
def test_an_older_or_equal_version_is_stale(place: Place, late: int, published: bool) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            assert await outcomes(store, [put("a", 5)]) == [APPLIED]
            if published:
                await publish(store)
            assert await outcomes(store, [put("a", late, author("a", "late"))]) == [STALE]
            assert await outcomes(store, [delete("a", late)]) == [STALE]
            await publish(store)
            (stored,) = await store.scan("author", 1, None, 10)
            assert (stored.version, stored.document) == (5, author("a", "v5"))

    run(story())


@pytest.mark.parametrize("reopened", [False, True], ids=["at once", "reopened"])
def test_a_deleted_record_never_comes_back_by_a_late_write(place: Place, reopened: bool) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 5), put("b", 5)])
            await load(store, "author", [delete("a", 7)])
            if not reopened:
                assert await outcomes(store, [put("a", 6), put("b", 6)]) == [STALE, APPLIED]
                await publish(store)
        if reopened:
            async with place.open() as store:
                assert await outcomes(store, [put("a", 6), put("b", 6)]) == [STALE, APPLIED]
                await publish(store)
        async with place.open() as store:
            assert await held(store) == {"b": 6}
            assert await store.count("author", 1) == 1

    run(story())


def test_a_delete_before_the_first_upsert_is_remembered(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [delete("never", 9)])
            assert await outcomes(store, [put("never", 8)]) == [STALE]
            assert await outcomes(store, [delete("never", 9)]) == [STALE]
            await publish(store)
            assert await held(store) == {}
            assert await store.count("author", 1) == 0

    run(story())


def test_a_record_can_be_made_again_after_its_delete(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            await load(store, "author", [delete("a", 2)])
            await load(store, "author", [put("a", 3)])
            assert await held(store) == {"a": 3}

    run(story())


def test_many_versions_of_one_key_between_two_publishes_leave_the_newest(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            for version in range(1, 40):
                write = delete("a", version) if version % 3 == 0 else put("a", version)
                assert await outcomes(store, [write]) == [APPLIED]
            assert await outcomes(store, [put("a", 40)]) == [APPLIED]
            await publish(store)
            assert await held(store) == {"a": 40}
            assert await store.count("author", 1) == 1

    run(story())


def test_versions_are_as_large_as_a_wal_position(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            largest = 2**63 - 1
            await load(store, "author", [put("a", largest - 1)])
            await load(store, "author", [put("a", largest)])
            assert await outcomes(store, [put("a", largest - 1)]) == [STALE]
            assert await held(store) == {"a": largest}

    run(story())


def test_generations_have_versions_of_their_own(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 9)])
            await store.create_generation("author", 2)
            (verdict,) = await store.write("author", 2, [put("a", 3)])
            assert verdict.outcome is APPLIED
            await publish(store)
            assert await held(store, generation=1) == {"a": 9}
            assert await held(store, generation=2) == {"a": 3}

    run(story())


def test_the_keys_of_newer_versions_are_told_deleted_ones_too(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 5), put("b", 6), put("c", 2**61), put("d", 1)])
            await load(store, "author", [delete("d", 7), delete("a", 8)])
            assert sorted(await store.newer("author", 1, 5)) == ["a", "b", "c", "d"]
            assert sorted(await store.newer("author", 1, 6)) == ["a", "c", "d"]
            assert await store.newer("author", 1, 2**61) == []

    run(story())
