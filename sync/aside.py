"""The types that one sink has set aside because canonical cannot read them, and when each is tried
again. Pure.

While a type is aside its changes wait in the durable backlog, and the sink's position goes on
without it: it is *withheld* (see `stores.protocols.Position`), until what waited has been published
and a load that it needs is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from stores.canonical.conditions import Condition
from stores.errors import NotReadable
from stores.protocols import Position, Withheld
from sync.failures import HINT
from sync.pace import Backoff

CODE = "type-not-readable"
SOON = 1.0
LATEST = 30.0
"""Maximum seconds between two tries."""
PROVEN = 120.0
"""Seconds for which a type must have been readable for its next failure to be tried again soon."""


@dataclass(slots=True)
class _Type:
    backoff: Backoff = field(default_factory=lambda: Backoff(first=SOON, most=LATEST))
    next_try: float = 0.0
    reason: str = ""
    back_since: float | None = None
    """The moment at which the type was readable again; None while it is set aside."""


class Aside:
    """The types that one sink has set aside. `clock` returns monotonic seconds."""

    def __init__(self, sink: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._sink, self._clock = sink, clock
        self._types: dict[str, _Type] = {}
        self._withheld: dict[str, Withheld] = {}

    @property
    def types(self) -> frozenset[str]:
        """The types that are aside now."""
        return frozenset(n for n, t in self._types.items() if t.back_since is None)

    def add(self, error: NotReadable) -> Condition:
        """Set a type aside, or note that another try has failed."""
        now = self._clock()
        held = self._types.setdefault(error.type_name, _Type())
        if held.back_since is not None and now - held.back_since > PROVEN:
            held.backoff.reset()
        held.back_since, held.reason = None, error.reason
        held.next_try = now + held.backoff.next()
        return Condition(CODE, error.message, error.hint, self._sink, error.type_name)

    def remember(self, type_name: str) -> None:
        """Remember a type that an earlier worker had set aside; it is tried at once."""
        self._types.setdefault(type_name, _Type())

    def back(self, type_name: str) -> None:
        """Record that the type can be read again."""
        held = self._types[type_name]
        held.back_since, held.reason = self._clock(), ""

    def due(self) -> str | None:
        """Return a type that is due for a try, or None."""
        now = self._clock()
        return next((n for n in self.types if self._types[n].next_try <= now), None)

    def why(self, types: Collection[str]) -> NotReadable | None:
        """Return why one of `types` is aside, or None if none is or none was tried yet."""
        reasons = self.reasons()
        found = next((t for t in types if reasons.get(t)), None)
        return None if found is None else NotReadable(found, reasons[found], hint=HINT)

    def reasons(self) -> dict[str, str]:
        """Type → why it is aside."""
        return {n: self._types[n].reason for n in sorted(self.types)}

    # The position ---------------------------------------------------------------------------------

    def published(self, position: Position | None) -> None:
        """Take over what the store's own position withholds now."""
        self._withheld = {w.type_name: w for w in position.withheld} if position else {}

    def trusts(self, required: Collection[str]) -> bool:
        """Return whether a position suffices although the types `required` are not loaded, because
        it withholds each of them."""
        return all(name in self._withheld or name in self.types for name in required)

    def withheld(
        self, required: Collection[str], published: Position | None
    ) -> tuple[Withheld, ...]:
        """Return what the next position withholds once nothing waits of other types. `published`
        is the last position."""
        names = self.types | {n for n in required if n in self._withheld}
        found: list[Withheld] = []
        for name in sorted(names):
            if name in required or published is None:
                found.append(Withheld(name, 0, 0.0))
            else:
                found.append(
                    self._withheld.get(name, Withheld(name, published.lsn, published.as_of))
                )
        return tuple(found)
