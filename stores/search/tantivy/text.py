"""Query text as a Tantivy query: which records match, how they rank, and what of them is marked.

A word matches where it stands, or where it is forgiven, within the edits that
`edit_distance.allowed` says. A match as typed outranks a forgiven one, which ranks by its distance
and then by BM25 (see near); a value that is the whole query text outranks one that holds it. Of one
or two words all must match, of more three quarters; the stop words of a searched property's
language need not.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import tantivy
from tantivy import Occur, Query

from stores.contract.model import Vocabulary
from stores.query import SearchQuery
from stores.search.edit_distance import allowed, distance, within
from stores.search.fields import Field
from stores.search.highlight import Matcher, Span
from stores.search.near import (
    BY_DISTANCE,
    BY_WHOLE,
    Near,
    corrected,
    rank_boost,
    ranked,
    rarity,
    weight,
)
from stores.search.query_text import Phrase, parse
from stores.search.runs import original, spread_from
from stores.search.tantivy.analyzers import analyzer, composed, cut, fold
from stores.search.tantivy.filters import any_of, literal, without
from stores.search.tantivy.near import near_words
from stores.search.vocabulary import meant
from stores.search.words import edits, looked_in, typed_words

TIE_BREAKER = 0.2
"""The share of their score that the other matching properties add to the best one's."""


@dataclass(frozen=True, slots=True)
class TextQuery:
    """`query` None: the text has no word that could match anything. `near`: the words of the index
    near each that is forgiven, the likeliest first, as people would read them."""

    query: Query | None
    phrases: tuple[Phrase, ...]
    forgiven: frozenset[str] = frozenset()
    near: Mapping[str, Sequence[Near]] = dataclasses.field(default_factory=dict)


def phrases_of(query: SearchQuery, vocabulary: Vocabulary) -> tuple[Phrase, ...]:
    """Raises LimitError for a text that is too long."""
    text = composed(query.text)
    found = parse(text, cut, operators=query.operators, prefix=query.prefix)
    return meant(found, vocabulary, cut)


def forgivable(fields: Sequence[Field], phrases: Sequence[Phrase]) -> frozenset[str]:
    """Return the words that may be misspelled in one of `fields`."""
    return frozenset(
        word
        for phrase in typed_words(phrases)
        if (word := phrase.forgivable)
        and any(edits(f, t) for f in looked_in(fields, phrase) for t in analyzed(f, phrase))
    )


def unknown(
    searcher: tantivy.Searcher, fields: Sequence[Field], phrases: Sequence[Phrase]
) -> frozenset[str]:
    """Return the words that no record has in any of the properties where they are looked for."""

    def known(phrase: Phrase, field: Field) -> bool:
        tokens = analyzed(field, phrase)
        if not tokens or all(searcher.doc_freq(field.text, t) for t in tokens):
            return True
        return phrase.beginning and bool(
            searcher.terms_with_prefix(field.text, _beginning(phrase), limit=1)
        )

    return frozenset(
        phrase.forgivable
        for phrase in typed_words(phrases)
        if phrase.forgivable
        and not any(known(phrase, f) for f in looked_in(fields, phrase) if not f.whole_text)
    )


def text_query(
    searcher: tantivy.Searcher,
    schema: tantivy.Schema,
    fields: Sequence[Field],
    text: str,
    phrases: tuple[Phrase, ...],
    forgiven: frozenset[str] = frozenset(),
    lift: float = 0.0,
) -> TextQuery:
    """`lift` is added to each match as typed. Raises InputError for a name that is none of
    `fields`."""
    text = composed(text)
    scale = _Scale(searcher, schema, fields, forgiven, lift if forgiven else 0.0)
    clauses: list[Query] = []
    stop_words: list[Query] = []
    excluded: list[Query] = []
    for phrase in phrases:
        there = looked_in(fields, phrase)
        if phrase.excluded:
            excluded += [q for field in there for q in scale.typed(field, phrase, text)]
            continue
        typed = [q for part in phrase.as_typed() if (q := scale.best(part, text)) is not None]
        if len(typed) > 1:
            typed = [Query.boolean_query([(Occur.Must, q) for q in typed])]
        for other in phrase.by_synonym():
            typed += [q for field in fields for q in scale.typed(field, other, text)]
        if typed:
            kind = stop_words if phrase.optional or is_stop_word(there, phrase) else clauses
            kind.append(Query.disjunction_max_query(typed, TIE_BREAKER))
    if not clauses:
        clauses, stop_words = stop_words, []
    plain = all(p.plain for p in phrases)
    whole = [q for field in fields for q in scale.whole(field, text)] if plain else []
    if len(whole) > 1:
        whole = [Query.disjunction_max_query(whole)]
    if clauses:
        needed = len(clauses) if len(clauses) <= 2 else math.ceil(len(clauses) * 0.75)
        words = Query.boolean_query(
            [(Occur.Should, c) for c in clauses], minimum_number_should_match=needed
        )
        more = [*stop_words, *scale.corrected(fields, text, phrases)]
        if more:
            words = Query.boolean_query([(Occur.Must, words), *((Occur.Should, q) for q in more)])
        whole.append(words)
    elif excluded and not whole:
        whole = [Query.const_score_query(Query.all_query(), 0.0)]
    found = any_of(whole) if whole else None
    if found is not None and excluded:
        found = without(found, any_of(excluded))
    return TextQuery(found, phrases, forgiven, scale.near)


