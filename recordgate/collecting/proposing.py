"""Proposes a contract's properties for the fields that a source has and the type has not."""

from __future__ import annotations

from recordgate.collecting import books, drift, landing
from recordgate.collecting.shaping import shaper_of
from recordgate.collecting.walk import Surroundings
from stores.canonical.connect import Connection

_LOGICAL = {
    "boolean": "boolean",
    "number": "number",
    "text": "string",
    "list": "array",
    "object": "object",
}


def proposal(at: Surroundings, connection: Connection, name: str) -> str:
    """Properties to add, and those that no field fills any more, as YAML; of the last that came."""
    record = at.contract.types[name]
    assert record.collect is not None
    row = next(r for r in books.all_sources(connection) if r["name"] == name)
    shape: drift.Shape = dict(row["shape"])
    waiting = books.landings(connection, "source = %s AND merged_at IS NULL", name)
    lacking: list[str] = []
    for one in waiting:
        text = landing.read(one)
        if text is not None:
            batch, number, where = drift.observed(landing.records_of(text))
            tops = shaper_of(record.collect, record).tops
            found = drift.changes(shape, batch, number, where, tops)
            lacking += [c.field for c in found if c.what == "missing"]
            shape = drift.merged(shape, batch, number)
    used = shaper_of(record.collect, record).tops
    added = [n for n in shape if n not in used]
    lines = [f"# the type {name}, in `properties`:"]
    for field in added:
        kinds = [k for k in shape[field]["kinds"] if k in _LOGICAL] or ["text"]
        logical = _LOGICAL[kinds[0]] if len(kinds) == 1 else "string"
        lines.append(f"- {{name: {_quoted(field)}, logicalType: {logical}}}")
    lines += [f"# no record has {_quoted(field)} any more" for field in dict.fromkeys(lacking)]
    if len(lines) == 1:
        return f"# the type {name} has every field of its source"
    return "\n".join(lines)


def _quoted(name: str) -> str:
    plain = name.isascii() and name.isidentifier()
    return name if plain else "'" + name.replace("'", "''") + "'"
