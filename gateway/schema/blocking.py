"""Names the resolver of a product's own that keeps the event loop, while which nothing else is
answered.

A coroutine is timed from one `await` to the next. What is over is logged by the loop itself, once a
field; what is not over, and perhaps never ends, by a thread that looks on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

log = logging.getLogger(__name__)

BLOCKING = 0.1
"""Seconds that a resolver may keep the event loop before the log names it."""
STUCK = 2.0
"""Seconds after which it is named although it has not ended."""
ADVICE = "nothing else is answered meanwhile; make it async, or run it in a thread"


class LoopWatch:
    """Knows which resolver has the event loop now, and since when. `call` and `timed` are called in
    the loop's thread."""

    def __init__(self) -> None:
        self._now: tuple[str, float] | None = None
        self._slow: set[str] = set()
        self._stuck: set[str] = set()
        self._looking = False

    def call(self, name: str, resolver: Callable[[], Any]) -> Any:
        """Return what `resolver` returns; an awaitable is watched as it goes on."""
        if not self._looking:
            self._look_on()
        value = self.timed(name, resolver)
        return Watched(self, name, value) if hasattr(value, "__await__") else value

    def timed(self, name: str, step: Callable[..., Any], *given: Any) -> Any:
        """Return what `step` returns for `given`, and name the resolver that it is of where it
        takes long."""
        began = time.perf_counter()
        self._now = name, began
        try:
            return step(*given)
        finally:
            self._now = None
            if time.perf_counter() - began > BLOCKING:
                self._tell(name, began)

    def _tell(self, name: str, began: float) -> None:
        if name not in self._slow:
            self._slow.add(name)
            took = (time.perf_counter() - began) * 1000
            log.warning("the resolver of %s kept the event loop for %d ms: %s", name, took, ADVICE)

    def _look_on(self) -> None:
        self._looking = True
        threading.Thread(target=self._watch, name="own resolvers", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(STUCK / 2)
            now = self._now
            if now is None or time.perf_counter() - now[1] < STUCK or now[0] in self._stuck:
                continue
            self._stuck.add(now[0])
            log.error(
                "the resolver of %s has kept the event loop for %.0f s and goes on: %s",
                now[0],
                time.perf_counter() - now[1],
                ADVICE,
            )


class Watched:
    """An awaitable of a resolver, each step of which is timed."""

    __slots__ = ("_awaitable", "_name", "_watch")

    def __init__(self, watch: LoopWatch, name: str, awaitable: Awaitable[Any]) -> None:
        self._watch, self._name, self._awaitable = watch, name, awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        watch, name = self._watch, self._name
        steps = self._awaitable.__await__()
        step, given = steps.send, None
        while True:
            try:
                asked = watch.timed(name, step, given)
            except StopIteration as end:
                return end.value
            try:
                step, given = steps.send, (yield asked)
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:
                step, given = steps.throw, thrown
