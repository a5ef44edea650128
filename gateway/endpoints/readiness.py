"""Decides whether the gateway can answer anything, and the state of each type in each store. Pure;
`gateway.endpoints.health` asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stores.canonical.standing import LOADING, Standing
from stores.contract.model import Contract, RecordType
from stores.roles import STORE_ROLES, StoreRole


class Status(StrEnum):
    """`READY`: every store answers and holds every type. `LOADING`: a type is not in a store yet.
    `DEGRADED`: canonical or a store does not answer. `NOT_READY`: no exposed operation can be
    answered."""

    READY = "ready"
    LOADING = "loading"
    DEGRADED = "degraded"
    NOT_READY = "not ready"


@dataclass(frozen=True, slots=True)
class StoreView:
    """`ok`: it answers. `trusted`: it has a position of this database. `generations`: type → the
    active one."""

    ok: bool
    problem: str = ""
    trusted: bool = False
    generations: Mapping[str, int | None] = field(default_factory=dict)


def needs(record_type: RecordType) -> tuple[StoreRole, ...]:
    """Return the roles of the stores that the operations of a type ask."""
    return tuple(role for role, row in STORE_ROLES.items() if row.needed(record_type))


def holds(store: StoreView, sink: str, type_name: str, standing: Standing) -> bool:
    """Return whether a store that answers has the whole type."""
    return (
        store.trusted
        and store.generations.get(type_name) is not None
        and type_name not in standing.required.get(sink, frozenset())
    )


def of_type(
    record_type: RecordType, sink: str, store: StoreView, standing: Standing
) -> dict[str, Any]:
    """Return the state of a type in a store: loaded, loading n of m, failing why, not loaded."""
    name = record_type.name
    found: dict[str, Any] = {"state": "loaded", "generation": store.generations.get(name)}
    load = standing.loads.get((sink, name))
    mine = [c for c in standing.conditions if c.sink in ("", sink) and c.type in ("", name)]
    failing = [c for c in mine if c.code != LOADING and (c.sink or c.type)]
    if not store.ok:
        found |= {"state": "failing", "why": store.problem or "it does not answer"}
    elif not holds(store, sink, name, standing):
        waiting = [c for c in mine if c.code == LOADING]
        why = next((c.message for c in waiting), "nothing was published yet")
        found |= {"state": "loading" if load else "not loaded", "why": why}
    if load is not None:
        found["loading"] = {"generation": load.generation, "records": load.rows, "of": load.total}
    if found["state"] != "loaded" and (failing or not load):
        cause = next(iter(failing), None) or next((c for c in mine if c.code != LOADING), None)
        if cause is not None and store.ok:
            found |= {"state": "failing", "why": cause.message, "hint": cause.hint}
    return found


def answerable(
    contract: Contract,
    *,
    canonical: bool,
    stores: Mapping[str, StoreView],
    standing: Standing,
    only: Sequence[str] = (),
) -> bool:
    """Return whether any exposed operation can be answered, of the types `only` where some are
    named: by canonical all but a search; by a store what it holds."""
    for record_type in contract.types.values():
        if only and record_type.name not in only:
            continue
        if canonical and record_type.expose.operations - {STORE_ROLES[StoreRole.SEARCH].operation}:
            return True
        for sink, row in STORE_ROLES.items():
            if (
                row.answers(record_type)
                and stores[sink].ok
                and holds(stores[sink], sink, record_type.name, standing)
            ):
                return True
    return False


def status_of(
    contract: Contract, *, canonical: bool, stores: Mapping[str, StoreView], standing: Standing
) -> Status:
    """The one word for all of it."""
    if not answerable(contract, canonical=canonical, stores=stores, standing=standing):
        return Status.NOT_READY
    if not canonical or not all(store.ok for store in stores.values()):
        return Status.DEGRADED
    for record_type in contract.types.values():
        for sink in needs(record_type):
            if not holds(stores[sink], sink, record_type.name, standing):
                return Status.LOADING
    return Status.READY
