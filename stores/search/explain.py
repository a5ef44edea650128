"""Says why a hit was found, in the same words for every store: which words of its texts matched
which of the query, how, and what else its score is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from stores.search.boost_by import Step
from stores.search.edit_distance import allowed, distance
from stores.search.elasticsearch.folding import composed, fold
from stores.search.highlight import Matcher
from stores.search.query_text import Phrase
from stores.search.runs import bare
from stores.search.twins import twin_converter

MOST_MATCHES = 50
_LOOKED_AT = 20_000


class How(StrEnum):
    """The ways in which a word matches, the nearest first."""

    EXACT = "EXACT"
    """The word is as it is written, but for case."""
    FOLDED = "FOLDED"
    """Without its accents."""
    BEGINNING = "BEGINNING"
    """It begins so."""
    SYNONYM = "SYNONYM"
    STEMMED = "STEMMED"
    """Another form of the word."""
    FORGIVEN = "FORGIVEN"
    """A word near it."""


def matched(value: Any, matcher: Matcher) -> list[str]:
    """Return the words of a text, or of a list of texts, that the store marks, each once."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    found: dict[str, None] = {}
    for text in texts:
        if isinstance(text, str):
            looked_at = text[:_LOOKED_AT]
            found |= {looked_at[a:b]: None for a, b in matcher(looked_at)}
    return list(found)[:MOST_MATCHES]


def explanation(
    words: Mapping[str, Sequence[str]],
    phrases: Sequence[Phrase],
    forgiven: Collection[str],
    *,
    whole: Iterable[str],
    boost: float,
) -> dict[str, Any]:
    """`words`: by property, the words of the hit that matched. `whole`: the properties that are all
    of the query's text. `boost`: what `boostBy` adds to the score."""
    typed = [p for q in phrases for p in q.as_typed() if not p.excluded]
    synonyms = {fold(w) for q in phrases for p in q.by_synonym() for w in p.words}
    matches = [
        {"field": name, **_match(found, typed, synonyms, forgiven)}
        for name, some in words.items()
        for found in some
    ]
    return {"matches": matches, "whole": list(whole), "boost": round(boost, 6)}


def _match(
    found: str, typed: Sequence[Phrase], synonyms: Collection[str], forgiven: Collection[str]
) -> dict[str, Any]:
    """Return how the found word matches the typed one that it is nearest to."""
    ways: list[tuple[int, int, str, How]] = []
    order = list(How)
    for phrase in typed:
        for word in ("".join(phrase.words),) if phrase.run else phrase.words:
            how, apart = _way(found, word, phrase, forgiven)
            if how is not None:
                ways.append((order.index(how), apart, word, how))
    if ways:
        _, apart, word, how = min(ways)
        if how is not How.STEMMED or fold(found) not in synonyms:
            known = {"found": found, "word": word, "how": str(how)}
            return known | ({"distance": apart} if how is How.FORGIVEN else {})
    return {"found": found, "word": None, "how": str(How.SYNONYM)}


def _way(
    found: str, word: str, phrase: Phrase, forgiven: Collection[str]
) -> tuple[How | None, int]:
    if composed(found).casefold() == composed(word).casefold():
        return How.EXACT, 0
    here, there = fold(bare(found)), fold(bare(word))
    if here == there:
        return How.FOLDED, 0
    if phrase.beginning and here.startswith(there):
        return How.BEGINNING, 0
    if word in forgiven:
        limit = allowed(there)
        apart = distance(there, here, limit)
        # A stem may be nearer than the word is.
        return How.FORGIVEN, min(apart, limit)
    # Forms of one word begin alike.
    return (How.STEMMED, 0) if here[:2] == there[:2] else (None, 0)


def reached(steps: Sequence[Step], record: Mapping[str, Any]) -> float:
    """Return what `boostBy` adds to the score of a record."""
    if not steps:
        return 0.0
    prop = steps[0].field.prop
    value = record.get(prop.name)
    if value is None:
        return 0.0
    twin = twin_converter(prop)(value)
    return sum(step.weight for step in steps if twin >= step.bound)


def whole(text: str, fields: Iterable[tuple[str, bool]], record: Mapping[str, Any]) -> list[str]:
    """Return those of `fields` (name, whether letters count as they are) of which a value is all
    of the query's text."""
    wanted = composed(text).strip()
    found: list[str] = []
    for name, literally in fields:
        value = record.get(name)
        values = value if isinstance(value, list) else [value]
        texts = [composed(v) for v in values if isinstance(v, str)]
        if any(v == wanted if literally else fold(v) == fold(wanted) for v in texts):
            found.append(name)
    return found
