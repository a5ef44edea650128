"""The place of a sink's store: opened anew where it was lost, and looked at before a position is
written into it."""

from __future__ import annotations

from stores.contract.model import Contract
from stores.errors import StoreLost
from stores.lineage import Lineage
from stores.protocols import Position, Store, Withheld


class StorePlace:
    def __init__(self, name: str, store: Store, contract: Contract, lineage: Lineage) -> None:
        self._name, self._store, self._contract = name, store, contract
        self._lineage = lineage
        self.lost = False
        """True where the store's files or records may have to be created again."""

    async def mend(self) -> None:
        """Open the store anew where it was lost. Raises what `open` raises."""
        if self.lost:
            await self._store.close()
            await self._store.open(self._contract, write=True)
            self.lost = False

    def position(self, lsn: int, as_of: float, withheld: tuple[Withheld, ...]) -> Position:
        """A position of canonical's present timeline."""
        lineage = self._lineage
        return Position(lineage.system, lsn, as_of, withheld, lineage.timeline, lineage.forks)

    async def check(self, published: Position | None) -> None:
        """A store that was put back from an older copy, or came back empty, while we were at it,
        would take the next position as if it had everything before it. Raises StoreLost."""
        if published is None:
            return
        held = await self._store.position()
        if held is None or held.system != published.system or held.lsn < published.lsn:
            raise StoreLost(
                f"{self._name} has gone back behind what was published", store=self._store.kind
            )
