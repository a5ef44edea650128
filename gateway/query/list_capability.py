"""Decides whether a document store answers a list exactly as canonical does, and what of its filter
and order an index could serve. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.query.documents import key_is_plain, why_not_document
from gateway.shape.filters import row_filter
from gateway.shape.shapes import PageShape, TotalCount, records_in
from gateway.shape.visibility import Visibility
from stores.contract.model import Embed, Property, RecordType
from stores.exactness import Exact, exactness, why_not_exact
from stores.protocols import Capability
from stores.query import (
    EVERYTHING,
    And,
    Compare,
    Filter,
    Not,
    Op,
    Or,
    Order,
    Related,
    conjuncts,
    held,
)

_NEEDS = {
    Op.IS_NULL: Exact.MISSING,
    **dict.fromkeys((Op.EQ, Op.NEQ, Op.IN, Op.NOT_IN), Exact.EQUAL),
    **dict.fromkeys((Op.CONTAINS, Op.STARTS_WITH), Exact.EQUAL),
    **dict.fromkeys((Op.GT, Op.GTE, Op.LT, Op.LTE), Exact.ORDERED),
}
"""Comparison → what it asks of a property; one that is not here is canonical's."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The way in which canonical compares text. `bytewise`: it orders it by its bytes. `plain`: no
    column has a collation of its own."""

    bytewise: bool
    plain: bool

    def of(self, prop: Property) -> Exact:
        return exactness(prop, bytewise=self.bytewise, plain_collation=self.plain)


def why_not_list(
    page: PageShape, visibility: Visibility, capabilities: frozenset[Capability], texts: Texts
) -> str:
    """Empty where the store answers the page byte for byte as canonical does; else why not."""
    if Capability.LISTS not in capabilities:
        return "it gives no lists"
    record_type = page.type
    if visibility.row_filters(record_type) is not None:
        return f"rows of {record_type.graphql} depend on who asks"
    if not key_is_plain(record_type):
        return f"the key of {record_type.graphql} has no plain text in its document"
    why = why_not_filter(record_type, page.filter, record_type.embeds, visibility, texts)
    why = why or _why_not_order(record_type, page.order, visibility, texts)
    if why:
        return why
    for record in records_in(page):
        why = why_not_document(
            record, record_type.embeds, visibility, children=False, bytewise=texts.bytewise
        )
        if why:
            return why
    return ""


def why_not_filter(
    record_type: RecordType,
    part: Filter,
    embeds: Sequence[Embed],
    visibility: Visibility,
    texts: Texts,
) -> str:
    """Empty where each comparison of the filter is exact in documents; else why not."""
    if isinstance(part, And | Or):
        several = (why_not_filter(record_type, p, embeds, visibility, texts) for p in part.parts)
        return next((why for why in several if why), "")
    if isinstance(part, Not):
        return why_not_filter(record_type, part.part, embeds, visibility, texts)
    if isinstance(part, Related):
        inside = next((e for e in embeds if e.relation == part.relation), None)
        if inside is None:
            name = record_type.relation_by_name[part.relation].graphql
            return f"{name}, which is filtered by, is not in the document"
        target = visibility.contract.types[record_type.relation_by_name[part.relation].target]
        if row_filter(target, visibility) != EVERYTHING:
            return f"rows of {target.graphql} depend on who asks"
        return why_not_filter(target, part.filter, inside.embeds, visibility, texts)
    prop = record_type.by_name[part.property]
    if part.op not in _NEEDS:
        return f"{part.op} is canonical's"
    if texts.of(prop) < _NEEDS[part.op]:
        return why_not_exact(prop)
    return ""


def _why_not_order(
    record_type: RecordType, order: Sequence[Order], visibility: Visibility, texts: Texts
) -> str:
    for step in order:
        here, embeds = record_type, record_type.embeds
        for name in step.path:
            inside = next((e for e in embeds if e.relation == name), None)
            if inside is None:
                graphql = here.relation_by_name[name].graphql
                return f"{graphql}, which is ordered by, is not in the document"
            here = visibility.contract.types[here.relation_by_name[name].target]
            embeds = inside.embeds
            if row_filter(here, visibility) != EVERYTHING:
                return f"rows of {here.graphql} depend on who asks"
        prop = here.by_name[step.property]
        if texts.of(prop) < Exact.ORDERED:
            return why_not_exact(prop)
    return ""


# What an index could serve -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListNeeds:
    """`equal`: properties that the whole filter holds to one value; `ranged`: to a range, or a few
    values. `rest`: whether more than these is asked. `order`: the properties of the order that are
    not held; None: no index gives it. `steps`: into how many ranges of the order a page may
    fall. `limit`: documents that are wanted, and the one beyond."""

    equal: frozenset[str]
    ranged: frozenset[str]
    rest: bool
    order: tuple[str, ...] | None
    limit: int
    counts: bool
    steps: int


def needs_of(page: PageShape) -> ListNeeds:
    """Return what serving the page asks of an index."""
    equal = held(page.filter)
    ranged: set[str] = set()
    rest = False
    for part in conjuncts(page.filter):
        if isinstance(part, Compare) and part.op in _RANGES:
            ranged.add(part.property)
        elif not isinstance(part, Compare) or part.property not in equal:
            rest = True
    window = page.window
    cursors = (window.after is not None) + (window.before is not None)
    return ListNeeds(
        equal,
        frozenset(ranged),
        rest,
        _one_way(page, equal),
        window.limit + 1,
        any(isinstance(f, TotalCount) for f in page.fields),
        2 * len(page.order) * (1 + cursors) if cursors else 2,
    )


def _one_way(page: PageShape, equal: frozenset[str]) -> tuple[str, ...] | None:
    """The order's properties where one walk of an index over them gives it: all in one direction,
    and only the first of them can be missing."""
    steps = [s for s in page.order if s.path or s.property not in equal]
    if any(s.path for s in steps) or len({s.descending for s in steps}) > 1:
        return None
    for step in steps[1:]:
        prop = page.type.by_name[step.property]
        if not prop.required and prop.column not in page.type.key:
            return None
    return tuple(s.property for s in steps)


_RANGES = (Op.IN, Op.GT, Op.GTE, Op.LT, Op.LTE, Op.STARTS_WITH)
