"""Query text as an Elasticsearch query: which records match, how they rank, and what of them is
marked.

A word matches where it stands, or where it is forgiven, within the edits that
`edit_distance.allowed` says. A match as typed outranks a forgiven one, which ranks by its distance
and then by BM25 (see near); a value that is the whole query text outranks one that holds it. Of one
or two words all must match, of more three quarters; the stop words of a searched property's
language need not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stores.contract.model import Vocabulary
from stores.query import SearchQuery
from stores.search.edit_distance import LONGEST, allowed, distance
from stores.search.elasticsearch.filters import Query, any_of
from stores.search.elasticsearch.folding import composed, cut, fold
from stores.search.elasticsearch.near import NearWords
from stores.search.fields import Field
from stores.search.near import BY_DISTANCE, BY_WHOLE, Near, corrected, rank_boost, ranked, weight
from stores.search.query_text import Phrase, parse
from stores.search.twins import text_twin
from stores.search.vocabulary import meant
from stores.search.words import edits, looked_in

TIE_BREAKER = 0.2
"""The share of their score that the other matching properties add to the best one's."""
WHOLE_WEIGHT = 25.0
"""A weight above any match of one word: 1 plus BM25's idf, which is below 22 for a billion
records."""
StopWords = Mapping[str, Collection[str]]
"""The stop words by analyzer."""


@dataclass(frozen=True, slots=True)
class TextQuery:
    """`query` None: the text has no word that could match anything. `words`: the part of it that
    marks. `near`: the words of the index near each that is forgiven, the likeliest first, as people
    would read them."""

    query: Query | None
    words: Query | None
    phrases: tuple[Phrase, ...]
    near: Mapping[str, Sequence[Near]] = dataclasses.field(default_factory=dict)


def phrases_of(query: SearchQuery, vocabulary: Vocabulary) -> tuple[Phrase, ...]:
    """Raises LimitError for a text that is too long."""
    text = composed(query.text)
    found = parse(text, cut, operators=query.operators, prefix=query.prefix)
    return meant(found, vocabulary, cut)


def text_query(
    fields: Sequence[Field],
    text: str,
    phrases: tuple[Phrase, ...],
    stop_words: StopWords,
    forgiven: Collection[str] = (),
    near: NearWords | None = None,
    lift: float = 0.0,
) -> TextQuery:
    """`lift` is added to each match as typed. Raises InputError for a name that is none of
    `fields`."""
    text = composed(text)
    ways = _Ways(
        fields,
        text,
        stop_words=stop_words,
        forgiven=frozenset(forgiven),
        near=near or NearWords(),
        lift=lift if forgiven else 0.0,
    )
    clauses: list[Query] = []
    optional: list[Query] = []
    excluded: list[Query] = []
    for phrase in phrases:
        if phrase.excluded:
            excluded += ways.typed(phrase)
            continue
        typed = [q for p in phrase.as_typed() if (q := ways.best(p)) is not None]
        if len(typed) > 1:
            typed = [{"bool": {"must": typed}}]
        typed += [w for p in phrase.by_synonym() for w in ways.typed(p)]
        if typed:
            kind = optional if phrase.optional or ways.has_stop_words(phrase) else clauses
            kind.append(_best(typed))
    if not clauses:
        clauses, optional = optional, []
    plain = all(p.plain for p in phrases)
    wholes = ways.wholes(len(phrases)) if plain else []
    words: Query | None = None
    if clauses:
        needed = len(clauses) if len(clauses) <= 2 else math.ceil(len(clauses) * 0.75)
        words = {"bool": {"should": clauses, "minimum_should_match": needed}}
        more = [*optional, *ways.corrected(phrases)]
        if more:
            words = {"bool": {"must": [words], "should": more}}
    parts = [*wholes, *([words] if words else [])]
    if excluded and not parts:
        parts = [{"constant_score": {"filter": {"match_all": {}}, "boost": 0.0}}]
    found = any_of(parts) if parts else None
    if found is not None and excluded:
        found = {"bool": {"must": [found], "must_not": excluded}}
    marks = [*clauses, *optional]
    marking = {"bool": {"should": marks, "minimum_should_match": 1}} if marks else None
    return TextQuery(found, marking, phrases, ways.near)


