"""Queries as a store is asked them, free of any store's language: filters, orders, pages, searches.

Names are property and relation names of the contract. Values are Python values as `stores.values`
coerces them: str, int, float, bool, Decimal, date, datetime, time, UUID, and lists of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, TypeAlias


class Op(StrEnum):
    """Comparisons. `eq` and the rest never match a missing value; `is_null` asks for it."""

    EQ = "eq"
    NEQ = "neq"
    IN = "in"
    NOT_IN = "notIn"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    CONTAINS = "contains"
    """A substring, case-sensitive; of an array property: the element is in it."""
    STARTS_WITH = "startsWith"
    ENDS_WITH = "endsWith"
    EQ_IGNORE_CASE = "eqIgnoreCase"
    """Without regard to case and accents, as the others whose names end so; see
    `stores.folding`."""
    CONTAINS_IGNORE_CASE = "containsIgnoreCase"
    STARTS_WITH_IGNORE_CASE = "startsWithIgnoreCase"
    ENDS_WITH_IGNORE_CASE = "endsWithIgnoreCase"
    MATCHES = "matches"
    """A regular expression of the language of `stores.patterns`, somewhere in the text."""
    MATCHES_IGNORE_CASE = "matchesIgnoreCase"
    IS_NULL = "isNull"


@dataclass(frozen=True, slots=True)
class Compare:
    property: str
    op: Op
    value: Any


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


@dataclass(frozen=True, slots=True)
class Related:
    """A related record (any of them, where there are many) satisfies `filter`."""

    relation: str
    filter: Filter


Filter: TypeAlias = "Compare | And | Or | Not | Related"

EVERYTHING = And(())


def all_of(parts: Iterable[Filter]) -> Filter:
    """The filter of which each part must hold."""
    some = tuple(part for part in parts if part != EVERYTHING)
    return some[0] if len(some) == 1 else And(some)


def conjuncts(part: Filter) -> list[Filter]:
    """The parts of a filter of which each must hold."""
    if isinstance(part, And):
        return [inner for p in part.parts for inner in conjuncts(p)]
    return [part]


def held(part: Filter) -> frozenset[str]:
    """The properties that a filter holds to one value, so that they order nothing."""
    return frozenset(
        p.property
        for p in conjuncts(part)
        if isinstance(p, Compare) and (p.op is Op.EQ or (p.op is Op.IS_NULL and p.value is True))
    )


@dataclass(frozen=True, slots=True)
class Order:
    """A step of an order. Missing values come last in ascending and first in descending order, as
    in Postgres, unless `nulls_first` is set. `path` holds to-one relation names."""

    property: str
    descending: bool = False
    nulls_first: bool | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChildrenQuery:
    """The records of `type` whose `columns` equal one of `values`, in key order, `limit` for each.

    The one to-many read of a document store: what a nested connection without arguments but `first`
    needs. `values` are tuples in the order of `properties`.
    """

    type: str
    properties: tuple[str, ...]
    values: Sequence[tuple[Any, ...]]
    limit: int
    count: bool = False


@dataclass(frozen=True, slots=True)
class Children:
    """One parent's documents (JSON bytes) in key order, and their total count if it was
    requested."""

    documents: list[bytes]
    total: int | None = None


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of the records of `type` that satisfy `filter`, in `order`, which is total.

    `limit` documents are wanted, from the other end where `backward`. `after` and `before` are the
    order's values at a cursor, in the form that documents have them (None: missing). `count`: all
    that satisfy the filter. `look_before`: whether a record stands at `after` or before it;
    `look_after`: whether one stands at `before` or after it. `index`: the property names of the
    index that is to serve, () for none. `seconds`: how long the store may work on it.
    """

    type: str
    filter: Filter
    order: tuple[Order, ...]
    limit: int
    backward: bool = False
    after: tuple[Any, ...] | None = None
    before: tuple[Any, ...] | None = None
    count: bool = False
    look_before: bool = False
    look_after: bool = False
    index: tuple[str, ...] = ()
    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Listed:
    """Documents (JSON bytes) in the order that was asked, all of one moment with the rest.
    `before` and `after`: what `look_before` and `look_after` have found."""

    documents: list[bytes]
    total: int | None = None
    before: bool = False
    after: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """The facts that a store knows of the active generation of a type without counting. `rows`
    None: it has not looked yet. `indexes`: property names of each index of lists that is there →
    about how many records share the values of its first one, two, … properties. All of it can be
    old."""

    generation: int
    rows: int | None
    indexes: tuple[tuple[tuple[str, ...], tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Facet:
    property: str
    size: int = 10


@dataclass(frozen=True, slots=True)
class Ranges:
    """Counts hits by where a property lies: below the first of `bounds`, from each to the next, and
    from the last on. The bounds grow."""

    property: str
    bounds: tuple[Any, ...]

    def filters(self) -> list[Filter]:
        """Return the filter of each range."""
        edges = (None, *self.bounds, None)
        return [
            all_of(
                Compare(self.property, op, bound)
                for op, bound in ((Op.GTE, low), (Op.LT, high))
                if bound is not None
            )
            for low, high in pairwise(edges)
        ]


@dataclass(frozen=True, slots=True)
class RangeCount:
    """The count of hits from `low` to below `high`; None: from the least, to the greatest."""

    low: Any
    high: Any
    count: int


class Match(StrEnum):
    """The ways in which the words of a search are compared. Quoted words are always exact."""

    EXACT = "EXACT"
    """Words match as they stand, without case and accents, in the word forms that the analyzer
    knows."""
    FORGIVING = "FORGIVING"
    """Misspelled words, too, behind those that are exact."""
    AUTO = "AUTO"
    """Exact; a word that no record has is forgiven, and every word where nothing is found."""


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A full-text query. An empty `text` matches everything (a browse by filter and facet).

    `properties`: the text properties that may be searched, None for all the contract declares.
    Those that the active generation does not have yet are left out, unless none is left.
    `highlight`: properties to highlight; hits carry fragments with `<em>` around matches, the rest
    HTML-escaped. `sort` empty: by score, ties by key. `after`: the sort values of the last hit, as
    `SearchHit.sort_values` gave them. `rows`: a filter beside `filter` that facets count by
    whatever they are about: which rows may be seen at all. `operators`: `-word` must not be there,
    `name:word` is looked for in that property alone. `prefix`: the last word may be the beginning
    of one. `boosted`: hits rank by the type's `boostBy`, too. `explain`: hits say why they were
    found.
    """

    type: str
    text: str = ""
    filter: Filter = EVERYTHING
    facets: tuple[Facet, ...] = ()
    highlight: tuple[str, ...] = ()
    sort: tuple[Order, ...] = ()
    first: int = 20
    after: tuple[Any, ...] | None = None
    properties: tuple[str, ...] | None = None
    match: Match = Match.AUTO
    suggestions: bool = False
    rows: Filter = EVERYTHING
    operators: bool = False
    prefix: bool = False
    boosted: bool = True
    explain: bool = False
    ranges: tuple[Ranges, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchHit:
    key: str
    score: float | None
    document: bytes
    highlights: dict[str, list[str]] = field(default_factory=dict)
    sort_values: tuple[Any, ...] = ()
    explanation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FacetBucket:
    """One value of a facet and the number of its hits. The value is as documents have it in JSON.
    Hits are those that the query would have without the conditions that are about the facet's
    property alone."""

    value: Any
    count: int


@dataclass(frozen=True, slots=True)
class Forgiven:
    """A word of a query that was forgiven, and the words near it that were looked for, the
    likeliest first."""

    word: str
    near: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """`total` is exact unless `total_is_lower_bound`. `suggestions`: corrected query texts.
    `forgiven`: the words of the query that were forgiven; `corrected`: the text with the likeliest
    word for each, empty where there is none. `others`: by facet, how often its values that are not
    shown are held by hits."""

    hits: list[SearchHit]
    total: int
    facets: dict[str, list[FacetBucket]] = field(default_factory=dict)
    suggestions: list[str] = field(default_factory=list)
    has_next: bool = False
    total_is_lower_bound: bool = False
    forgiven: tuple[Forgiven, ...] = ()
    corrected: str = ""
    others: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, list[RangeCount]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suggestion:
    text: str
    key: str
    score: float
