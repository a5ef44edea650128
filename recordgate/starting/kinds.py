"""Finds the type of a column's texts, among the forms that the import takes and that lose nothing.
Pure.

A number with a leading zero is a text (a code), a time stamp with a zone is another one than
without.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec
import pyarrow as pa

from stores.canonical.importing.arrow import compute as pc


class Kind(StrEnum):
    BOOLEAN = "true or false"
    INTEGER = "a whole number"
    NUMBER = "a number"
    DATE = "a date"
    TIMESTAMP = "a time stamp with its zone"
    LOCAL = "a time stamp without a zone"
    TIME = "a time of the day"
    UUID = "a UUID"
    JSON = "JSON"
    TEXT = "text"


_WHOLE = r"-?(0|[1-9][0-9]{0,37})"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
PATTERNS = {
    Kind.BOOLEAN: r"([tT]rue|TRUE|[fF]alse|FALSE|[tTfF])",
    Kind.INTEGER: _WHOLE,
    Kind.NUMBER: rf"({_WHOLE}(\.[0-9]*)?|-?\.[0-9]+)([eE][+-]?[0-9]{{1,3}})?",
    Kind.DATE: _DAY,
    Kind.TIMESTAMP: rf"{_DAY}[T ]{_CLOCK}(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)",
    Kind.LOCAL: rf"{_DAY}[T ]{_CLOCK}",
    Kind.TIME: _CLOCK,
    Kind.UUID: r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    Kind.JSON: r"\s*[\[{].*",
}
"""The pattern of each kind, in the order in which the first that fits is taken."""
_WHOLE_TEXT = {kind: rf"(?s)^{pattern}$" for kind, pattern in PATTERNS.items()}
_COMPILED = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in PATTERNS.items()}
_UNQUOTED = (Kind.BOOLEAN, Kind.INTEGER, Kind.NUMBER)

MARKERS = (
    "NA", "N/A", "n/a", "#N/A", "NULL", "null", "Null", "None", "none", "NaN", "nan", "\\N", "-",
    "--", "?", ".",
)  # fmt: skip
"""The texts that files hold in place of a missing value."""


def possible(*, said_to_be_text: bool) -> list[Kind]:
    """All kinds at first. What a file that has types says to be text is no number and no truth
    value."""
    return [k for k in PATTERNS if not (said_to_be_text and k in _UNQUOTED)]


def still(kinds: list[Kind], values: Any) -> list[Kind]:
    """Return the members of `kinds` that all of `values`, a string array without NULL, can be."""
    if not kinds or not len(values):
        return kinds
    first = values[0].as_py()
    return [k for k in kinds if _COMPILED[k].fullmatch(first) and _all(k, values)]


def _all(kind: Kind, values: Any) -> bool:
    if not pc.all(pc.match_substring_regex(values, _WHOLE_TEXT[kind])).as_py():
        return False
    try:
        if kind is Kind.DATE:
            pc.cast(values, pa.date32())
        elif kind in (Kind.TIMESTAMP, Kind.LOCAL):
            # The day; the clock is in the pattern.
            pc.cast(pc.utf8_slice_codeunits(values, 0, 10), pa.date32())
        elif kind is Kind.JSON:
            for text in values.to_pylist():
                msgspec.json.decode(text)
    except (pa.ArrowException, msgspec.DecodeError, RecursionError):
        return False
    return True


def is_list_of(texts: list[str]) -> str | None:
    """`string` or `integer` where all of the JSON texts are lists of that, none of them of anything
    else."""
    kinds: set[type] = set()
    for text in texts:
        value = msgspec.json.decode(text)
        if not isinstance(value, list):
            return None
        kinds |= {type(v) for v in value}
    if kinds == {str}:
        return "string"
    return "integer" if kinds == {int} else None