class _Ways:
    """The ways in which the phrases of one text match."""

    def __init__(
        self,
        fields: Sequence[Field],
        text: str,
        *,
        stop_words: StopWords,
        forgiven: frozenset[str],
        near: NearWords,
        lift: float,
    ) -> None:
        self._fields = fields
        self._text = text
        self._stop_words = stop_words
        self._forgiven = forgiven
        self._near_words = near
        self._least = 1.0 + lift
        boosts = [f.prop.search.boost for f in fields if f.prop.search.boost > 0] or [1.0]
        self._low, self._high = min(boosts), max(boosts)
        self.near: dict[str, list[Near]] = {}

    def _boost(self, field: Field) -> float:
        """Return the field's boost relative to the least, so at least 1."""
        return max(field.prop.search.boost / self._low, 1.0)

    def has_stop_words(self, phrase: Phrase) -> bool:
        there = looked_in(self._fields, phrase)
        return any(not f.whole_text and _is_stopped(f, phrase, self._stop_words) for f in there)

    def best(self, phrase: Phrase) -> Query | None:
        """Return the query for what was typed, in the property where it matches best; a forgiven
        match adds nothing to an exact one."""
        ways = self.typed(phrase)
        if phrase.forgivable in self._forgiven:
            there = looked_in(self._fields, phrase)
            forgiven = [q for field in there for q in self._near(field, phrase)]
            if forgiven:
                ways.append({"dis_max": {"queries": forgiven}})
        return _best(ways) if ways else None

    def typed(self, phrase: Phrase) -> list[Query]:
        ways: list[Query] = []
        for field in looked_in(self._fields, phrase):
            boost = self._boost(field)
            if field.whole_text:
                if phrase.name:
                    value = text_twin(self._text[phrase.start : phrase.end])
                    ways.append({"term": {field.text: value}})
                continue
            if not _is_stopped(field, phrase, self._stop_words):
                ways.append(_exact(field, phrase, boost, self._least))
                if phrase.run and len(phrase.words) > 1:
                    # An index that an earlier version made has the run as one word.
                    ways.append(_constant(field.text, fold("".join(phrase.words)), boost))
            if phrase.beginning:
                ways.append(_begun(field, phrase, boost))
        return ways

    def _near(self, field: Field, phrase: Phrase) -> list[Query]:
        word = phrase.forgivable
        limit = edits(field, fold(word))
        if not limit or _is_stopped(field, phrase, self._stop_words):
            return []
        scale = self._boost(field) * self._low / self._high
        token, found = self._near_words.found.get((field.text, word), ("", []))
        if found and field.prop.search.analyzer == "standard":
            pairs = [(n.word, n.held) for n in (*self.near.get(word, []), *found)]
            self.near[word] = ranked(token, pairs, limit)
        ways: list[Query] = []
        for near in found:
            term = {"term": {field.text: near.word}}
            sure = weight(token, near.word, near.apart)
            ranking = rank_boost(near, self._near_words.records)
            parts: Query = {
                "must": [{"constant_score": {"filter": term, "boost": sure}}],
                "should": [{"term": {field.text: {"value": near.word, "boost": ranking}}}],
                "boost": scale,
            }
            ways.append({"bool": parts})
        shortest = max(field.prop.search.forgive_from, 3)
        for apart in range(1, limit + 1):
            two_from = max(8, shortest) if apart > 1 else LONGEST + 1
            match = {
                "query": word,
                "operator": "and",
                "fuzziness": f"AUTO:{shortest},{two_from}",
                "fuzzy_rewrite": "constant_score",
            }
            ways.append(
                {
                    "constant_score": {
                        "filter": {"match": {field.text: match}},
                        "boost": BY_DISTANCE[apart] * scale,
                    }
                }
            )
        return ways

    def wholes(self, words: int) -> list[Query]:
        """The value is all of the query text; what it adds is more than all matches of its words
        give."""
        text = self._text.strip()
        found: list[Query] = []
        for field in self._fields if text else ():
            whole = field.whole_text
            name, value = (field.text, text_twin(text)) if whole else (field.whole, fold(text))
            most = WHOLE_WEIGHT * max(words, 1) * (1 + TIE_BREAKER) * self._high / self._low
            found.append(_constant(name, value, most + self._boost(field)))
        return [{"dis_max": {"queries": found}}] if len(found) > 1 else found

    def corrected(self, phrases: Sequence[Phrase]) -> list[Query]:
        """A value that is all of the corrected query text ranks first of the forgiven ones."""
        better = corrected(self._text, phrases, self.near)
        if not better:
            return []
        return [
            _constant(
                field.whole,
                fold(better.strip()),
                BY_WHOLE * self._boost(field) * self._low / self._high,
            )
            for field in self._fields
            if not field.whole_text
        ]


