"""The shape of a source's records: which fields, of which kinds, how often; and how a batch differs
from before. Pure.

What is kept is bounded: names and counts of at most `MOST_FIELDS` fields, never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

MOST_FIELDS = 500
MOST_NAME = 200
"""Characters of a field's name; a longer one, or one that cannot be printed, is nobody's."""
SURE = 50
"""Records in which a field was always there, after which a batch without it is another shape."""
ENOUGH = 5
"""Records of a batch that say something of its shape."""

Shape = dict[str, dict[str, Any]]
"""field → {"n": records that had it, "kinds": [...], "of": records looked at since it came}."""


@dataclass(frozen=True, slots=True)
class Change:
    """`what`: added, missing or type. `line`: of the landing; 0 where it is all of them."""

    what: str
    field: str
    line: int
    message: str


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def observed(records: Iterable[Mapping[str, Any]]) -> tuple[Shape, int, dict[tuple[str, str], int]]:
    """(the batch's shape, its records, (field, kind) → the first line of it)."""
    shape: Shape = {}
    lines: dict[tuple[str, str], int] = {}
    number = 0
    for number, record in enumerate(records, 1):
        for name, value in record.items():
            entry = shape.get(name)
            if entry is None:
                if len(shape) >= MOST_FIELDS or len(name) > MOST_NAME or not name.isprintable():
                    continue
                entry = shape[name] = {"n": 0, "kinds": []}
            entry["n"] += 1
            if value is None:
                continue
            kind = kind_of(value)
            if kind not in entry["kinds"]:
                entry["kinds"].append(kind)
                lines[name, kind] = number
            lines.setdefault((name, ""), number)
    for entry in shape.values():
        entry["of"] = number
    return shape, number, lines


def changes(
    before: Shape,
    batch: Shape,
    records: int,
    lines: Mapping[tuple[str, str], int],
    used: frozenset[str],
) -> list[Change]:
    """Return the differences of a batch from the shape before. `used` are the fields that fill the
    type; of other fields only the new ones are reported."""
    if not before:
        return []
    found = []
    for name, entry in batch.items():
        known = before.get(name)
        if known is None:
            line = lines.get((name, ""), 0)
            found.append(Change("added", name, line, f"a new field {name!r}"))
        elif name in used and known["kinds"]:
            for kind in entry["kinds"]:
                if kind not in known["kinds"]:
                    was = " or ".join(known["kinds"])
                    found.append(
                        Change(
                            "type", name, lines[name, kind], f"{name!r} is a {kind}, and was {was}"
                        )
                    )
    for name, known in before.items():
        always = known["n"] == known["of"] and known["n"] >= SURE
        if name in used and name not in batch and always and records >= ENOUGH:
            found.append(
                Change("missing", name, 0, f"no record has {name!r}, which all had before")
            )
    return found


def merged(before: Shape, batch: Shape, records: int) -> Shape:
    """The shape with this batch."""
    result: Shape = {}
    for name in list(dict.fromkeys([*before, *batch]))[:MOST_FIELDS]:
        old, new = before.get(name), batch.get(name)
        kinds = list(dict.fromkeys([*(old or {}).get("kinds", []), *(new or {}).get("kinds", [])]))
        seen = (old or {}).get("n", 0) + (new or {}).get("n", 0)
        looked = (old["of"] + records) if old else records
        result[name] = {"n": seen, "kinds": kinds, "of": looked}
    return result
