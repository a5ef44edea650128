"""Keeps the pauses of Python's garbage collector short, and counts them.

A full collection walks every object that the collector tracks, while nothing else runs. Most of a
warm process is there for its whole life (modules, the schema, compiled queries), so it is set apart
once: a full collection then walks what came later only. What is set apart is collected first, so no
garbage is kept with it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

WARM = (0.5, 20.0)
"""Seconds after the start at which what exists is set apart: once the start is over, and once the
first requests have filled what is kept for the process's life."""


class GarbagePauses(Collector):
    """Counts the seconds of each generation's collections, from when it is made until `close`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """It may be registered elsewhere as well."""
        self._seconds = [0.0, 0.0, 0.0]
        self._began = 0.0
        if registry is not None:
            registry.register(self)
        gc.callbacks.append(self._look)

    def close(self) -> None:
        """Stop counting."""
        if self._look in gc.callbacks:
            gc.callbacks.remove(self._look)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        pauses = CounterMetricFamily(
            "recordgate_gc_pause_seconds",
            "Seconds in which the garbage collector ran and nothing else did.",
            labels=("generation",),
        )
        for generation, seconds in enumerate(self._seconds):
            pauses.add_metric((str(generation),), seconds)
        yield pauses
        yield GaugeMetricFamily(
            "recordgate_gc_frozen_objects",
            "Objects that the garbage collector leaves alone, since they were there once the"
            " process was warm.",
            value=gc.get_freeze_count(),
        )

    def _look(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._seconds[info["generation"]] += time.perf_counter() - self._began


def set_apart() -> None:
    """Collect garbage, and leave what remains out of all later collections."""
    gc.collect()
    gc.freeze()


def take_back() -> None:
    """Make what was left out collectable again: a part of it is about to end."""
    gc.unfreeze()


async def set_apart_when_warm() -> None:
    """Call `set_apart` at each of the moments of WARM."""
    began = time.monotonic()
    for moment in WARM:
        await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
        set_apart()
