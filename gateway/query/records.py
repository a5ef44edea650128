"""Reads the selected records for the answers of search and mutations, which only know keys.

`resolve_search` and `resolve_mutation` return plain dicts by field name with a `RecordRef` where a
record stands. `answer` turns that into what the resolvers read: keyed by response name, with each
`RecordRef` replaced by its record, all of one selection read in one statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLObjectType, GraphQLResolveInfo

from gateway.compiler import Compiler
from gateway.compiler.json_text import decode
from gateway.context.freshness import active_generation
from gateway.context.services import RequestContext
from gateway.query.canonical import fetch_json
from gateway.query.documents import from_document, why_not_document
from gateway.shape.filters import row_filter
from gateway.shape.selection import Selected, selected_below
from gateway.shape.shapes import RecordShape
from gateway.shape.shaping import Shaper, key_values
from gateway.shape.visibility import Visibility
from stores import json_numbers
from stores.contract.model import RecordType
from stores.roles import StoreRole


@dataclass(slots=True)
class RecordRef:
    """A record that an answer mentions. `document`: what a store holds of it, where it was read
    there. `before`: the record as the caller has read it itself, by the response name of the
    place."""

    type: RecordType
    key: str
    document: bytes | None = None
    before: dict[str, Any] = field(default_factory=dict)


def visibility_of(context: RequestContext) -> Visibility:
    return Visibility(context.services.contract, context.viewer.roles)


def compiler_of(context: RequestContext) -> Compiler:
    """A compiler with what the viewer may see compiled in."""
    services = context.services
    visibility = visibility_of(context)
    return Compiler(services.contract, lambda t: row_filter(t, visibility), services.mask_key)


async def read_records(
    context: RequestContext, shape: RecordShape, keys: Sequence[str]
) -> dict[str, Any]:
    """The records of `keys` from canonical, by key; those that are not there are left out."""
    if not keys:
        return {}
    statement = compiler_of(context).several(shape, [key_values(shape.type, k) for k in keys])
    raw = await fetch_json(context.services, statement, statement.filled({}))
    found: dict[str, Any] = decode(raw) if raw else {}
    return found


async def answer(
    info: GraphQLResolveInfo[Any], object_type: GraphQLObjectType, value: Mapping[str, Any]
) -> dict[str, Any]:
    """`value` (by field name, of `object_type`) keyed by response name, its records filled in."""
    selected = selected_below(info, object_type)
    wanted: dict[int, tuple[Selected, list[RecordRef]]] = {}
    _collect(value, selected, wanted)
    found: dict[int, dict[str, Any]] = {}
    for place, (field_, refs) in wanted.items():
        shape = _shape(info.context, refs[0].type, field_, len(refs))
        found[place] = await _records(info.context, shape, refs)
    keyed: dict[str, Any] = _rekey(value, selected, found)
    return keyed


def _shape(
    context: RequestContext, record_type: RecordType, selected: Selected, times: int = 1
) -> RecordShape:
    return Shaper(visibility_of(context)).record(record_type, selected.fields, times)


async def _records(
    context: RequestContext, shape: RecordShape, refs: list[RecordRef]
) -> dict[str, Any]:
    if (
        all(r.document is not None for r in refs)
        and not why_not_document(shape, shape.type.embeds, visibility_of(context), children=False)
        and await _hits_are_shaped(context, shape.type)
    ):
        return {
            r.key: from_document(shape, json_numbers.loads(r.document), {})
            for r in refs
            if r.document is not None
        }
    return await read_records(context, shape, list(dict.fromkeys(r.key for r in refs)))


async def _hits_are_shaped(context: RequestContext, record_type: RecordType) -> bool:
    """Return whether the index holds documents as the contract says now: the contract changes at
    once, they with the next reload."""
    services = context.services
    active = await active_generation(services.search, record_type.name)
    return active is not None and active.shape == services.fingerprint(
        StoreRole.SEARCH, record_type.name
    )


def _collect(
    value: Any, fields: Sequence[Selected], wanted: dict[int, tuple[Selected, list[RecordRef]]]
) -> None:
    if isinstance(value, list | tuple):
        for item in value:
            _collect(item, fields, wanted)
    elif isinstance(value, Mapping):
        for selected in fields:
            inner = value.get(selected.name)
            items = inner if isinstance(inner, list | tuple) else [inner]
            refs = [i for i in items if isinstance(i, RecordRef)]
            missing = [r for r in refs if selected.key not in r.before]
            if missing:
                wanted.setdefault(id(selected), (selected, []))[1].extend(missing)
            if not refs and selected.fields:
                _collect(inner, selected.fields, wanted)


def _rekey(value: Any, fields: Sequence[Selected], found: dict[int, dict[str, Any]]) -> Any:
    if isinstance(value, list | tuple):
        return [_rekey(item, fields, found) for item in value]
    if not isinstance(value, Mapping):
        return value
    keyed: dict[str, Any] = {}
    for selected in fields:
        if selected.name == "__typename":
            continue
        inner = value[selected.name]
        if isinstance(inner, RecordRef):
            keyed[selected.key] = _record(inner, selected, found)
        elif isinstance(inner, list | tuple) and inner and isinstance(inner[0], RecordRef):
            keyed[selected.key] = [_record(r, selected, found) for r in inner]
        elif selected.fields:
            keyed[selected.key] = _rekey(inner, selected.fields, found)
        else:
            keyed[selected.key] = inner
    return keyed


def _record(ref: RecordRef, selected: Selected, found: dict[int, dict[str, Any]]) -> Any:
    if selected.key in ref.before:
        return ref.before[selected.key]
    return found.get(id(selected), {}).get(ref.key)