def _beginning(phrase: Phrase) -> str:
    return fold(phrase.words[-1])


class _Scale:
    """The weights of matches in one searcher."""

    def __init__(
        self,
        searcher: tantivy.Searcher,
        schema: tantivy.Schema,
        fields: Sequence[Field],
        forgiven: frozenset[str],
        lift: float,
    ) -> None:
        self._searcher = searcher
        self._schema = schema
        self._fields = fields
        self._forgiven = forgiven
        self._least = 1.0 + lift
        self.near: dict[str, list[Near]] = {}
        boosts = [t.prop.search.boost for t in fields if t.prop.search.boost > 0] or [1.0]
        self._low, self._high = min(boosts), max(boosts)

    def _boost(self, field: Field) -> float:
        """Return the field's boost relative to the least, so at least 1."""
        return max(field.prop.search.boost / self._low, 1.0)

    def _rarity(self, name: str, token: str) -> float:
        """BM25's inverse document frequency."""
        return rarity(self._searcher.doc_freq(name, token), self._searcher.num_docs)

    def whole(self, field: Field, text: str) -> list[Query]:
        """The value is all of the query text; what it adds is more than any match of a part
        gives."""
        keyword = field.whole_text
        name = field.text if keyword else field.whole
        value = text.strip() if keyword else fold(text.strip())
        if not value:
            return []
        term = Query.term_query(self._schema, name, value, "basic")
        weight = (1 + self._rarity(name, value)) * self._high / self._low + self._boost(field)
        return [Query.const_score_query(term, weight)]

    def best(self, phrase: Phrase, text: str) -> Query | None:
        """Return the query for what was typed, in the property where it matches best; a forgiven
        match adds nothing to an exact one."""
        there = looked_in(self._fields, phrase)
        ways = [q for field in there for q in self.typed(field, phrase, text)]
        if phrase.forgivable in self._forgiven:
            forgiven = [q for field in there for q in self._near(field, phrase)]
            if forgiven:
                ways.append(Query.disjunction_max_query(forgiven))
        return Query.disjunction_max_query(ways, TIE_BREAKER) if ways else None

    def typed(self, field: Field, phrase: Phrase, text: str) -> list[Query]:
        if field.whole_text:
            if not phrase.name:
                return []
            value = text[phrase.start : phrase.end]
            return [Query.term_query(self._schema, field.text, value, "basic")]
        tokens = analyzed(field, phrase)
        boost = self._boost(field)
        ways = [Query.boost_query(self._exact(field, tokens), boost)] if tokens else []
        if phrase.run and len(tokens) > 1:
            # An index that an earlier version made has the run as one word.
            joined = Query.term_query(self._schema, field.text, fold("".join(phrase.words)))
            ways.append(Query.const_score_query(joined, boost))
        if phrase.beginning:
            # What begins so counts less than the word itself, which is most often what was meant.
            begun = self._begun(field, phrase)
            ways.append(Query.const_score_query(begun, boost))
        return ways

    def _begun(self, field: Field, phrase: Phrase) -> Query:
        beginning = _beginning(phrase)
        if len(phrase.words) > 1:
            before = analyzed(field, replace(phrase, words=phrase.words[:-1]))
            if before:
                return Query.phrase_prefix_query(self._schema, field.text, [*before, beginning])
        return Query.regex_query(self._schema, field.text, literal(beginning) + "(?s:.*)")

    def _near(self, field: Field, phrase: Phrase) -> list[Query]:
        tokens = analyzed(field, phrase)
        limit = edits(field, tokens[0]) if len(tokens) == 1 else 0
        if not limit:
            return []
        token = tokens[0]
        scale = self._boost(field) * self._low / self._high
        found = near_words(self._searcher, field.text, token, limit)
        if field.prop.search.analyzer == "standard":
            known = self.near.get(phrase.forgivable, [])
            pairs = [(n.word, n.held) for n in (*known, *found)]
            self.near[phrase.forgivable] = ranked(token, pairs, limit)
        ways = []
        for near in found:
            term = Query.term_query(self._schema, field.text, near.word)
            parts = [
                (Occur.Must, Query.const_score_query(term, weight(token, near.word, near.apart))),
                (Occur.Should, Query.boost_query(term, rank_boost(near, self._searcher.num_docs))),
            ]
            ways.append(Query.boost_query(Query.boolean_query(parts), scale))
        for apart in range(1, limit + 1):
            fuzzy = Query.fuzzy_term_query(self._schema, field.text, token, apart, True)
            ways.append(Query.const_score_query(fuzzy, BY_DISTANCE[apart] * scale))
        return ways

    def corrected(
        self, fields: Sequence[Field], text: str, phrases: Sequence[Phrase]
    ) -> list[Query]:
        """A value that is all of the corrected query text ranks first of the forgiven ones."""
        better = corrected(text, phrases, self.near)
        if not better:
            return []
        return [
            Query.const_score_query(
                Query.term_query(self._schema, field.whole, fold(better.strip()), "basic"),
                BY_WHOLE * self._boost(field) * self._low / self._high,
            )
            for field in fields
            if not field.whole_text
        ]

    def _exact(self, field: Field, tokens: list[str]) -> Query:
        """One, and BM25. In a list of texts the length says nothing (a city of a hundred names is
        not a hundredth as much called so), so there only the word's rarity counts."""
        if len(tokens) == 1:
            found = Query.term_query(self._schema, field.text, tokens[0])
        else:
            found = Query.phrase_query(self._schema, field.text, list(tokens))
        if field.prop.array:
            rarity = max(self._rarity(field.text, token) for token in tokens)
            return Query.const_score_query(found, self._least + rarity)
        return Query.boolean_query(
            [(Occur.Should, found), (Occur.Should, Query.const_score_query(found, self._least))]
        )


