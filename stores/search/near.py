"""Words near a misspelled one: which spellings are tried, and how much each is worth.

Every search store ranks a forgiven match alike: by its distance first, then by what BM25 says of
it, and always below a match as typed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stores.query import Forgiven, SearchResult
from stores.search.edit_distance import distance
from stores.search.query_text import Phrase

BY_DISTANCE = {1: 0.34, 2: 0.16}
"""The worth of a forgiven match by its distance, of a match as typed in the least property, which
has at least 1."""
BY_FIRST_LETTER = 0.04
"""More for a word that begins alike: people rarely mistake the first letter."""
BY_WHOLE = 0.2
"""More for a value that is all of the corrected query text."""
BY_RANK = 0.10
"""At most what BM25 adds to it, less than the step between two distances."""
BM25_MOST = 2.2
"""The bound of a term's BM25, as a multiple of its rarity."""
MOST_SAID = 5
"""Near words that an answer names for one that was forgiven."""
MOST_WORDS = 50
"""Near words of a misspelled one that are ranked by more than their distance."""
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяёєіїґ",
    "αβγδεζηθικλμνξοπρςστυφχψω",
    "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي",
)


@dataclass(frozen=True, slots=True)
class Near:
    """A word of the index near a word that was typed; `held`: records that have it."""

    word: str
    apart: int
    held: int


def weight(typed: str, near: str, apart: int) -> float:
    """Return what a match of `near` is worth without BM25."""
    return BY_DISTANCE[apart] + (BY_FIRST_LETTER if near[:1] == typed[:1] else 0.0)


def ranked(typed: str, found: Iterable[tuple[str, int]], limit: int) -> list[Near]:
    """Return those of `found` (word, records) that are the fewest edits away, `limit` at most, the
    likeliest first, each once: those that begin alike, then by records."""
    best: dict[str, Near] = {}
    for word, held in found:
        apart = distance(typed, word, limit)
        if word and 0 < apart <= limit and held > 0:
            known = best.get(word)
            best[word] = Near(word, apart, max(held, known.held if known else 0))
    order = sorted(best.values(), key=lambda n: (n.apart, n.word[:1] != typed[:1], -n.held, n.word))
    return order[:MOST_WORDS]


def rarity(held: int, records: int) -> float:
    """BM25's inverse document frequency."""
    records = max(records, held)
    return math.log(1 + (records - held + 0.5) / (held + 0.5))


def rank_boost(near: Near, records: int) -> float:
    """The boost of a term query for a near word, by which it adds at most BY_RANK."""
    return BY_RANK / (BM25_MOST * rarity(near.held, records))


def alphabet(word: str) -> str:
    """Return the letters that may stand in for one of `word`'s; "" where its script is too
    large."""
    return next((a for a in _ALPHABETS if any(c in a for c in word)), "")


def one_edit(word: str, letters: str) -> Iterator[str]:
    """Yield every text one edit from `word`, some more than once."""
    for place in range(len(word) + 1):
        head, tail = word[:place], word[place:]
        if tail:
            yield head + tail[1:]
            for letter in letters:
                yield head + letter + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
        for letter in letters:
            yield head + letter + tail


def corrected(text: str, phrases: Sequence[Phrase], near: Mapping[str, Sequence[Near]]) -> str:
    """Return `text` with each word that has near ones replaced by the likeliest; "" where there is
    none."""
    found = text
    for phrase in reversed([p for q in phrases for p in q.as_typed()]):
        words = near.get(phrase.forgivable)
        if words:
            found = found[: phrase.start] + words[0].word + found[phrase.end :]
    return found if found != text else ""


def said(
    result: SearchResult,
    text: str,
    forgiven: Collection[str],
    phrases: Sequence[Phrase],
    near: Mapping[str, Sequence[Near]],
) -> SearchResult:
    """Return `result` with the words of `text` that were forgiven, in their order; of a search that
    found nothing there is nothing to say."""
    if not result.total or not forgiven:
        return result
    words = dict.fromkeys(p.forgivable for q in phrases for p in q.as_typed())
    return replace(
        result,
        forgiven=tuple(
            Forgiven(word, tuple(n.word for n in near.get(word, ())[:MOST_SAID]))
            for word in words
            if word in forgiven
        ),
        corrected=corrected(text, phrases, near),
    )
