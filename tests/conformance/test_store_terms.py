"""One worker at a time: where a store can be written to by several at once, one whose term is over
moves no position and changes no generation; where it cannot, the second is not let in."""

from __future__ import annotations

import pytest

from stores.errors import ConflictError, FencedError
from stores.protocols import Capability, Position
from tests.conformance.store_backends import Place, held, outcomes, run
from tests.conformance.store_contract import put

BEFORE, AFTER = Position("7412/16384", 100, 1.0), Position("7412/16384", 200, 2.0)


def test_a_worker_whose_term_is_over_changes_nothing(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as old:
            await old.take_charge(5)
            await outcomes(old, [put("a", 1)])
            await old.publish(BEFORE)
            if Capability.SHARED not in old.capabilities:
                with pytest.raises(ConflictError) as caught:
                    async with place.open():
                        pass
                assert not isinstance(caught.value, FencedError)
                return
            async with place.open() as new:
                await new.take_charge(6)
                assert await new.position() == BEFORE
                await old.publish(None)
                with pytest.raises(FencedError):
                    await old.publish(AFTER)
                assert await new.position() == BEFORE
                await new.create_generation("author", 2)
                for late in (old.activate("author", 2), old.drop_generation("author", 2)):
                    with pytest.raises(FencedError):
                        await late
                with pytest.raises(FencedError):
                    await old.take_charge(5)
                states = {g.number: g.state for g in await new.generations("author")}
                assert states == {1: "active", 2: "building"}
                # What it still has in hand is older than what the new one writes.
                await outcomes(new, [put("a", 3)])
                await outcomes(old, [put("a", 2)])
                await new.publish(AFTER)
                assert await held(new) == {"a": 3}
                assert await new.position() == AFTER

    run(story())


def test_a_term_goes_on_over_restarts(place: Place) -> None:
    async def story() -> None:
        for term in (5, 5, 9):
            async with place.open() as store:
                await store.take_charge(term)
                await store.publish(Position("7412/16384", term, 1.0))
        async with place.open(write=False) as store:
            assert await store.position() == Position("7412/16384", 9, 1.0)

    run(story())
