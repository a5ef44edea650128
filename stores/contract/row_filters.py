"""`rowFilter` of a type: role → a filter in GraphQL's form, with property and relation names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stores.contract.draft import Draft
from stores.contract.extensions import Access, suggestion, wrong
from stores.contract.model import Property, Scalar
from stores.contract.node import Node
from stores.errors import InputError
from stores.patterns import PATTERNS, pattern_of
from stores.query import Op
from stores.values import coerce

MAX_DEPTH = 5
_LISTS = (Op.IN, Op.NOT_IN)
_TEXTUAL = (Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH, *PATTERNS)
_ORDER = (Op.GT, Op.GTE, Op.LT, Op.LTE)


def resolve_row_filters(
    draft: Draft, drafts: Mapping[str, Draft], access: Access
) -> tuple[tuple[str, Any], ...]:
    at = draft.extensions.get("rowFilter")
    if at is None:
        return ()
    if not isinstance(at.data, dict):
        wrong(at, "`rowFilter` must be a mapping from a role to a filter")
        return ()
    filters: list[tuple[str, Any]] = []
    for role, value in at.entries():
        access.known(value, role)
        if _check(value, draft, drafts, 0):
            filters.append((role, value.data))
    return tuple(filters)


def _check(at: Node, draft: Draft, drafts: Mapping[str, Draft], depth: int) -> bool:
    """Return whether the filter at `at` is sound for records of `draft`; report each fault."""
    if depth > MAX_DEPTH:
        wrong(at, f"a filter nested deeper than {MAX_DEPTH}")
        return False
    if not isinstance(at.data, dict) or not at.data:
        wrong(at, "a filter must be a mapping of properties", "{country: {eq: FR}}")
        return False
    sound = True
    for key, value in at.entries():
        if key in ("and", "or"):
            if not isinstance(value.data, list) or not value.data:
                wrong(value, f"`{key}` must be a list of filters")
                sound = False
            for part in value:
                sound &= _check(part, draft, drafts, depth + 1)
        elif key == "not":
            sound &= _check(value, draft, drafts, depth + 1)
        elif relation := next((r for r in draft.relations if r.name == key), None):
            sound &= _check(value, drafts[relation.target], drafts, depth + 1)
        elif found := next((d.property for d in draft.declared if d.property.name == key), None):
            sound &= _comparison(value, found)
        else:
            known = [d.property.name for d in draft.declared] + [r.name for r in draft.relations]
            value.report(
                "UNKNOWN_RELATION",
                f"{draft.name!r} has no property or relation {key!r}",
                suggestion(key, known),
                at_key=True,
            )
            sound = False
    return sound


def _comparison(at: Node, prop: Property) -> bool:
    if not isinstance(at.data, dict) or not at.data:
        wrong(at, f"a comparison of {prop.name} must be a mapping", "{eq: …} or {in: […]}")
        return False
    sound = True
    for key, value in at.entries():
        problem = _operand(key, value, prop)
        if problem:
            hint = suggestion(key, [op.value for op in Op]) if key not in tuple(Op) else ""
            value.report("BAD_EXTENSION", f"{prop.name}: {problem}", hint)
            sound = False
    return sound


def _operand(key: str, at: Node, prop: Property) -> str:
    """Return what is wrong with one operator and its operand, or an empty string."""
    if key not in tuple(Op):
        return f"no such operator: {key!r}"
    op = Op(key)
    if op is Op.IS_NULL:
        return "" if isinstance(at.data, bool) else "isNull takes true or false"
    if at.data is None:
        return "a null operand is not allowed; use isNull"
    if prop.scalar in (Scalar.JSON, Scalar.BYTES):
        return f"a property of type {prop.sql_type} supports only isNull"
    if prop.array and op is not Op.CONTAINS:
        return "a list supports only contains and isNull"
    if op in _TEXTUAL and prop.scalar is not Scalar.STRING and not prop.array:
        return f"{key} applies to text only"
    if op in _ORDER and prop.scalar is Scalar.BOOLEAN:
        return f"{key} applies to ordered types only"
    values = at.data if op in _LISTS and isinstance(at.data, list) else [at.data]
    if op in _LISTS and not isinstance(at.data, list):
        return f"{key} takes a list"
    if any(v is None for v in values):
        return "null in a list is not allowed; use isNull"
    single = Property("", "", "", prop.logical, prop.scalar, prop.sql_type.removesuffix("[]"))
    try:
        for value in values:
            coerced = coerce(single, value)
            if op in PATTERNS:
                pattern_of(op, coerced)
    except InputError as error:
        return f"the operand{error.message}".replace("operand: ", "operand ")
    return ""
