"""Ending tasks for certain. What a task awaits can swallow that it was cancelled: a driver on
`asyncio.wait_for`, before Python 3.12, when the answer comes at the same moment
(https://github.com/python/cpython/issues/86296)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 8.0
"""Seconds after which a task that goes on is cancelled again; longer than any of ours takes to end.
"""


def check_cancelled() -> None:
    """Raise CancelledError if the running task was cancelled and has not noticed. Call it at the
    top of a loop."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Wait for `event` for up to `seconds`, and return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return event.is_set()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, until all have ended. What they raise is left in them."""
    every = list(tasks)
    pending = {task for task in every if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
    await asyncio.gather(*every, return_exceptions=True)
