"""Reads the text of a search box as words and phrases. There is no syntax to get wrong: double
quotes make a phrase, and everything else is words, cut as the store cuts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stores.errors import LimitError

MAX_CHARACTERS = 1000
MAX_WORDS = 32


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand next to each other; a single word is a phrase of one. `start` and `end` are
    where it stands in the query text. By what the contract says of words (see vocabulary): `optional` need not
    match; of `parts`, where there are any, each must, wherever it stands; `synonyms` are found as well."""

    words: tuple[str, ...]
    start: int
    end: int
    optional: bool = False
    parts: tuple[Phrase, ...] = ()
    synonyms: tuple[tuple[str, ...], ...] = ()

    def as_typed(self) -> tuple[Phrase, ...]:
        """Return the phrases that were typed, to be searched for as they are."""
        return self.parts or (self,)

    def by_synonym(self) -> tuple[Phrase, ...]:
        return tuple(Phrase(words, self.start, self.end) for words in self.synonyms)


Cut = Callable[[str], list[tuple[str, int, int]]]
"""A text's words, each with its start and end."""


def parse(text: str, cut: Cut) -> list[Phrase]:
    """The phrases of `text`, in order. A quote that is never closed is no quote. Raises LimitError
    for more than MAX_CHARACTERS or MAX_WORDS."""
    if len(text) > MAX_CHARACTERS:
        raise LimitError(f"the query text has more than {MAX_CHARACTERS} characters")
    phrases: list[Phrase] = []
    pieces = text.split('"')
    position = 0
    for number, piece in enumerate(pieces):
        words = [(w, position + start, position + end) for w, start, end in cut(piece)]
        position += len(piece) + 1
        # Every other piece is between quotes; the last one only if its quote was closed.
        if number % 2 and number < len(pieces) - 1 and words:
            joined = tuple(w for w, _, _ in words)
            phrases.append(Phrase(joined, words[0][1], words[-1][2]))
        else:
            phrases += [Phrase((w,), start, end) for w, start, end in words]
    if sum(len(p.words) for p in phrases) > MAX_WORDS:
        raise LimitError(f"the query text has more than {MAX_WORDS} words")
    return phrases
