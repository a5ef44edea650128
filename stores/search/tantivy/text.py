"""Query text as a Tantivy query: which records match, how they rank, and what of them is marked.

A word matches where it stands, or within the edits that `edit_distance.allowed` forgives. A match
as typed outranks a forgiven one, and a value that is the whole query text outranks one that holds
it. Of one or two words all must match, of more three quarters; the stop words of a searched
property's language need not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tantivy
from tantivy import Occur, Query

from stores.contract.model import Vocabulary
from stores.search.edit_distance import allowed, distance, within
from stores.search.fields import Field
from stores.search.highlight import Matcher, Span
from stores.search.query_text import Phrase, parse
from stores.search.tantivy.analyzers import analyzer, composed, cut, fold
from stores.search.tantivy.filters import any_of
from stores.search.vocabulary import meant

FUZZY_WEIGHT = 0.5
"""Weight of a fuzzy match in the property with the greatest boost. A match as typed weighs at
least 1."""
TIE_BREAKER = 0.2
"""The share of their score that the other matching properties add to the best one's."""


@dataclass(frozen=True, slots=True)
class TextQuery:
    """`query` None: the text has no word that could match anything."""

    query: Query | None
    phrases: tuple[Phrase, ...]


def text_query(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    fields: Sequence[Field],
    text: str,
    fuzzy: bool,
    vocabulary: Vocabulary,
) -> TextQuery:
    """Raises LimitError for a text that is too long."""
    text = composed(text)
    phrases = meant(parse(text, cut), vocabulary, cut)
    scale = _Scale(searcher, schema, fields)
    clauses: list[Query] = []
    stop_words: list[Query] = []
    for phrase in phrases:
        typed = [
            Query.disjunction_max_query(ways, TIE_BREAKER)
            for part in phrase.as_typed()
            if (ways := [q for field in fields for q in scale.matches(field, part, fuzzy)])
        ]
        if len(typed) > 1:
            typed = [Query.boolean_query([(Occur.Must, q) for q in typed])]
        for other in phrase.by_synonym():
            typed += [q for field in fields for q in scale.matches(field, other, False)]
        if typed:
            kind = stop_words if phrase.optional or is_stop_word(fields, phrase) else clauses
            kind.append(Query.disjunction_max_query(typed, TIE_BREAKER))
    if not clauses:
        clauses, stop_words = stop_words, []
    whole = [q for field in fields for q in scale.whole(field, text)]
    if len(whole) > 1:
        whole = [Query.disjunction_max_query(whole)]
    if clauses:
        needed = len(clauses) if len(clauses) <= 2 else math.ceil(len(clauses) * 0.75)
        words = Query.boolean_query(
            [(Occur.Should, c) for c in clauses], minimum_number_should_match=needed
        )
        if stop_words:
            occurs = [(Occur.Must, words), *((Occur.Should, q) for q in stop_words)]
            words = Query.boolean_query(occurs)
        whole.append(words)
    return TextQuery(any_of(whole) if whole else None, phrases)


class _Scale:
    """The weights of matches in one searcher."""

    def __init__(
        self, searcher: tantivy.Searcher, schema: tantivy.Schema, fields: Sequence[Field]
    ) -> None:
        self._searcher = searcher
        self._schema = schema
        boosts = [t.prop.search.boost for t in fields if t.prop.search.boost > 0] or [1.0]
        self._low, self._high = min(boosts), max(boosts)

    def _boost(self, field: Field) -> float:
        """Return the field's boost relative to the least, so at least 1."""
        return max(field.prop.search.boost / self._low, 1.0)

    def _rarity(self, name: str, token: str) -> float:
        """BM25's inverse document frequency."""
        held = self._searcher.doc_freq(name, token)
        total = max(self._searcher.num_docs, held)
        return math.log(1 + (total - held + 0.5) / (held + 0.5))

    def whole(self, field: Field, text: str) -> list[Query]:
        """The value is all of the query text; what it adds is more than any match of a part gives."""
        keyword = field.whole_text
        name = field.text if keyword else field.whole
        value = text.strip() if keyword else fold(text.strip())
        if not value:
            return []
        term = Query.term_query(self._schema, name, value, "basic")
        weight = (1 + self._rarity(name, value)) * self._high / self._low + self._boost(field)
        return [Query.const_score_query(term, weight)]

    def matches(self, field: Field, phrase: Phrase, fuzzy: bool) -> list[Query]:
        if field.whole_text:
            return []
        tokens = analyzed(field, phrase)
        if not tokens:
            return []
        boost = self._boost(field)
        exact = self._exact(field, tokens)
        queries = [Query.boost_query(exact, boost)]
        if fuzzy and len(tokens) == 1 and allowed(tokens[0]):
            forgiven = Query.fuzzy_term_query(
                self._schema, field.text, tokens[0], allowed(tokens[0]), True
            )
            weight = FUZZY_WEIGHT * self._boost(field) * self._low / self._high
            queries.append(Query.const_score_query(forgiven, weight))
        return queries

    def _exact(self, field: Field, tokens: list[str]) -> Query:
        """One, and BM25. In a list of texts the length says nothing (a city of a hundred names is
        not a hundredth as much called so), so there only the word's rarity counts."""
        if len(tokens) == 1:
            found = Query.term_query(self._schema, field.text, tokens[0])
        else:
            found = Query.phrase_query(self._schema, field.text, list(tokens))
        if field.prop.array:
            rarity = max(self._rarity(field.text, token) for token in tokens)
            return Query.const_score_query(found, 1.0 + rarity)
        return Query.boolean_query(
            [(Occur.Should, found), (Occur.Should, Query.const_score_query(found, 1.0))]
        )