def analyzed(field: Field, phrase: Phrase) -> list[str]:
    """The tokens of a phrase as the property's index knows them; stop words are gone."""
    return [t for word in phrase.words for t in analyzer(field.prop.search.analyzer).analyze(word)]


def is_stop_word(fields: Sequence[Field], phrase: Phrase) -> bool:
    return any(not t.whole_text and not analyzed(t, phrase) for t in fields)


def matcher(field: Field, text: TextQuery, typed: str) -> Matcher:
    """Marks the words of a value that the query found; of a phrase each of its words."""
    if field.whole_text:
        wanted = typed.strip()
        return lambda value: [(0, len(value))] if value == wanted and value else []
    exact: set[str] = set()
    forgiven: list[tuple[str, int]] = []
    begun: list[str] = []
    runs: list[list[str]] = []
    for phrase in text.phrases:
        for other in phrase.by_synonym():
            exact.update(analyzed(field, other))
    for phrase in (p for q in text.phrases for p in q.as_typed()):
        if phrase.excluded or phrase.name not in ("", field.prop.graphql, field.prop.name):
            continue
        tokens = analyzed(field, phrase)
        if phrase.run:
            runs.append(tokens)
            continue
        exact.update(tokens)
        if phrase.beginning:
            begun.append(_beginning(phrase))
        if phrase.forgivable in text.forgiven and len(tokens) == 1 and edits(field, tokens[0]):
            forgiven.append((tokens[0], edits(field, tokens[0])))
    beginnings = tuple(begun)
    found = analyzer(field.prop.search.analyzer)

    def match(value: str) -> list[Span]:
        spans: list[Span] = []
        known: dict[str, bool] = {}
        wide, places = spread_from(value)
        tokens = found.pre_tokenize(wide).tokens
        in_runs = _in_runs([t.text for t in tokens], runs)
        for place, token in enumerate(tokens):
            hit = known.get(token.text)
            if hit is None:
                hit = (
                    token.text in exact
                    or token.text.startswith(beginnings)
                    or any(within(w, token.text, n) for w, n in forgiven)
                )
                known[token.text] = hit
            if hit or place in in_runs:
                spans.append((token.char_offset_from, token.char_offset_to))
        return original(spans, wide, places)

    return match


def _in_runs(tokens: Sequence[str], runs: Sequence[Sequence[str]]) -> set[int]:
    """Return the places of the tokens that are one of the runs, all of it."""
    return {
        start + n
        for run in runs
        for start in range(len(tokens) - len(run) + 1)
        if tokens[start : start + len(run)] == run
        for n in range(len(run))
    }


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
