"""Computes what a type's `boostBy` adds to the score of a hit: more for a greater number or a later
day.

A value is counted by the bounds that it reaches, each worth the same, so that every store adds
exactly as much. A number's bounds grow by the square root of ten from one on, a day's come closer
and closer to today.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from stores.contract.model import RecordType, Scalar
from stores.search.fields import Field, Level
from stores.search.twins import operand

_NUMBERS = tuple(10 ** (half / 2) for half in range(20))
_DAYS = (3650, 1825, 1095, 730, 365, 180, 90, 30, 14, 7, 3, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """A bound that adds `weight` to the score of each record that reaches it."""

    field: Field
    bound: Any
    weight: float


def steps(level: Level, now: datetime | None = None) -> tuple[Step, ...]:
    """Return the bounds of the type's `boostBy`, none where it has none. `now` counts by days, so
    that scores are the same all day."""
    by = level.record_type.boost_by
    field = level.field(by.property) if by else None
    if by is None or field is None or not field.valued:
        return ()
    bounds = _bounds(field, now or datetime.now(UTC))
    return tuple(Step(field, bound, by.weight / len(bounds)) for bound in bounds)


def _bounds(field: Field, now: datetime) -> Sequence[Any]:
    match field.prop.scalar:
        case Scalar.INT | Scalar.BIGINT:
            return list(dict.fromkeys(round(n) for n in _NUMBERS))
        case Scalar.FLOAT | Scalar.DECIMAL:
            return _NUMBERS
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [today - timedelta(days=days) for days in _DAYS]
    if field.prop.scalar is Scalar.DATE:
        return [operand(field.prop, moment.date()) for moment in moments]
    return [operand(field.prop, moment) for moment in moments]


def lift(record_type: RecordType) -> float:
    """Return what an exact match is raised by, so that no forgiven one reaches it by its boost."""
    return record_type.boost_by.weight if record_type.boost_by else 0.0
