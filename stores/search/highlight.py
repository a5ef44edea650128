"""Fragments of a text with `<em>` around what matched and everything else HTML-escaped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

Span = tuple[int, int]
"""Start and end of a match, in characters."""
Matcher = Callable[[str], list[Span]]
"""The matches in a text, in order, not overlapping."""

FRAGMENT_CHARACTERS = 200
MAX_FRAGMENTS = 3
MAX_LOOKED_AT = 20_000
"""Characters of a value (all elements of a list together) in which matches are looked for."""


def highlights(value: object, matcher: Matcher) -> list[str]:
    """Return up to MAX_FRAGMENTS fragments of a text or a list of texts. Of a list's elements
    those with the most matches come first; fragments of one text keep its order."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    found: list[tuple[int, str]] = []
    budget = MAX_LOOKED_AT
    for text in texts:
        if not isinstance(text, str) or budget <= 0:
            continue
        looked_at = text[:budget]
        budget -= len(looked_at)
        made = fragments(looked_at, matcher(looked_at))
        found.extend((fragment.count("<em>"), fragment) for fragment in made)
    if isinstance(value, list):
        found.sort(key=lambda f: -f[0])
    return list(dict.fromkeys(f for _, f in found))[:MAX_FRAGMENTS]


def fragments(text: str, spans: Sequence[Span]) -> list[str]:
    """Pieces of at most FRAGMENT_CHARACTERS (before markup), cut between words where one can."""
    made: list[str] = []
    place = 0
    while place < len(spans) and len(made) < MAX_FRAGMENTS:
        first = spans[place]
        start, end = _window(text, first)
        inside: list[Span] = []
        while place < len(spans) and spans[place][1] <= end:
            inside.append(spans[place])
            place += 1
        if not inside:  # a match longer than a fragment is shown up to the fragment's end
            inside = [(first[0], min(first[1], end))]
            place += 1
        made.append(_marked(text, start, end, inside))
    return made


def _window(text: str, match: Span) -> Span:
    if len(text) <= FRAGMENT_CHARACTERS:
        return 0, len(text)
    room = max(FRAGMENT_CHARACTERS - (match[1] - match[0]), 0)
    start = max(0, min(match[0] - room // 3, len(text) - FRAGMENT_CHARACTERS))
    end = min(start + FRAGMENT_CHARACTERS, len(text))
    if start > 0:
        space = text.find(" ", start, match[0])
        start = space + 1 if space >= 0 else start
    if end < len(text):
        space = text.rfind(" ", match[1], end)
        end = space if space >= 0 else end
    return start, end


def _marked(text: str, start: int, end: int, spans: Sequence[Span]) -> str:
    parts: list[str] = []
    place = start
    for begin, stop in spans:
        parts.append(escape(text[place:begin]))
        parts.append(f"<em>{escape(text[begin:stop])}</em>")
        place = stop
    parts.append(escape(text[place:end]))
    return "".join(parts)
