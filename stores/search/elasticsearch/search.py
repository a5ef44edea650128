"""One search of one generation: page, order, facets, highlights, corrections, in one request.

Order by properties is exact and a cursor of it holds while the index changes: it is a place among
values, with the key for ties. Scores change with the index, so a cursor by score is exact only
while nothing is published.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stores import json_numbers
from stores.errors import InputError, LimitError
from stores.query import (
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
from stores.search import explain
from stores.search.boost_by import lift, steps
from stores.search.elasticsearch.errors import refused
from stores.search.elasticsearch.fields import DOCUMENT, KEY, TOMBSTONE
from stores.search.elasticsearch.filters import Query, any_of
from stores.search.elasticsearch.filters import query as filter_query
from stores.search.elasticsearch.folding import composed, spaced
from stores.search.elasticsearch.near import NearWords, forgivable
from stores.search.elasticsearch.text import (
    StopWords,
    TextQuery,
    correction_fields,
    corrections,
    highlight_request,
    marked_spans,
    phrases_of,
    text_query,
)
from stores.search.facet_filters import facet_filters
from stores.search.facet_values import not_shown, ranged, shown, wanted
from stores.search.fields import Field, Level
from stores.search.filter_plan import CannotFilter, plan
from stores.search.held import Held
from stores.search.highlight import MAX_LOOKED_AT, Span, highlights
from stores.search.near import said
from stores.search.runs import original, spread_from
from stores.search.twins import Kind, twin_converter

MAX_FIRST = 1000
MAX_FACETS = 20
MAX_FACET_SIZE = 1000
_SHARD_FACET_TERMS = 10_000
"""Values per facet and shard that are counted exactly."""
_LONGEST = 2**63 - 1
NOT_TOMBSTONE: Query = {"exists": {"field": TOMBSTONE}}


@dataclass(frozen=True, slots=True)
class SortProperty:
    """A property of an order."""

    field: Field
    names: tuple[str, ...]
    descending: bool
    nulls_first: bool

    def sort(self) -> dict[str, Any]:
        return {
            self.field.value: {
                "order": "desc" if self.descending else "asc",
                "missing": "_first" if self.nulls_first else "_last",
            }
        }

    def value(self, record: Any) -> Any:
        for name in self.names:
            if not isinstance(record, dict):
                return None
            record = record.get(name)
        return None if record is None else twin_converter(self.field.prop)(record)

    def after(self, value: Any) -> Any:
        """The value as `search_after` takes it: a missing number is the least or the greatest there
        is."""
        if value is not None:
            return value
        greatest = self.nulls_first == self.descending
        match self.field.kind:
            case Kind.TEXT:
                return None
            case Kind.FLOAT:
                return "Infinity" if greatest else "-Infinity"
            case _:
                return _LONGEST if greatest else -_LONGEST - 1

    def fits(self, value: Any) -> bool:
        match self.field.kind:
            case Kind.TEXT:
                return isinstance(value, str)
            case Kind.BOOL:
                return isinstance(value, bool)
            case Kind.INT:
                return type(value) is int and -_LONGEST - 1 <= value <= _LONGEST
            case _:
                return isinstance(value, int | float) and not isinstance(value, bool)


class Search:
    """Checked when it is made; `body` is the request, `result` reads the answer."""

    def __init__(self, level: Level, query: SearchQuery, held: Held) -> None:
        """`level`: the contract's fields; `held`: what the generation has of them. Raises
        InputError, LimitError, StoreRefused, NotLoaded."""
        if not 0 <= query.first <= MAX_FIRST:
            raise LimitError(f"first is at most {MAX_FIRST} in a search")
        self._level = level
        self._query = query
        self._held = held
        self.phrases = phrases_of(query, level.record_type.vocabulary)
        self.fields = held.searched(query)
        self._parts = facet_filters(query)
        self._filter = self._planned(self._parts.shared)
        self._post_filter = self._planned(self._parts.all_own()) if self._parts.own else None
        self._by_score = bool(query.text.strip()) and not query.sort
        self._steps = tuple(self._step(order) for order in query.sort)
        self._facets = self._asked_facets()
        self._after = self._cursor()
        self._marker = secrets.token_hex(12)
        self._text = TextQuery(None, None, ())
        self._forgiven: frozenset[str] = frozenset()

    # Checks ------------------------------------------------------------------------------------

    def _planned(self, parts: tuple[Filter, ...]) -> Query:
        try:
            planned = plan(self._level, all_of(parts))
        except CannotFilter as error:
            raise refused(f"the filter cannot be applied: {error}") from None
        return filter_query(self._held.filter(planned))

    def _step(self, order: Order) -> SortProperty:
        level = self._level.find(order.path)
        found = level.field(order.property) if level else None
        if found is None or not found.column or found.prop.array or not found.prop.search.sort:
            path = "/".join((*order.path, order.property))
            raise refused(
                f"{path} is not sortable in search",
                hint="mark it `sort` in the contract",
            )
        found = self._held.column(found)
        nulls_first = order.descending if order.nulls_first is None else order.nulls_first
        return SortProperty(found, (*order.path, order.property), order.descending, nulls_first)

    def _asked_facets(self) -> list[tuple[Field, int]]:
        if len(self._query.facets) > MAX_FACETS:
            raise LimitError(f"a search has at most {MAX_FACETS} facets")
        asked = []
        for facet in self._query.facets:
            found = self._level.field(facet.property)
            if found is None or not found.column or not found.prop.search.facet:
                raise InputError(f"{facet.property} is not a facet")
            if not 1 <= facet.size <= MAX_FACET_SIZE:
                raise LimitError(f"a facet has 1 to {MAX_FACET_SIZE} values")
            asked.append((self._held.column(found), facet.size))
        return asked

    def _cursor(self) -> list[Any] | None:
        after = self._query.after
        if after is None:
            return None
        wrong = InputError("the cursor is not one of this search")
        if self._by_score:
            if (
                len(after) != 2
                or not isinstance(after[0], int | float)
                or isinstance(after[0], bool)
                or not isinstance(after[1], str)
            ):
                raise wrong
            return list(after)
        if len(after) != len(self._steps) + 1 or not isinstance(after[-1], str):
            raise wrong
        for step, value in zip(self._steps, after, strict=False):
            if value is not None and not step.fits(value):
                raise wrong
        return [
            *(s.after(v) for s, v in zip(self._steps, after, strict=False)),
            after[-1],
        ]

    # The request -------------------------------------------------------------------------------

    @property
    def query(self) -> SearchQuery:
        return self._query

    def forgivable(self, stop_words: StopWords) -> frozenset[str]:
        """Return the words that may be forgiven, none where the query is to be exact."""
        if self._query.match is Match.EXACT:
            return frozenset()
        return forgivable(self.fields, self.phrases, stop_words)

    def analyzers(self) -> list[Field]:
        """A field for each analyzer that may leave nothing of a word."""
        plain = ("standard", "keyword")
        found = {f.prop.search.analyzer: f for f in self.fields}
        return [f for name, f in found.items() if name not in plain]

    @property
    def preference(self) -> str:
        """The same for all pages of a query, spread over many queries."""
        return f"recordgate{zlib.crc32(self._query.text.encode(errors='replace')) % 64}"

    def body(
        self,
        stop_words: StopWords,
        shards: int,
        seconds: float,
        forgiven: frozenset[str] = frozenset(),
        near: NearWords | None = None,
    ) -> dict[str, Any] | None:
        """Return the body of the search, or None if no word of the text can match anything.
        `forgiven`: the words that may be misspelled, with those `near` them."""
        query = self._query
        self._forgiven = forgiven
        matching: dict[str, Any] = {"must_not": [NOT_TOMBSTONE], "filter": [self._filter]}
        if query.text.strip():
            self._text = text_query(
                self.fields,
                query.text,
                self.phrases,
                stop_words,
                forgiven,
                near,
                lift(self._level.record_type) if query.boosted else 0.0,
            )
            if self._text.query is None:
                return None
            matching["must"] = [self._text.query]
            if query.boosted and self._by_score:
                matching["should"] = [
                    {
                        "constant_score": {
                            "filter": {"range": {step.field.value: {"gte": step.bound}}},
                            "boost": step.weight,
                        }
                    }
                    for step in steps(self._held.level)
                ]
        found: dict[str, Any] = {
            "query": {"bool": matching},
            "size": query.first + 1 if query.first else 0,
            "sort": [
                *([{"_score": "desc"}] if self._by_score else (s.sort() for s in self._steps)),
                {KEY: "asc"},
            ],
            "track_total_hits": True,
            "_source": [DOCUMENT],
            "timeout": f"{int(seconds * 1000)}ms",
        }
        if self._post_filter is not None:
            found["post_filter"] = self._post_filter
        if self._after is not None:
            found["search_after"] = self._after
        words = [
            f
            for f in self.fields
            if not f.whole_text and (query.explain or f.prop.name in query.highlight)
        ]
        if words and self._text.words is not None and query.first:
            found["highlight"] = highlight_request(
                self._text.words, words, self._marker, MAX_LOOKED_AT
            )
        aggregations = {
            f"f{place}": self._facet(facet, size, shards)
            for place, (facet, size) in enumerate(self._facets)
        }
        for place, ranges in enumerate(query.ranges):
            aggregations[f"r{place}"] = self._ranged(ranges)
        if query.suggestions:
            aggregations |= self._known_words()
            suggest = self._near_words()
            if suggest:
                found["suggest"] = suggest
        if aggregations:
            found["aggs"] = aggregations
        return found

    def _facet(self, facet: Field, size: int, shards: int) -> dict[str, Any]:
        size = wanted(facet.prop, size)
        terms = {
            "field": facet.value,
            "size": size,
            "shard_size": size if shards == 1 else max(size, _SHARD_FACET_TERMS),
            "order": [{"_count": "desc"}, {"_key": "asc"}],
        }
        if self._post_filter is None:
            return {"terms": terms}
        others = self._planned(self._parts.but(facet.prop.name))
        return {"filter": others, "aggs": {"terms": {"terms": terms}}}

    def _ranged(self, ranges: Ranges) -> dict[str, Any]:
        filters = [self._planned((inside,)) for inside in ranges.filters()]
        around = self._planned(self._parts.but(ranges.property))
        return {"filter": around, "aggs": {"ranges": {"filters": {"filters": filters}}}}

    def _single_words(self) -> list[str]:
        return list(
            dict.fromkeys(p.words[0] for p in self.phrases if len(p.words) == 1 and not p.synonyms)
        )

    def _known_words(self) -> dict[str, Any]:
        """Return the request that tells which words occur in records, whatever the filter is."""
        fields = [f.text for f in self.fields if not f.whole_text]
        filters = {
            str(place): any_of([{"match": {f: {"query": word, "operator": "and"}}} for f in fields])
            for place, word in enumerate(self._single_words())
        }
        if not filters or not fields:
            return {}
        return {"known": {"global": {}, "aggs": {"words": {"filters": {"filters": filters}}}}}

    def _near_words(self) -> dict[str, Any]:
        return {
            f"{place}:{word}": {
                "text": self._single_words()[word],
                "term": {
                    "field": found.text,
                    "suggest_mode": "always",
                    "max_edits": 2,
                    "prefix_length": 1,
                    "min_word_length": 3,
                    "size": 20,
                },
            }
            for place, found in enumerate(correction_fields(self.fields))
            for word in range(len(self._single_words()))
        }

    # The answer --------------------------------------------------------------------------------

    def result(
        self, answer: dict[str, Any], forgiven: frozenset[str] = frozenset()
    ) -> SearchResult:
        hits = answer["hits"]["hits"]
        first = self._query.first
        facets, others = self._counted(answer.get("aggregations", {}))
        found = SearchResult(
            hits=[self._hit(hit) for hit in hits[:first]],
            total=int(answer["hits"]["total"]["value"]),
            facets=facets,
            ranges=self._range_counts(answer.get("aggregations", {})),
            others=others,
            suggestions=self._corrected(answer) if self._query.suggestions else [],
            has_next=len(hits) > first,
        )
        text = composed(self._query.text)
        return said(found, text, forgiven, self.phrases, self._text.near)

    def nothing(self) -> SearchResult:
        names = [f.prop.name for f, _ in self._facets]
        return SearchResult([], 0, {n: [] for n in names}, others=dict.fromkeys(names, 0))

    def _hit(self, hit: dict[str, Any]) -> SearchHit:
        text: str = hit["_source"][DOCUMENT]
        key = str(hit["sort"][-1])
        record: Any = None
        if self._steps or ((self._query.highlight or self._query.explain) and self.phrases):
            record = json_numbers.loads(text)
        if self._by_score:
            score: float | None = float(hit["sort"][0])
            order: tuple[Any, ...] = (score,)
        else:
            score, order = None, tuple(s.value(record) for s in self._steps)
        marked = self._marked(hit.get("highlight", {}), record) if record else {}
        told: dict[str, Any] | None = None
        if self._query.explain:
            told = self._explained(hit.get("highlight", {}), record or {}, score)
        return SearchHit(key, score, text.encode(), marked, (*order, key), told)

    def _explained(
        self, found: dict[str, list[str]], record: dict[str, Any], score: float | None
    ) -> dict[str, Any]:
        words: dict[str, list[str]] = {}
        for searched in self.fields:
            matcher = _Matcher(searched, found.get(searched.text, ()), self._marker, self._query)
            some = explain.matched(_composed(record.get(searched.prop.name)), matcher.spans)
            if some:
                words[searched.prop.name] = some
        fields = [(f.prop.name, f.whole_text) for f in self.fields]
        by_score = self._query.boosted and score is not None
        return explain.explanation(
            words,
            self.phrases,
            self._forgiven,
            whole=explain.whole(self._query.text, fields, record) if self.phrases else (),
            boost=explain.reached(steps(self._held.level), record) if by_score else 0.0,
        )

    def _marked(self, found: dict[str, list[str]], record: Any) -> dict[str, list[str]]:
        marked: dict[str, list[str]] = {}
        for searched in self.fields:
            name = searched.prop.name
            if name not in self._query.highlight:
                continue
            matcher = _Matcher(searched, found.get(searched.text, ()), self._marker, self._query)
            fragments = highlights(_composed(record.get(name)), matcher.spans)
            if fragments:
                marked[name] = fragments
        return marked

    def _counted(
        self, answer: dict[str, Any]
    ) -> tuple[dict[str, list[FacetBucket]], dict[str, int]]:
        """Return the buckets of each facet, and how often its other values are held."""
        facets: dict[str, list[FacetBucket]] = {}
        others: dict[str, int] = {}
        for place, (facet, size) in enumerate(self._facets):
            found = answer[f"f{place}"]
            counted = found if self._post_filter is None else found["terms"]
            facets[facet.prop.name] = shown(facet.prop, counted["buckets"], size)
            others[facet.prop.name] = not_shown(counted, facets[facet.prop.name])
        return facets, others

    def _range_counts(self, answer: dict[str, Any]) -> dict[str, list[RangeCount]]:
        found = {}
        for place, ranges in enumerate(self._query.ranges):
            buckets = answer[f"r{place}"]["ranges"]["buckets"]
            found[ranges.property] = ranged(ranges, [int(b["doc_count"]) for b in buckets])
        return found

    def _corrected(self, answer: dict[str, Any]) -> list[str]:
        words = self._single_words()
        counts = answer.get("aggregations", {}).get("known", {}).get("words", {})
        held = counts.get("buckets", {})
        known = {words[int(place)] for place, b in held.items() if b["doc_count"]}
        near: dict[str, list[tuple[str, int]]] = {}
        for name, entries in answer.get("suggest", {}).items():
            word = words[int(name.partition(":")[2])]
            if len(entries) == 1:
                near.setdefault(word, []).extend(
                    (str(o["text"]), int(o["freq"])) for o in entries[0]["options"]
                )
        return corrections(self.fields, self.phrases, self._query.text, known, near)


@dataclass(slots=True)
class _Matcher:
    """Finds the matches in a value: those that the server marked in the same text."""

    searched: Field
    snippets: Sequence[str]
    marker: str
    query: SearchQuery
    _found: list[tuple[str, list[Span]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._found = [marked_spans(s, self.marker) for s in self.snippets]

    def spans(self, value: str) -> list[Span]:
        if self.searched.whole_text:
            wanted = composed(self.query.text).strip()
            return [(0, len(value))] if value and value == wanted else []
        text, places = spread_from(spaced(value))
        for marked, spans in self._found:
            if marked.startswith(text):
                return original([s for s in spans if s[1] <= len(text)], text, places)
        return []


def _composed(value: Any) -> Any:
    if isinstance(value, list):
        return [composed(v) for v in value if isinstance(v, str)]
    return composed(value) if isinstance(value, str) else value
