"""Shapes: root fields, resolved against the contract. The planner decides on them, the SQL compiler
and the document reader answer them. Field order and `key`s are those of the response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.shape.open_values import Deferred
from gateway.shape.visibility import Form
from stores.contract.model import Property, RecordType, Relation
from stores.query import Filter, Order


@dataclass(frozen=True, slots=True)
class TypeName:
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Value:
    """A property's value, in the form that the viewer may see."""

    key: str
    property: Property
    form: Form = Form.PLAIN


@dataclass(frozen=True, slots=True)
class Id:
    """The record's key text; with the type's name before it where `glob` (the field `nodeId`)."""

    key: str
    glob: bool = False


@dataclass(frozen=True, slots=True)
class RowVersion:
    """The version of a record: canonical's `xmin`, which every change of the row moves."""

    key: str


@dataclass(frozen=True, slots=True)
class One:
    key: str
    relation: Relation
    record: RecordShape


@dataclass(frozen=True, slots=True)
class Many:
    key: str
    relation: Relation
    page: PageShape


RecordField: TypeAlias = "TypeName | Value | Id | RowVersion | One | Many"


@dataclass(frozen=True, slots=True)
class RecordShape:
    type: RecordType
    fields: tuple[RecordField, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A page of an ordered set. `after` and `before` are the texts of the order's values (None:
    NULL)."""

    limit: int
    backward: bool = False
    after: tuple[str | Deferred | None, ...] | None = None
    before: tuple[str | Deferred | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class EdgeNode:
    key: str
    record: RecordShape


@dataclass(frozen=True, slots=True)
class EdgeCursor:
    key: str


@dataclass(frozen=True, slots=True)
class Edges:
    key: str
    fields: tuple[EdgeNode | EdgeCursor | TypeName, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    key: str
    record: RecordShape


@dataclass(frozen=True, slots=True)
class PageInfo:
    """`fields`: response key → one of hasNextPage, hasPreviousPage, startCursor, endCursor,
    __typename."""

    key: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TotalCount:
    key: str


PageField: TypeAlias = "TypeName | Edges | Nodes | PageInfo | TotalCount"


@dataclass(frozen=True, slots=True)
class PageShape:
    """A connection. `order` is total: it ends with the key. `default_order` is True for the key
    alone."""

    type: RecordType
    filter: Filter
    order: tuple[Order, ...]
    window: Window
    fields: tuple[PageField, ...]
    default_order: bool = True


@dataclass(frozen=True, slots=True)
class KeyShape:
    """One record by its key: `values` are the texts of the key's columns. `plain`: they are the
    very form that Postgres prints, so that every store knows the key by it: "7", not "07"."""

    values: tuple[str | Deferred, ...]
    record: RecordShape
    plain: bool = True


def records_in(page: PageShape) -> list[RecordShape]:
    """The record shapes that each record of the page is given in."""
    found: list[RecordShape] = []
    for part in page.fields:
        if isinstance(part, Nodes):
            found.append(part.record)
        elif isinstance(part, Edges):
            found.extend(e.record for e in part.fields if isinstance(e, EdgeNode))
    return found
