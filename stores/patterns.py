"""Patterns of texts that every store reads alike: one small language, written for each store anew.

What a caller writes is never handed to a store. It is read here, bounded, and written in the
store's own syntax. A pattern is looked for anywhere in a text; `^` at its start and `$` at its
end hold it there. There are no back-references and nothing that looks around, so each store can
match in time that grows with the text alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from stores.errors import InputError
from stores.folding import (
    Ranges,
    alike,
    begins_several,
    folded,
    marks_behind,
    merged,
    taken_for,
)
from stores.query import Op

MAX_PATTERN = 200
"""Characters of a pattern, and of a text that is compared without case."""
MAX_POSITIONS = 200
"""Characters that a pattern can be, with its repetitions written out."""
MAX_STATES = 500
"""States of the automaton without choices. Some short patterns have more than could be made."""
MAX_NESTED = 20
MAX_WAYS = 32
"""Most ways of reading a run of letters of which several are one character (ss as ß)."""

EVERY: Ranges = ((1, 0xD7FF), (0xE000, 0x10FFFF))


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of `ranges`."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Seq:
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`part`, from `least` to `most` times; None: any number."""

    part: Part
    least: int
    most: int | None


Part: TypeAlias = "Chars | Seq | Alt | Repeat"


@dataclass(frozen=True, slots=True)
class Pattern:
    """`part`, at the start or the end of the text where these are True."""

    part: Part
    start: bool
    end: bool

    @property
    def weight(self) -> int:
        """The size of the automaton of bytes that is made of it, about in its states."""
        return _weight(self.part)


IGNORING_CASE = {
    Op.EQ_IGNORE_CASE: (True, True),
    Op.STARTS_WITH_IGNORE_CASE: (True, False),
    Op.ENDS_WITH_IGNORE_CASE: (False, True),
    Op.CONTAINS_IGNORE_CASE: (False, False),
}
"""True, True where what is compared stands at the start and at the end of the text."""
REGULAR = (Op.MATCHES, Op.MATCHES_IGNORE_CASE)
PATTERNS = frozenset((*IGNORING_CASE, *REGULAR))
"""Comparisons that are made by a pattern."""


@lru_cache(maxsize=512)
def pattern_of(op: Op, operand: str) -> Pattern:
    """Return the pattern that texts have for which the comparison holds. Raise InputError."""
    if len(operand) > MAX_PATTERN:
        raise InputError(f"{op.value} takes at most {MAX_PATTERN} characters")
    if op in IGNORING_CASE:
        return Pattern(_ignoring_case(operand), *IGNORING_CASE[op])
    return _Reader(operand, op is Op.MATCHES_IGNORE_CASE).pattern()


def _ignoring_case(operand: str) -> Part:
    letters = folded(operand)
    parts: list[Part] = []
    at = 0
    while at < len(letters):
        if begins_several(letters[at]) and (several := _tiled(letters, at)) is not None:
            part, at = several
            parts.append(part)
            continue
        parts += _letter(taken_for(letters[at]))
        at += 1
    return Seq(tuple(parts))


def _letter(ranges: Ranges) -> list[Part]:
    marks = marks_behind(ranges)
    return [Chars(ranges), Repeat(Chars(marks), 0, None)] if marks else [Chars(ranges)]


def _tiled(letters: str, start: int) -> tuple[Part, int] | None:
    """Return the ways of reading the run of letters at `start`, and where it ends; None where no
    character is taken for several of them."""
    end = start + 1
    at = start
    while at < end:
        for length in (2, 3):
            if at + length <= len(letters) and taken_for(letters[at : at + length]):
                end = max(end, at + length)
        at += 1
    if end == start + 1:
        return None
    ways: list[tuple[int, tuple[Part, ...]]] = [(start, ())]
    whole: list[Part] = []
    while ways and len(whole) < MAX_WAYS:
        at, parts = ways.pop()
        if at == end:
            whole.append(Seq(parts))
            continue
        for length in (3, 2, 1):
            read = taken_for(letters[at : at + length]) if at + length <= end else ()
            if read:
                ways.append((at + length, (*parts, *_letter(read))))
    return Alt(tuple(whole)), end


# Reading ------------------------------------------------------------------------------------------

_DIGITS: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_SPECIAL = frozenset("*+?{}()[]|^$")


