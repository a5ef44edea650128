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
    VALUES,
    Level,
    Twin,
    boolean_term,
    null_mark,
    null_term,
    value_mark,
)
from stores.search.tantivy_values import TWIN_BYTES, Kind, operand

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
    """The property has one of `values`."""

    twin: Twin
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The property is above or below `bound`."""

    twin: Twin
    bound: Any
    above: bool
    inclusive: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with `text` in it, or at its start."""

    twin: Twin
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
    prop, kind = twin.prop, twin.kind
    if kind is None:
        raise CannotFilter(f"{prop.name} is not indexed: {prop.sql_type} is not compared here")
    if not twin.valued:
        raise CannotFilter(f"{prop.name} is a list that is searched by its words only")
    if prop.array and op is not Op.CONTAINS:
        raise CannotFilter(f"{prop.name} is a list: only contains and isNull are answered here")
    if op is Op.IN:
        if not value or len(value) > MAX_VALUES:
            raise CannotFilter(f"a list of 1 to {MAX_VALUES} values is answered here")
        return OneOf(twin, tuple(_operand(twin, v) for v in value))
    bound = _operand(twin, value)
    if op is Op.EQ or prop.array:
        return OneOf(twin, (bound,))
    if op in (Op.CONTAINS, Op.STARTS_WITH):
        if prop.scalar is not Scalar.STRING:
            raise CannotFilter(f"{prop.name} is not text")
        return _pattern(twin, value, start=op is Op.STARTS_WITH)
    if kind is Kind.BOOL:
        raise CannotFilter(f"{prop.name} is true or false: it has no order here")
    if kind is Kind.TEXT and len(bound) > MAX_BOUND:
        raise CannotFilter(f"a text bound has at most {MAX_BOUND} characters here")
    return Range(twin, bound, op in (Op.GT, Op.GTE), op in (Op.GTE, Op.LTE))


def _pattern(twin: Twin, text: str, *, start: bool) -> Node:
    prop = twin.prop
    if len(text) > _CONTAINS_CHARACTERS:
        raise CannotFilter(f"a part of a text has at most {_CONTAINS_CHARACTERS} characters here")
    if not start and not prop.enum and (prop.max_length or TWIN_BYTES) * 4 > TWIN_BYTES:
        raise CannotFilter(f"{prop.name} may be longer than what is compared here")
    if not text:
        return Without(All(), Missing(twin.path))
    return Pattern(twin, text, start)


def _operand(twin: Twin, value: Any) -> Any:
    try:
        return operand(twin.prop, value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CannotFilter(f"{twin.prop.name}: {error}") from None


def marks_of(node: Node) -> Iterator[tuple[str, str]]:
    """What an index must have to apply the plan, each with the path it is about."""
    match node:
        case OneOf(twin=twin) | Range(twin=twin) | Pattern(twin=twin):
            yield value_mark(twin), twin.path
        case Missing(path=path):
            yield null_mark(path), path
        case Both(parts=parts) | Either(parts=parts):
            for part in parts:
                yield from marks_of(part)
        case Without(part=part, excluded=excluded):
            yield from marks_of(part)
            yield from marks_of(excluded)


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
            return missing(schema, path)
        case OneOf(twin=twin, values=values):
            return one_of(schema, twin, values)
        case Range(twin=twin, bound=bound, above=above, inclusive=inclusive):
            return beyond(schema, twin, bound, above=above, inclusive=inclusive)
        case Pattern(twin=twin, text=text, start=start):
            field, prefix = twin.terms
            before = "" if start else "(?s:.*)"
            pattern = f"{literal(prefix)}{before}{literal(text)}(?s:.*)"
            return Query.regex_query(schema, field, pattern)


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


def missing(schema: tantivy.Schema, path: str) -> Query:
    return Query.term_query(schema, VALUES, null_term(path), "basic")


def one_of(schema: tantivy.Schema, twin: Twin, values: Sequence[Any]) -> Query:
    if twin.kind in _FIELD_TYPES:
        # Numbers have a column and no postings: half the cost of indexing, and quick to look through.
        kind = _FIELD_TYPES[twin.kind]
        return any_of(
            [Query.range_query(schema, twin.value, kind, v, v) for v in dict.fromkeys(values)]
        )
    field, prefix = twin.terms
    terms = [prefix + (boolean_term(v) if isinstance(v, bool) else v) for v in values]
    if len(terms) == 1:
        return Query.term_query(schema, field, terms[0], "basic")
    return Query.term_set_query(schema, field, terms)


def beyond(
    schema: tantivy.Schema, twin: Twin, bound: Any, *, above: bool, inclusive: bool
) -> Query:
    """Values greater than `bound` (less, where not `above`), in the order of their kind."""
    if twin.kind in _FIELD_TYPES:
        low, high = (bound, None) if above else (None, bound)
        return Query.range_query(
            schema,
            twin.value,
            _FIELD_TYPES[twin.kind],
            low,
            high,
            include_lower=inclusive or not above,
            include_upper=inclusive or above,
        )
    if twin.kind is Kind.BOOL:
        wanted = [v for v in (False, True) if (v > bound if above else v < bound)]
        if inclusive:
            wanted.append(bound)
        return one_of(schema, twin, wanted) if wanted else Query.empty_query()
    field, prefix = twin.terms
    return text_beyond(schema, field, prefix, bound, above=above, inclusive=inclusive)


def text_beyond(
    schema: tantivy.Schema, field: str, prefix: str, bound: str, *, above: bool, inclusive: bool
) -> Query:
    """Terms that begin with `prefix` and go on with a text above or below `bound`."""
    patterns = greater_patterns(bound) if above else less_patterns(bound)
    if inclusive:
        patterns = [*patterns, literal(bound)]
    if not patterns:
        return Query.empty_query()
    return any_of([Query.regex_query(schema, field, literal(prefix) + p) for p in patterns])


def after_key(schema: tantivy.Schema, key: str) -> Query:
    return text_beyond(schema, KEY, "", key, above=True, inclusive=False)


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