def analyzed(field: Field, phrase: Phrase) -> list[str]:
    """The tokens of a phrase as the property's index knows them; stop words are gone."""
    return [t for word in phrase.words for t in analyzer(field.prop.search.analyzer).analyze(word)]


def is_stop_word(fields: Sequence[Field], phrase: Phrase) -> bool:
    return any(not t.whole_text and not analyzed(t, phrase) for t in fields)


def matcher(field: Field, phrases: Sequence[Phrase], text: str, fuzzy: bool) -> Matcher:
    """Marks the words of a value that the query found; of a phrase each of its words."""
    if field.whole_text:
        wanted = text.strip()
        return lambda value: [(0, len(value))] if value == wanted and value else []
    exact: set[str] = set()
    forgiven: list[tuple[str, int]] = []
    for phrase in phrases:
        for other in phrase.by_synonym():
            exact.update(analyzed(field, other))
    for phrase in (p for q in phrases for p in q.as_typed()):
        tokens = analyzed(field, phrase)
        exact.update(tokens)
        if fuzzy and len(tokens) == 1 and allowed(tokens[0]):
            forgiven.append((tokens[0], allowed(tokens[0])))
    found = analyzer(field.prop.search.analyzer)

    def match(value: str) -> list[Span]:
        spans: list[Span] = []
        known: dict[str, bool] = {}
        for token in found.pre_tokenize(value).tokens:
            hit = known.get(token.text)
            if hit is None:
                hit = token.text in exact or any(within(w, token.text, n) for w, n in forgiven)
                known[token.text] = hit
            if hit:
                spans.append((token.char_offset_from, token.char_offset_to))
        return spans

    return match


def corrections(
    searcher: tantivy.Searcher, fields: Sequence[Field], phrases: Sequence[Phrase], text: str
) -> list[str]:
    """The query text with each word that no record has replaced by the most common word near it;
    empty where every word is known, or nothing is near."""
    corrected = text
    for phrase in reversed([p for q in phrases if not q.synonyms for p in q.as_typed()]):
        if len(phrase.words) != 1:
            continue
        better = _nearest(searcher, fields, phrase)
        if better:
            corrected = corrected[: phrase.start] + better + corrected[phrase.end :]
    return [corrected] if corrected != text else []


def _nearest(searcher: tantivy.Searcher, fields: Sequence[Field], phrase: Phrase) -> str | None:
    best: tuple[int, int, str] | None = None
    for field in fields:
        tokens = analyzed(field, phrase)
        if field.prop.search.analyzer != "standard" or len(tokens) != 1:
            continue
        token, limit = tokens[0], allowed(tokens[0])
        if searcher.doc_freq(field.text, token):
            return None
        # Words that begin alike: a mistake in the first letter is not corrected, only forgiven.
        for term, held in searcher.terms_with_prefix(field.text, token[:1]):
            apart = distance(token, term, limit)
            if apart <= limit and (best is None or (apart, -held, term) < best):
                best = (apart, -held, term)
    return best[2] if best else None
