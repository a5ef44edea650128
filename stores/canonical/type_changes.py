"""Decides which changes of a column's type keep every value as it is. Pure; types as `format_type`
prints them."""

from __future__ import annotations

import re

_WHOLE = ("smallint", "integer", "bigint")
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}


def keeps_values(old: str, new: str) -> bool:
    """True where every value of `old` is one of `new`, printed the same."""
    (a, one), (b, two) = _split(old), _split(new)
    if old == new:
        return True
    if a in _WHOLE:
        if b in _WHOLE:
            return _WHOLE.index(b) >= _WHOLE.index(a)
        if b == "numeric":
            return not two or two[0] - (two[1] if len(two) > 1 else 0) >= _DIGITS[a]
        return b == "text"
    if (a, b) == ("real", "double precision"):
        return True
    if a == b == "numeric":
        if not two:
            return True
        if not one:
            return False
        (p1, s1), (p2, s2) = _precision(one), _precision(two)
        return s2 >= s1 and p2 - s2 >= p1 - s1
    if a == "character varying":
        return b == "text" or (b == a and (not two or (bool(one) and two[0] >= one[0])))
    if a == b and a.startswith(("timestamp", "time ")):
        return (two[0] if two else 6) >= (one[0] if one else 6)
    return b == "text" and a in ("uuid", "boolean", "date", "numeric")


def rewrites_table(old: str, new: str) -> bool:
    """Return whether Postgres writes the whole table anew for the change. In doubt, True."""
    (a, one), (b, two) = _split(old), _split(new)
    if a == "character varying" and b in ("text", a):
        return not keeps_values(old, new)
    if a == b == "numeric" and one and two:
        return not (_precision(one)[1] == _precision(two)[1] and two[0] >= one[0])
    return not (a == b == "numeric" and not two)


def _precision(modifiers: tuple[int, ...]) -> tuple[int, int]:
    return modifiers[0], modifiers[1] if len(modifiers) > 1 else 0


def _split(text: str) -> tuple[str, tuple[int, ...]]:
    match = re.search(r"\(([-\d,]+)\)", text)
    if not match:
        return text, ()
    base = text[: match.start()] + text[match.end() :]
    return base, tuple(int(n) for n in match.group(1).split(","))
