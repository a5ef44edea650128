"""Sets the types of one sink aside that canonical cannot read, says so, and looks whether they can
be read again."""

from __future__ import annotations

from collections.abc import Collection

from stores.errors import NotReadable
from sync.aside import CODE, Aside
from sync.conditions import Conditions
from sync.projection import Projector


class Unreadable:
    """Handles the types that one sink cannot read; `aside` says which they are."""

    def __init__(
        self,
        sink: str,
        types: Collection[str],
        projector: Projector,
        conditions: Conditions,
    ) -> None:
        self.aside = Aside(sink)
        self._sink = sink
        self._types = types
        self._projector = projector
        self._conditions = conditions
        self._recalled = False

    async def recall(self) -> None:
        """Set aside what a worker before has: its conditions stand until the types can be read."""
        if self._recalled:
            return
        for condition in self._conditions.standing:
            if condition.sink != self._sink or condition.code != CODE:
                continue
            if condition.type in self._types:
                self.aside.remember(condition.type)
            else:
                await self._over(condition.type)
        self._recalled = True

    async def add(self, error: NotReadable) -> None:
        """Set the type of `error` aside."""
        await self._conditions.raise_(self.aside.add(error))

    async def try_again(self) -> bool:
        """Try a type that is due; whether it is back. Then, before anything else is awaited, the
        caller sees to it that no position is published until what waited for the type has been
        worked off."""
        type_name = self.aside.due()
        if type_name is None:
            return False
        try:
            async with self._projector.lock:
                await self._projector.page(type_name, None, 1)
        except NotReadable as error:
            await self.add(error)
            return False
        await self._over(type_name)
        self.aside.back(type_name)
        return True

    async def _over(self, type_name: str) -> None:
        await self._conditions.over(code=CODE, sink=self._sink, type=type_name)
