"""Converges whatever crashed: a killed writer leaves what it had published, versions never go back,
and the next writer goes on; two never write at once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time

import pytest

from stores.errors import ConflictError
from stores.protocols import Outcome
from tests.conformance.store_backends import Place, held, load, publish, run
from tests.conformance.store_contract import author, put
from tests.conformance.store_peer import KEYS, ROUND
from tests.conformance.store_processes import start

KILLS = 6


def kill_after(place: Place, seconds: float) -> int:
    """Run the writing process, kill it so long after its first round; the last round it told of."""
    process = start(place, "write")
    assert process.stdin
    assert process.stdout
    try:
        first = process.stdout.readline()
        assert first, "the writer did not get to publish"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        told = [int(first), *(int(line) for line in process.stdout if line.endswith("\n"))]
        process.wait(10)
        assert process.returncode == -signal.SIGKILL
        return told[-1]
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def round_of(document: bytes) -> int:
    return int(json.loads(document)["name"].split()[1])


def test_a_killed_writer_leaves_what_it_published_and_no_half(place: Place) -> None:
    chance = random.Random(place.backend.name)

    async def look(told: int) -> dict[str, int]:
        async with place.open() as store:
            position = await store.position()
            assert position
            assert position.lsn >= told
            seen = {s.key: s for s in await store.scan("author", 1, None, 1000)}
            assert await store.count("author", 1) == len(seen)
            for k in range(KEYS):
                key, gone = f"k{k:02}", (position.lsn + k) % 3 == 0
                least = position.lsn * ROUND + k
                if key in seen:
                    # Not older than published; newer where the next round got through.
                    assert seen[key].version >= least + (1 if gone else 0)
                    assert round_of(seen[key].document) == seen[key].version // ROUND
                else:
                    assert gone or (position.lsn + 1 + k) % 3 == 0
                # No going back, no resurrection: what was published is stale from now on.
                (verdict,) = await store.write("author", 1, [put(key, least)])
                assert verdict.outcome is Outcome.STALE
            await publish(store, position.lsn)
            return {key: s.version for key, s in seen.items()}

    for _ in range(KILLS):
        run(look(kill_after(place, chance.uniform(0.0, 0.25))))


def test_the_next_writer_goes_on_after_a_kill(place: Place) -> None:
    told = kill_after(place, 0.1)

    async def story() -> None:
        async with place.open() as store:
            await store.write(
                "author", 1, [put(f"k{k:02}", (told + 5) * ROUND) for k in range(KEYS)]
            )
            await publish(store, told + 5)
            expected = {f"k{k:02}": (told + 5) * ROUND for k in range(KEYS)}
            assert await held(store) == expected
            assert await store.count("author", 1) == KEYS

    run(story())


@pytest.mark.promise("one writer")
def test_two_writers_are_refused(place: Place) -> None:

    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            with pytest.raises(ConflictError) as refused:
                async with place.open():
                    pass
            assert refused.value.hint
            # The one that holds the place is not disturbed, and readers come in.
            await load(store, "author", [put("a", 2)])
            async with place.open(write=False) as other:
                assert await held(other) == {"a": 2}
        async with place.open() as store:
            assert await held(store) == {"a": 2}

    run(story())


@pytest.mark.promise("one writer")
def test_a_writer_in_another_process_is_refused_until_it_is_dead(place: Place) -> None:

    async def refused() -> None:
        with pytest.raises(ConflictError):
            async with place.open():
                pass

    process = start(place, "write")
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline()
        run(refused())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    async def free() -> None:
        async with place.open() as store:
            assert await store.generations("author")

    run(free())


@pytest.mark.promise("a batch at once")
def test_readers_go_on_while_a_thousand_writes_are_made(place: Place) -> None:
    """Every scan is one state of the store: all records of a round or all of the next, never
    torn."""

    async def story() -> None:
        async with place.ready("author") as store, place.open(write=False) as other:
            done = asyncio.Event()
            states: set[int] = set()

            async def reading(reader: object) -> None:
                assert reader in (store, other)
                chosen = store if reader is store else other
                last = 0
                while not done.is_set():
                    found = await chosen.scan("author", 1, None, 100)
                    versions = {s.version for s in found}
                    assert len(versions) <= 1
                    if versions:
                        assert len(found) == 20
                        (version,) = versions
                        assert version >= last
                        assert {s.document for s in found} == {
                            author(f"k{k:02}", f"v{version}") for k in range(20)
                        }
                        last = version
                        states.add(version)

            readers = [asyncio.create_task(reading(r)) for r in (store, store, other, other)]
            for version in range(1, 51):
                await store.write("author", 1, [put(f"k{k:02}", version) for k in range(20)])
                await publish(store, version)
            await asyncio.sleep(0.05)
            done.set()
            await asyncio.gather(*readers)
            assert len(states) > 1

    run(story())
