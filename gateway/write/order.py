"""Orders the records of one call that refer to each other: a record that is referred to is written
first. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.write.rows import Row
from stores.contract.model import RecordType, Relation


def parents_first(record_type: RecordType, rows: Sequence[Row]) -> tuple[list[Row], bool]:
    """`rows` so that each comes after those that it refers to, else in the order given; and whether
    some refer to each other in a circle, which no order helps: these come last."""
    waiting_for, referring = _references(record_type, rows)
    ordered: list[Row] = []
    ready = [n for n, count in enumerate(waiting_for) if not count]
    while ready:
        ordered += [rows[n] for n in ready]
        freed: list[int] = []
        for parent in ready:
            for child in referring.get(parent, ()):
                waiting_for[child] -= 1
                if not waiting_for[child]:
                    freed.append(child)
        ready = sorted(freed)
    in_circles = [rows[n] for n, count in enumerate(waiting_for) if count]
    return ordered + in_circles, bool(in_circles)


def _references(
    record_type: RecordType, rows: Sequence[Row]
) -> tuple[list[int], dict[int, list[int]]]:
    """Return how many others each row refers to, and the rows that refer to each."""
    waiting_for = [0] * len(rows)
    referring: dict[int, list[int]] = {}
    for relation in record_type.relations:
        if not relation.owner or relation.target != record_type.name:
            continue
        ends = _names(record_type, relation)
        if ends is None:
            continue
        own, referred = ends
        places = {key: n for n, (_, values) in enumerate(rows) if (key := _read(values, referred))}
        for child, (_, values) in enumerate(rows):
            parent = places.get(_read(values, own) or ())
            if parent is not None and parent != child:
                waiting_for[child] += 1
                referring.setdefault(parent, []).append(child)
    return waiting_for, referring


def _names(
    record_type: RecordType, relation: Relation
) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The properties of the relation's two ends; None where the contract does not have one of
    them."""
    columns = (*relation.columns, *relation.target_columns)
    if not all(c in record_type.by_column for c in columns):
        return None
    names = tuple(record_type.by_column[c].name for c in columns)
    return names[: len(relation.columns)], names[len(relation.columns) :]


def _read(values: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...] | None:
    """The values of `names`, None where one is missing."""
    found = tuple(values.get(n) for n in names)
    return None if None in found else found
