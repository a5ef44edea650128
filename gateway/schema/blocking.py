"""Runs the resolvers of a product: names the one that keeps the event loop, while which nothing
else is answered, and lets nothing that one raises end more than its own field.

A coroutine is timed from one `await` to the next. What is over is logged by the loop itself, once a
field; what is not over, and perhaps never ends, by a thread that looks on.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import psycopg

log = logging.getLogger(__name__)

BLOCKING = 0.1
"""Seconds that a resolver may keep the event loop before the log names it."""
STUCK = 2.0
"""Seconds after which it is named although it has not ended."""
ADVICE = "nothing else is answered meanwhile; make it async, or run it in a thread"


class ResolverError(Exception):
    """An exception that must not leave a resolver was raised: one that would end the process or its
    request, or that would be taken for one of canonical's. The cause is the exception itself."""


def _contained(name: str, error: BaseException) -> BaseException:
    """Return the exception that leaves a resolver that raised `error`."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is None or task.cancelling():
            return error  # the request itself ends
    elif isinstance(error, Exception | GeneratorExit) and not isinstance(error, psycopg.Error):
        return error
    made = ResolverError(f"the resolver of {name} raised {type(error).__name__}")
    made.__cause__ = error
    return made


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
        except StopIteration:
            raise
        except BaseException as error:
            raise _contained(name, error)  # noqa: B904 - it has its cause
        finally:
            self._now = None
            if time.perf_counter() - began > BLOCKING:
                self._tell(name, began)

    async def stream(self, name: str, events: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """Yield what `events` yields; each step is watched."""
        try:
            while True:
                try:
                    event = await self.call(name, events.__anext__)
                except StopAsyncIteration:
                    return
                yield event
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()

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
