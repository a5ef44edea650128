"""Makes shapes of selections: names become properties and relations, arguments filters, orders and
windows. What the viewer may not see is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from gateway.shape import cursors
from gateway.shape.filters import parse_filter
from gateway.shape.names import property_of, relation_of, version_field
from gateway.shape.open_values import Deferred, Slot, last_kept, settled
from gateway.shape.orders import parse_order, signature
from gateway.shape.selection import Selected
from gateway.shape.shapes import (
    EdgeCursor,
    EdgeNode,
    Edges,
    Id,
    KeyShape,
    Many,
    Nodes,
    One,
    PageField,
    PageInfo,
    PageShape,
    RecordField,
    RecordShape,
    RowVersion,
    TotalCount,
    TypeName,
    Value,
    Window,
)
from gateway.shape.visibility import Visibility
from stores.contract.model import Property, RecordType, Scalar
from stores.errors import InputError, LimitError
from stores.keys import decode_key
from stores.query import Order
from stores.values import from_text

DEFAULT_FIRST = 20
MAX_RECORDS = 100_000
"""Records that one root field may ask for: the product of its pages, one within the other."""


_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
"""The only form of a day that is looked up as it is; Postgres prints other days, too, before Christ
or far away."""


@dataclass(slots=True)
class Shaper:
    """Makes the shape of one root field. Raises InputError, LimitError, ForbiddenError."""

    visibility: Visibility
    records: int = 0

    def record(
        self, record_type: RecordType, fields: tuple[Selected, ...], times: int = 1
    ) -> RecordShape:
        """`times`: how many of these records the answer may hold."""
        self.records += times
        if self.records > MAX_RECORDS:
            raise LimitError(
                f"the query may return more than {MAX_RECORDS} records",
                hint="ask for smaller pages",
            )
        return RecordShape(
            record_type, tuple(self._record_field(record_type, f, times) for f in fields)
        )

    def _record_field(self, record_type: RecordType, field: Selected, times: int) -> RecordField:
        if field.name == "__typename":
            return TypeName(field.key, record_type.graphql)
        if field.name in ("id", "nodeId"):
            return Id(field.key, glob=field.name == "nodeId")
        prop = property_of(record_type, field.name)
        if prop is not None:
            return Value(field.key, prop, self.visibility.form(prop))
        if field.name == version_field(record_type):
            return RowVersion(field.key)
        relation = relation_of(record_type, field.name)
        assert relation is not None, field.name
        self.visibility.require_open(record_type, relation)
        target = self.visibility.contract.types[relation.target]
        if relation.many:
            return Many(field.key, relation, self.page(target, field.args, field.fields, times))
        return One(field.key, relation, self.record(target, field.fields, times))

    def page(
        self,
        record_type: RecordType,
        args: Mapping[str, Any],
        fields: tuple[Selected, ...],
        times: int = 1,
    ) -> PageShape:
        filter_ = parse_filter(record_type, args.get("filter"), self.visibility)
        order, default = parse_order(record_type, args.get("orderBy"), self.visibility)
        window = read_window(record_type, args, order)
        inner = times * window.limit
        shaped = tuple(self._page_field(record_type, f, inner) for f in fields)
        return PageShape(record_type, filter_, order, window, shaped, default)

    def _page_field(self, record_type: RecordType, field: Selected, times: int) -> PageField:
        if field.name == "__typename":
            return TypeName(field.key, f"{record_type.graphql}Connection")
        if field.name == "totalCount":
            return TotalCount(field.key)
        if field.name == "pageInfo":
            return PageInfo(field.key, tuple((f.key, f.name) for f in field.fields))
        if field.name == "nodes":
            return Nodes(field.key, self.record(record_type, field.fields, times))
        assert field.name == "edges", field.name
        parts: list[EdgeNode | EdgeCursor | TypeName] = []
        for f in field.fields:
            if f.name == "node":
                parts.append(EdgeNode(f.key, self.record(record_type, f.fields, times)))
            elif f.name == "cursor":
                parts.append(EdgeCursor(f.key))
            else:
                parts.append(TypeName(f.key, f"{record_type.graphql}Edge"))
        return Edges(field.key, tuple(parts))


def read_size(name: str, value: Any, most: int) -> int | None:
    """`first` or `last`; None where it is not given. Raises InputError, LimitError."""
    value = settled(value)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{name} must not be negative")
    if value > most:
        raise LimitError(
            f"{name} is more than {most}, the page limit", hint="get further pages with `after`"
        )
    return value


def read_window(
    record_type: RecordType, args: Mapping[str, Any], order: tuple[Order, ...]
) -> Window:
    most = record_type.expose.page_limit
    first = read_size("first", args.get("first"), most)
    last = read_size("last", args.get("last"), most)
    if first is not None and last is not None:
        raise InputError("first and last cannot be used together")
    bound = signature(record_type, order)
    after, before = (_cursor(args.get(name), bound, len(order)) for name in ("after", "before"))
    if last is not None:
        return Window(last, True, after, before)
    return Window(min(DEFAULT_FIRST, most) if first is None else first, False, after, before)


def _cursor(raw: Any, bound: str, steps: int) -> tuple[str | Deferred | None, ...] | None:
    if raw is None:
        return None
    if not isinstance(raw, Slot):
        return cursors.decode(raw, bound, steps)
    # Which of its values are missing decides on the form of the condition.
    given = raw.feature(
        f"given {bound}",
        lambda text: tuple(v is not None for v in cursors.decode(text, bound, steps)),
    )
    deferred = raw.deferred().then(lambda text: cursors.decode(text, bound, steps))
    return tuple(deferred.then(itemgetter(i)) if there else None for i, there in enumerate(given))


def key_values(record_type: RecordType, key: str) -> tuple[str, ...]:
    """The column texts of a record's key. Raises InputError where the text is no such key."""
    texts = decode_key(key, len(record_type.key))
    if texts is None:
        raise InputError(f"the value is not a key of {record_type.graphql}")
    for prop, text in zip(record_type.key_properties, texts, strict=True):
        from_text(prop, text)
    return texts


def key_shape(record: RecordShape, key: str | Slot) -> KeyShape:
    record_type = record.type
    if not isinstance(key, Slot):
        values = key_values(record_type, key)
        return KeyShape(values, record, is_plain_key(record_type, values))
    read = last_kept(lambda text: key_values(record_type, text))
    plain = key.feature(
        f"plain {record_type.name}", lambda text: is_plain_key(record_type, read(text))
    )
    deferred = key.deferred().then(read)
    return KeyShape(
        tuple(deferred.then(itemgetter(i)) for i in range(len(record_type.key))), record, plain
    )


def _is_own_text(prop: Property, text: str) -> bool:
    """Return whether a text is in the form that Postgres prints. Any number of blanks at the end of
    a `character(n)` means the same; Postgres prints none."""
    return not (prop.sql_type.startswith("character(") and text.endswith(" "))


def is_plain_key(record_type: RecordType, texts: tuple[str, ...]) -> bool:
    """Return whether the texts are in the very form that Postgres prints."""
    for prop, text in zip(record_type.key_properties, texts, strict=True):
        if prop.scalar in (Scalar.INT, Scalar.BIGINT):
            if str(int(text)) != text:
                return False
        elif prop.scalar is Scalar.UUID:
            if text != text.lower() or len(text) != 36:
                return False
        elif prop.scalar is Scalar.DATE:
            if not _PLAIN_DATE.fullmatch(text):
                return False
        elif prop.scalar is not Scalar.STRING or not _is_own_text(prop, text):
            return False
    return True
