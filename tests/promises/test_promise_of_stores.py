"""The promises about what stores hold: they converge, nothing comes back, nothing goes back, one
may fail, a reload is not seen."""

from __future__ import annotations

import os
import signal
import time

import pytest

from stores.protocols import Write
from stores.query import Match, SearchQuery
from tests.histories.faulty import FAULTS, holds, switch
from tests.histories.stage import SINKS, Stage
from tests.histories.steps import play
from tests.promises.case import Case

pytestmark = pytest.mark.timeout(900)
"""The first test of a stage starts its servers."""


def test_promise_converges(case: Case) -> None:
    """Killed, cut off and lied to while everything changes: once it is quiet, every document is
    right."""
    stage = case.stage
    case.fill()
    statements = (
        "UPDATE public.products SET name = 'turn {}' WHERE sku = 'sku,' || (1 + {} % 20)",
        "UPDATE public.countries SET region_code = 'r' || (1 + {} % 3) WHERE iso = 'c' || (1 + {} % 6)",
        "UPDATE public.lines SET number = 1 + {} % 15, shop = 'shop\\,' || (1 + {} % 15) % 3 WHERE id = {} % 45",
        "DELETE FROM public.taggings WHERE tag_name = 't' || (1 + {} % 4) AND {} % 5 = 0",
        "INSERT INTO public.taggings VALUES ('t' || (1 + {} % 4), 'sku,' || (1 + {} % 20), {}) ON CONFLICT DO NOTHING",
    )
    with case.writing(*statements):
        for fault in FAULTS:
            for sink in case.sinks:
                switch(stage.folder, sink, fault)
            time.sleep(0.1)
            stage.kill()
            stage.start()
            time.sleep(0.3)
            for sink in case.sinks:
                switch(stage.folder, sink, None)
            play(stage, ["worker", "cut"])
            time.sleep(0.1)
        stage.kill()
    stage.settle()
    # What nothing before or after makes good: records that leave others' documents, one by one and
    # all at once.
    stage.sql(
        "UPDATE public.countries SET region_code = 'r3' WHERE region_code = 'r1'",
        "UPDATE public.lines SET shop = 'shop\\,1', number = 4 WHERE number = 2",
        "DELETE FROM public.lines WHERE number = 3",
        "UPDATE public.products SET sku = 'renamed' WHERE sku = 'sku,2'",
        "TRUNCATE public.taggings",
    )
    case.inject("the worker killed four times with writes under way")
    case.inject("a store that takes nothing, half of a batch, or all and says that it failed")
    case.inject("canonical's connections cut")
    stage.settle()


def test_promise_no_resurrection(case: Case) -> None:
    stage = case.stage
    case.fill()
    for key in ("sku,1", "sku,2", "sku,3"):
        assert all(case.stored(sink, "product", key) for sink in case.sinks)
    before = stage.lsn()
    stage.sql("DELETE FROM public.products WHERE sku = 'sku,1'")
    stage.settle()
    # The newest version that a reading from before the delete can have.
    case.late("product", Write("sku,1", before, b'{"sku":"sku,1","name":"back","price":"1.50"}'))
    case.inject("an upsert read before a delete and sent after it")
    stage.settle()
    for turn in range(3):
        stage.sql(f"DELETE FROM public.products WHERE sku = 'sku,{2 + turn}'")
        time.sleep(0.02 * turn)
        stage.kill()
        stage.start()
    stage.sql("INSERT INTO public.products VALUES ('sku,2', 'a new one', 1)")
    case.inject("changes told twice, after kills")
    stage.settle()
    if not case.local:
        _an_old_batch_in_hand(case)
        case.inject(
            "a worker stopped (SIGSTOP) with an old batch in hand that wakes after another took over"
        )
    for sink in case.sinks:
        for key in ("sku,1", "sku,3", "sku,4"):
            assert case.stored(sink, "product", key) is None


def _an_old_batch_in_hand(case: Case) -> None:
    stage = case.stage
    first = stage.worker
    assert first
    for sink in case.sinks:
        switch(stage.folder, sink, f"late {first.pid}")
    stage.sql("UPDATE public.products SET name = 'from the dead' WHERE sku = 'sku,5'")
    deadline = time.monotonic() + 30
    while not all(holds(stage.folder, sink) for sink in case.sinks):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)
    stage.worker = None
    play(stage, ["worker", "cut"])  # its lock is gone with its connection
    stage.sql("DELETE FROM public.products WHERE sku = 'sku,5'")
    stage.start()
    stage.wait(sinks=case.sinks)
    for sink in case.sinks:
        switch(stage.folder, sink, None)
    os.kill(first.pid, signal.SIGCONT)
    time.sleep(0.3)
    first.kill()
    stage.settle()