def _constant(name: str, value: str, boost: float) -> Query:
    return {"constant_score": {"filter": {"term": {name: value}}, "boost": boost}}


def _best(ways: list[Query]) -> Query:
    return {"dis_max": {"queries": ways, "tie_breaker": TIE_BREAKER}} if len(ways) > 1 else ways[0]


def _is_stopped(field: Field, phrase: Phrase, stop_words: StopWords) -> bool:
    stopped = stop_words.get(field.prop.search.analyzer, ())
    return all(word in stopped for word in phrase.words)


def _exact(field: Field, phrase: Phrase, boost: float, least: float) -> Query:
    """`least`, which is one or more, and BM25."""
    text = " ".join(phrase.words)
    if len(phrase.words) == 1:
        found: Query = {"match": {field.text: {"query": text, "operator": "and"}}}
    else:
        found = {"match_phrase": {field.text: {"query": text}}}
    return {"bool": {"must": [found], "should": [{"match_all": {"boost": least}}], "boost": boost}}


def _begun(field: Field, phrase: Phrase, boost: float) -> Query:
    """The last word is the beginning of one. It counts less than the word itself."""
    if len(phrase.words) > 1:
        found: Query = {"match_phrase_prefix": {field.text: {"query": " ".join(phrase.words)}}}
    else:
        found = {"prefix": {field.text: {"value": fold(phrase.words[0])}}}
    return {"constant_score": {"filter": found, "boost": boost}}


def corrections(
    fields: Sequence[Field],
    phrases: Sequence[Phrase],
    text: str,
    known: Collection[str],
    near: Mapping[str, Sequence[tuple[str, int]]],
) -> list[str]:
    """The query text with each word that no record has (it is not in `known`) replaced by the most
    common word near it, out of `near`: word → (candidate, records). Empty where there is nothing
    to replace."""
    text = composed(text)
    found = text
    for phrase in reversed([p for q in phrases if not q.synonyms for p in q.as_typed()]):
        if len(phrase.words) != 1 or phrase.words[0] in known:
            continue
        token = fold(phrase.words[0])
        limit = allowed(token)
        ranked = sorted(
            (distance(token, term, limit), -held, term)
            for term, held in near.get(phrase.words[0], ())
        )
        if ranked and ranked[0][0] <= limit:
            found = found[: phrase.start] + ranked[0][2] + found[phrase.end :]
    return [found] if found != text else []


def correction_fields(fields: Sequence[Field]) -> list[Field]:
    """Return the fields whose indexed words can be shown to people as corrections."""
    return [f for f in fields if f.prop.search.analyzer == "standard"]


def marked_spans(snippet: str, marker: str) -> tuple[str, list[tuple[int, int]]]:
    """The text of a highlighted value, and its matches: `marker` stands before and after each."""
    text, spans, length = [], [], 0
    for number, piece in enumerate(snippet.split(marker)):
        if number % 2 and piece:
            spans.append((length, length + len(piece)))
        text.append(piece)
        length += len(piece)
    return "".join(text), spans


def highlight_request(words: Query, fields: Sequence[Field], marker: str, most: int) -> Any:
    """Return the request for whole values with `marker` around matches. `highlight.highlights`
    cuts and escapes them."""
    return {
        "type": "unified",
        "number_of_fragments": 0,
        "pre_tags": [marker],
        "post_tags": [marker],
        "max_analyzed_offset": most,
        "highlight_query": words,
        "fields": {f.text: {} for f in fields},
    }
