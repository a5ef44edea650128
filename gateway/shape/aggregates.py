"""Resolves an aggregate field such as `citiesAggregate` against the contract: groups, measures,
having, order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from gateway.shape.filters import (
    MAX_LIST,
    NO_COMPARISON,
    NO_CONDITION,
    NO_FILTER,
    empty,
    parse_filter,
)
from gateway.shape.names import enum_name, property_of, relation_of, upper_first
from gateway.shape.open_values import settled
from gateway.shape.orders import Direction, orderable
from gateway.shape.selection import Selected
from gateway.shape.shapes import TypeName
from gateway.shape.shaping import read_size
from gateway.shape.visibility import Visibility
from stores.contract.model import Logical, Property, RecordType, Relation, Scalar
from stores.errors import InputError, LimitError
from stores.query import Filter, Op
from stores.values import coerce

MAX_GROUPS = 5
"""Properties in one groupBy."""
MAX_CONDITIONS = 50
PERCENTILE = "percentile"
FUNCTIONS = ("countDistinct", "sum", "avg", "min", "max")

_NUMBERS = (Scalar.INT, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL)
_RANGED = (
    *_NUMBERS, Scalar.STRING, Scalar.DATE, Scalar.TIMESTAMP, Scalar.DATETIME, Scalar.TIME,
)  # fmt: skip
_SUMS = {Scalar.INT: (Scalar.BIGINT, "bigint"), Scalar.FLOAT: (Scalar.FLOAT, "double precision")}

_COUNT = Property("count", "count", "count", Logical.INTEGER, Scalar.BIGINT, "bigint")


def has_function(function: str, prop: Property) -> bool:
    """Return whether `function` can be taken of the property."""
    if not orderable(prop):
        return False
    if function in ("sum", "avg", PERCENTILE):
        return prop.scalar in _NUMBERS
    return function == "countDistinct" or prop.scalar in _RANGED


def result_of(function: str, prop: Property | None) -> Property:
    """A property as the result of `function` over `prop` would be one: its scalar and type."""
    if prop is None or function == "countDistinct":
        return _COUNT
    if function in ("min", "max"):
        return prop
    if function == "sum":
        scalar, sql_type = _SUMS.get(prop.scalar, (Scalar.DECIMAL, "numeric"))
    elif prop.scalar is Scalar.DECIMAL and function != PERCENTILE:
        scalar, sql_type = Scalar.DECIMAL, "numeric"
    else:
        scalar, sql_type = Scalar.FLOAT, "double precision"
    return replace(prop, scalar=scalar, sql_type=sql_type)


@dataclass(frozen=True, slots=True)
class Measure:
    """`function` of `property`; `count` has none."""

    function: str
    property: Property | None = None
    fraction: float | None = None
    """The fraction of a percentile: 0.5 is the median."""


@dataclass(frozen=True, slots=True)
class Group:
    """The value that a group's records share, their own or of the record that `relation` leads
    to."""

    property: Property
    relation: Relation | None = None


Term: TypeAlias = "Measure | Group"


@dataclass(frozen=True, slots=True)
class Part:
    """A member of the answer: a term, or an object of such (`sum { population }`)."""

    key: str
    value: Term | TypeName | tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Having:
    measure: Measure
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class AggregateShape:
    type: RecordType
    filter: Filter
    groups: tuple[Group, ...]
    having: tuple[Having, ...]
    order: tuple[tuple[Term, Direction], ...]
    limit: int
    parts: tuple[Part, ...]


def aggregate_shape(
    record_type: RecordType,
    args: Mapping[str, Any],
    fields: tuple[Selected, ...],
    visibility: Visibility,
) -> AggregateShape:
    """Raises InputError, LimitError, ForbiddenError."""
    return _Reader(record_type, args, visibility).shape(fields)


class _Reader:
    def __init__(
        self, record_type: RecordType, args: Mapping[str, Any], visibility: Visibility
    ) -> None:
        self.type = record_type
        self.args = args
        self.visibility = visibility
        names = list(dict.fromkeys(args.get("groupBy") or ()))
        if len(names) > MAX_GROUPS:
            raise LimitError(f"groupBy has more than {MAX_GROUPS} properties")
        self.groups = tuple(self._group_of(n) for n in names)

    def shape(self, fields: tuple[Selected, ...]) -> AggregateShape:
        most = self.type.expose.page_limit
        first = read_size("first", self.args.get("first"), most)
        order = [self._order(entry) for entry in self.args.get("orderBy") or ()]
        if len(order) > MAX_GROUPS * 2:
            raise LimitError(f"orderBy has more than {MAX_GROUPS * 2} steps")
        return AggregateShape(
            self.type,
            parse_filter(self.type, self.args.get("filter"), self.visibility),
            self.groups,
            self._having(),
            (*order, *((group, Direction.ASC) for group in self.groups)),
            most if first is None else first,
            tuple(self._part(f) for f in fields),
        )

    def _property(self, name: str, what: str) -> Property:
        prop = property_of(self.type, name)
        if prop is None:
            raise InputError(f"{self.type.graphql} has no property {name}")
        self.visibility.require_plain(prop, what)
        return prop

    def _group_of(self, path: tuple[str, ...]) -> Group:
        """A group by the names of GraphQL: a property's, or a relation's and a property's of its
        target."""
        if len(path) == 1:
            return Group(self._property(path[0], "group"))
        relation = relation_of(self.type, path[0])
        if relation is None or relation.many:
            raise InputError(f"{self.type.graphql} has no related record {path[0]}")
        self.visibility.require_open(self.type, relation)
        target = self.visibility.contract.types[relation.target]
        prop = property_of(target, path[1])
        if prop is None:
            raise InputError(f"{target.graphql} has no property {path[1]}")
        self.visibility.require_plain(prop, "group")
        return Group(prop, relation)

    def _group(self, *path: str) -> Group:
        found = self._group_of(path)
        if found not in self.groups:
            raise InputError(
                f"group.{'.'.join(path)} is not in groupBy",
                hint=f"add {group_name(*path)} to groupBy",
            )
        return found

    def _part(self, field: Selected) -> Part:
        if field.name == "__typename":
            return Part(field.key, TypeName(field.key, f"{self.type.graphql}Aggregate"))
        if field.name == "count":
            return Part(field.key, Measure("count"))
        inner: list[Part] = []
        suffix = upper_first(field.name)
        for f in field.fields:
            if f.name == "__typename":
                inner.append(Part(f.key, TypeName(f.key, f"{self.type.graphql}{suffix}")))
            elif field.name == "group":
                inner.append(Part(f.key, self._grouped(f)))
            else:
                prop = self._property(f.name, "aggregate")
                inner.append(Part(f.key, Measure(field.name, prop, _fraction(field))))
        return Part(field.key, tuple(inner))

    def _grouped(self, field: Selected) -> Group | tuple[Part, ...]:
        if not field.fields:
            return self._group(field.name)
        related = group_type(self.type, field.name)
        return tuple(
            Part(f.key, TypeName(f.key, related))
            if f.name == "__typename"
            else Part(f.key, self._group(field.name, f.name))
            for f in field.fields
        )

    def _order(self, entry: Any) -> tuple[Term, Direction]:
        one = InputError(
            "each entry of orderBy must name exactly one field",
            hint="write [{count: DESC}, {sum: {population: DESC}}]",
        )
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise one
        ((name, inner),) = entry.items()
        term: Term = Measure("count")
        if name != "count":
            if not isinstance(inner, Mapping) or len(inner) != 1:
                raise one
            ((inside, inner),) = inner.items()
            if name == "group" and isinstance(inner, Mapping):
                if len(inner) != 1:
                    raise one
                ((below, inner),) = inner.items()
                term = self._group(inside, below)
            elif name == "group":
                term = self._group(inside)
            else:
                term = Measure(name, self._property(inside, "aggregate"))
        if not isinstance(inner, Direction):
            raise InputError("orderBy must not hold null")
        return term, inner

    def _having(self) -> tuple[Having, ...]:
        raw = self.args.get("having")
        found: list[Having] = []
        if raw is not None and not raw:
            raise empty("having", NO_FILTER)
        for function, inner in (raw or {}).items():
            if not isinstance(inner, Mapping):
                raise InputError(f"having.{function} must not be null")
            if not inner:
                raise empty(f"having.{function}", NO_CONDITION)
            if function == "count":
                found += _comparisons(Measure("count"), inner, "having.count")
                continue
            for name, comparison in inner.items():
                where = f"having.{function}.{name}"
                if not isinstance(comparison, Mapping):
                    raise InputError(f"{where} must not be null")
                if not comparison:
                    raise empty(where, NO_COMPARISON)
                prop = self._property(name, "aggregate")
                found += _comparisons(Measure(function, prop), comparison, where)
        if len(found) > MAX_CONDITIONS:
            raise LimitError(f"having has more than {MAX_CONDITIONS} comparisons")
        return tuple(found)


def group_name(*path: str) -> str:
    """Return the name of a group in `groupBy`: `countryCode`, `country_continent`."""
    return enum_name("_".join(path))


def group_type(record_type: RecordType, relation: str) -> str:
    """The type of what is shown of a group's related record."""
    return f"{record_type.graphql}GroupOf{upper_first(relation)}"


def _fraction(field: Selected) -> float | None:
    if field.name != PERCENTILE:
        return None
    fraction = float(settled(field.args["fraction"]))
    if not 0 <= fraction <= 1:
        raise InputError("percentile.fraction must be from 0 to 1", hint="0.5 is the median")
    return fraction


def _comparisons(measure: Measure, raw: Mapping[str, Any], where: str) -> list[Having]:
    result = result_of(measure.function, measure.property)
    found: list[Having] = []
    for name, operand in raw.items():
        op = Op(name)
        if operand is None or (isinstance(operand, list) and None in operand):
            raise InputError(f"{where}.{name} must not be null")
        if isinstance(operand, list) and len(operand) > MAX_LIST:
            raise LimitError(f"{where}.{name} has more than {MAX_LIST} values")
        if op is Op.IS_NULL:
            value: Any = operand
        elif op in (Op.IN, Op.NOT_IN):
            value = [coerce(result, v) for v in operand]
        else:
            value = coerce(result, operand)
        found.append(Having(measure, op, value))
    return found
