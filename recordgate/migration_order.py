"""The order in which a contract takes the place of another, so that nobody who runs is broken.
Pure.

What adds comes first, then the processes take the contract, then what takes away. Each step is told
from how things stand, so that after a kill the next run goes on where the last one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recordgate.live import Affected, affected
from recordgate.store_needs import Need as Load
from stores.canonical.live_needs import FOLLOWED
from stores.canonical.processes import Process, Reloaded
from stores.canonical.steps import Need, Phase, SchemaPlan, Step
from stores.contract.model import Contract
from stores.contract.shape import contract_digest


class Stage(Enum):
    ADD = "add"
    WORKERS = "workers"
    LOAD = "load"
    GATEWAYS = "gateways"
    TAKE_AWAY = "take away"


def takes_away(step: Step) -> bool:
    """Return whether the step takes something from processes that have the contract before: it
    waits until none has it any more."""
    if step.kind in ("drop_column", "drop_table"):
        return True
    return step.need is Need.SURPLUS and step.phase in (Phase.REPLICA_IDENTITY, Phase.PUBLICATION)


def adds(step: Step) -> bool:
    return not takes_away(step)


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of things: what canonical lacks, who is alive, and what the stores are to load."""

    plan: SchemaPlan
    contract: Contract
    alive: tuple[Process, ...]
    loads: tuple[Load, ...]

    @property
    def adding(self) -> SchemaPlan:
        return SchemaPlan(tuple(s for s in self.plan.steps if adds(s)))

    @property
    def taking(self) -> SchemaPlan:
        return SchemaPlan(tuple(s for s in self.plan.steps if takes_away(s)))

    @property
    def behind(self) -> tuple[Process, ...]:
        """Processes with another contract."""
        digest = contract_digest(self.contract)
        return tuple(p for p in self.alive if p.contract_digest != digest)

    @property
    def broken(self) -> list[Affected]:
        """Return what the steps that come first break until it has the contract: a column of
        another type, another key."""
        return [a for a in affected(self.adding, self.contract, self.alive) if a.breaks]

    @property
    def missing(self) -> list[Load]:
        """Return what the stores are to load; what they keep of a type that is gone is nobody's
        need."""
        return [load for load in self.loads if load.what != "drop"]


def follows(process: Process) -> bool:
    return process.role in FOLLOWED


def can_reload(process: Process) -> bool:
    return Reloaded.of(process) is not None


def order(standing: Standing) -> list[Stage]:
    """The stages in order. Gateways keep the contract before until the stores hold what the new one
    says; where the first steps break one of them, they take the new one at once."""
    later = [Stage.LOAD, Stage.GATEWAYS]
    if any(not follows(a.process) for a in standing.broken):
        later.reverse()
    return [Stage.ADD, Stage.WORKERS, *later, Stage.TAKE_AWAY]


def told(standing: Standing) -> Iterator[str]:
    """The stages that have something to do, for people: `!` loses data, or breaks who runs."""
    for stage in order(standing):
        yield from _STAGES[stage](standing)


def _steps(title: str, steps: Sequence[Step]) -> Iterator[str]:
    if steps:
        yield title
        for step in steps:
            yield f"  {'!' if step.destructive else '+'} {step.text}"
            if step.note:
                yield f"      {step.note}"


def _processes(title: str, standing: Standing, *, following: bool) -> Iterator[str]:
    some = [p for p in standing.behind if follows(p) is following]
    if some:
        yield title
    broken = {a.process.id: a.breaks for a in standing.broken}
    for process in some:
        what = f"  + {process.name}: from contract {process.contract_version}"
        if not can_reload(process):
            what = f"  ! {process.name}: cannot while it runs; restart it with this contract"
        yield what
        if process.id in broken:
            yield f"      until then it is without: {', '.join(broken[process.id])}"


def _loads(standing: Standing) -> Iterator[str]:
    if standing.missing:
        yield "the stores load; until it is whole, what they have serves:"
        yield from (f"  ~ {load.text}" for load in standing.missing)


_STAGES: dict[Stage, Callable[[Standing], Iterator[str]]] = {
    Stage.ADD: lambda s: _steps("canonical gets what the contract adds:", s.adding.steps),
    Stage.WORKERS: lambda s: _processes("workers take the contract:", s, following=True),
    Stage.LOAD: _loads,
    Stage.GATEWAYS: lambda s: _processes("gateways take the contract:", s, following=False),
    Stage.TAKE_AWAY: lambda s: _steps(
        "canonical loses what nobody needs any more:", s.taking.steps
    ),
}


def as_json(standing: Standing) -> dict[str, Any]:
    broken = {a.process.id: list(a.breaks) for a in standing.broken}
    return {
        "order": [stage.value for stage in order(standing)],
        "add": [s.as_json() for s in standing.adding.steps],
        "takeAway": [s.as_json() for s in standing.taking.steps],
        "loads": [load.as_json() for load in standing.missing],
        "processes": [
            {**p.as_json(), "canReload": can_reload(p), "breaks": broken.get(p.id, [])}
            for p in standing.behind
        ],
    }
