"""Orders the imports of files: a type that is pointed to comes before those that point to it.
Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stores.contract.model import Contract, RecordType, Relation
from stores.errors import InputError


@dataclass(frozen=True, slots=True)
class Turn:
    """One import of a type. `without`: properties that are left out at this turn, since what they
    point to comes later; a second turn brings them."""

    type: str
    without: tuple[str, ...] = ()


def import_order(contract: Contract, types: Collection[str]) -> list[Turn]:
    """The turns in which `types` are imported. Where types point to each other in a circle, one
    begins without a relationship that may be missing, and has a second turn. Raises InputError
    where each of a circle is required."""
    waiting = {name: contract.types[name] for name in contract.types if name in types}
    turns: list[Turn] = []
    again: list[Turn] = []
    while waiting:
        ready = [name for name, record in waiting.items() if not _pending(record, waiting)]
        if not ready:
            name, without = _begin_circle(waiting)
            turns.append(Turn(name, without))
            again.append(Turn(name))
            del waiting[name]
            continue
        for name in ready:
            turns.append(Turn(name))
            del waiting[name]
    return turns + again


def _pending(record: RecordType, waiting: Collection[str]) -> list[Relation]:
    """The relations of a type to others that are not imported yet; rows may point to rows of the
    same file."""
    return [
        r for r in record.relations if r.owner and r.target in waiting and r.target != record.name
    ]


def _begin_circle(waiting: dict[str, RecordType]) -> tuple[str, tuple[str, ...]]:
    """The type of a circle that can do without, and the properties that it does without."""
    choices: list[tuple[int, str, tuple[str, ...]]] = []
    for name in _in_circles(waiting):
        record = waiting[name]
        columns = {c for r in _pending(record, waiting) for c in r.columns}
        if all(not record.by_column[c].required and c not in record.key for c in columns):
            without = tuple(p.name for p in record.properties if p.column in columns)
            choices.append((len(without), name, without))
    if not choices:
        named = " and ".join(list(waiting)[:5])
        raise InputError(
            f"{named} point to each other, and none can be imported before the other",
            hint="make one of the relationships optional: leave `required` out at its property",
        )
    _, name, without = min(choices)
    return name, without


def _in_circles(waiting: dict[str, RecordType]) -> Iterator[str]:
    """The types that can be reached from themselves."""
    for name in waiting:
        seen: set[str] = set()
        pending = [r.target for r in _pending(waiting[name], waiting)]
        while pending:
            target = pending.pop()
            if target == name:
                yield name
                break
            if target not in seen:
                seen.add(target)
                pending += [r.target for r in _pending(waiting[target], waiting)]
