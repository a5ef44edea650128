"""A store that fails when a file says so: the real adapter, with a fault at its edge that another
process can switch.

The word in the file is the fault: `down` takes nothing; `deaf` does what it is asked and says that
it failed, as an answer that came after the time-out; `half` takes every other write of a batch,
then fails; `late PID` keeps the batches of that process in hand until there is no fault, and says
so by a file `…-holds`; `mute` answers no reader. No file, no fault.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stores.errors import StoreUnavailable
from stores.protocols import Position, Store, Verdict, Write
from stores.query import SearchQuery, SearchResult

FAULTS = ("down", "deaf", "half")


def switch(folder: Path, sink: str, fault: str | None) -> None:
    """Set the sink's fault, or clear it."""
    file = _file(folder, sink)
    file.with_name(f"{file.name}-holds").unlink(missing_ok=True)
    if fault is None:
        file.unlink(missing_ok=True)
    else:
        whole = file.with_name(f"{file.name}-new")
        whole.write_text(fault)
        whole.replace(file)


def holds(folder: Path, sink: str) -> bool:
    """Whether a worker keeps a batch in hand."""
    file = _file(folder, sink)
    return file.with_name(f"{file.name}-holds").exists()


def with_faults(store: Store, folder: Path, sink: str) -> Store:
    """The same store, of a class that looks at the file before each write and publish."""
    base = type(store)
    store.__class__ = type(
        f"Faulty{base.__name__}", (_Faulty, base), {"fault_file": _file(folder, sink)}
    )
    return store


def _file(folder: Path, sink: str) -> Path:
    return folder / f"fault-{sink}"


class _Faulty:
    fault_file: Path
    kind: str

    async def write(
        self, type_name: str, generation: int, writes: Sequence[Write]
    ) -> list[Verdict]:
        fault = await self._held_back()
        if fault == "half":
            writes = writes[::2]
        verdicts = []
        if fault != "down":
            verdicts = await self._real.write(type_name, generation, writes)
        if fault:
            raise StoreUnavailable(f"injected: {fault}", store=self.kind)
        return list(verdicts)

    async def publish(self, position: Position | None) -> None:
        fault = await self._held_back()
        if fault != "down":
            await self._real.publish(None if fault == "half" else position)
        if fault:
            raise StoreUnavailable(f"injected: {fault}", store=self.kind)

    async def _held_back(self) -> str:
        """The fault, once it is not to keep a batch in hand."""
        while (fault := self._fault()) == f"late {os.getpid()}":
            self.fault_file.with_name(f"{self.fault_file.name}-holds").touch()
            await asyncio.sleep(0.005)
        return "" if fault.startswith("late") else fault

    def _fault(self) -> str:
        try:
            return self.fault_file.read_text()
        except FileNotFoundError:
            return ""

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        self._answer()
        found: dict[str, bytes] = await self._real.get(type_name, keys)
        return found

    async def search(self, query: SearchQuery) -> SearchResult:
        self._answer()
        found: SearchResult = await self._real.search(query)
        return found

    async def position(self) -> Position | None:
        self._answer()
        found: Position | None = await self._real.position()
        return found

    def _answer(self) -> None:
        if self._fault() == "mute":
            raise StoreUnavailable("injected: mute", store=self.kind)

    @property
    def _real(self) -> Any:
        return super()
