"""Texts as they are sent to the index: accents on their letters, words apart, and the folded whole
of a value.

The whole is folded here and not by the server, so that what is asked for and what was stored always
agree.
"""

from __future__ import annotations

import re
import unicodedata

from stores.search.runs import cutting

_JOINERS = re.compile("[.:,;'’‘_·․‧︓︰﹍-﹏＇，．：；＿‿⁀⁔…]")
"""Characters inside which Unicode's word rule (UAX #29: MidLetter, MidNum, MidNumLet, ExtendNumLet)
does not cut; people do."""
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
"""Unicode's blocks of combining marks; a script's own vowel signs stay."""
_PARTS = {
    "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t",
    "ı": "i", "ŋ": "n", "ĸ": "q", "ʻ": "'", "ʼ": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
    "–": "-", "—": "-", "‐": "-", "‑": "-",
}  # fmt: skip
_FOLDS = str.maketrans(_PARTS)


def composed(text: str) -> str:
    """Each accent that is a character of its own put on its letter (Unicode NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def spaced(text: str) -> str:
    """A composed text with a blank, of the same length, for each character that would join
    words."""
    return _JOINERS.sub(" ", text)


def fold(text: str) -> str:
    """The whole text in lower case without accents."""
    if text.isascii():
        return text.lower()
    bare = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    return bare if bare.isascii() else unicodedata.normalize("NFC", bare.translate(_FOLDS))


_WORD = re.compile(r"[^\s!\"#$%&()*+\-/<=>?@\[\\\]^`{|}~]+")


def _cut(text: str) -> list[tuple[str, int, int]]:
    """The words of a composed query text, each with its start and end. The index may cut them
    further."""
    found = _WORD.finditer(spaced(text))
    return [(m[0], m.start(), m.end()) for m in found if any(c.isalnum() for c in m[0])]


cut = cutting(_cut)
