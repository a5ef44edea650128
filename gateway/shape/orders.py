"""Makes a total order of `orderBy`, and the signature that binds a cursor to it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from gateway.shape.names import property_of, relation_of
from gateway.shape.visibility import Visibility
from stores.contract.model import Contract, Property, RecordType, Scalar
from stores.errors import InputError, LimitError
from stores.query import Order

MAX_STEPS = 10
MAX_PATH = 4
"""The number of to-one relations that an order may follow."""


class Direction(Enum):
    """(descending, nulls first) of each value of the GraphQL enum `Order`; None: Postgres's
    rule."""

    ASC = (False, None)
    DESC = (True, None)
    ASC_NULLS_FIRST = (False, True)
    ASC_NULLS_LAST = (False, False)
    DESC_NULLS_FIRST = (True, True)
    DESC_NULLS_LAST = (True, False)


def orderable(prop: Property) -> bool:
    return not prop.array and prop.scalar is not Scalar.JSON


def nulls_first(order: Order) -> bool:
    return order.descending if order.nulls_first is None else order.nulls_first


def parse_order(
    record_type: RecordType, raw: Any, visibility: Visibility
) -> tuple[tuple[Order, ...], bool]:
    """A total order (the key is its end), and whether it is the key alone. Raises InputError."""
    steps: list[Order] = []
    for entry in raw or ():
        step = _step(record_type, entry, visibility)
        if not any(s.property == step.property and s.path == step.path for s in steps):
            steps.append(step)
    if len(steps) > MAX_STEPS:
        raise LimitError(f"orderBy has more than {MAX_STEPS} steps")
    key = key_order(record_type)
    if tuple(steps) == key:
        steps = []
    own = {s.property for s in steps if not s.path}
    return (*steps, *(k for k in key if k.property not in own)), not steps


def key_order(record_type: RecordType) -> tuple[Order, ...]:
    return tuple(Order(p.name) for p in record_type.key_properties)


def _step(record_type: RecordType, entry: Any, visibility: Visibility) -> Order:
    path: list[str] = []
    where = "orderBy"
    while True:
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise InputError(
                f"each entry of {where} must name exactly one field",
                hint="write [{name: ASC}, {population: DESC}]",
            )
        ((name, inner),) = entry.items()
        where = f"{where}.{name}"
        prop = property_of(record_type, name)
        if prop is not None:
            break
        relation = relation_of(record_type, name)
        if relation is None or relation.many:
            raise InputError(f"{where}: {record_type.graphql} has no such field to order by")
        if len(path) == MAX_PATH:
            raise LimitError(f"{where} follows more than {MAX_PATH} relations")
        visibility.require_open(record_type, relation)
        path.append(relation.name)
        record_type = visibility.contract.types[relation.target]
        entry = inner
    if not orderable(prop):
        raise InputError(f"{where}: cannot be ordered by")
    if inner is None:
        raise InputError(f"{where} must not be null")
    visibility.require_plain(prop, "order")
    direction = inner if isinstance(inner, Direction) else Direction[str(inner)]
    descending, first = direction.value
    return Order(prop.name, descending, first, tuple(path))


def order_property(contract: Contract, record_type: RecordType, order: Order) -> Property:
    """The property that an order's step is about, at the end of its path."""
    for name in order.path:
        record_type = contract.types[record_type.relation_by_name[name].target]
    return record_type.by_name[order.property]


def signature(record_type: RecordType, order: tuple[Order, ...]) -> str:
    """Return the text in a cursor that proves that it is of this type and order."""
    steps = [
        f"{'.'.join((*o.path, o.property))} {int(o.descending)}{int(nulls_first(o))}" for o in order
    ]
    text = "\n".join((record_type.name, *steps))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
