"""What a warm process holds is left out of collections; the pauses of collections are counted."""

from __future__ import annotations

import gc

from prometheus_client import CollectorRegistry

from recordgate.garbage import GarbagePauses, set_apart


class Node:
    def __init__(self) -> None:
        self.me = self


def test_what_is_set_apart_is_walked_by_no_later_collection() -> None:
    kept = [[n] for n in range(1000)]
    try:
        set_apart()
        assert gc.get_freeze_count() >= len(kept)
        assert not any(thing is kept for thing in gc.get_objects())
    finally:
        gc.unfreeze()


def test_garbage_is_collected_before_anything_is_set_apart() -> None:
    gc.disable()
    try:
        for _ in range(1000):
            Node()
        set_apart()
        gc.unfreeze()
        assert not any(isinstance(thing, Node) for thing in gc.get_objects())
    finally:
        gc.enable()


def test_pauses_are_counted_until_it_is_closed() -> None:
    registry = CollectorRegistry()
    pauses = GarbagePauses(registry)

    def seconds() -> float:
        found = registry.get_sample_value("recordgate_gc_pause_seconds_total", {"generation": "2"})
        assert found is not None
        return found

    before = seconds()
    gc.collect()
    counted = seconds()
    assert counted > before
    pauses.close()
    gc.collect()
    assert seconds() == counted
