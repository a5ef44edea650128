"""Plans the part of a filter that a search index can apply with canonical's meaning: a pure plan
that each search store makes its own query of, or the reason why the filter cannot be kept.

A comparison does not hold where the value is missing, and `Not` holds where its part does not: as
in canonical, SQL's third truth value does not leak out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from stores.contract.model import Scalar
from stores.errors import InputError
from stores.patterns import PATTERNS, Pattern, pattern_of
from stores.query import And, Compare, Filter, Not, Op, Or, Related
from stores.search.fields import Field, Level
from stores.search.twins import TWIN_BYTES, Kind, operand

MAX_BOUND = 200
"""Characters of a text bound: no twin that short is cut, so the order is exact, and an automaton of
it is small."""
MAX_PART = 100
"""Characters of a part of a text."""
MAX_WEIGHT = 100
"""The largest pattern: an automaton of it is made in a tenth of a second."""
MAX_HELD_WEIGHT = 250
"""The same of a pattern that begins where the text does, which is far smaller as an automaton."""
MAX_VALUES = 10_000


class CannotFilter(Exception):
    """The store cannot apply the filter with canonical's meaning; the text says why."""


@dataclass(frozen=True, slots=True)
class All:
    """Holds for every record."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The property has one of `values`."""

    field: Field
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The property is above or below `bound`."""

    field: Field
    bound: Any
    above: bool
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A text with `text`, which is not empty, in it, or at its start or end."""

    field: Field
    text: str
    start: bool = False
    end: bool = False


@dataclass(frozen=True, slots=True)
class Regular:
    """A text that has `pattern`."""

    field: Field
    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Missing:
    """The property, or the related record, is null."""

    path: str


@dataclass(frozen=True, slots=True)
class Both:
    """Every part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """A part holds."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """Holds where `part` holds and `excluded` does not."""

    part: Node
    excluded: Node


Node: TypeAlias = All | OneOf | Range | Part | Regular | Missing | Both | Either | Without


def plan(level: Level, filter: Filter) -> Node:
    """Return the node that matches where `filter` holds. Raise CannotFilter."""
    match filter:
        case And(parts=parts):
            return Both(tuple(plan(level, part) for part in parts))
        case Or(parts=parts):
            return Either(tuple(plan(level, part) for part in parts))
        case Not(part=part):
            return Without(All(), plan(level, part))
        case Related(relation=name, filter=part):
            sub = level.find((name,))
            if sub is None:
                raise CannotFilter(f"{name} is not inside the search documents")
            return Both((Without(All(), Missing(sub.path)), plan(sub, part)))
        case Compare():
            return _compare(level, filter)


def _compare(level: Level, compare: Compare) -> Node:
    field = level.field(compare.property)
    if field is None:
        raise CannotFilter(f"{compare.property} is not a property of {level.record_type.name}")
    missing = Missing(field.path)
    if compare.op is Op.IS_NULL:
        return missing if compare.value else Without(All(), missing)
    positive, negated = _POSITIVE.get(compare.op, (compare.op, False))
    node = _matching(field, positive, compare.value)
    return Without(All(), Either((node, missing))) if negated else node


_POSITIVE = {Op.NEQ: (Op.EQ, True), Op.NOT_IN: (Op.IN, True)}


def _matching(field: Field, op: Op, value: Any) -> Node:
    """Return the node that matches where the comparison holds."""
    prop, kind = field.prop, field.kind
    if kind is None:
        raise CannotFilter(
            f"{prop.name} is not indexed: {prop.sql_type} cannot be compared in this store"
        )
    if not field.valued:
        raise CannotFilter(f"{prop.name} is a list that can only be searched by its words")
    if prop.array and op is not Op.CONTAINS:
        raise CannotFilter(f"{prop.name} is a list: this store answers only contains and isNull")
    if op is Op.IN:
        if not value or len(value) > MAX_VALUES:
            raise CannotFilter(f"this store answers lists of 1 to {MAX_VALUES} values")
        return OneOf(field, tuple(_operand(field, v) for v in value))
    if op in PATTERNS:
        return _regular(field, op, value)
    if op in (Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH) and not prop.array:
        return _part(field, op, value)
    bound = _operand(field, value)
    if op is Op.EQ or prop.array:
        return OneOf(field, (bound,))
    if kind is Kind.BOOL:
        raise CannotFilter(f"{prop.name} is true or false: this store does not order it")
    if kind is Kind.TEXT and len(bound) > MAX_BOUND:
        raise CannotFilter(f"a text bound may have at most {MAX_BOUND} characters in this store")
    return Range(field, bound, op in (Op.GT, Op.GTE), op in (Op.GTE, Op.LTE))


def _part(field: Field, op: Op, text: Any) -> Node:
    _require_text(field, text)
    if len(text) > MAX_PART:
        raise CannotFilter(f"a part of a text may have at most {MAX_PART} characters in this store")
    if op is not Op.STARTS_WITH:
        _require_whole(field)
    if not text:
        return Without(All(), Missing(field.path))
    return Part(field, text, op is Op.STARTS_WITH, op is Op.ENDS_WITH)


def _regular(field: Field, op: Op, operand: Any) -> Node:
    _require_text(field, operand)
    try:
        pattern = pattern_of(op, operand)
    except InputError as error:
        raise CannotFilter(f"{field.prop.name}: {error.message}") from None
    if pattern.weight > (MAX_HELD_WEIGHT if pattern.start else MAX_WEIGHT):
        raise CannotFilter(f"{field.prop.name}: the pattern is too large for this store")
    if op not in (Op.EQ_IGNORE_CASE, Op.STARTS_WITH_IGNORE_CASE):
        _require_whole(field)
    return Regular(field, pattern)


def _require_text(field: Field, operand: Any) -> None:
    if field.prop.scalar is not Scalar.STRING:
        raise CannotFilter(f"{field.prop.name} is not text")
    if not isinstance(operand, str):
        raise CannotFilter(f"{field.prop.name}: the value is not of the property's type")


def _require_whole(field: Field) -> None:
    prop = field.prop
    if not prop.enum and (prop.max_length or TWIN_BYTES) * 4 > TWIN_BYTES:
        raise CannotFilter(f"{prop.name} may be longer than what this store compares")


def _operand(field: Field, value: Any) -> Any:
    """The operand as the index holds it."""
    try:
        return operand(field.prop, value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CannotFilter(f"{field.prop.name}: {error}") from None


def fitted(node: Node, value: Callable[[Field], Field], known: Callable[[str], None]) -> Node:
    """The plan for an index that may keep its fields in another way than the contract says now:
    each field becomes what `value` gives for it; `known` is told each path that is asked to be
    null. Raises what they do."""
    match node:
        case OneOf() | Range() | Part() | Regular():
            return replace(node, field=value(node.field))
        case Missing(path=path):
            known(path)
        case Both(parts=parts) | Either(parts=parts):
            return replace(node, parts=tuple(fitted(part, value, known) for part in parts))
        case Without(part=part, excluded=excluded):
            return Without(fitted(part, value, known), fitted(excluded, value, known))
    return node
