"""Derives from the objectives of a contract the indicators to count: one, or one a store, for each
objective that is a share of the time or of the requests. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stores.contract.model import Contract
from stores.contract.promises import Objective
from stores.roles import STORE_ROLES, StoreRole

OF_TIME = ("availability", "freshness")
"""Objectives of which slices of time are good or bad; of the others requests are."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """`name` says what is counted, and not what was promised of it: a contract that promises more
    goes on with what was counted before. `store` is that of a freshness."""

    name: str
    objective: Objective
    store: StoreRole | None = None

    @property
    def of_time(self) -> bool:
        """True where slices of time are counted, False where requests are."""
        return self.objective.name in OF_TIME

    def covers(self, types: frozenset[str]) -> bool:
        """Return whether a request about `types` is one that the objective is about."""
        return not self.objective.types or not types.isdisjoint(self.objective.types)


def indicators(contract: Contract) -> tuple[Indicator, ...]:
    """Return what is counted, in the contract's order; what two objectives share is there twice."""
    found: list[Indicator] = []
    for objective in contract.objectives:
        if objective.target is None:
            continue
        name = " ".join((objective.name, *sorted(objective.types)))
        if objective.name in ("responseTime", "freshness"):
            name += f" {float(objective.value):g}s"
        if objective.name != "freshness":
            found.append(Indicator(name, objective))
            continue
        named = objective.types or tuple(contract.types)
        for role, traits in STORE_ROLES.items():
            if any(traits.needed(contract.types[t]) for t in named):
                found.append(Indicator(f"{name} {role}", objective, role))
    return tuple(found)
