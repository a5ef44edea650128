"""Reads the text of a search box as words and phrases. There is no syntax to get wrong: double
quotes make a phrase, or one word exact, and everything else is words, cut as the store cuts them.
Where operators are asked for, `-word` must not be there and `name:word` is of one property."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from stores.errors import LimitError
from stores.search.runs import Cut, is_sign

MAX_CHARACTERS = 1000
MAX_WORDS = 32


_PIECE = re.compile(
    r'(?P<not>(?<!\S)-)?(?:(?P<name>[^\W\d]\w*):)?(?:"(?P<quoted>[^"]*)"|(?P<plain>[^\s"]+))'
)
"""One word or phrase with its operators. What matches nothing of it (a lone quote) says nothing."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that stand next to each other; a single word is a phrase of one. `start` and `end` are
    where it stands in the query text. By what the contract says of words (see vocabulary):
    `optional` need not match; of `parts`, where there are any, each must, wherever it stands;
    `synonyms` are found as well. `quoted` is never forgiven; `beginning`: its last word may be the
    beginning of one; `name`: the one property it is looked for in; `excluded` must not be there."""

    words: tuple[str, ...]
    start: int
    end: int
    optional: bool = False
    parts: tuple[Phrase, ...] = ()
    synonyms: tuple[tuple[str, ...], ...] = ()
    quoted: bool = False
    beginning: bool = False
    name: str = ""
    excluded: bool = False
    run: bool = False
    """The words are signs of a script without blanks (see runs), and one word to people."""

    def as_typed(self) -> tuple[Phrase, ...]:
        """Return the phrases that were typed, to be searched for as they are."""
        return self.parts or (self,)

    def by_synonym(self) -> tuple[Phrase, ...]:
        return tuple(Phrase(words, self.start, self.end) for words in self.synonyms)

    @property
    def plain(self) -> bool:
        """True where it says nothing but its words."""
        return not (self.name or self.excluded or self.beginning)

    @property
    def forgivable(self) -> str:
        """The word that may be misspelled; "" where there is none."""
        single = len(self.words) == 1 and not (self.quoted or self.excluded or self.run)
        return self.words[0] if single else ""


def parse(text: str, cut: Cut, *, operators: bool = False, prefix: bool = False) -> list[Phrase]:
    """The phrases of `text`, in order. A quote that is never closed is no quote. `prefix`: the last
    word, where nothing stands behind it, may be the beginning of one. Raises LimitError for more
    than MAX_CHARACTERS or MAX_WORDS."""
    if len(text) > MAX_CHARACTERS:
        raise LimitError(f"the query text has more than {MAX_CHARACTERS} characters")
    phrases = list(_with_operators(text, cut) if operators else _plain(text, cut))
    if sum(1 if p.run else len(p.words) for p in phrases) > MAX_WORDS:
        raise LimitError(f"the query text has more than {MAX_WORDS} words")
    if prefix and phrases and phrases[-1].end == len(text) and not phrases[-1].excluded:
        phrases[-1] = replace(phrases[-1], beginning=True)
    return phrases


def _plain(text: str, cut: Cut) -> Iterator[Phrase]:
    pieces = text.split('"')
    position = 0
    for number, piece in enumerate(pieces):
        # Every other piece is between quotes; the last one only if its quote was closed.
        yield from _phrases(piece, position, cut, number % 2 == 1 and number < len(pieces) - 1)
        position += len(piece) + 1


def _with_operators(text: str, cut: Cut) -> Iterator[Phrase]:
    for found in _PIECE.finditer(text):
        kind = "plain" if found["quoted"] is None else "quoted"
        name, excluded = found["name"] or "", found["not"] is not None
        piece, start = found[kind], found.start(kind)
        together = excluded or bool(name)
        for phrase in _phrases(piece, start, cut, kind == "quoted", together):
            yield replace(phrase, name=name, excluded=excluded)


def _phrases(
    piece: str, position: int, cut: Cut, quoted: bool, together: bool = False
) -> Iterator[Phrase]:
    """Yield the phrases of a piece of the text: one of all its words where it is in quotes or they
    belong `together`."""
    words = [(w, position + start, position + end) for w, start, end in cut(piece)]
    if (quoted or together) and words:
        joined = tuple(w for w, _, _ in words)
        run = all(is_sign(w) for w in joined) and "".join(joined) in piece
        yield Phrase(joined, words[0][1], words[-1][2], quoted=quoted, run=run)
        return
    signs: list[tuple[str, int, int]] = []
    for word in [*words, ("", -1, -1)]:
        if signs and not (is_sign(word[0]) and word[1] == signs[-1][2]):
            yield Phrase(tuple(w for w, _, _ in signs), signs[0][1], signs[-1][2], run=True)
            signs = []
        if is_sign(word[0]):
            signs.append(word)
        elif word[0]:
            yield Phrase((word[0],), word[1], word[2])
