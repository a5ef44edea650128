"""Proposes a contract's statements about a column, each with the reason. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from recordgate.starting.kinds import Kind
from recordgate.starting.profile import Column
from stores.contract import names

_LOGICAL = {
    Kind.BOOLEAN: "boolean", Kind.INTEGER: "integer", Kind.NUMBER: "number", Kind.DATE: "date",
    Kind.TIMESTAMP: "timestamp", Kind.LOCAL: "timestamp", Kind.TIME: "time", Kind.UUID: "string",
    Kind.JSON: "object", Kind.TEXT: "string",
}  # fmt: skip
_LIMITS: dict[str, tuple[int, int]] = {
    "month": (1, 12), "day": (1, 31), "weekday": (0, 7), "hour": (0, 24), "minute": (0, 59),
    "second": (0, 60), "lat": (-90, 90), "latitude": (-90, 90), "lon": (-180, 180),
    "lng": (-180, 180), "long": (-180, 180), "longitude": (-180, 180), "percent": (0, 100),
    "pct": (0, 100), "percentage": (0, 100),
}  # fmt: skip
"""The limits that the name alone suggests; taken where all values keep to them."""
_AMOUNT = re.compile(
    r"(count|quantity|qty|price|amount|cost|distance|size|age|seats|population|weight|length|"
    r"height|width|area|"
    r"duration|speed|total|stock|bytes)"
)
_TITLES = frozenset(("name", "title", "label", "fullname", "headline"))
_PROSE = frozenset((
    "description", "summary", "subject", "text", "body", "comment", "comments", "note", "notes",
    "abstract", "content", "review",
))  # fmt: skip
_ENOUGH = 100
"""Rows below which a rule of values would be a guess."""
MOST_ENUM = 12
_MOST_BUCKETS = {Kind.TEXT: 300, Kind.INTEGER: 60, Kind.BOOLEAN: 2}
_WIDE = 1 << 63


@dataclass(slots=True)
class Proposal:
    """Keys of a property in the contract, and the reasons, a line each."""

    keys: dict[str, Any] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def propose(column: Column, *, of_key: bool, alone: bool, linked: bool) -> Proposal:
    """`of_key`: it is of the key, `alone` as the only column; `linked`: it holds keys of another
    file."""
    found = Proposal()
    _type(column, found)
    if not column.absent:
        found.keys["required"] = True
        found.reasons[-1] += "; never missing"
    elif column.filled:
        found.reasons[-1] += f"; missing in {column.absent:,} of {column.rows:,} rows"
        if column.null_markers:
            shown = ", ".join(repr(m) for m in column.null_markers)
            found.reasons[-1] += f" ({shown} stands for it)"
    if not (of_key or linked):
        _values(column, found)
    _search(column, found, alone=alone, linked=linked)
    return found


def _type(column: Column, found: Proposal) -> None:
    kind = column.kind
    if not column.filled:
        found.keys["logicalType"] = "string"
        found.reasons.append("no value in any row, so nothing tells its type")
        return
    found.keys["logicalType"] = _LOGICAL[kind]
    found.reasons.append(f"{kind.value} in all {column.filled:,} values" + _extent(column))
    if column.declared == "bytea":
        found.keys["logicalTypeOptions"] = {"format": "binary"}
    elif column.declared:
        found.keys["logicalType"], found.keys["physicalType"] = "number", column.declared
    elif kind is Kind.INTEGER and max(abs(column.low), abs(column.high)) >= _WIDE:
        wide = "i128" if column.low < 0 else "u128"
        found.keys["logicalTypeOptions"] = {"format": wide}
    elif kind is Kind.LOCAL:
        found.keys["logicalTypeOptions"] = {"timezone": False}
    elif kind is Kind.UUID:
        found.keys["logicalTypeOptions"] = {"format": "uuid"}
    elif kind is Kind.JSON and column.lists:
        found.keys["logicalType"] = "array"
        found.keys["items"] = {"logicalType": column.lists}


def _extent(column: Column) -> str:
    if column.low is not None and column.kind not in (Kind.TEXT, Kind.JSON):
        same = column.low == column.high
        return f", always {column.low}" if same else f", from {column.low} to {column.high}"
    distinct = column.distinct
    if distinct is not None and len(distinct) < column.filled:
        many = "one value" if len(distinct) == 1 else f"{len(distinct):,} different ones"
        return f", {many}"
    return ""


def _values(column: Column, found: Proposal) -> None:
    """Rules of values: which ones, from where to where."""
    distinct = column.distinct
    if column.kind is Kind.TEXT and distinct is not None and not column.declared:
        if (
            2 <= len(distinct) <= MOST_ENUM
            and column.filled >= max(_ENOUGH, 20 * len(distinct))
            and all(v.strip() == v and 0 < len(v) <= 40 and v.isprintable() for v in distinct)
        ):
            found.keys["enum"] = [{"value": v} for v in sorted(distinct)]
            found.reasons.append(
                f"enum: {len(distinct)} values come again and again; take it out where others may"
                " come"
            )
        return
    if column.kind not in (Kind.INTEGER, Kind.NUMBER) or column.declared or column.low is None:
        return
    if "logicalTypeOptions" in found.keys:
        return
    words = [w.lower() for w in names.words(column.header)]
    limits = _LIMITS.get(words[-1]) if words else None
    if limits and limits[0] <= column.low and column.high <= limits[1]:
        found.keys["logicalTypeOptions"] = {"minimum": limits[0], "maximum": limits[1]}
        found.reasons.append(f"range: by its name, {words[-1]}, and all values keep to it")
    elif column.filled >= _ENOUGH and column.low >= 0:
        amount = any(_AMOUNT.fullmatch(w) for w in words)
        if amount or column.low == 0:
            found.keys["logicalTypeOptions"] = {"minimum": 0}
            why = "an amount by its name" if amount else "the lowest value is 0"
            found.reasons.append(f"range: {why}, and none is below 0")


def _search(column: Column, found: Proposal, *, alone: bool, linked: bool) -> None:
    if column.declared or not column.filled:
        return
    name = "_".join(w.lower() for w in names.words(column.header))
    if column.kind is Kind.TEXT and "enum" not in found.keys and not linked:
        title = name in _TITLES or name.endswith(("_name", "_title"))
        if title or name in _PROSE or (column.spaced * 5 > column.filled and column.longest > 12):
            found.search["text"] = True
            if title and column.characters <= 80 * column.filled:
                found.search |= {"suggest": True, "boost": 2}
            why = "its name says what records are called" if title else "it holds words"
            found.reasons.append(f"search: {why}")
    distinct, most = column.distinct, _MOST_BUCKETS.get(column.kind)
    if alone or distinct is None or most is None:
        return
    if 2 <= len(distinct) <= most and column.filled >= 10 * len(distinct):
        found.search["facet"] = True
        found.reasons.append(f"facet: {len(distinct):,} values, each in many rows")
