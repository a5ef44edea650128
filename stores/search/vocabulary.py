"""A contract's vocabulary: words that mean the same, and stop words. It is put into the query and
not into the index, so that every store treats it alike and a change needs no reload.

A word or run of words that a group of synonyms holds is found, too, where another member of the
group stands. A stop word need not match, unless the query has no other word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from stores.contract.model import Vocabulary
from stores.search.elasticsearch.folding import fold
from stores.search.query_text import Phrase
from stores.search.runs import Cut

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """`others`: by the folded words of a member, the words of the group's other members."""

    others: dict[Words, tuple[Words, ...]]
    longest: int
    stop: frozenset[str]


@lru_cache(maxsize=256)
def _known(vocabulary: Vocabulary, cut: Cut) -> _Known:
    others: dict[Words, tuple[Words, ...]] = {}
    for group in vocabulary.synonyms:
        members = [tuple(word for word, _, _ in cut(member)) for member in group]
        for member in filter(None, members):
            key = _folded(member)
            more = [m for m in members if m and _folded(m) != key]
            others[key] = tuple(dict.fromkeys((*others.get(key, ()), *more)))
    stop = frozenset(fold(word) for word in vocabulary.stop_words)
    return _Known(others, max(map(len, others), default=0), stop)


def _folded(words: Sequence[str]) -> Words:
    return tuple(fold(word) for word in words)


def meant(phrases: Sequence[Phrase], vocabulary: Vocabulary, cut: Cut) -> tuple[Phrase, ...]:
    """`phrases` with their synonyms, and with what need not match marked."""
    if not vocabulary.synonyms and not vocabulary.stop_words:
        return tuple(phrases)
    known = _known(vocabulary, cut)
    found: list[Phrase] = []
    place = 0
    while place < len(phrases):
        run = _run(phrases[place:], known)
        if run:
            taken = phrases[place : place + run]
            found.append(_with_synonyms(taken, known))
            place += run
            continue
        phrase = phrases[place]
        optional = len(phrase.words) == 1 and fold(phrase.words[0]) in known.stop
        found.append(replace(phrase, optional=optional))
        place += 1
    return tuple(found)


def _run(phrases: Sequence[Phrase], known: _Known) -> int:
    """Return how many of the first phrases together are a member of a group: the most there can be,
    or 0."""
    if _folded(phrases[0].words) in known.others and len(phrases[0].words) > 1 and phrases[0].plain:
        return 1  # in quotes
    for length in range(min(known.longest, len(phrases)), 0, -1):
        if not all(p.plain for p in phrases[:length]):
            continue
        words = [w for p in phrases[:length] for w in p.words]
        if len(words) == length and _folded(words) in known.others:
            return length
    return 0


def _with_synonyms(taken: Sequence[Phrase], known: _Known) -> Phrase:
    words = tuple(w for p in taken for w in p.words)
    return Phrase(
        words,
        taken[0].start,
        taken[-1].end,
        parts=tuple(taken) if len(taken) > 1 else (),
        synonyms=known.others[_folded(words)],
        quoted=taken[0].quoted,
    )
