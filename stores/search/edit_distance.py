"""The edit distance of two words, as fuzzy queries count it."""

from __future__ import annotations

LONGEST = 60
"""Characters of a word that may be misspelled: automata of longer ones are too large."""


def allowed(word: str, shortest: int = 3) -> int:
    """The edits forgiven in a word: none below `shortest` or above LONGEST characters, 2 from 8 on,
    else 1. A number has none: 2001 is another year than 2000."""
    if word.isdigit() or not max(shortest, 3) <= len(word) <= LONGEST:
        return 0
    return 1 if len(word) < 8 else 2


def within(a: str, b: str, limit: int) -> bool:
    """Return whether at most `limit` insertions, deletions, replacements or swaps of neighbours
    make `a` into `b` (optimal string alignment)."""
    return distance(a, b, limit) <= limit


def distance(a: str, b: str, limit: int) -> int:
    """The number of edits, or any number above `limit` where it is more."""
    if a == b:
        return 0
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        current = [i]
        for j, other in enumerate(b, 1):
            cost = char != other
            best = min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + cost)
            if i > 1 and j > 1 and char == b[j - 2] and a[i - 2] == other:
                best = min(best, before[j - 2] + 1)
            current.append(best)
        if min(current) > limit:
            return limit + 1
        before, previous = previous, current
    return previous[-1]
