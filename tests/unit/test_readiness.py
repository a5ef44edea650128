"""What readiness says, decided from what the stores and canonical's books say; and what a look at
the books shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.endpoints.readiness import Status, StoreView, of_type, status_of
from recordgate.cli.status import _slot, _worker
from stores.canonical.conditions import Condition
from stores.canonical.standing import (
    LoadView,
    SlotView,
    Standing,
    WorkerView,
    observed,
    worker_view,
)
from stores.contract.load import load_contract
from sync.opening import waiting_words
from tests.acceptance.gateway_rig import GEONAMES

CONTRACT = load_contract(GEONAMES)
FULL = StoreView(True, "", True, dict.fromkeys(CONTRACT.types, 1))
EMPTY = StoreView(True, "", False, dict.fromkeys(CONTRACT.types))
DOWN = StoreView(False, "not reached")
CITY = CONTRACT.types["city"]


def only(*operations: str) -> Any:
    """The contract, with these operations exposed of every type."""
    types = {
        name: replace(t, expose=replace(t.expose, operations=frozenset(operations)))
        for name, t in CONTRACT.types.items()
    }
    return replace(CONTRACT, types=types)


@pytest.mark.parametrize(
    ("canonical", "documents", "search", "status"),
    [
        (True, FULL, FULL, Status.READY),
        (True, EMPTY, EMPTY, Status.LOADING),
        (True, FULL, EMPTY, Status.LOADING),
        (True, FULL, DOWN, Status.DEGRADED),
        (True, DOWN, DOWN, Status.DEGRADED),
        (False, FULL, FULL, Status.DEGRADED),
        (False, FULL, DOWN, Status.DEGRADED),
        (False, DOWN, FULL, Status.DEGRADED),
        (False, EMPTY, EMPTY, Status.NOT_READY),
        (False, DOWN, DOWN, Status.NOT_READY),
    ],
)
def test_the_gateway_is_ready_while_anything_can_be_answered(
    canonical: bool, documents: StoreView, search: StoreView, status: Status
) -> None:
    stores = {"documents": documents, "search": search}
    found = status_of(CONTRACT, canonical=canonical, stores=stores, standing=Standing())
    assert found is status


def test_what_counts_is_what_is_exposed() -> None:
    stores = {"documents": FULL, "search": DOWN}
    searching = only("search")
    assert (
        status_of(searching, canonical=True, stores=stores, standing=Standing()) is Status.NOT_READY
    ), "only the search store can answer a search"
    reading = only("list", "aggregate", "create")
    assert (
        status_of(reading, canonical=False, stores=stores, standing=Standing()) is Status.NOT_READY
    ), "lists, aggregates and writes are canonical's"


def test_a_type_that_must_be_loaded_again_is_not_loaded_whatever_the_store_holds() -> None:
    standing = Standing(required={"search": frozenset({"city"})})
    stores = {"documents": FULL, "search": FULL}
    assert status_of(CONTRACT, canonical=True, stores=stores, standing=standing) is Status.LOADING
    assert of_type(CITY, "search", FULL, standing)["state"] != "loaded"
    assert of_type(CITY, "documents", FULL, standing)["state"] == "loaded"


def test_each_type_says_how_far_it_is_in_each_store_and_why() -> None:
    loading = Condition("loading", "not complete in search: first load", "", "search", "city")
    standing = Standing(
        True, (loading,), loads={("search", "city"): LoadView(1, 20, 100)},
        required={"search": frozenset({"city"})},
    )  # fmt: skip
    assert of_type(CITY, "search", EMPTY, standing) == {
        "state": "loading",
        "generation": None,
        "why": "not complete in search: first load",
        "loading": {"generation": 1, "records": 20, "of": 100},
    }
    unreadable = Condition("unreadable", "a column is gone", "bring it back", "search", "city")
    found = of_type(CITY, "search", EMPTY, replace(standing, conditions=(loading, unreadable)))
    assert (found["state"], found["why"], found["hint"]) == (
        "failing", "a column is gone", "bring it back",
    )  # fmt: skip
    assert of_type(CITY, "documents", DOWN, standing)["why"] == "not reached"
    waiting = Condition("waiting-for-transaction", "process 7")
    found = of_type(CITY, "search", EMPTY, Standing(True, (waiting,)))
    assert (found["state"], found["why"]) == ("failing", "process 7")
    other = Condition("unreadable", "a column is gone", "", "search", "country")
    assert of_type(CITY, "search", FULL, Standing(True, (other,)))["state"] == "loaded"


@pytest.mark.parametrize("status", ["reserved", "extended", "unreserved", "lost", None])
@pytest.mark.parametrize("retained", [1234, None])
def test_status_can_say_every_state_of_a_slot(status: str | None, retained: int | None) -> None:
    slot = {"name": "s", "exists": True, "walStatus": status, "retainedBytes": retained}
    text = _slot(slot)
    assert text.startswith("s")
    assert ("1,234" in text) == (retained is not None)
    view = SlotView("s", True, retained=retained, wal_status=status)
    codes = [c.code for c in observed(WorkerView(running=True), view, [], [])]
    told = {"lost": ["slot-lost"], "unreserved": ["slot-endangered"]}
    assert codes == told.get(status or "", [])


def test_a_worker_between_two_sessions_lives_for_as_long_as_it_was_heard_of() -> None:
    retrying = [Condition("worker-retrying", "no publication")]
    lives = worker_view(retrying, "h", 1, 3.0, running=False)
    assert lives.retrying
    assert _worker({"running": False, "retrying": True, "host": "h", "pid": 1}).startswith(
        "restarting"
    )
    assert not worker_view(retrying, "h", 1, 300.0, running=False).retrying
    assert not worker_view([], "h", 1, 3.0, running=False).retrying
    assert not observed(lives, SlotView("s"), [], [])
    (dead,) = observed(worker_view([], "h", 1, 300.0, running=False), SlotView("s"), [], [])
    assert (dead.code, "5 min ago" in dead.message) == ("worker-not-running", True)


def test_who_is_waited_for_is_told_also_where_little_can_be_seen() -> None:
    assert "process 7 (no application name, role unknown), open since a time" in waiting_words(
        [(7, None, None, None, None)], None
    )
    assert "a prepared one" in waiting_words([(0, None, None, None, None)], None)
