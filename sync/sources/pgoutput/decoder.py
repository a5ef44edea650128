"""Decoders of row messages, generated for each table as it stands: they slice out the tracked
columns and step over the others.

A row is `U16 columns`, then for each column 'n' (NULL), 'u' (a TOASTed value that did not change
and was not sent) or 't' U32 length, text. A message is 'I' table 'N' row; 'U' table ['K'|'O' row]
'N' row; 'D' table 'K'|'O' row. An 'O' row is the whole row before (REPLICA IDENTITY FULL). A 'K'
row has only the columns of the replica identity, which are never NULL: a NULL there means that the
column was not sent.

Nothing of the table gets into the generated source but numbers and the `repr` of column names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sync.changes import NOTHING, Change, ChangeOp
from sync.sources.pgoutput.messages import PAYLOAD, MalformedMessage

RowDecoder: TypeAlias = Callable[[bytes], Change]
"""A whole message, with the XLogData header, to its change. Raises one of MALFORMED."""

MALFORMED = (MalformedMessage, IndexError, struct.error, UnicodeDecodeError)
"""The exceptions that decoding garbage raises."""

TEXT_CASTS = {
    16: "'true' if {0} == 't' else 'false'",  # boolean
    1042: "{0}.rstrip(' ')",  # character(n)
    869: "{0} if '/' in {0} else {0} + ('/128' if ':' in {0} else '/32')",  # inet
}
"""Type OID → the value that `::text` gives, which keys are made of, from the one that is printed.
These are the types of pg_cast whose cast to text is a function that does not print as the type
does."""

_FIRST = PAYLOAD + 5
"""Offset of the first row's tag, after the message's tag and the table's OID."""
_U32 = struct.Struct(">I").unpack_from


@dataclass(frozen=True, slots=True)
class RowDecoders:
    """The decoders of one table."""

    insert: RowDecoder
    update: RowDecoder
    delete: RowDecoder


def row_decoders(
    schema: str, table: str, columns: Sequence[str], types: Sequence[int], tracked: Sequence[str]
) -> RowDecoders:
    """Decoders for a table whose rows have `columns` of the base types `types`; tracked columns
    that it lacks are left out."""
    keep = frozenset(tracked)
    wanted = [
        (i, name, TEXT_CASTS.get(oid))
        for i, (name, oid) in enumerate(zip(columns, types, strict=True))
        if name in keep
    ]
    lines = [
        *_row_function("new_row", len(columns), wanted, whole=False, key_only=False),
        *_row_function("old_row", len(columns), wanted, whole=True, key_only=False),
        *_row_function("key_row", len(columns), wanted, whole=True, key_only=True),
    ]
    scope: dict[str, Any] = {"u32": _U32, "Malformed": MalformedMessage}
    exec(compile("\n".join(lines), f"<rows of {len(columns)} columns>", "exec"), scope)
    new_row, old_row, key_row = scope["new_row"], scope["old_row"], scope["key_row"]
    width = len(wanted)
    insert_op, update_op, delete_op = ChangeOp.INSERT, ChangeOp.UPDATE, ChangeOp.DELETE

    def before(data: bytes, tag: int) -> tuple[dict[str, str | None], int]:
        if tag == 75:  # K
            return key_row(data, _FIRST + 1)  # type: ignore[no-any-return]
        if tag == 79:  # O
            return old_row(data, _FIRST + 1)  # type: ignore[no-any-return]
        raise MalformedMessage(f"a row of unknown kind {tag}")

    def insert(data: bytes) -> Change:
        if data[_FIRST] != 78:  # N
            raise MalformedMessage("an insert without a row")
        return Change(schema, table, insert_op, new_row(data, _FIRST + 1), NOTHING)

    def update(data: bytes) -> Change:
        tag = data[_FIRST]
        if tag == 78:
            return Change(schema, table, update_op, new_row(data, _FIRST + 1), NOTHING)
        old, at = before(data, tag)
        if data[at] != 78:
            raise MalformedMessage("an update without a row")
        new = new_row(data, at + 1)
        if len(new) < width:
            # What was not sent did not change: it is what it was.
            new = old | new
        return Change(schema, table, update_op, new, old)

    def delete(data: bytes) -> Change:
        return Change(schema, table, delete_op, NOTHING, before(data, data[_FIRST])[0])

    return RowDecoders(insert, update, delete)


def _row_function(
    name: str, width: int, wanted: list[tuple[int, str, str | None]], *, whole: bool, key_only: bool
) -> list[str]:
    """Source of `name(data, at) -> (row, end)`. `at` is where the row's count of columns stands.
    Not `whole`: stops behind the last wanted column and returns the row alone."""
    lines = [
        f"def {name}(data, at):",
        f"    if (data[at] << 8 | data[at + 1]) != {width}:",
        "        raise Malformed('the row and its table differ in their number of columns')",
        "    at += 2",
    ]
    position = 0
    for number, (index, _, cast) in enumerate(wanted):
        lines += _skip(index - position)
        lines += [
            "    kind = data[at]",
            "    if kind == 116:",
            "        end = at + 5 + u32(data, at + 1)[0]",
            f"        v{number} = data[at + 5 : end].decode()",
            *([f"        v{number} = {cast.format(f'v{number}')}"] if cast else []),
            "        at = end",
            "    else:",
            "        if kind != 110 and kind != 117:",
            "            raise Malformed('a value of unknown kind')",
            "        at += 1",
            f"        v{number} = None if kind == 110 else ...",
        ]
        position = index + 1
    if whole:
        lines += _skip(width - position)
    lines += ["    if at > len(data):", "        raise Malformed('the message ends too early')"]
    literal = ", ".join(f"{column!r}: v{i}" for i, (_, column, _) in enumerate(wanted))
    lines.append(f"    row = {{{literal}}}")
    absent = ("...", "None") if key_only else ("...",)
    if wanted:
        # By identity: the values are text, and text may equal anything.
        some = " or ".join(f"v{i} is {mark}" for i in range(len(wanted)) for mark in absent)
        there = " and ".join(f"value is not {mark}" for mark in absent)
        lines += [
            f"    if {some}:",
            f"        row = {{column: value for column, value in row.items() if {there}}}",
        ]
    lines.append("    return row, at" if whole else "    return row")
    return lines


def _skip(count: int) -> list[str]:
    if count <= 0:
        return []
    step = "at += 5 + u32(data, at + 1)[0] if data[at] == 116 else 1"
    if count == 1:
        return [f"    {step}"]
    return [f"    for _ in range({count}):", f"        {step}"]
