"""One search of one generation: page, order, facets, highlights.

Order by properties is exact and a cursor of it holds while the index changes: it is a place among
values. Tantivy orders by one field only, so a page is put together from groups of equal values,
each ordered by the next property and at last by key. Order by score is cut from the best
SCORE_WINDOW hits; scores change with the index, so a cursor of it is exact only while nothing is
published in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tantivy
from tantivy import Occur, Query

from stores import json_numbers
from stores.errors import InputError, LimitError, StoreRefused
from stores.query import (
    EVERYTHING,
    FacetBucket,
    Filter,
    Match,
    Order,
    RangeCount,
    Ranges,
    SearchHit,
    SearchQuery,
    SearchResult,
    all_of,
)
from stores.search import explain, filter_plan
from stores.search.boost_by import lift, steps
from stores.search.facet_filters import facet_filters
from stores.search.facet_values import not_shown, ranged, shown
from stores.search.fields import Field, Level
from stores.search.held import Held
from stores.search.highlight import highlights
from stores.search.near import said
from stores.search.query_text import Phrase
from stores.search.tantivy import filters
from stores.search.tantivy.analyzers import composed
from stores.search.tantivy.errors import KIND
from stores.search.tantivy.fields import DOCUMENT, KEY
from stores.search.tantivy.text import (
    TextQuery,
    corrections,
    forgivable,
    matcher,
    phrases_of,
    text_query,
    unknown,
)
from stores.search.twins import Kind, twin_converter

MAX_FIRST = 1000
SCORE_WINDOW = 10_000
MAX_FACETS = 20
MAX_FACET_SIZE = 1000
_FACET_TERMS = 65_000
"""Values per facet that are counted exactly."""

Address = tantivy.DocAddress


@dataclass(frozen=True, slots=True)
class SortProperty:
    """A property of an order."""

    field: Field
    kind: Kind
    names: tuple[str, ...]
    descending: bool
    nulls_first: bool


@dataclass(slots=True)
class Found:
    """A hit before it is shown."""

    key: str
    document: bytes
    score: float | None
    values: tuple[Any, ...]
    record: dict[str, Any]


class Search:
    """A search. Each object is used once, by one thread."""

    def __init__(
        self,
        searcher: tantivy.Searcher,
        schema: tantivy.Schema,
        level: Level,
        held: Held,
    ) -> None:
        """`level`: the contract's fields; `held`: what the generation has of them."""
        self._searcher = searcher
        self._schema = schema
        self._level = level
        self._held = held
        self._steps: tuple[SortProperty, ...] = ()

    def run(self, query: SearchQuery) -> SearchResult:
        if not 0 <= query.first <= MAX_FIRST:
            raise LimitError(f"first is at most {MAX_FIRST} in a search")
        searched = self._held.searched(query)
        phrases = phrases_of(query, self._level.record_type.vocabulary)
        all_words: frozenset[str] = frozenset()
        forgiven = all_words
        if query.match is not Match.EXACT and phrases:
            all_words = forgivable(searched, phrases)
        if query.match is Match.FORGIVING:
            forgiven = all_words
        elif all_words and query.rows == EVERYTHING:
            # Where rows are hidden, which words there are is not told by what is forgiven.
            forgiven = all_words & unknown(self._searcher, searched, phrases)
        result = self._run(query, searched, phrases, forgiven)
        if not result.total and all_words - forgiven:
            result = self._run(query, searched, phrases, all_words)
        return result

    def _run(
        self,
        query: SearchQuery,
        searched: list[Field],
        phrases: tuple[Phrase, ...],
        forgiven: frozenset[str],
    ) -> SearchResult:
        text = TextQuery(Query.all_query(), ())
        if query.text.strip():
            text = text_query(
                self._searcher,
                self._schema,
                searched,
                query.text,
                phrases,
                forgiven,
                lift(self._level.record_type) if query.boosted else 0.0,
            )
            if query.boosted and not query.sort:
                text = replace(text, query=self._boosted(text.query))
        matching = self._matching(text, all_of((query.filter, query.rows)))
        wanted = query.first + 1
        if query.text.strip() and not query.sort:
            page, total = self._by_score(matching, query.after, wanted)
        else:
            self._steps = tuple(self._step(order) for order in query.sort)
            page = self._by_values(matching, query.after, wanted)
            total = _count(self._searcher.search(matching, limit=1, count=True))
        facets, others = self._facets(text, query)
        result = SearchResult(
            hits=[self._hit(found, query, searched, text) for found in page[: query.first]],
            total=total,
            facets=facets,
            others=others,
            ranges={r.property: self._ranged(text, query, r) for r in query.ranges},
            suggestions=(
                corrections(self._searcher, searched, text.phrases, composed(query.text))
                if query.suggestions
                else []
            ),
            has_next=len(page) > query.first,
        )
        return said(result, composed(query.text), forgiven, phrases, text.near)

    def _boosted(self, query: Query | None) -> Query | None:
        reached = [
            (
                Occur.Should,
                Query.const_score_query(
                    filters.beyond(
                        self._schema, step.field, step.bound, above=True, inclusive=True
                    ),
                    step.weight,
                ),
            )
            for step in steps(self._held.level)
        ]
        if query is None or not reached:
            return query
        return Query.boolean_query([(Occur.Must, query), *reached])

    # What matches ------------------------------------------------------------------------------

    def _matching(self, text: TextQuery, filter: Filter) -> Query:
        if text.query is None:
            return Query.empty_query()
        try:
            node = filter_plan.plan(self._level, filter)
        except filter_plan.CannotFilter as error:
            raise StoreRefused(
                f"{KIND}: the filter cannot be applied: {error}", store=KIND
            ) from None
        node = self._held.filter(node)
        if node == filter_plan.Both(()):
            return text.query
        restricted = Query.const_score_query(filters.query(node, self._schema), 0.0)
        return Query.boolean_query([(Occur.Must, text.query), (Occur.Must, restricted)])

    # Order by score ----------------------------------------------------------------------------

    def _by_score(
        self, matching: Query, after: tuple[Any, ...] | None, wanted: int
    ) -> tuple[list[Found], int]:
        """The page and the number of all hits."""
        if after is not None and (
            len(after) != 2
            or not isinstance(after[0], int | float)
            or isinstance(after[0], bool)
            or not isinstance(after[1], str)
        ):
            raise InputError("the cursor is not one of this search")
        window = max(wanted * 2, 64)
        found = self._searcher.search(matching, limit=window, count=True)
        total = _count(found)
        while True:
            hits = found.hits
            final = len(hits) < window or window >= SCORE_WINDOW
            page = self._cut_by_score(hits, after, wanted, final)
            if page is not None:
                return page, total
            window = min(window * 4, SCORE_WINDOW)
            found = self._searcher.search(matching, limit=window, count=False)

    def _cut_by_score(
        self,
        hits: Sequence[tuple[float, Address]],
        after: tuple[Any, ...] | None,
        wanted: int,
        final: bool,
    ) -> list[Found] | None:
        """Return the page from the best hits, or None if more hits are needed to decide it."""
        page: list[Found] = []
        place = 0
        while place < len(hits):
            score = hits[place][0]
            end = place
            while end < len(hits) and hits[end][0] == score:
                end += 1
            if after is not None and score > after[0]:
                place = end
                continue
            if end == len(hits) and not final:
                return None
            tied = [self._found(address, score) for _, address in hits[place:end]]
            tied.sort(key=lambda f: f.key)
            page += [f for f in tied if after is None or score < after[0] or f.key > after[1]]
            if len(page) >= wanted:
                return page[:wanted]
            place = end
        if final and len(hits) == SCORE_WINDOW:
            raise LimitError(
                f"a search by score can be paged through up to {SCORE_WINDOW} hits",
                hint="add a filter, or sort by a property",
            )
        return page if final else None

    # Order by properties -----------------------------------------------------------------------

    def _step(self, order: Order) -> SortProperty:
        level = self._level.find(order.path)
        field = level.field(order.property) if level else None
        if field is None or field.kind is None or field.prop.array or not field.prop.search.sort:
            path = "/".join((*order.path, order.property))
            raise StoreRefused(
                f"{KIND}: {path} is not sortable in search",
                store=KIND,
                hint="mark it `sort` in the contract",
            )
        field = self._held.column(field)
        nulls_first = order.descending if order.nulls_first is None else order.nulls_first
        names = (*order.path, order.property)
        assert field.kind is not None
        return SortProperty(field, field.kind, names, order.descending, nulls_first)

    def _by_values(
        self, matching: Query, after: tuple[Any, ...] | None, wanted: int
    ) -> list[Found]:
        if after is not None:
            if len(after) != len(self._steps) + 1 or not isinstance(after[-1], str):
                raise InputError("the cursor is not one of this search")
            for step, value in zip(self._steps, after, strict=False):
                if value is not None and not _fits(step.kind, value):
                    raise InputError("the cursor is not one of this search")
        return self._page(matching, 0, after, wanted)

    def _page(
        self, matching: Query, depth: int, after: tuple[Any, ...] | None, wanted: int
    ) -> list[Found]:
        """Return up to `wanted` hits in the order of the steps from `depth` on, after `after`."""
        if wanted <= 0:
            return []
        if depth == len(self._steps):
            if after is not None:
                matching = filters.every([matching, filters.after_key(self._schema, after[0])])
            hits = self._ordered(matching, KEY, False, wanted)
            return [self._found(address, None) for _, address in hits]
        step = self._steps[depth]
        absent = filters.missing(self._schema, step.field.path)
        page: list[Found] = []
        parts = ["nulls", "values"] if step.nulls_first else ["values", "nulls"]
        if after is not None:
            value, rest = after[0], after[1:]
            here = absent if value is None else self._equal(step, value)
            page += self._page(filters.every([matching, here]), depth + 1, rest, wanted)
            if value is None:
                parts = parts[parts.index("nulls") + 1 :]
            else:
                parts = parts[parts.index("values") :]
                beyond = filters.beyond(
                    self._schema,
                    step.field,
                    value,
                    above=not step.descending,
                    inclusive=False,
                )
        for part in parts:
            if part == "nulls":
                nulls = filters.every([matching, absent])
                page += self._page(nulls, depth + 1, None, wanted - len(page))
                continue
            rest_of = filters.without(matching, absent)
            if after is not None and after[0] is not None:
                rest_of = filters.every([matching, beyond])
            page += self._values(rest_of, depth, wanted - len(page))
        return page

    def _values(self, matching: Query, depth: int, wanted: int) -> list[Found]:
        """A page of records that all have a value for the step at `depth`."""
        if wanted <= 0:
            return []
        step = self._steps[depth]
        hits = self._ordered(matching, step.field.value, step.descending, wanted + 1)
        page: list[Found] = []
        place = 0
        while place < len(hits) and len(page) < wanted:
            value = hits[place][0]
            end = place
            while end < len(hits) and hits[end][0] == value:
                end += 1
            if end < len(hits) or len(hits) <= wanted or end - place == 1:
                group = [self._found(address, None) for _, address in hits[place:end]]
                page += self._sorted(group, depth + 1)
            else:  # the last group may have members that did not fit
                equal = filters.every([matching, self._equal(step, value)])
                page += self._page(equal, depth + 1, None, wanted - len(page))
            place = end
        return page[:wanted]

    def _equal(self, step: SortProperty, value: Any) -> Query:
        return filters.one_of(self._schema, step.field, [value])

    def _ordered(
        self, matching: Query, field: str, descending: bool, limit: int
    ) -> list[tuple[Any, Address]]:
        order = tantivy.Order.Desc if descending else tantivy.Order.Asc
        return self._searcher.search(
            matching, limit=limit, count=False, order_by_field=field, order=order
        ).hits

    def _sorted(self, group: list[Found], depth: int) -> list[Found]:
        """A whole group in the order of the steps from `depth` on: the last step first, since
        sorting is stable."""
        group.sort(key=lambda f: f.key)
        for place in range(len(self._steps) - 1, depth - 1, -1):
            step = self._steps[place]
            nulls = [f for f in group if f.values[place] is None]
            values = [f for f in group if f.values[place] is not None]
            values.sort(key=lambda f: f.values[place], reverse=step.descending)
            group = nulls + values if step.nulls_first else values + nulls
        return group

    # What is shown -----------------------------------------------------------------------------

    def _found(self, address: Address, score: float | None) -> Found:
        stored = self._searcher.doc(address)
        key, document = str(stored.get_first(KEY)), bytes(stored.get_first(DOCUMENT) or b"")
        record: dict[str, Any] = json_numbers.loads(document) if self._steps else {}
        values = tuple(_value(step, record) for step in self._steps)
        return Found(key, document, score, values, record)

    def _hit(
        self, found: Found, query: SearchQuery, searched: list[Field], text: TextQuery
    ) -> SearchHit:
        marked: dict[str, list[str]] = {}
        if query.highlight and text.phrases:
            record = found.record or json_numbers.loads(found.document)
            for field in searched:
                if field.prop.name in query.highlight:
                    match = matcher(field, text, query.text)
                    fragments = highlights(_composed(record.get(field.prop.name)), match)
                    if fragments:
                        marked[field.prop.name] = fragments
        order = found.values if found.score is None else (found.score,)
        told = self._explained(found, query, searched, text) if query.explain else None
        return SearchHit(found.key, found.score, found.document, marked, (*order, found.key), told)

    def _explained(
        self, found: Found, query: SearchQuery, searched: list[Field], text: TextQuery
    ) -> dict[str, Any]:
        record = found.record or json_numbers.loads(found.document)
        words = {
            f.prop.name: some
            for f in searched
            if (
                some := explain.matched(
                    _composed(record.get(f.prop.name)), matcher(f, text, query.text)
                )
            )
        }
        fields = [(f.prop.name, f.whole_text) for f in searched]
        by_score = query.boosted and found.score is not None
        return explain.explanation(
            words,
            text.phrases,
            text.forgiven,
            whole=explain.whole(query.text, fields, record) if text.phrases else (),
            boost=explain.reached(steps(self._held.level), record) if by_score else 0.0,
        )

    def _facets(
        self, text: TextQuery, query: SearchQuery
    ) -> tuple[dict[str, list[FacetBucket]], dict[str, int]]:
        if len(query.facets) > MAX_FACETS:
            raise LimitError(f"a search has at most {MAX_FACETS} facets")
        parts = facet_filters(query)
        # Facets without conditions of their own are counted in one pass.
        passes: dict[str, dict[str, Any]] = {}
        fields: dict[str, Field] = {}
        for facet in query.facets:
            field = self._level.field(facet.property)
            if field is None or field.kind is None or not field.prop.search.facet:
                raise InputError(f"{facet.property} is not a facet")
            if not 1 <= facet.size <= MAX_FACET_SIZE:
                raise LimitError(f"a facet has 1 to {MAX_FACET_SIZE} values")
            field = self._held.column(field)
            fields[facet.property] = field
            asked = passes.setdefault(facet.property if facet.property in parts.own else "", {})
            asked[facet.property] = {
                "terms": {
                    "field": field.value,
                    "size": MAX_FACET_SIZE,
                    "segment_size": _FACET_TERMS,
                }
            }
        answer: dict[str, Any] = {}
        for name, asked in passes.items():
            matching = self._matching(text, all_of((*parts.shared, *parts.but(name))))
            answer |= self._searcher.aggregate(matching, asked)
        facets: dict[str, list[FacetBucket]] = {}
        others: dict[str, int] = {}
        for facet in query.facets:
            counted = answer.get(facet.property, {})
            ordered = sorted(counted.get("buckets", []), key=lambda b: (-b["doc_count"], b["key"]))
            facets[facet.property] = shown(fields[facet.property].prop, ordered, facet.size)
            others[facet.property] = not_shown(counted, facets[facet.property])
        return facets, others

    def _ranged(self, text: TextQuery, query: SearchQuery, ranges: Ranges) -> list[RangeCount]:
        parts = facet_filters(query)
        around = (*parts.shared, *parts.but(ranges.property))
        counts = []
        for inside in ranges.filters():
            matching = self._matching(text, all_of((*around, inside)))
            counts.append(_count(self._searcher.search(matching, limit=1, count=True)))
        return ranged(ranges, counts)


def _count(found: tantivy.SearchResult) -> int:
    return int(found.count or 0)  # type: ignore[attr-defined]  # its stub lacks it


def _fits(kind: Kind, value: Any) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.BOOL:
            return isinstance(value, bool)
        case Kind.INT:
            return type(value) is int and -(2**63) <= value < 2**63
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _value(step: SortProperty, record: Any) -> Any:
    for name in step.names:
        if not isinstance(record, dict):
            return None
        record = record.get(name)
    return None if record is None else twin_converter(step.field.prop)(record)


def _composed(value: Any) -> Any:
    if isinstance(value, list):
        return [composed(v) for v in value if isinstance(v, str)]
    return composed(value) if isinstance(value, str) else value