def test_promise_no_going_back(case: Case) -> None:
    """Whoever looks at a record again and again never sees an older one than before."""
    stage = case.stage
    stage.sql("INSERT INTO public.regions VALUES ('n', '0')")
    stage.settle()
    seen = dict.fromkeys(case.sinks, 0)

    def look() -> None:
        for sink in case.sinks:
            held = case.stored(sink, "region", "n")
            assert held is not None, "it was there"
            assert int(held["name"]) >= seen[sink], f"{sink} went back"
            seen[sink] = int(held["name"])

    def look_until_all_have_moved() -> None:
        before, deadline = dict(seen), time.monotonic() + 30
        while any(seen[sink] <= before[sink] + 3 for sink in case.sinks):
            assert time.monotonic() < deadline, "a store stands still"
            look()

    with case.writing("UPDATE public.regions SET name = '{}' WHERE code = 'n'") as committed:
        for fault in FAULTS:
            look_until_all_have_moved()
            stage.kill()
            look()
            stage.start()
            look_until_all_have_moved()
            for sink in case.sinks:
                switch(stage.folder, sink, fault)
            for _ in range(10):
                look()
            for sink in case.sinks:
                switch(stage.folder, sink, None)
        look_until_all_have_moved()
    case.inject("the worker killed three times, so that changes come twice")
    case.inject("a store that fails with half of a batch, or all of it, written")
    stage.settle()
    before = stage.lsn()
    stage.sql(f"UPDATE public.regions SET name = '{len(committed) + 1}' WHERE code = 'n'")
    stage.settle()
    case.late("region", Write("n", before, b'{"code":"n","name":"0","countries":[]}'))
    case.inject("an older version sent late")
    stage.settle()


def test_promise_store_may_fail(case: Case) -> None:
    """The others go on, canonical's log is let go, callers are answered; then the store catches up
    by itself."""
    stage = case.stage
    case.fill()
    failing = case.sinks[0]
    (other,) = set(SINKS) - {failing}
    switch(stage.folder, failing, "down")
    switch(stage.folder, f"reader-{failing}", "mute")
    try:
        for turn in range(4):
            stage.sql(
                f"UPDATE public.lines SET quantity = {turn}",
                f"UPDATE public.products SET name = 'down {turn}'",
            )
        stage.sql("DELETE FROM public.taggings", "TRUNCATE public.orders")
        target = stage.lsn()
        case.inject("a store that takes nothing and answers no reader while everything changes")
        stage.wait(sinks=(other,))
        assert not stage.compare((other,))
        _until(lambda: _durable(stage, failing) >= target, "the sink's changes are in its backlog")
        if case.slot:
            _until(lambda: _confirmed(stage, case.slot) >= target, "canonical's log is let go")
        dirty = stage.one("SELECT count(*) FROM recordgate.backlog WHERE sink = '" + failing + "'")
        assert 0 < dirty < 4 * (45 + 20), "a key that changed four times waits once"
        stage.kill()
        stage.start()
        case.inject("the worker killed while the store is down")
        answer = case.front.graphql('{ product(id: "sku,7") { name } }')
        assert answer["data"]["product"] == {"name": "down 3"}
        route = answer["extensions"]["recordgate"]["fields"]["product"]
        assert route["store"] != failing
        found = case.front.get("/search/region?q=region")
        assert found.status_code == (503 if failing == "search" else 200), found.text
        if failing == "search":
            assert found.json()["code"] == "STORE_UNAVAILABLE"
    finally:
        switch(stage.folder, f"reader-{failing}", None)
    stage.settle()
    assert stage.one("SELECT count(*) FROM recordgate.backlog") == 0


def _durable(stage: Stage, sink: str) -> int:
    return int(
        stage.one(
            f"SELECT (detail ->> 'durable')::bigint FROM recordgate.watermarks WHERE sink = '{sink}'"
        )
    )


def _confirmed(stage: Stage, slot: str) -> int:
    return int(
        stage.one(
            "SELECT (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint FROM pg_replication_slots"
            f" WHERE slot_name = '{slot}'"
        )
    )


def _until(condition: object, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_promise_reload_unseen(case: Case) -> None:
    """Whoever counts while generations are built and swapped sees every record, each time."""
    stage = case.stage
    stage.sql(
        "INSERT INTO public.regions SELECT 'r' || i, 'fixed' FROM generate_series(1, 60) i",
        "INSERT INTO public.regions VALUES ('x', 'moving')",
    )
    stage.settle()
    keys = [f"r{i}" for i in range(1, 61)]
    active = {sink: stage.generations(sink, "region")[0] for sink in case.sinks}
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if "documents" in case.sinks:
            found = stage.run(stage.reader("documents").get("region", keys))  # type: ignore[attr-defined]
            assert len(found) == len(keys), "a part of the collection"
        if "search" in case.sinks:
            hits = stage.run(
                stage.reader("search").search(SearchQuery("region", "fixed", match=Match.EXACT))
            )  # type: ignore[attr-defined]
            assert hits.total == len(keys), "a part of the collection"

    statements = (
        "UPDATE public.regions SET name = 'moving {}' WHERE code = 'x'",
        "INSERT INTO public.regions SELECT 'new {}', 'more' WHERE {} % 20 = 0",
    )
    with case.writing(*statements):
        for turn in range(2):
            for sink in case.sinks:
                play(stage, ["ask", "reload", "region", sink])
            deadline = time.monotonic() + 60
            while any(stage.generations(s, "region")[0] <= active[s] + turn for s in case.sinks):
                assert time.monotonic() < deadline, "the reload does not end"
                look()
                if not turn and looks in (3, 12):
                    stage.kill()
                    stage.start()
    case.inject(
        "readers and a writer all the while, of one record again and again and of new ones; the worker killed twice"
    )
    stage.settle()
    assert looks > 5
    for sink in case.sinks:
        play(stage, ["ask", "rollback", "region", sink])
    now = {sink: stage.generations(sink, "region")[0] for sink in case.sinks}
    deadline = time.monotonic() + 60
    while any(stage.generations(s, "region")[0] >= now[s] for s in case.sinks):
        assert time.monotonic() < deadline, "the rollback does not end"
        look()
    case.inject("a rollback after it")
    stage.settle()
    assert stage.one("SELECT count(*) FROM recordgate.sync_requests WHERE state = 'failed'") == 0
