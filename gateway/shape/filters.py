"""Reads a filter as GraphQL, HTTP or the contract's `rowFilter` writes it, into
`stores.query.Filter`. Pure.

`{population: {gte: 100000}, country: {name: {eq: "France"}}, or: [{…}, {…}], not: {…}}`: all parts
of one object must hold. A null anywhere but as the whole filter is an error, and so is an empty
object or list: one that a left-out variable has emptied never means "everything". A caller who
wants all records gives no filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.shape.names import property_of, relation_of
from gateway.shape.open_values import Slot, deferred_of
from gateway.shape.visibility import Visibility
from stores.contract.model import Contract, Property, RecordType, Relation, Scalar
from stores.errors import InputError, LimitError
from stores.patterns import IGNORING_CASE, PATTERNS, REGULAR, pattern_of
from stores.query import EVERYTHING, And, Compare, Filter, Not, Op, Or, Related
from stores.values import coerce

MAX_DEPTH = 10
MAX_LIST = 1000
MAX_CONDITIONS = 500
"""Comparisons in one filter."""
MAX_PATTERNS = 10
"""Comparisons by patterns in one filter: a store makes an automaton of each."""

_LEFT_OUT = "a variable that is not given leaves nothing in its place"
NO_FILTER = f"{_LEFT_OUT}; leave the filter out to ask for all"
NO_CONDITION = f"{_LEFT_OUT}; name a condition, of any record {{isNull: false}} of its key"
NO_COMPARISON = f"{_LEFT_OUT}; write for example {{eq: …}}, or leave the property out"

_EQUAL = (Op.EQ, Op.NEQ, Op.IN, Op.NOT_IN)
_ORDERED = (Op.GT, Op.GTE, Op.LT, Op.LTE)
_PARTS = (Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH)
_PATTERNS = (*IGNORING_CASE, *REGULAR)
_OPERATIONS: dict[Scalar, tuple[Op, ...]] = {
    Scalar.STRING: (*_EQUAL, *_ORDERED, *_PARTS, *_PATTERNS),
    Scalar.BOOLEAN: _EQUAL,
    Scalar.BYTES: _EQUAL,
    Scalar.JSON: (),
}


def operations(prop: Property) -> tuple[Op, ...]:
    """The comparisons that a property's type allows."""
    if prop.array:
        return (Op.IS_NULL,) if prop.scalar is Scalar.JSON else (Op.CONTAINS, Op.IS_NULL)
    return (*_OPERATIONS.get(prop.scalar, (*_EQUAL, *_ORDERED)), Op.IS_NULL)


