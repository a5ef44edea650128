"""Prepares texts whose words no blank divides, or whose marks people leave out. Pure.

Chinese, Japanese, Korean, Thai and Lao are written in runs without blanks, or with endings on their
words. Each sign of a run becomes a word, and what is typed of it is found where its signs stand
next to each other: any part of a run is found, and exactly. Hebrew points, Arabic vowel signs and
Thai tone marks are left out; final sigma, Greek vowels with a tonos and alef with hamza are the
plain letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Cut = Callable[[str], list[tuple[str, int, int]]]
"""A text's words, each with its start and end."""
Span = tuple[int, int]
Places = list[Span]
"""The place, by character, where what it is made of starts and ends."""

_RUN = (
    "\u0e01-\u0e46\u0e4d\u0e81-\u0ec6\u0ecd\u0edc-\u0edf"  # Thai, Lao
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7af\ud7b0-\ud7ff"  # Hangul
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"  # kana
    "\u31f0-\u31ff\uff66-\uff9f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_BEHIND = "\u0e31\u0e34-\u0e3a\u0e4d\u0eb1\u0eb4-\u0ebc\u0ecd\u3099\u309a"
"""Vowel signs that are part of the letter before them."""
_DROPPED = (
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew points
    "\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    "\u0e47-\u0e4c\u0e4e\u0ec8-\u0ecc"  # tones
)
_PLAIN = dict(
    zip("ςάέήίόύώϊϋΐΰΆΈΉΊΌΎΏΪΫأإآٱ", "σαεηιουωιυιυΑΕΗΙΟΥΩΙΥاااا", strict=True)
)  # fmt: skip
_PLAINLY = str.maketrans(_PLAIN)
_SPECIAL = re.compile(f"[{_RUN}{_DROPPED}{''.join(_PLAIN)}]")
_PIECE = re.compile(
    f"(?P<dropped>[{_DROPPED}]+)|(?P<sign>[{_RUN}](?:[{_DROPPED}]*[{_BEHIND}])*[{_DROPPED}]*)"
    "|(?P<other>.)",
    re.DOTALL,
)
_IS_SIGN = re.compile(f"[{_RUN}][{_BEHIND}]*")
_MARK = re.compile(f"[{_DROPPED}]")


def is_sign(word: str) -> bool:
    """Return whether a word is a sign of a run."""
    return _IS_SIGN.fullmatch(word) is not None


def bare(text: str) -> str:
    """Return the text without the marks that are left out."""
    return _MARK.sub("", text).translate(_PLAINLY)


def spread(text: str) -> str:
    """Return the text with blanks around each sign of a run, and without marks."""
    return text if text.isascii() or not _SPECIAL.search(text) else spread_from(text)[0]


def spread_from(text: str) -> tuple[str, Places]:
    """Return the text as `spread` does, and where each of its characters stands in `text`."""
    if text.isascii() or not _SPECIAL.search(text):
        return text, [(n, n + 1) for n in range(len(text))]
    parts: list[str] = []
    places: Places = []
    for found in _PIECE.finditer(text):
        start, end = found.span()
        if found["other"] is not None:
            parts.append(_PLAIN.get(found[0], found[0]))
            places.append((start, end))
        elif found["sign"] is not None:
            sign = _MARK.sub("", found[0])
            parts.append(f" {sign} ")
            places += [(start, start), *([(start, end)] * len(sign)), (end, end)]
        elif places:
            places[-1] = (places[-1][0], end)  # a mark is shown with the letter before it
    return "".join(parts), places


def original(spans: list[Span], wide: str, places: Places) -> list[Span]:
    """Return spans of the text `wide`, which was spread, as those of the text before; signs that
    stand next to each other are one."""
    found: list[Span] = []
    joins = False
    for start, end in spans:
        begin, stop = places[start][0], places[end - 1][1]
        sign = is_sign(wide[start:end])
        if sign and joins and found[-1][1] == begin:
            found[-1] = (found[-1][0], stop)
        else:
            found.append((begin, stop))
        joins = sign
    return found


def cutting(cut: Cut) -> Cut:
    """Return `cut` for texts that are spread first; words stand where they do in the text given."""

    def cut_text(text: str) -> list[tuple[str, int, int]]:
        if text.isascii() or not _SPECIAL.search(text):
            return cut(text)
        wide, places = spread_from(text)
        return [(w, places[start][0], places[end - 1][1]) for w, start, end in cut(wide)]

    return cut_text
