"""Letters without case and accents, as filters that ignore both compare them. Pure.

The meaning is a table of characters, so every store compares alike whatever its collation: each
character has the letters that it is taken for ("É" is "e", "ß" is "ss", "ø" is "o"). A mark that
stands behind a letter of its script is ignored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

Ranges = tuple[tuple[int, int], ...]

_TABLED = (
    (0x41, 0x24FF), (0x2C00, 0x2DFF), (0xA640, 0xABFF), (0xF900, 0xFFEF), (0x10400, 0x105FF),
    (0x10C80, 0x10CFF), (0x118A0, 0x118DF), (0x16E40, 0x16E7F), (0x1E900, 0x1E943),
)  # fmt: skip
"""The blocks of characters with case or accents."""
_LATIN_MARKS: Ranges = ((0x300, 0x36F),)
_HEBREW_MARKS: Ranges = (
    (0x591, 0x5BD),
    (0x5BF, 0x5BF),
    (0x5C1, 0x5C2),
    (0x5C4, 0x5C5),
    (0x5C7, 0x5C7),
)
_ARABIC_MARKS: Ranges = (
    (0x610, 0x61A),
    (0x640, 0x640),
    (0x64B, 0x65F),
    (0x670, 0x670),
    (0x6D6, 0x6DC),
)
_SCRIPTS: tuple[tuple[Ranges, Ranges], ...] = (
    (((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x52F), (0x1E00, 0x1FFF)), _LATIN_MARKS),
    (((0x5D0, 0x5EA),), _HEBREW_MARKS),
    (((0x620, 0x64A), (0x66E, 0x6D3)), _ARABIC_MARKS),
)
"""Letters, and the marks that are ignored behind them."""
_LETTERS = {
    "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t",
    "ı": "i", "ŋ": "n",
}  # fmt: skip
"""Letters with a stroke or a form of their own, which Unicode does not take apart."""


def _is_mark(char: str) -> bool:
    code = ord(char)
    return any(a <= code <= b for _, marks in _SCRIPTS for a, b in marks)


def _bare(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", text) if not _is_mark(c))


@cache
def folded_letter(char: str) -> str:
    """Return the letters that `char` is taken for; itself where it has neither case nor accents."""
    if char.isascii():
        return char.lower()
    if "\uac00" <= char <= "\ud7a3" or _is_mark(char):
        return char
    bare = _bare(_bare(char).casefold())
    found = "".join(_LETTERS.get(c, c) for c in bare)
    if not found or len(found) > 3 or any(unicodedata.combining(c) for c in found):
        return char  # a Japanese or Indic sign is more than its base
    return found


@cache
def _table() -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """Return, by what characters are taken for, which do; and the beginnings of what is longer."""
    found: dict[str, list[int]] = {}
    for low, high in _TABLED:
        for code in range(low, high + 1):
            letter = folded_letter(chr(code))
            if letter != chr(code):
                found.setdefault(letter, []).append(code)
    return {k: tuple(v) for k, v in found.items()}, frozenset(k[0] for k in found if len(k) > 1)


def taken_for(letters: str) -> Ranges:
    """Return the characters that are taken for `letters`: one letter, or two or three together."""
    others = _table()[0].get(letters, ())
    return ranges_of((*others, ord(letters)) if len(letters) == 1 else others)


def begins_several(letter: str) -> bool:
    """Return whether some character is taken for several letters of which `letter` is the first."""
    return letter in _table()[1]


def alike(ranges: Ranges) -> Ranges:
    """Return the characters that are taken for the same as one in `ranges`."""
    table = _table()[0]
    found = list(ranges)
    for letter, others in table.items():
        if len(letter) == 1 and any(_within(c, ranges) for c in (ord(letter), *others)):
            found += ((c, c) for c in (ord(letter), *others))
    return merged(found)


def marks_behind(ranges: Ranges) -> Ranges:
    """Return the marks that are ignored behind a character in `ranges`."""
    return merged(
        m
        for letters, marks in _SCRIPTS
        if any(a <= high and low <= b for low, high in ranges for a, b in letters)
        for m in marks
    )


def folded(text: str) -> str:
    """Return `text` as its letters are taken, without the marks that are ignored."""
    found: list[str] = []
    marks: Ranges = ()
    for char in text:
        if _within(ord(char), marks):
            continue
        found.append(folded_letter(char))
        marks = marks_behind(((ord(char), ord(char)),)) or marks_behind(
            tuple((ord(c), ord(c)) for c in found[-1])
        )
    return "".join(found)


def _within(code: int, ranges: Ranges) -> bool:
    return any(a <= code <= b for a, b in ranges)


def ranges_of(codes: Iterable[int]) -> Ranges:
    """Return the code points as ranges, in order."""
    return merged((c, c) for c in codes)


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the ranges in order, each as long as it can be."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)
