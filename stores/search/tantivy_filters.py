"""Filters as Tantivy queries, with SQL's meaning: first a pure plan, which says why a filter cannot be
kept, then the query.

A comparison is true, false or, where the value is missing, neither; `Not` is true only where its
part is false. So each filter is planned twice over: where it holds, and where it is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tantivy
from tantivy import FieldType, Occur, Query

from stores.contract.model import Scalar
from stores.query import And, Compare, Filter, Not, Op, Or, Related
from stores.search.tantivy_fields import (
    KEY,
    MISSING,
    TWIN_BYTES,
    Kind,
    Level,
    Twin,
    has_twin,
    operand,
)

MAX_BOUND = 200
"""Characters of a text bound: each costs states of an automaton."""
MAX_VALUES = 10_000
_CONTAINS_CHARACTERS = 100
_CHUNK = 12
"""Characters of a bound per automaton; Tantivy allows 1,000 states for each."""


class CannotFilter(Exception):
    """The store cannot apply the filter with canonical's meaning; the text says why."""


# The plan -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class All:
    """Everything."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field holds one of `values`."""

    field: str
    kind: Kind
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The field's value is beyond or up to `bound`."""

    field: str
    kind: Kind
    bound: Any
    above: bool
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with `text` in it, or at its start."""

    field: str
    text: str
    start: bool


@dataclass(frozen=True, slots=True)
class Missing:
    path: str


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """What `part` holds for and `excluded` does not."""

    part: Node
    excluded: Node


Node: TypeAlias = All | OneOf | Range | Pattern | Missing | Both | Either | Without


def plan(level: Level, filter: Filter, *, holds: bool = True) -> Node:
    """Where `filter` holds, or where it is false. Raises CannotFilter."""
    match filter:
        case And(parts=parts) | Or(parts=parts):
            nodes = tuple(plan(level, part, holds=holds) for part in parts)
            return Both(nodes) if isinstance(filter, And) == holds else Either(nodes)
        case Not(part=part):
            return plan(level, part, holds=not holds)
        case Related(relation=name, filter=part):
            sub = level.find((name,))
            if sub is None:
                raise CannotFilter(f"{name} is not inside the search documents")
            there = Both((Without(All(), Missing(sub.path)), plan(sub, part)))
            # "There is a related record that …" is true or false, never neither.
            return there if holds else Without(All(), there)
        case Compare():
            return _compare(level, filter, holds)


def _compare(level: Level, compare: Compare, holds: bool) -> Node:
    twin = level.twin(compare.property)
    if twin is None:
        raise CannotFilter(f"{compare.property} is not a property of {level.record_type.name}")
    missing = Missing(twin.path)
    if compare.op is Op.IS_NULL:
        return missing if bool(compare.value) == holds else Without(All(), missing)
    positive, negated = _POSITIVE.get(compare.op, (compare.op, False))
    node = _matching(twin, positive, compare.value)
    if holds != negated:
        return node
    return Without(All(), Either((node, missing)))


_POSITIVE = {Op.NEQ: (Op.EQ, True), Op.NOT_IN: (Op.IN, True)}


def _matching(twin: Twin, op: Op, value: Any) -> Node:
    """Where the comparison holds; it is false for every other value that is not missing."""
    prop, kind, field = twin.prop, twin.kind, twin.value
    if kind is None:
        raise CannotFilter(f"{prop.name} is not indexed: {prop.sql_type} is not compared here")
    if not has_twin(twin):
        raise CannotFilter(f"{prop.name} is a list that is searched by its words only")
    if prop.array and op is not Op.CONTAINS:
        raise CannotFilter(f"{prop.name} is a list: only contains and isNull are answered here")
    if op is Op.IN:
        if not value or len(value) > MAX_VALUES:
            raise CannotFilter(f"a list of 1 to {MAX_VALUES} values is answered here")
        return OneOf(field, kind, tuple(_operand(twin, v) for v in value))
    bound = _operand(twin, value)
    if op is Op.EQ or prop.array:
        return OneOf(field, kind, (bound,))
    if op in (Op.CONTAINS, Op.STARTS_WITH):
        if prop.scalar is not Scalar.STRING:
            raise CannotFilter(f"{prop.name} is not text")
        return _pattern(twin, value, start=op is Op.STARTS_WITH)
    if kind is Kind.BOOL:
        raise CannotFilter(f"{prop.name} is true or false: it has no order here")
    if kind is Kind.TEXT and len(bound) > MAX_BOUND:
        raise CannotFilter(f"a text bound has at most {MAX_BOUND} characters here")
    return Range(field, kind, bound, op in (Op.GT, Op.GTE), op in (Op.GTE, Op.LTE))


def _pattern(twin: Twin, text: str, *, start: bool) -> Node:
    prop = twin.prop
    if len(text) > _CONTAINS_CHARACTERS:
        raise CannotFilter(f"a part of a text has at most {_CONTAINS_CHARACTERS} characters here")
    if not start and not prop.enum and (prop.max_length or TWIN_BYTES) * 4 > TWIN_BYTES:
        raise CannotFilter(f"{prop.name} may be longer than what is compared here")
    if not text:
        return Without(All(), Missing(twin.path))
    return Pattern(twin.value, text, start)


def _operand(twin: Twin, value: Any) -> Any:
    try:
        return operand(twin.prop, value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CannotFilter(f"{twin.prop.name}: {error}") from None


def fields_of(node: Node) -> Iterator[tuple[str, str]]:
    """Each field that a plan looks into, with its path."""
    match node:
        case OneOf(field=field) | Range(field=field) | Pattern(field=field):
            yield field, field.rpartition(":")[0]
        case Both(parts=parts) | Either(parts=parts):
            for part in parts:
                yield from fields_of(part)
        case Without(part=part, excluded=excluded):
            yield from fields_of(part)
            yield from fields_of(excluded)


# The query ----------------------------------------------------------------------------------------

_FIELD_TYPES = {Kind.INT: FieldType.Integer, Kind.FLOAT: FieldType.Float}


def query(node: Node, schema: tantivy.Schema) -> Query:
    """The Tantivy query of a plan. Scores are meaningless."""
    match node:
        case All():
            return Query.all_query()
        case Both(parts=()):
            return Query.all_query()
        case Either(parts=()):
            return Query.empty_query()
        case Both(parts=parts):
            return every([query(p, schema) for p in parts])
        case Either(parts=parts):
            return any_of([query(p, schema) for p in parts])
        case Without(part=part, excluded=excluded):
            return Query.boolean_query(
                [(Occur.Must, query(part, schema)), (Occur.MustNot, query(excluded, schema))]
            )
        case Missing(path=path):
            return term(schema, MISSING, path)
        case OneOf(field=field, kind=kind, values=values):
            return one_of(schema, field, kind, values)
        case Range():
            return beyond(
                schema,
                node.field,
                node.kind,
                node.bound,
                above=node.above,
                inclusive=node.inclusive,
            )
        case Pattern(field=field, text=text, start=start):
            before = "" if start else "(?s:.*)"
            return Query.regex_query(schema, field, f"{before}{literal(text)}(?s:.*)")


def every(parts: Sequence[Query]) -> Query:
    if len(parts) == 1:
        return parts[0]
    return Query.boolean_query([(Occur.Must, p) for p in parts])


def any_of(parts: Sequence[Query]) -> Query:
    if len(parts) == 1:
        return parts[0]
    return Query.boolean_query([(Occur.Should, p) for p in parts])


def without(part: Query, excluded: Query) -> Query:
    return Query.boolean_query([(Occur.Must, part), (Occur.MustNot, excluded)])


def term(schema: tantivy.Schema, field: str, value: str) -> Query:
    return Query.term_query(schema, field, value, "basic")


def missing(schema: tantivy.Schema, path: str) -> Query:
    return term(schema, MISSING, path)


def one_of(schema: tantivy.Schema, field: str, kind: Kind, values: Sequence[Any]) -> Query:
    if kind is Kind.TEXT:
        if len(values) == 1:
            return term(schema, field, values[0])
        return Query.term_set_query(schema, field, list(values))
    if kind is Kind.BOOL:
        return any_of([Query.term_query(schema, field, v) for v in set(values)])
    # Numbers have a column and no postings: half the cost of indexing, and as quick to look through.
    return any_of([Query.range_query(schema, field, _FIELD_TYPES[kind], v, v) for v in set(values)])


def beyond(
    schema: tantivy.Schema, field: str, kind: Kind, bound: Any, *, above: bool, inclusive: bool
) -> Query:
    """Values greater than `bound` (less, where not `above`), in the order of their kind."""
    if kind in _FIELD_TYPES:
        low, high = (bound, None) if above else (None, bound)
        return Query.range_query(
            schema,
            field,
            _FIELD_TYPES[kind],
            low,
            high,
            include_lower=inclusive or not above,
            include_upper=inclusive or above,
        )
    if kind is Kind.BOOL:
        wanted = [v for v in (False, True) if (v > bound if above else v < bound)]
        if inclusive:
            wanted.append(bound)
        return one_of(schema, field, kind, wanted) if wanted else Query.empty_query()
    patterns = greater_patterns(bound) if above else less_patterns(bound)
    if inclusive:
        patterns = [*patterns, literal(bound)]
    if not patterns:
        return Query.empty_query()
    return any_of([Query.regex_query(schema, field, p) for p in patterns])


def after_key(schema: tantivy.Schema, key: str) -> Query:
    return beyond(schema, KEY, Kind.TEXT, key, above=True, inclusive=False)


# Text ranges --------------------------------------------------------------------------------------
# Tantivy has ranges of numbers only. An order of texts by code points, which is that of their UTF-8
# bytes, is a regular expression: equal up to a place, beyond there, anything after.

_LAST = 0x10FFFF


def literal(text: str) -> str:
    """A regular expression for exactly `text`."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):X}}}" for c in text)


