"""Finds what a plan does to the processes that are alive, and the order in which the steps are
safe. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stores.canonical.live_needs import taken_away
from stores.canonical.processes import Process
from stores.canonical.steps import Need, SchemaPlan
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import ConflictError


@dataclass(frozen=True, slots=True)
class Affected:
    """A process that is alive with another contract. `breaks`: what the plan takes from it; empty
    where it goes on."""

    process: Process
    breaks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {**self.process.as_json(), "breaks": list(self.breaks)}


def affected(plan: SchemaPlan, contract: Contract, alive: Sequence[Process]) -> list[Affected]:
    """Return the processes with another contract, those that would break first."""
    digest = contract_digest(contract)
    found = [
        Affected(p, tuple(taken_away(plan, contract, p.detail.get("needs", {}), p.role)))
        for p in alive
        if p.contract_digest != digest
    ]
    return sorted(found, key=lambda a: not a.breaks)


def order(plan: SchemaPlan, live: Sequence[Affected]) -> str:
    """Return the order that takes the processes from the contract they run with to this one and
    breaks none; an empty string where none runs with another."""
    if not live:
        return ""
    if not any(a.breaks for a in live):
        return "the safe order: `recordgate apply`, then restart the worker, then the gateways"
    if all(s.need is Need.SURPLUS for s in plan.steps):
        return (
            "the safe order: restart the worker, then the gateways, with this contract, which "
            "canonical has"
            " all of; then `recordgate apply`"
        )
    return (
        "no order is safe, because this contract both adds and removes. Either first apply a"
        " contract that only adds, restart the worker and the gateways with it, and do the same"
        " with this one; or end them, run `recordgate apply`, and start them with this contract"
    )


def refuse_to_break(plan: SchemaPlan, live: Sequence[Affected]) -> None:
    """Raise ConflictError (code LIVE_PROCESSES) where `plan` would break a process that is
    alive."""
    broken = [a for a in live if a.breaks]
    if not broken:
        return
    said = "; ".join(f"{a.process.name}: {', '.join(a.breaks)}" for a in broken)
    raise ConflictError(
        f"running processes would break: {said}",
        hint=(
            f"{order(plan, live)}. A killed process counts as running for half a minute. Pass"
            " --break-live to carry it out all the same"
        ),
        code="LIVE_PROCESSES",
    )


def lines(plan: SchemaPlan, live: Sequence[Affected]) -> list[str]:
    """Return the lines that people see below the plan."""
    if not live:
        return []
    found = []
    for one in live:
        version = one.process.contract_version
        goes_on = "goes on" if not one.breaks else f"breaks: {', '.join(one.breaks)}"
        mark = "!" if one.breaks else "+"
        found.append(f"{mark} {one.process.name}, with another contract ({version}), {goes_on}")
    return [*found, order(plan, live)]
