"""Query text as an Elasticsearch query: which records match, how they rank, and what of them is
marked.

A word matches where it stands, or within the edits that `edit_distance.allowed` forgives
(Elasticsearch's AUTO:3,8 is the same). A match as typed outranks a forgiven one, and a value that
is the whole query text outranks one that holds it. Of one or two words all must match, of more
three quarters; the stop words of a searched property's language need not.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stores.contract.model import Vocabulary
from stores.search.edit_distance import allowed, distance
from stores.search.elasticsearch.filters import Query, any_of
from stores.search.elasticsearch.folding import composed, cut, fold
from stores.search.fields import Field
from stores.search.query_text import Phrase, parse
from stores.search.twins import text_twin
from stores.search.vocabulary import meant

FUZZY_WEIGHT = 0.5
"""Weight of a fuzzy match in the property with the greatest boost. A match as typed weighs at
least 1."""
TIE_BREAKER = 0.2
"""The share of their score that the other matching properties add to the best one's."""
WHOLE_WEIGHT = 25.0
"""A weight above any match of one word: 1 plus BM25's idf, which is below 22 for a billion
records."""
LONGEST_MISSPELLED = 60
"""Characters of a word: the automata of longer ones trip the server's circuit breakers."""

StopWords = Mapping[str, Collection[str]]
"""The stop words by analyzer."""


@dataclass(frozen=True, slots=True)
class TextQuery:
    """`query` None: the text has no word that could match anything. `words`: the part of it that
    marks."""

    query: Query | None
    words: Query | None
    phrases: tuple[Phrase, ...]


def phrases_of(text: str, vocabulary: Vocabulary) -> tuple[Phrase, ...]:
    """Raises LimitError for a text that is too long."""
    return meant(parse(composed(text), cut), vocabulary, cut)


def text_query(
    fields: Sequence[Field],
    text: str,
    phrases: tuple[Phrase, ...],
    fuzzy: bool,
    stop_words: StopWords,
) -> TextQuery:
    text = composed(text).strip()

    def has_stop_words(phrase: Phrase) -> bool:
        return any(not f.whole_text and _is_stopped(f, phrase, stop_words) for f in fields)

    boosts = [f.prop.search.boost for f in fields if f.prop.search.boost > 0] or [1.0]
    low, high = min(boosts), max(boosts)
    clauses: list[Query] = []
    optional: list[Query] = []

    def ways_of(phrase: Phrase, fuzzy: bool) -> list[Query]:
        ways: list[Query] = []
        for field in fields:
            if field.whole_text or _is_stopped(field, phrase, stop_words):
                continue
            boost = max(field.prop.search.boost / low, 1.0)
            ways.append(_exact(field, phrase, boost))
            if fuzzy and len(phrase.words) == 1 and _may_be_misspelled(phrase.words[0]):
                ways.append(_forgiven(field, phrase, FUZZY_WEIGHT * boost * low / high))
        return ways

    for phrase in phrases:
        typed = [_best(ways) for p in phrase.as_typed() if (ways := ways_of(p, fuzzy))]
        ways = [w for p in phrase.by_synonym() for w in ways_of(p, False)]
        if len(typed) > 1:
            typed = [{"bool": {"must": typed}}]
        if ways or typed:
            kind = optional if phrase.optional or has_stop_words(phrase) else clauses
            kind.append(_best([*typed, *ways]))
    if not clauses:
        clauses, optional = optional, []
    wholes = [q for f in fields for q in _whole(f, text, low, high, len(phrases))]
    if len(wholes) > 1:
        wholes = [{"dis_max": {"queries": wholes}}]
    words: Query | None = None
    if clauses:
        needed = len(clauses) if len(clauses) <= 2 else math.ceil(len(clauses) * 0.75)
        words = {"bool": {"should": clauses, "minimum_should_match": needed}}
        if optional:
            words = {"bool": {"must": [words], "should": optional}}
    parts = [*wholes, *([words] if words else [])]
    marks = [*clauses, *optional]
    marking = {"bool": {"should": marks, "minimum_should_match": 1}} if marks else None
    return TextQuery(any_of(parts) if parts else None, marking, phrases)


def _best(ways: list[Query]) -> Query:
    return {"dis_max": {"queries": ways, "tie_breaker": TIE_BREAKER}} if len(ways) > 1 else ways[0]


def _is_stopped(field: Field, phrase: Phrase, stop_words: StopWords) -> bool:
    stopped = stop_words.get(field.prop.search.analyzer, ())
    return all(word in stopped for word in phrase.words)


def _may_be_misspelled(word: str) -> bool:
    return bool(allowed(word)) and len(word) <= LONGEST_MISSPELLED


def _exact(field: Field, phrase: Phrase, boost: float) -> Query:
    """One, and BM25."""
    text = " ".join(phrase.words)
    if len(phrase.words) == 1:
        found: Query = {"match": {field.text: {"query": text, "operator": "and"}}}
    else:
        found = {"match_phrase": {field.text: {"query": text}}}
    return {"bool": {"must": [found], "should": [{"match_all": {}}], "boost": boost}}


def _forgiven(field: Field, phrase: Phrase, weight: float) -> Query:
    word = {
        "query": phrase.words[0],
        "operator": "and",
        "fuzziness": "AUTO:3,8",
        "fuzzy_rewrite": "constant_score",
    }
    return {"constant_score": {"filter": {"match": {field.text: word}}, "boost": weight}}


def _whole(field: Field, text: str, low: float, high: float, words: int) -> list[Query]:
    """The value is all of the query text; what it adds is more than all matches of its words give."""
    if not text:
        return []
    name, value = (field.text, text_twin(text)) if field.whole_text else (field.whole, fold(text))
    boost = max(field.prop.search.boost / low, 1.0)
    weight = WHOLE_WEIGHT * max(words, 1) * (1 + TIE_BREAKER) * high / low + boost
    return [{"constant_score": {"filter": {"term": {name: value}}, "boost": weight}}]


def corrected(
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
