"""A place that is not ours, is damaged, or cannot be used is told so, by our errors alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stores.errors import RecordgateError, StoreLost, StoreUnavailable
from stores.protocols import Capability, Store
from tests.conformance.store_backends import Place, documents, held, load, publish, run
from tests.conformance.store_contract import OTHER_CONTRACT, put


@pytest.mark.promise("one contract a place")
def test_the_data_of_another_contract_is_not_touched(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
        for write in (True, False):
            with pytest.raises(StoreLost) as lost:
                async with place.open(write=write, contract=OTHER_CONTRACT):
                    pass
            assert lost.value.hint
        async with place.open() as store:
            assert await held(store) == {"a": 1}

    run(story())


def test_a_reader_may_come_before_the_writer(place: Place) -> None:
    async def story() -> None:
        async with place.open(write=False) as early:
            assert await early.position() is None
            assert await early.generations("author") == []
            async with place.ready("author") as store:
                await load(store, "author", [put("a", 1)])
                assert await held(early) == {"a": 1}

    run(story())


def test_health_says_ok_with_a_version(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            health = await store.health()
            assert (health.ok, health.problem) == (True, "")
            assert health.version

    run(story())


def test_health_after_close_is_not_ok_and_does_not_raise(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            pass
        health = await store.health()
        assert not health.ok
        assert health.problem

    run(story())


def test_a_closed_store_can_be_closed_and_opened_again(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            await store.close()
        async with place.open() as store:
            assert await held(store) == {"a": 1}

    run(story())


def test_a_closed_store_answers_nothing(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
        reads = [store.position(), store.generations("author"), store.scan("author", 1, None, 10)]
        if place.backend.role == "documents":
            reads.append(documents(store).get("author", ["a"]))
        for read in reads:
            with pytest.raises(StoreUnavailable):
                await read

    run(story())


def test_capabilities_are_known_names(place: Place) -> None:
    async def story() -> None:
        async with place.open() as store:
            assert store.kind == place.backend.name
            assert store.capabilities <= set(Capability)

    run(story())


def _files(place: Place) -> list[Path]:
    return [p for p in sorted(place.folder.rglob("*")) if p.is_file()]


async def _use(store: Store) -> bool:
    """False where the store says by itself that it holds nothing (and no position): then it is
    loaded."""
    if not await store.generations("author"):
        assert await store.position() is None
        return False
    await held(store)
    await load(store, "author", [put("new", 99)])
    return True


@pytest.mark.promise("files of this machine")
def test_each_damaged_file_is_our_error_or_no_harm(place: Place) -> None:
    """Whatever file is overwritten: a clear error with a hint, or the data as it was; never a
    driver's traceback, never other data."""

    async def fill() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put(f"{n:03}", 1) for n in range(200)])

    async def look() -> None:
        try:
            async with place.open() as store:
                if not await _use(store):
                    return
                assert set(await held(store)) - {"new"} == {f"{n:03}" for n in range(200)}
        except (StoreLost, StoreUnavailable) as error:
            hints.append(error.hint)

    hints: list[str] = []
    run(fill())
    good = place.folder.with_name(place.folder.name + ".good")
    shutil.copytree(place.folder, good)
    names = [p.relative_to(place.folder) for p in _files(place)]
    for name in names:
        for damage in ("garbage", "empty", "gone"):
            shutil.rmtree(place.folder)
            shutil.copytree(good, place.folder)
            file = place.folder / name
            if damage == "garbage":
                file.write_bytes(b"\xfe garbage \x00" * 400)
            elif damage == "empty":
                file.write_bytes(b"")
            else:
                file.unlink()
            run(look())
    shutil.rmtree(good)
    assert hints
    assert all(hints), "an error without a hint"


SQLITE_INSIDE = {"sqlite", "tantivy"}
"""Stores that keep a SQLite database, and so have its helper files."""


@pytest.mark.promise("files of this machine")
@pytest.mark.parametrize("helper", ["-wal", "-shm"])
def test_a_helper_file_that_is_removed_while_open_makes_the_store_lost_and_new(
    place: Place, helper: str
) -> None:
    """What it held is gone, and SQLite cannot open the rest again while somebody has it open."""

    async def story() -> None:
        async with place.open(write=False) as reader:
            async with place.ready("author") as store:
                await load(store, "author", [put("a", 1)])
                assert await held(reader) == {"a": 1}
                helpers = [
                    path
                    for path in _files(place)
                    if path.name.endswith(helper) and "guard" not in path.name
                ]
                if not helpers:
                    assert place.backend.name not in SQLITE_INSIDE
                    return  # it keeps no such file
                for path in helpers:
                    path.unlink()
                await store.write("author", 1, [put("b", 2)])
                with pytest.raises(StoreLost) as lost:
                    await publish(store, 2)
                assert lost.value.hint
            async with place.open() as store:
                assert await store.position() is None
                await store.create_generation("author", 2)
                await store.write("author", 2, [put("c", 3)])
                await store.activate("author", 2)
                await publish(store, 3)
                found = await reader.position()
                assert found is not None
                assert found.lsn == 3
                assert await held(reader, generation=2) == {"c": 3}

    run(story())


@contextmanager
def not_as_root() -> Iterator[None]:
    """Root may write everywhere: inside the block it is somebody else."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.promise("files of this machine")
def test_a_folder_that_cannot_be_written_is_unavailable(place: Place) -> None:
    async def story() -> None:
        async with place.open():  # what has to be imported is readable by us, perhaps not by others
            pass
        for path in _files(place):
            path.unlink()
        place.folder.chmod(0o500)
        with not_as_root(), pytest.raises(RecordgateError) as refused:
            async with place.open():
                pass
        assert isinstance(refused.value, StoreUnavailable)

    try:
        run(story())
    finally:
        place.folder.chmod(0o700)
