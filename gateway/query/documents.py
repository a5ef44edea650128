"""Answers key reads from the document store: what a document can answer with canonical's meaning,
and how the answer is picked out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.shape import cursors
from gateway.shape.orders import order_property, signature
from gateway.shape.shapes import (
    EdgeCursor,
    EdgeNode,
    Edges,
    Id,
    KeyShape,
    Many,
    Nodes,
    One,
    PageInfo,
    PageShape,
    RecordShape,
    RowVersion,
    TotalCount,
    TypeName,
    Value,
    records_in,
)
from gateway.shape.visibility import Form, Visibility, non_null
from stores import json_numbers
from stores.contract.model import Contract, Embed, Property, RecordType, Scalar
from stores.keys import encode_key
from stores.protocols import DocumentStore
from stores.query import EVERYTHING, ChildrenQuery
from stores.sort_texts import printed
from stores.values import exact_in_json

_TEXT_SAME = frozenset(
    (Scalar.STRING, Scalar.INT, Scalar.BIGINT, Scalar.UUID, Scalar.DATE, Scalar.DECIMAL)
)
"""Scalars whose JSON, printed plainly, is the text that Postgres prints."""


# What a document can answer --------------------------------------------------------------------


def why_not_document(
    shape: RecordShape,
    embeds: Sequence[Embed],
    visibility: Visibility,
    *,
    children: bool,
    bytewise: bool = True,
) -> str:
    """Empty where documents of the type, with `embeds` inside, answer `shape`; else why not.

    `children`: whether the store can be asked for related records that are not inside. `bytewise`:
    whether canonical orders text as the stores do.
    """
    record_type = shape.type
    if visibility.row_filters(record_type) is not None:
        return f"rows of {record_type.graphql} depend on who asks"
    for part in shape.fields:
        if isinstance(part, Value) and part.form is not Form.PLAIN:
            return f"{part.property.graphql} depends on who asks"
        if isinstance(part, RowVersion):
            return "versions of records are canonical's"
        if isinstance(part, Id) and not key_is_plain(record_type):
            return f"the key of {record_type.graphql} has no plain text in its document"
        if isinstance(part, One | Many):
            inside = next((e for e in embeds if e.relation == part.relation.name), None)
            if inside is not None:
                below = inside.embeds
            elif isinstance(part, One) or not children:
                return f"{part.relation.graphql} is not in the document"
            else:
                below = visibility.contract.types[part.relation.target].embeds
            if isinstance(part, One):
                why = why_not_document(
                    part.record, below, visibility, children=False, bytewise=bytewise
                )
            else:
                why = _why_not_page(part.page, below, visibility, bytewise)
            if why:
                return why
    return ""


def _why_not_page(
    page: PageShape, embeds: Sequence[Embed], visibility: Visibility, bytewise: bool
) -> str:
    window = page.window
    if page.filter != EVERYTHING:
        return "related records are filtered"
    if not page.default_order:
        return "related records are ordered by more than their key"
    if window.backward or window.after is not None or window.before is not None:
        return "related records are paged by a cursor"
    if not bytewise and any(p.scalar is Scalar.STRING for p in page.type.key_properties):
        return "canonical orders text in its own way"
    if not key_is_plain(page.type):
        return f"the key of {page.type.graphql} has no plain text in its document"
    if visibility.row_filters(page.type) is not None:
        return f"rows of {page.type.graphql} depend on who asks"
    for record in records_in(page):
        why = why_not_document(record, embeds, visibility, children=False, bytewise=bytewise)
        if why:
            return why
    return ""


def key_is_plain(record_type: RecordType) -> bool:
    return all(p.scalar in _TEXT_SAME for p in record_type.key_properties)


# Reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Related:
    """Related records of one parent: at least the page's and one more, if there are; the whole
    count where it was asked."""

    documents: list[Any]
    total: int | None


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of parsed documents, with one beyond it where there is one. `before` and `after`:
    whether a record stands on the other side of the cursors that it lies between."""

    documents: list[Any]
    total: int | None
    before: bool = False
    after: bool = False


class MissingValue(Exception):
    """A document lacks what the schema says is never missing."""


async def read_document(
    store: DocumentStore, shape: KeyShape, key: str, *, strict: bool = False
) -> tuple[dict[str, Any] | None, list[str]]:
    """The record of a key by response name (None: not there), and what was asked of the store.
    Raises StoreError; where `strict`, MissingValue for what execution would find missing."""
    record_type = shape.record.type
    sent = [f"get {record_type.name}"]
    raw = (await store.get(record_type.name, [key])).get(key)
    if raw is None:
        return None, sent
    document = json_numbers.loads(raw)
    if strict:
        require_values(shape.record, document)
    beyond = list(outside(shape.record))
    read: list[_Related] = []
    if beyond:
        read = await asyncio.gather(*(_children(store, record_type, p, document) for p in beyond))
    sent += [
        f"children {p.relation.target} by {', '.join(p.relation.target_columns)}" for p in beyond
    ]
    related = {p.key: found for p, found in zip(beyond, read, strict=True)}
    if strict:
        for part in beyond:
            for record in records_in(part.page):
                for child in related[part.key].documents:
                    require_values(record, child)
    return from_document(shape.record, document, related), sent


def outside(shape: RecordShape) -> Iterator[Many]:
    """The relations that the store is asked for besides the document."""
    inside = {e.relation for e in shape.type.embeds}
    for part in shape.fields:
        if isinstance(part, Many) and part.relation.name not in inside:
            yield part


