"""Remembers what a subscriber who may not see everything saw last of each record, so that a change
of hidden data makes no event. The feed says which records changed, and not what of them: only
comparing tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson

from gateway.compiler import Statement
from gateway.compiler.json_text import decode
from gateway.compiler.masks import maskable
from gateway.context.services import RequestContext, Services, Viewer
from gateway.query.canonical import fetch_json
from gateway.query.records import compiler_of
from gateway.shape.shapes import (
    Id,
    Many,
    Nodes,
    One,
    PageShape,
    RecordField,
    RecordShape,
    Value,
    Window,
)
from gateway.shape.shaping import MAX_RECORDS, key_values
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import Embed, Property, RecordType
from stores.errors import LimitError
from stores.query import EVERYTHING, Filter, Order

MOST_REMEMBERED = 100_000
"""Records of one subscription."""
PAGE = 1_000
AT_ONCE = 200
"""Records that one statement compares."""
_KEY = "#"
"""The name under which a shape has the record's key; no property has such a name."""


def whole_shape(visibility: Visibility, record_type: RecordType) -> RecordShape | None:
    """All that the viewer may see of a record and of what its document embeds; None where nothing
    of it is hidden from them, so that whatever changes it is theirs to know."""
    shape, hidden = _record(visibility, record_type, record_type.embeds)
    return RecordShape(record_type, (Id(_KEY), *shape.fields)) if hidden else None


def _record(
    visibility: Visibility, record_type: RecordType, embeds: Sequence[Embed]
) -> tuple[RecordShape, bool]:
    fields: list[RecordField] = []
    hidden = False
    for number, prop in enumerate(record_type.properties):
        form = visibility.form(prop)
        hidden |= not _shows_each_change(prop, form)
        if form is not Form.NULL:
            fields.append(Value(f"p{number}", prop, form))
    for number, embed in enumerate(embeds):
        relation = record_type.relation_by_name[embed.relation]
        target = visibility.contract.types[relation.target]
        below, hides = _record(visibility, target, embed.embeds)
        hidden |= hides or visibility.row_filters(target) is not None
        if not visibility.is_open(record_type, relation):
            hidden = True
        elif relation.many:
            page = PageShape(
                target, EVERYTHING, _by_key(target), Window(MAX_RECORDS), (Nodes("n", below),)
            )
            fields.append(Many(f"r{number}", relation, page))
        else:
            fields.append(One(f"r{number}", relation, below))
    return RecordShape(record_type, tuple(fields)), hidden


def _shows_each_change(prop: Property, form: Form) -> bool:
    return form is Form.PLAIN or (form is Form.HASH and maskable(prop))


def _by_key(record_type: RecordType) -> tuple[Order, ...]:
    return tuple(Order(p.name) for p in record_type.key_properties)


@dataclass(slots=True)
class Memory:
    """The digests, by key, of what the viewer saw last of each record that satisfies `filter`."""

    services: Services
    viewer: Viewer
    shape: RecordShape
    filter: Filter
    known: dict[str, bytes] = field(default_factory=dict)

    async def take(self, most: int = MOST_REMEMBERED) -> bool:
        """Read all anew; whether anything differs from before. Raises LimitError above `most`
        records, and what reading raises; then nothing is changed."""
        found: dict[str, bytes] = {}
        after: tuple[str, ...] | None = None
        while True:
            window = Window(PAGE, after=after)
            nodes = Nodes("n", self.shape)
            page = PageShape(
                self.shape.type, self.filter, _by_key(self.shape.type), window, (nodes,)
            )
            read = await self._fetch(compiler_of(self._context()).page(page))
            records = read.get("n", [])
            found.update(_digests(records))
            if len(found) > most:
                raise _too_many(most)
            if len(records) < PAGE:
                break
            after = key_values(self.shape.type, records[-1][_KEY])
        differs = found != self.known
        self.known = found
        return differs

    async def changed(self, keys: Iterable[str]) -> dict[str, bytes | None]:
        """Return those of `keys` of which the viewer sees something else than before, with what is
        seen now, or None where it is not seen any more. `remember` keeps it."""
        changed: dict[str, bytes | None] = {}
        waiting = iter(keys)
        while some := list(islice(waiting, AT_ONCE)):
            values = [key_values(self.shape.type, k) for k in some]
            statement = compiler_of(self._context()).several(self.shape, values, self.filter)
            read = await self._fetch(statement)
            seen = dict(_digests(read.values()))
            changed |= {k: seen.get(k) for k in some if seen.get(k) != self.known.get(k)}
        return changed

    def remember(self, changed: dict[str, bytes | None]) -> None:
        """Raises LimitError where that is too much."""
        for key, digest in changed.items():
            if digest is None:
                self.known.pop(key, None)
            else:
                self.known[key] = digest
        if len(self.known) > MOST_REMEMBERED:
            raise _too_many(MOST_REMEMBERED)

    def _context(self) -> RequestContext:
        return RequestContext(self.services, self.viewer)

    async def _fetch(self, statement: Statement) -> dict[str, Any]:
        raw = await fetch_json(self.services, statement, statement.filled({}))
        read: dict[str, Any] = decode(raw) if raw else {}
        return read


def _digests(records: Iterable[Any]) -> Iterable[tuple[str, bytes]]:
    for record in records:
        yield record[_KEY], hashlib.blake2b(orjson.dumps(record), digest_size=16).digest()


def _too_many(most: int) -> LimitError:
    return LimitError(
        f"you may not see everything of the records, and more than {most} would have to be"
        " compared",
        hint="narrow the filter of the subscription",
    )