@dataclass(slots=True)
class _Reader:
    """Reads one filter. `visibility` None: the contract's own filter, with property names."""

    contract: Contract
    visibility: Visibility | None
    conditions: int = 0
    patterns: int = 0

    def whole(self, record_type: RecordType, raw: Any, depth: int, where: str) -> Filter:
        if not isinstance(raw, Mapping):
            raise InputError(f"{where} must be a filter", hint="leave it out instead of null")
        if depth > MAX_DEPTH:
            raise LimitError(f"the filter nests deeper than {MAX_DEPTH} levels")
        if not raw:
            raise empty(where, NO_CONDITION if depth > 1 else NO_FILTER)
        parts: list[Filter] = []
        for name, inner in raw.items():
            at = f"{where}.{name}"
            if name in ("and", "or"):
                several = self._several(record_type, inner, depth, at)
                parts.append(And(several) if name == "and" else Or(several))
            elif name == "not":
                parts.append(Not(self.whole(record_type, inner, depth + 1, at)))
            else:
                parts.append(self._named(record_type, str(name), inner, depth, at))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _several(
        self, record_type: RecordType, raw: Any, depth: int, at: str
    ) -> tuple[Filter, ...]:
        if not isinstance(raw, list | tuple):
            raise InputError(f"{at} must be a list of filters")
        if len(raw) > MAX_LIST:
            raise LimitError(f"{at} has more than {MAX_LIST} entries")
        if not raw:
            raise empty(at, NO_CONDITION)
        return tuple(
            self.whole(record_type, part, depth + 1, f"{at}[{place}]")
            for place, part in enumerate(raw)
        )

    def _named(self, record_type: RecordType, name: str, inner: Any, depth: int, at: str) -> Filter:
        prop, relation = self._find(record_type, name)
        if prop is not None:
            if self.visibility is not None:
                self.visibility.require_plain(prop, "filter")
            return self._compare(prop, inner, at)
        if relation is None:
            raise InputError(f"{at}: {record_type.graphql} has no such property or relation")
        if self.visibility is not None:
            self.visibility.require_open(record_type, relation)
        target = self.contract.types[relation.target]
        return Related(relation.name, self.whole(target, inner, depth + 1, at))

    def _find(self, record_type: RecordType, name: str) -> tuple[Property | None, Relation | None]:
        if self.visibility is None:
            return record_type.by_name.get(name), record_type.relation_by_name.get(name)
        return property_of(record_type, name), relation_of(record_type, name)

    def _compare(self, prop: Property, raw: Any, at: str) -> Filter:
        if not isinstance(raw, Mapping):
            raise InputError(f"{at} must be a comparison", hint="for example {eq: …}")
        if not raw:
            raise empty(at, NO_COMPARISON)
        allowed = operations(prop)
        parts: list[Filter] = []
        for name, operand in raw.items():
            self.conditions += 1
            if self.conditions > MAX_CONDITIONS:
                raise LimitError(f"the filter has more than {MAX_CONDITIONS} comparisons")
            where = f"{at}.{name}"
            op = next((o for o in allowed if o.value == name), None)
            if op is None:
                raise InputError(f"{where}: no such comparison of {prop.name}")
            self.patterns += op in PATTERNS
            if self.patterns > MAX_PATTERNS:
                raise LimitError(
                    f"the filter has more than {MAX_PATTERNS} comparisons by patterns",
                    hint="those without regard to case are such",
                )
            parts.append(Compare(prop.name, op, _operand(prop, op, operand, where)))
        return parts[0] if len(parts) == 1 else And(tuple(parts))


def empty(where: str, hint: str) -> InputError:
    """The refusal of an object or list of conditions that has none: it would hold of everything."""
    return InputError(f"{where} is empty", hint=hint)


def _operand(prop: Property, op: Op, raw: Any, where: str) -> Any:
    if raw is None:
        raise InputError(f"{where} must not be null", hint="ask for missing values with isNull")
    deferred = deferred_of(raw)
    if deferred is not None:
        if isinstance(raw, Slot) and op in (Op.IN, Op.NOT_IN) and raw.feature("empty", _is_empty):
            return []
        return deferred.then(lambda value: _operand(prop, op, value, where))
    if op is Op.IS_NULL:
        if not isinstance(raw, bool):
            raise InputError(f"{where} must be true or false")
        return raw
    if op in (Op.IN, Op.NOT_IN):
        if not isinstance(raw, list | tuple):
            raise InputError(f"{where} must be a list")
        if len(raw) > MAX_LIST:
            raise LimitError(f"{where} has more than {MAX_LIST} values")
        if any(v is None for v in raw):
            raise InputError(f"{where} must not hold null")
        return [coerce(prop, v) for v in raw]
    if prop.array:
        return coerce(prop, [raw])[0]
    found = coerce(prop, raw)
    if op in PATTERNS:
        try:
            pattern_of(op, found)
        except InputError as error:
            raise InputError(f"{where}: {error.message}", hint=error.hint) from None
    return found


def _is_empty(value: Any) -> bool:
    return isinstance(value, list) and not value


def parse_filter(
    record_type: RecordType, raw: Any, visibility: Visibility, where: str = "filter"
) -> Filter:
    """The filter of a caller, with GraphQL names; None is no filter. Raises InputError, also where
    a part of it is empty, LimitError, and ForbiddenError for what the viewer may not see."""
    if raw is None:
        return EVERYTHING
    return _Reader(visibility.contract, visibility).whole(record_type, raw, 1, where)


def row_filter(record_type: RecordType, visibility: Visibility) -> Filter:
    """Return the filter of the rows that the viewer may see, from the contract's `rowFilter`."""
    raw = visibility.row_filters(record_type)
    if raw is None:
        return EVERYTHING
    reader = _Reader(visibility.contract, None)
    return Or(tuple(reader.whole(record_type, one, 1, "rowFilter") for one in raw))