async def _children(
    store: DocumentStore, record_type: RecordType, part: Many, document: Mapping[str, Any]
) -> _Related:
    relation, target = part.relation, part.page.type
    values = tuple(document[record_type.by_column[c].name] for c in relation.columns)
    if any(v is None for v in values):
        return _Related([], 0)
    query = ChildrenQuery(
        target.name,
        tuple(target.by_column[c].name for c in relation.target_columns),
        [values],
        part.page.window.limit + 1,
        count=any(isinstance(f, TotalCount) for f in part.page.fields),
    )
    found = (await store.children(query))[values]
    return _Related([json_numbers.loads(d) for d in found.documents], found.total)


def require_values(shape: RecordShape, document: Mapping[str, Any]) -> None:
    """Raise MissingValue where a non-null field has no value, or a list holds what is no plain
    value."""
    for part in shape.fields:
        if isinstance(part, Value):
            value = document[part.property.name]
            if value is None and non_null(part.property):
                raise MissingValue
            if part.property.array and value and not _plain_items(part.property, value):
                raise MissingValue
        elif isinstance(part, One | Many):
            inside = document.get(part.relation.name)
            if isinstance(part, One):
                if inside is not None:
                    require_values(part.record, inside)
            else:
                for record in records_in(part.page):
                    for child in inside or ():
                        require_values(record, child)


def _plain_items(prop: Property, values: Sequence[Any]) -> bool:
    return prop.scalar not in (Scalar.BIGINT, Scalar.FLOAT, Scalar.JSON) and not any(
        isinstance(v, list) for v in values
    )


def flat(values: list[Any]) -> list[Any]:
    """The elements of an array one after another, as a list of GraphQL has them."""
    if not any(isinstance(v, list) for v in values):
        return values
    return [x for v in values for x in (flat(v) if isinstance(v, list) else [v])]


# Picking ---------------------------------------------------------------------------------------


def from_document(
    shape: RecordShape, document: Mapping[str, Any], related: Mapping[str, _Related]
) -> dict[str, Any]:
    """Return the values that `shape` asks for, by response name. `related`: the values, by response
    name, that are not inside the document."""
    record: dict[str, Any] = {}
    for part in shape.fields:
        if isinstance(part, Value):
            value = document[part.property.name]
            if part.property.scalar is Scalar.BIGINT:
                value = exact_in_json(value)
            elif part.property.scalar is Scalar.FLOAT and isinstance(value, int):
                value = float(value)
            elif part.property.array and value is not None:
                value = flat(value)
            record[part.key] = value
        elif isinstance(part, Id):
            text = encode_key(_key_texts(shape.type, document))
            record[part.key] = f"{shape.type.graphql}:{text}" if part.glob else text
        elif isinstance(part, TypeName):
            record[part.key] = part.name
        elif isinstance(part, One):
            inner = document[part.relation.name]
            record[part.key] = None if inner is None else from_document(part.record, inner, {})
        elif isinstance(part, Many):
            found = related.get(part.key)
            if found is None:
                inside = document[part.relation.name]
                found = _Related(inside, len(inside))
            record[part.key] = _page(part.page, found)
    return record


def _page(page: PageShape, related: _Related) -> dict[str, Any]:
    limit = page.window.limit
    more = len(related.documents) > limit
    bound = signature(page.type, page.order)

    def cursor(document: Mapping[str, Any]) -> str:
        return cursors.encode(bound, _key_texts(page.type, document))

    return _connection(page, related.documents[:limit], related.total, cursor, False, more)


def list_page(contract: Contract, page: PageShape, found: ListedPage) -> dict[str, Any]:
    """A root field's page by response name."""
    limit, backward = page.window.limit, page.window.backward
    more = len(found.documents) > limit
    documents = found.documents
    if more:
        documents = documents[1:] if backward else documents[:limit]
    bound = signature(page.type, page.order)
    steps = [(o.path, order_property(contract, page.type, o)) for o in page.order]

    def cursor(document: Mapping[str, Any]) -> str:
        return cursors.encode(bound, [printed(p, _at(document, path, p)) for path, p in steps])

    before = found.before or (more and backward)
    after = found.after or (more and not backward)
    return _connection(page, documents, found.total, cursor, before, after)


def _at(document: Any, path: Sequence[str], prop: Property) -> Any:
    for name in path:
        if document is None:
            return None
        document = document[name]
    return None if document is None else document[prop.name]


def _connection(
    page: PageShape,
    documents: Sequence[Any],
    total: int | None,
    cursor: Callable[[Mapping[str, Any]], str],
    before: bool,
    after: bool,
) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for part in page.fields:
        if isinstance(part, TypeName):
            answer[part.key] = part.name
        elif isinstance(part, TotalCount):
            answer[part.key] = total
        elif isinstance(part, Nodes):
            answer[part.key] = [from_document(part.record, d, {}) for d in documents]
        elif isinstance(part, PageInfo):
            info = {
                "hasNextPage": after,
                "hasPreviousPage": before,
                "startCursor": cursor(documents[0]) if documents else None,
                "endCursor": cursor(documents[-1]) if documents else None,
                "__typename": "PageInfo",
            }
            answer[part.key] = {key: info[name] for key, name in part.fields}
        else:
            answer[part.key] = [_edge(part, d, cursor(d)) for d in documents]
    return answer


def _edge(edges: Edges, document: Mapping[str, Any], cursor: str) -> dict[str, Any]:
    edge: dict[str, Any] = {}
    for part in edges.fields:
        if isinstance(part, EdgeNode):
            edge[part.key] = from_document(part.record, document, {})
        else:
            edge[part.key] = cursor if isinstance(part, EdgeCursor) else part.name
    return edge


def _key_texts(record_type: RecordType, document: Mapping[str, Any]) -> list[str]:
    return [str(document[p.name]) for p in record_type.key_properties]