def _complement(ranges: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for low, high in EVERY:
        at = low
        for a, b in ranges:
            if b < at or a > high:
                continue
            if a > at:
                found.append((at, a - 1))
            at = b + 1
        if at <= high:
            found.append((at, high))
    return tuple(found)


class _Reader:
    """Reads one pattern. Raises InputError."""

    def __init__(self, text: str, ignore_case: bool) -> None:
        self.text = text
        self.ignore_case = ignore_case
        self.at = 0

    def pattern(self) -> Pattern:
        start = self._take("^")
        end = (
            self.text.endswith("$") and (len(self.text) - len(self.text[:-1].rstrip("\\"))) % 2 == 1
        )
        if end:
            self.text = self.text[:-1]
        part = self._alternatives(0)
        if self.at < len(self.text):
            raise self._wrong("a ) without its (")
        if (start or end) and isinstance(part, Alt):
            raise self._wrong("^ or $ beside alternatives: put these in parentheses")
        if _positions(part) > MAX_POSITIONS:
            raise self._wrong(f"more than {MAX_POSITIONS} characters, with its repetitions")
        if not _few_states(part, start):
            raise self._wrong(f"more than {MAX_STATES} states: it can be read in too many ways")
        return Pattern(part, start, end)

    def _wrong(self, what: str) -> InputError:
        return InputError(
            f"the pattern has {what}",
            hint=r"it may have . [a-z] [^a-z] \d \w \s ( ) | * + ? {2,5}, ^ at its start, $ at its"
            r" end; \ before any other sign makes it plain",
        )

    def _take(self, sign: str) -> bool:
        if self.text.startswith(sign, self.at):
            self.at += len(sign)
            return True
        return False

    def _alternatives(self, depth: int) -> Part:
        if depth > MAX_NESTED:
            raise self._wrong(f"more than {MAX_NESTED} parentheses inside each other")
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Alt(tuple(parts))

    def _sequence(self, depth: int) -> Part:
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            parts.append(self._repeated(self._one(depth)))
        return Seq(tuple(parts))

    def _one(self, depth: int) -> Part:
        sign = self.text[self.at]
        if self._take("("):
            if self._take("?") and not self._take(":"):
                raise self._wrong("a group that is none: only ( and (?: open one")
            part = self._alternatives(depth + 1)
            if not self._take(")"):
                raise self._wrong("a ( without its )")
            return Seq((part,))
        if sign == "[":
            return self._letter(self._class())
        self.at += 1
        if sign == ".":
            return Chars(EVERY)
        if sign == "\\":
            return self._letter(self._escaped())
        if sign in _SPECIAL:
            raise self._wrong(
                f"a {sign} where it means nothing: write \\{sign} for the sign itself"
            )
        return self._letter(self._folded(((ord(sign), ord(sign)),)))

    def _letter(self, ranges: Ranges) -> Part:
        if not ranges:
            raise self._wrong("a class without characters")
        if not self.ignore_case:
            return Chars(ranges)
        found = _letter(ranges)
        return found[0] if len(found) == 1 else Seq(tuple(found))

    def _folded(self, ranges: Ranges) -> Ranges:
        return alike(ranges) if self.ignore_case else ranges

    def _escaped(self) -> Ranges:
        if self.at >= len(self.text):
            raise self._wrong("a \\ at its end")
        sign = self.text[self.at]
        self.at += 1
        if sign.lower() in _CLASSES:
            found = self._folded(_CLASSES[sign.lower()])
            return found if sign.islower() else _complement(found)
        if sign in _CONTROLS:
            sign = _CONTROLS[sign]
        elif sign.isalnum():
            raise self._wrong(f"\\{sign}, which means nothing here")
        return self._folded(((ord(sign), ord(sign)),))

    def _class(self) -> Ranges:
        self.at += 1
        negated = self._take("^")
        found: list[tuple[int, int]] = []
        while not self._take("]"):
            low = self._in_class()
            if len(low) == 1 and low[0][0] == low[0][1] and self._is_range():
                self.at += 1
                high = self._in_class()
                if len(high) != 1 or high[0][0] != high[0][1] or high[0][0] < low[0][0]:
                    raise self._wrong("a range that ends before it begins")
                low = ((low[0][0], high[0][0]),)
            found += low
        if not found:
            raise self._wrong("a class without characters")
        ranges = self._folded(merged(found))
        return _complement(ranges) if negated else ranges

    def _is_range(self) -> bool:
        return (
            self.text[self.at : self.at + 1] == "-" and self.text[self.at + 1 : self.at + 2] != "]"
        )

    def _in_class(self) -> Ranges:
        if self.at >= len(self.text):
            raise self._wrong("a [ without its ]")
        if self._take("\\"):
            return self._escaped()
        sign = self.text[self.at]
        if sign == "[":
            raise self._wrong("a [ inside a class: write \\[ for the sign itself")
        self.at += 1
        return ((ord(sign), ord(sign)),)

    def _repeated(self, part: Part) -> Part:
        sign = self.text[self.at : self.at + 1]
        if sign not in ("*", "+", "?", "{"):
            return part
        self.at += 1
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(sign) or self._counted()
        if self.text[self.at : self.at + 1] in ("*", "+", "?", "{"):
            raise self._wrong("a repetition of a repetition: put it in parentheses")
        found = Repeat(part, least, most)
        if _positions(found) > MAX_POSITIONS:
            raise self._wrong(f"more than {MAX_POSITIONS} characters, with its repetitions")
        return found

    def _counted(self) -> tuple[int, int | None]:
        inside, closed, _ = self.text[self.at :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _is_count(low) or (high and not _is_count(high)):
            raise self._wrong("a { that is no repetition: {2}, {2,} or {2,5}")
        self.at += len(inside) + 1
        least = int(low)
        most = int(high) if high else (None if comma else least)
        if most is not None and most < max(least, 1):
            raise self._wrong("a repetition that ends before it begins")
        return least, most


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3


def _positions(part: Part) -> int:
    match part:
        case Chars():
            return 1
        case Seq(parts=parts) | Alt(parts=parts):
            return sum(_positions(p) for p in parts) + 1
        case Repeat(part=inner, least=least, most=most):
            return _positions(inner) * max(least + 1 if most is None else most, 1)


def _weight(part: Part) -> int:
    match part:
        case Chars(ranges=ranges):
            return 1 if ranges[-1][1] < 0x80 else 3
        case Seq(parts=parts) | Alt(parts=parts):
            return sum(_weight(p) for p in parts)
        case Repeat(part=Chars(ranges=((low, _), *_)), least=0, most=None) if low >= 0x300:
            return 1  # marks
        case Repeat(part=inner, least=least, most=most):
            return _weight(inner) * max(least + 1 if most is None else most, 1)


class _Automaton:
    """The positions of a pattern, each a character that is read, and which can follow which, as
    sets of bits (Glushkov's construction)."""

    def __init__(self) -> None:
        self.chars: list[Ranges] = []
        self.follow: list[int] = []

    def add(self, part: Part) -> tuple[bool, int, int]:
        """Return whether `part` can be empty, and where it can begin and end."""
        match part:
            case Chars(ranges=ranges):
                self.chars.append(ranges)
                self.follow.append(0)
                here = 1 << (len(self.chars) - 1)
                return False, here, here
            case Seq(parts=parts):
                return self._one_after_another(self.add(p) for p in parts)
            case Alt(parts=parts):
                ways = [self.add(p) for p in parts]
                first = last = 0
                for _, begin, stop in ways:
                    first, last = first | begin, last | stop
                return any(empty for empty, _, _ in ways), first, last
            case Repeat(part=inner, least=least, most=most):
                optional = 1 if most is None else most - least
                copies = (
                    self._copy(inner, must=at < least, again=most is None and at == least)
                    for at in range(least + optional)
                )
                return self._one_after_another(copies)

    def _copy(self, part: Part, *, must: bool, again: bool) -> tuple[bool, int, int]:
        empty, first, last = self.add(part)
        if again:
            self._link(last, first)
        return empty or not must, first, last

    def _one_after_another(self, parts: Iterable[tuple[bool, int, int]]) -> tuple[bool, int, int]:
        empty, first, last = True, 0, 0
        for can_be_empty, begin, stop in parts:
            self._link(last, begin)
            first |= begin if empty else 0
            last = stop | (last if can_be_empty else 0)
            empty = empty and can_be_empty
        return empty, first, last

    def _link(self, before: int, after: int) -> None:
        for at in _bits(before):
            self.follow[at] |= after


def _bits(bits: int) -> Iterator[int]:
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1


def _few_states(part: Part, start: bool) -> bool:
    """Return whether the pattern's automaton without choices has at most MAX_STATES states."""
    automaton = _Automaton()
    _, first, _ = automaton.add(part)
    edges = {code for ranges in automaton.chars for a, b in ranges for code in (a, b + 1)}
    kinds = {
        sum(
            1 << at
            for at, ranges in enumerate(automaton.chars)
            if any(a <= code <= b for a, b in ranges)
        )
        for code in edges
    }
    seen = {0}
    waiting = [first]
    # Of what is held at the start, the beginning is open for the first character only.
    begin = 0 if start else first
    while waiting:
        ahead = waiting.pop()
        for kind in kinds:
            read = ahead & kind
            if read not in seen:
                if len(seen) == MAX_STATES:
                    return False
                seen.add(read)
                following = begin
                for at in _bits(read):
                    following |= automaton.follow[at]
                waiting.append(following)
    return True


# Writing ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Syntax:
    """The way in which a store writes a pattern: `group` opens a group, `any` is any character,
    `code` a character that is no ASCII letter or digit."""

    group: str
    any: str
    code: dict[str, str]
    """Formats of a code point: below U+10000, and from there on."""

    def char(self, code: int) -> str:
        char = chr(code)
        if char.isascii() and char.isalnum():
            return char
        kind = "ascii" if char.isascii() and "ascii" in self.code else "short"
        return self.code[kind if code < 0x10000 else "long"].format(char=char, code=code)

    def span(self, low: int, high: int) -> str:
        """Return a range inside a class."""
        if low == high:
            return self.char(low)
        if "ascii" in self.code:
            # Lucene takes an escaped sign for no end of a range, and needs few to be escaped.
            if chr(low) in "[]^-\\":
                return self.char(low) + self.span(low + 1, high)
            if chr(high) in "[]^-\\":
                return self.span(low, high - 1) + self.char(high)
            return f"{chr(low)}-{chr(high)}"
        return f"{self.char(low)}-{self.char(high)}"

    def write(self, part: Part) -> str:
        match part:
            case Chars(ranges=ranges) if ranges == EVERY:
                return self.any
            case Chars(ranges=((low, high),)) if low == high:
                return self.char(low)
            case Chars(ranges=ranges):
                return f"[{''.join(self.span(a, b) for a, b in ranges)}]"
            case Seq(parts=parts):
                return "".join(
                    f"{self.group}{self.write(p)})" if isinstance(p, Alt) else self.write(p)
                    for p in parts
                )
            case Alt(parts=parts):
                return "|".join(self.write(p) or f"{self.group})" for p in parts)
            case Repeat(part=inner, least=least, most=most):
                counts = {(0, None): "*", (1, None): "+", (0, 1): "?"}
                times = counts.get((least, most))
                if times is None:
                    top = "" if most is None else str(most)
                    times = f"{{{least}}}" if least == most else f"{{{least},{top}}}"
                body = self.write(inner)
                return (
                    f"{body}{times}" if isinstance(inner, Chars) else f"{self.group}{body}){times}"
                )

    def whole(self, pattern: Pattern, before: str, after: str) -> str:
        """Return the pattern for a whole text: `before` and `after` where it is not held there."""
        body = f"{self.group}{self.write(pattern.part)})"
        return f"{'' if pattern.start else before}{body}{'' if pattern.end else after}"


POSTGRES = Syntax("(?:", ".", {"short": "\\u{code:04x}", "long": "\\U{code:08x}"})
RUST = Syntax("(?:", "(?s:.)", {"short": "\\x{{{code:x}}}", "long": "\\x{{{code:x}}}"})
LUCENE = Syntax("(", ".", {"ascii": "\\{char}", "short": "{char}", "long": "{char}"})
PYTHON = Syntax("(?:", "(?s:.)", {"short": "\\u{code:04x}", "long": "\\U{code:08x}"})


@lru_cache(maxsize=512)
def for_postgres(pattern: Pattern) -> str:
    """Return the pattern for `~`."""
    body = f"(?:{POSTGRES.write(pattern.part)})"
    return f"{'^' if pattern.start else ''}{body}{'$' if pattern.end else ''}"
