"""Brings values whose text differs between file formats into Postgres's form, a column at a time.
Pure.

Arrays may be JSON (`["a","b"]`) or Postgres's literal (`{a,b}`); bytes may be base64, as recordgate
writes them, or `\\x…`. A NUL character, which Postgres cannot hold, becomes U+FFFD and a reason.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow as pa

from stores.canonical.importing.arrow import compute as pc
from stores.canonical.importing.block import Block, Fault
from stores.canonical.importing.codes import Reject
from stores.contract.model import Property, Scalar

_json = msgspec.json.Decoder(list[Any], float_hook=str)
_encoder = msgspec.json.Encoder()
_HEX = re.compile(r"\\x(?:[0-9a-fA-F]{2})*")
_SPACE = re.compile(r"\s+")
_SHOWN = 200


def bring_into_form(block: Block, properties: Sequence[Property]) -> None:
    """Change the block's columns in place, and add the faults found on the way."""
    for index, prop in enumerate(properties):
        column = _without_nul(block, index) if block.may_have_nul else block.columns[index]
        if prop.scalar is Scalar.BYTES and not prop.array:
            column = _bytes(block, index, column)
        elif prop.array:
            column = _arrays(block, index, column)
        block.columns[index] = column


def take_nulls(block: Block, nulls: Sequence[tuple[str, ...]]) -> None:
    """Make NULL, in place, of each column's values that are one of its texts for a missing one,
    blanks aside."""
    for index, texts in enumerate(nulls):
        if texts:
            block.columns[index] = without_markers(block.columns[index], texts)


def without_markers(column: Any, texts: Sequence[str]) -> Any:
    """The column with NULL for each value that is one of `texts`."""
    found = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(texts, pa.string()))
    if not pc.any(found).as_py():
        return column
    return pc.if_else(found, pa.scalar(None, pa.string()), column)


def _without_nul(block: Block, index: int) -> Any:
    column = block.columns[index]
    found = pc.match_substring(column, "\0")
    if not pc.any(found).as_py():
        return column
    where = pc.fill_null(found, False)
    for row, value in zip(
        block.rows.filter(where).to_pylist(), column.filter(where).to_pylist(), strict=True
    ):
        shown = value.replace("\0", "�")[:_SHOWN]
        message = "a NUL character, which Postgres cannot hold"
        block.faults.append(Fault(row, Reject.NUL_BYTE, message, index, shown))
    return pc.replace_substring(column, "\0", "�")


def _arrays(block: Block, index: int, column: Any) -> Any:
    found = [(None, True) if v is None else array_literal(v) for v in column.to_pylist()]
    block.sound[index] = pa.array([sound for _, sound in found], pa.bool_())
    return pa.array([literal for literal, _ in found], pa.string())


def _bytes(block: Block, index: int, column: Any) -> Any:
    values: list[str | None] = []
    for row, value in zip(block.rows.to_pylist(), column.to_pylist(), strict=True):
        literal = None if value is None else bytes_literal(value)
        if value is not None and literal is None:
            message = "neither base64 nor \\x and hexadecimal digits"
            block.faults.append(Fault(row, Reject.INVALID_TYPE, message, index, value[:_SHOWN]))
        values.append(value if literal is None else literal)
    return pa.array(values, pa.string())


def bytes_literal(text: str) -> str | None:
    """Return a hexadecimal or base64 value as `\\x…`, or None if it is neither."""
    if text.startswith("\\x"):
        return text if _HEX.fullmatch(text) else None
    try:
        return "\\x" + base64.b64decode(_SPACE.sub("", text), validate=True).hex()
    except (binascii.Error, ValueError):
        return None


def array_literal(text: str) -> tuple[str, bool]:
    """Postgres's literal of a JSON array, and whether it is surely one of text elements; anything
    else as it is, for Postgres to judge."""
    if not text.lstrip().startswith("["):
        return text, False
    try:
        values = _json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return text, False
    flat = all(type(v) is str and "\0" not in v for v in values)
    return _literal(values).replace("\0", "�"), flat


def _literal(values: list[Any]) -> str:
    return "{" + ",".join([_element(v) for v in values]) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if type(value) is str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is list:
        return _literal(value)
    if type(value) is dict:
        return _element(_encoder.encode(value).decode())
    return str(value)
