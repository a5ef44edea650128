"""Checks that Python and Postgres take a regular expression and give it the same meaning. Pure.

A pattern is checked where it is written (Python) and where it is kept (Postgres), so only the
common part of the two languages is let through:
https://www.postgresql.org/docs/current/functions-matching.html#POSIX-SYNTAX-DETAILS One difference
stays: at a line break `.` matches in Postgres only, and `$` before a last one in Python only.
"""

from __future__ import annotations

import re
import warnings

MAX_LENGTH = 1000
MAX_REPEATS = 255
"""Postgres' own limit (RE_DUP_MAX)."""

_CLASSES = frozenset("dwsDWS")
_CONTROLS = frozenset("nrtfv")
_REPEAT = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_GROUPS = {
    "?<=": "looks behind",
    "?<!": "looks behind",
    "?<": "has a named group",
    "?P": "has a named group",
    "?>": "has an atomic group",
    "?(": "has a condition",
    "?#": "has a comment",
}


def regex_problem(pattern: str) -> str:
    """Return why the pattern cannot be used, or an empty string."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if "\x00" in pattern:
        return "has a NUL"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return f"does not compile: {error}"
    return _Scan(pattern).problem()


class _Scan:
    """A single pass over a pattern that Python has compiled."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def problem(self) -> str:
        groups: list[bool] = []
        repeatable = False  # whether what stands before can be, in both languages
        while self.at < len(self.pattern):
            char = self.pattern[self.at]
            found = ""
            if char == "\\":
                found, repeatable = self._escape(), True
            elif char == "[":
                found, repeatable = self._class(), True
            elif char == "(":
                self.at += 1
                kind = self.pattern[self.at : self.at + 2]
                if kind.startswith("?") and kind not in ("?:", "?=", "?!"):
                    return self._group()
                groups.append(kind in ("?=", "?!"))
                self.at += 2 if kind.startswith("?") else 0
                repeatable = False
            elif char == ")":
                self.at += 1
                repeatable = not groups.pop()
            elif char in "*+?{":
                if not repeatable:
                    return "has a repetition with nothing to repeat"
                found, repeatable = self._repeat(), False
            else:
                self.at += 1
                repeatable = char not in "^$|"
            if found:
                return found
        return ""

    def _group(self) -> str:
        rest = self.pattern[self.at :]
        for start, problem in _GROUPS.items():
            if rest.startswith(start):
                return problem
        return "has inline flags"

    def _escape(self) -> str:
        char = self.pattern[self.at + 1]
        self.at += 2
        if char in _CLASSES or char in _CONTROLS:
            return ""
        if char == "u":
            self.at += 4
            return "has a NUL" if self.pattern[self.at - 4 : self.at] == "0000" else ""
        if char.isdigit():
            return "has a back-reference"
        if char in "bB":
            return f"has \\{char}, which is not a word boundary in Postgres"
        if char.isalnum() or not char.isascii():
            return f"has \\{char}, which Python and Postgres read differently"
        return ""

    def _class(self) -> str:
        self.at += 1
        if self.pattern[self.at] == "^":
            self.at += 1
        first = True
        while self.pattern[self.at] != "]" or first:
            first = False
            char = self.pattern[self.at]
            if char == "\\":
                if problem := self._escape():
                    return problem
                continue
            if char == "[":
                return "has an unescaped [ inside a class"
            self.at += 1
        self.at += 1
        return ""

    def _repeat(self) -> str:
        if self.pattern[self.at] == "{":
            match = _REPEAT.match(self.pattern, self.at)
            if match is None:
                return "has a { that does not start a repetition: write \\{"
            if any(n and int(n) > MAX_REPEATS for n in match.groups()):
                return f"repeats more than {MAX_REPEATS} times, Postgres' limit"
            self.at = match.end()
        else:
            self.at += 1
        following = self.pattern[self.at : self.at + 1]
        if following == "+":
            return "is possessive"
        if following == "?":
            self.at += 1
        return ""
