"""A source's records made rows of a type: fields found by the contract's `map` or by name, and made
clean. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from stores.contract.collect import Collect, Mapped
from stores.contract.json_paths import first
from stores.contract.model import RecordType

encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Shaper:
    """`fields`: property → how it is filled."""

    fields: tuple[Mapped, ...]
    tops: frozenset[str]
    """The fields of a record that are used."""

    def row(self, record: dict[str, Any]) -> dict[str, Any]:
        return {f.property: clean(first(record, f.path), f) for f in self.fields}


def shaper_of(collect: Collect, record: RecordType) -> Shaper:
    """Return the shaper of a source: with `map` for its properties, else for each property by its
    name, its column or its GraphQL name."""
    fields = collect.map or tuple(
        Mapped(p.name, (p.name,))
        for p in record.properties
        if not p.generated or p.column in record.key
    )
    tops = {str(f.path[0]) for f in fields if f.path}
    if collect.deletes.by == "field":
        tops.add(str(collect.deletes.field[0]))
    return Shaper(fields, frozenset(tops))


def clean(value: Any, mapped: Mapped) -> Any:
    """The value as the type wants it; what cannot be made so stays, for the import's checks to
    name."""
    if isinstance(value, str):
        if mapped.trim:
            value = value.strip()
        if value in mapped.nulls:
            value = None
    if value is None:
        return mapped.default
    if mapped.date_format and isinstance(value, str):
        try:
            moment = datetime.strptime(value, mapped.date_format)
        except ValueError:
            return value
        timed = any(f in mapped.date_format for f in ("%H", "%I", "%M", "%S", "%X", "%c", "%T"))
        return moment.isoformat() if timed else moment.date().isoformat()
    if mapped.times and not isinstance(value, bool):
        try:
            return Decimal(str(value)) * Decimal(mapped.times)
        except ArithmeticError:
            return value
    return value


@dataclass(slots=True)
class Shaped:
    """`upserts` and `deletes` as NDJSON. A key's last record counts, as the source gave them in
    order."""

    upserts: bytes
    deletes: bytes
    rows: int
    deleted: int


def shaped(
    records: Iterable[dict[str, Any]],
    shaper: Shaper,
    collect: Collect,
    key: Sequence[str],
    *,
    columns: frozenset[str],
) -> Shaped:
    """The rows of a landing. `key`: the key's properties; `columns`: properties that are filled,
    with null where a record lacks them; others are left alone."""
    gone = _gone(collect)
    ordered: dict[Any, tuple[bool, dict[str, Any]]] = {}
    strange = 0
    for record in records:
        row = {name: value for name, value in shaper.row(record).items() if name in columns}
        place: Any = tuple(str(row.get(name)) for name in key)
        if any(row.get(name) is None for name in key):
            strange += 1
            place = strange
        ordered.pop(place, None)
        ordered[place] = (gone(record), row)
    kept = [row for is_gone, row in ordered.values() if not is_gone]
    lost = [{name: row.get(name) for name in key} for is_gone, row in ordered.values() if is_gone]
    return Shaped(lines(kept), lines(lost), len(kept), len(lost))


def lines(rows: Iterable[Any]) -> bytes:
    return b"".join(encode(row) + b"\n" for row in rows)


def _gone(collect: Collect) -> Callable[[dict[str, Any]], bool]:
    deletes = collect.deletes
    if deletes.by != "field":
        return lambda record: False
    name, wanted = str(deletes.field[0]), deletes.value
    return lambda record: _same(record.get(name), wanted)


def _same(value: Any, wanted: Any) -> bool:
    """Equal, and of one kind: 1 is not true. `"*"` stands for any value that is there."""
    if wanted == "*":
        return value is not None and value is not False
    return type(value) is type(wanted) and bool(value == wanted)
