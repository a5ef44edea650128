"""A store that fails when a file says so: the real adapter, with a fault at its edge that another process can switch.

The word in the file is the fault: `down` takes nothing; `deaf` does what it is asked and says that it failed, as an
answer that came after the time-out; `half` takes every other write of a batch, then fails. No file, no fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stores.errors import StoreUnavailable
from stores.protocols import Position, Store, Verdict, Write

FAULTS = ("down", "deaf", "half")


def switch(folder: Path, sink: str, fault: str | None) -> None:
    """Set the sink's fault, or clear it."""
    file = _file(folder, sink)
    if fault is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(fault)


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
        fault = self._fault()
        if fault == "half":
            writes = writes[::2]
        verdicts = []
        if fault != "down":
            verdicts = await self._real.write(type_name, generation, writes)
        if fault:
            raise StoreUnavailable(f"injected: {fault}", store=self.kind)
        return list(verdicts)

    async def publish(self, position: Position | None) -> None:
        fault = self._fault()
        if fault != "down":
            await self._real.publish(None if fault == "half" else position)
        if fault:
            raise StoreUnavailable(f"injected: {fault}", store=self.kind)

    def _fault(self) -> str:
        try:
            return self.fault_file.read_text()
        except FileNotFoundError:
            return ""

    @property
    def _real(self) -> Any:
        return super()
