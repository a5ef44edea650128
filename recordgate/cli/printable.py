"""Text that a terminal may be shown: what records, files and servers hold can never steer it."""

from __future__ import annotations

import logging
from typing import Any

import orjson

_KEPT = frozenset("\n\t")
_STEERING = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
"""Code points of control characters, of line and paragraph separators, of marks that turn the
direction of text, and surrogates, which no terminal can be sent."""


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_SHOWN = {code: _escape(code) for code in _STEERING if chr(code) not in _KEPT}
_ON_ONE_LINE = {code: _escape(code) for code in _STEERING} | {
    0x0A: " ",
    0x0D: " ",
    0x09: " ",
}
_IN_JSON = {code: f"\\u{code:04x}" for code in _STEERING if chr(code) not in _KEPT}


def printable(text: str) -> str:
    """Return `text` with every character that could steer a terminal written out, as `\\x1b`. Line
    ends and tabs stay."""
    return text.translate(_SHOWN)


def one_line(text: str, most: int = 0) -> str:
    """Return `text` on one line of at most `most` characters, 0 for any number."""
    found = text.translate(_ON_ONE_LINE)
    return found if not most or len(found) <= most else found[: most - 1] + "…"


def json_text(value: Any, *, indent: bool = True) -> str:
    """Return `value` as JSON to show and to parse: the same value, no character of which steers a
    terminal."""
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=str, option=option).decode().translate(_IN_JSON)


class PrintableFormatter(logging.Formatter):
    """Formats what is logged so that its messages never steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
