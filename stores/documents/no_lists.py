"""The answers of a document store that gives no lists; its capabilities lack `LISTS`."""

from __future__ import annotations

from stores.errors import StoreRefused
from stores.query import Listed, ListQuery, Statistics


class NoLists:
    kind: str

    async def page(self, query: ListQuery) -> Listed:
        raise self._no_lists()

    async def statistics(self, type_name: str) -> Statistics:
        raise self._no_lists()

    def _no_lists(self) -> StoreRefused:
        return StoreRefused(f"{self.kind}: it gives no lists", store=self.kind)