def _class(low: int, high: int) -> str:
    """Code points from low to high but surrogates, which no text holds; "" for none."""
    parts = [
        (a, b)
        for a, b in ((max(low, 0), min(high, 0xD7FF)), (max(low, 0xE000), min(high, _LAST)))
        if a <= b
    ]
    return "[" + "".join(f"\\x{{{a:X}}}-\\x{{{b:X}}}" for a, b in parts) + "]" if parts else ""


def _chunked(bound: str, beyond_at: Callable[[str], str], end: str) -> list[str]:
    """Expressions for texts that leave `bound` at some place through `beyond_at(character)`, or that
    are `bound` and then `end` ("" for none)."""
    patterns: list[str] = []
    for start in range(0, len(bound), _CHUNK):
        head = bound[:start]
        nested = ""
        for char in reversed(bound[start : start + _CHUNK]):
            ways = [beyond_at(char)] if beyond_at(char) else []
            if nested:
                ways.append(literal(char) + nested)
            nested = f"(?:{'|'.join(ways)})" if ways else ""
        if nested:
            patterns.append(literal(head) + nested)
    if end:
        patterns.append(literal(bound) + end)
    return patterns


def greater_patterns(bound: str) -> list[str]:
    def higher(char: str) -> str:
        found = _class(ord(char) + 1, _LAST)
        return f"{found}(?s:.*)" if found else ""

    return _chunked(bound, higher, "(?s:.+)")


def less_patterns(bound: str) -> list[str]:
    """Proper beginnings of `bound` are less than it, too."""

    def lower(char: str) -> str:
        found = _class(0, ord(char) - 1)
        return f"(?:{found}(?s:.*))?" if found else "(?:)"

    return _chunked(bound, lower, "")
