"""Full-text search and suggestions, the same for GraphQL and HTTP: guarded by what the viewer may
see, held to the freshness asked for, answered by the search store alone.

What a viewer may not see plainly is not searched, filtered, faceted, sorted or highlighted by, and
no corrected text is offered whose words could come from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from gateway.context.freshness import Standing, generation_of, report, require
from gateway.context.services import Freshness, Services, Viewer
from gateway.shape.filters import row_filter
from gateway.shape.names import field_of, property_of
from gateway.shape.orders import Direction
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import Property, RecordType, Scalar
from stores.errors import ForbiddenError, InputError, LimitError
from stores.protocols import Capability
from stores.query import (
    EVERYTHING,
    And,
    Facet,
    Filter,
    Not,
    Or,
    Order,
    Ranges,
    Related,
    SearchHit,
    SearchQuery,
    SearchResult,
    Suggestion,
)
from stores.roles import StoreRole
from stores.values import coerce, exact_in_json, from_text, to_text

MAX_TEXT = 1_000
MAX_FACETS = 20
MAX_FACET_SIZE = 1_000
MAX_BOUNDS = 50
_RANGED = frozenset(
    (
        Scalar.INT,
        Scalar.BIGINT,
        Scalar.FLOAT,
        Scalar.DECIMAL,
        Scalar.DATE,
        Scalar.TIMESTAMP,
        Scalar.DATETIME,
        Scalar.TIME,
    )
)
MAX_SUGGESTIONS = 50


@dataclass(frozen=True, slots=True)
class Searched:
    """A search's result, and the report for `extensions.recordgate.fields`."""

    result: SearchResult
    report: dict[str, Any]


def require_searchable(record_type: RecordType) -> None:
    if not record_type.searchable or "search" not in record_type.expose.operations:
        raise InputError(f"{record_type.plural} cannot be searched")


def _check_relations(visibility: Visibility, record_type: RecordType, part: Filter) -> None:
    """Raise ForbiddenError where `part` asks about related rows that may not be seen."""
    if isinstance(part, And | Or):
        for inner in part.parts:
            _check_relations(visibility, record_type, inner)
    elif isinstance(part, Not):
        _check_relations(visibility, record_type, part.part)
    elif isinstance(part, Related):
        relation = record_type.relation_by_name[part.relation]
        target = visibility.contract.types[relation.target]
        if visibility.row_filters(target) is not None:
            raise ForbiddenError(f"you may not search by {relation.graphql}")
        _check_relations(visibility, target, part.filter)


def _property(record_type: RecordType, name: str, what: str) -> Property:
    """The property that a caller names, by its name in the contract or in GraphQL."""
    found = property_of(record_type, name) or record_type.by_name.get(name)
    if found is None:
        raise InputError(f"{what}: {record_type.graphql} has no property {name[:60]!r}")
    return found


def facets_of(
    record_type: RecordType,
    names: list[str],
    size: int = 10,
    *,
    told: Visibility | None = None,
) -> tuple[Facet, ...]:
    """Facets by name. `told`: whose facets an error may name; None: nobody's. Raises InputError,
    LimitError."""
    if len(names) > MAX_FACETS:
        raise LimitError(f"more than {MAX_FACETS} facets")
    found: list[Facet] = []
    for name in dict.fromkeys(names):
        prop = _property(record_type, name, "facets")
        if not prop.search.facet:
            hint = ""
            if told is not None:
                seen = [
                    p.graphql
                    for p in record_type.properties
                    if p.search.facet and told.form(p) is Form.PLAIN
                ]
                hint = "one of " + (", ".join(seen) or "none")
            raise InputError(f"facets: {prop.graphql} is not a facet", hint=hint)
        found.append(Facet(prop.name, size))
    return tuple(found)


def can_be_ranged(prop: Property) -> bool:
    """Return whether hits can be counted by ranges of a property."""
    return not prop.array and prop.scalar in _RANGED and (prop.search.facet or prop.search.sort)


def ranges_of(record_type: RecordType, given: Iterable[tuple[str, Any]]) -> tuple[Ranges, ...]:
    """Return the ranges whose hits are counted: by field its bounds. Raise InputError or
    LimitError."""
    found: dict[str, Ranges] = {}
    for name, raw in given:
        prop = _property(record_type, name, "facetRanges")
        where = f"facetRanges: {prop.graphql}"
        if not can_be_ranged(prop):
            raise InputError(f"{where} is no number, day or time with `facet` or `sort`")
        if len(found) == MAX_FACETS:
            raise LimitError(f"more than {MAX_FACETS} facetRanges")
        if prop.name in found:
            raise InputError(f"{where} is given twice")
        if not isinstance(raw, list) or not raw or any(v is None for v in raw):
            raise InputError(f"{where} takes a list of bounds")
        if len(raw) > MAX_BOUNDS:
            raise LimitError(f"{where} has more than {MAX_BOUNDS} bounds")
        bounds = [coerce(prop, _number(prop, value)) for value in raw]
        if any(isinstance(b, str) for b in bounds):
            raise InputError(f"{where} takes days of the calendar")
        if any(high <= low for low, high in pairwise(bounds)):
            raise InputError(f"{where} takes bounds that grow")
        found[prop.name] = Ranges(prop.name, tuple(bounds))
    return tuple(found.values())


def _number(prop: Property, value: Any) -> Any:
    """Return a number that is written as a text, as GraphQL has all bounds, as a number."""
    if prop.scalar in (Scalar.INT, Scalar.FLOAT) and isinstance(value, str):
        return from_text(prop, value)
    return value


def shown_ranges(record_type: RecordType, result: SearchResult) -> dict[str, list[dict[str, Any]]]:
    """Return the counted ranges by field, with their bounds as JSON has them."""
    return {
        field_of(record_type, record_type.by_name[name]): [
            {
                "from": _bound(record_type.by_name[name], one.low),
                "to": _bound(record_type.by_name[name], one.high),
                "count": one.count,
            }
            for one in counted
        ]
        for name, counted in result.ranges.items()
    }


def _bound(prop: Property, value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return exact_in_json(value)
    text = to_text(prop, value)
    if prop.scalar in (Scalar.TIMESTAMP, Scalar.DATETIME):
        text = text.replace(" ", "T")
    return text + ":00" if prop.scalar is Scalar.TIMESTAMP else text


def facet_size(name: str, given: int | None) -> int:
    """Return how many values a facet shows. Raise LimitError."""
    if given is None:
        return 10
    if not 1 <= given <= MAX_FACET_SIZE:
        raise LimitError(f"{name} is 1 to {MAX_FACET_SIZE}")
    return given


def highlights_of(record_type: RecordType, names: list[str]) -> tuple[str, ...]:
    """Properties to highlight, by name. Raises InputError."""
    found: list[str] = []
    for name in dict.fromkeys(names[: len(record_type.properties) + 1]):
        prop = _property(record_type, name, "highlight")
        if not prop.search.text:
            raise InputError(f"highlight: {prop.graphql} is not searched as text")
        found.append(prop.name)
    return tuple(found)


def sort_of(record_type: RecordType, steps: list[tuple[str, Direction]]) -> tuple[Order, ...]:
    """An order from properties by name. Raises InputError."""
    found: list[Order] = []
    for name, direction in steps:
        prop = _property(record_type, name, "sort")
        if not prop.search.sort:
            raise InputError(
                f"sort: {prop.graphql} is not sortable in search",
                hint="one of "
                + (", ".join(p.graphql for p in record_type.properties if p.search.sort) or "none"),
            )
        found.append(Order(prop.name, *direction.value))
    return tuple(found)


def _hides(visibility: Visibility, record_type: RecordType) -> bool:
    """Return whether a text that is searched is not shown plainly to the viewer. Of embedded
    records nothing is searched."""
    return any(
        p.search.text and visibility.form(p) is not Form.PLAIN for p in record_type.properties
    )


def guarded(
    visibility: Visibility, record_type: RecordType, query: SearchQuery
) -> SearchQuery | None:
    """`query` as the viewer may ask it; None where no row may be seen. Raises ForbiddenError."""
    _check_relations(visibility, record_type, query.filter)
    for facet in query.facets:
        visibility.require_plain(record_type.by_name[facet.property], "count")
    for ranges in query.ranges:
        visibility.require_plain(record_type.by_name[ranges.property], "count")
    for order in query.sort:
        visibility.require_plain(record_type.by_name[order.property], "sort")
    for name in query.highlight:
        visibility.require_plain(record_type.by_name[name], "highlight")
    if _hides(visibility, record_type):
        plain = tuple(
            p.name
            for p in record_type.properties
            if p.search.text and visibility.form(p) is Form.PLAIN
        )
        if not plain:
            raise ForbiddenError(f"you may not search {record_type.plural}")
        # Corrections are made of the words of the properties that are searched alone.
        query = replace(query, properties=plain)
    by = record_type.boost_by
    if by and visibility.form(record_type.by_name[by.property]) is not Form.PLAIN:
        # The order of hits would tell what is hidden.
        query = replace(query, boosted=False)
    rows = row_filter(record_type, visibility)
    if rows == EVERYTHING:
        return query
    if rows == Or(()):
        return None
    return replace(query, rows=rows, suggestions=False)


async def run_search(
    services: Services,
    viewer: Viewer,
    freshness: Freshness,
    record_type: RecordType,
    query: SearchQuery,
) -> Searched:
    """Search as `viewer`. Raises InputError, LimitError, ForbiddenError, StaleError, StoreError."""
    require_searchable(record_type)
    if len(query.text) > MAX_TEXT:
        raise LimitError(f"the search text is longer than {MAX_TEXT} characters")
    visibility = Visibility(services.contract, viewer.roles)
    visibility.require_may(record_type, "search")
    allowed = guarded(visibility, record_type, query)
    store = services.search
    standing = await require(services, store, freshness, (record_type.name,))
    if allowed is None:
        return Searched(SearchResult([], 0), _report(services, standing, None))
    if allowed.rows != EVERYTHING and store.can_filter(record_type.name, allowed.rows):
        raise ForbiddenError(f"your rows of {record_type.plural} cannot be searched")
    if allowed.filter != EVERYTHING:
        why = store.can_filter(record_type.name, allowed.filter)
        if why:
            raise InputError(f"filter: search cannot apply it: {why}")
    if query.sort and Capability.SEARCH_SORT not in store.capabilities:
        raise InputError(f"sort: the {store.kind} store cannot sort")
    try:
        result = await store.search(allowed)
    except InputError as error:
        if viewer.may_introspect:
            raise
        raise InputError(error.message) from None
    if allowed.rows != EVERYTHING:
        # A score counts how rare a word is among all rows, also those that are hidden; the words
        # near one that was forgiven are of all rows.
        result = replace(
            result,
            hits=[replace(hit, score=None) for hit in result.hits],
            forgiven=tuple(replace(f, near=()) for f in result.forgiven),
            corrected="",
        )
    generation = await generation_of(store, record_type.name)
    return Searched(result, _report(services, standing, generation))


def explained(record_type: RecordType, hit: SearchHit) -> dict[str, Any] | None:
    """Return why a hit was found, with its fields by their names in GraphQL."""
    if hit.explanation is None:
        return None

    def named(name: str) -> str:
        return field_of(record_type, record_type.by_name[name])

    return {
        **hit.explanation,
        "matches": [{**m, "field": named(m["field"])} for m in hit.explanation["matches"]],
        "whole": [named(name) for name in hit.explanation["whole"]],
    }


def _report(
    services: Services, standing: Standing, generation: int | None, reason: str = "full text"
) -> dict[str, Any]:
    return report(
        StoreRole.SEARCH, reason, standing.position, generation, now=services.listener.now()
    )


async def run_suggest(
    services: Services,
    viewer: Viewer,
    freshness: Freshness,
    record_type: RecordType,
    text: str,
    first: int,
) -> tuple[list[Suggestion], dict[str, Any]]:
    """Completions of `text` as `viewer`, and the report. Raises InputError, ForbiddenError,
    StaleError, StoreError."""
    if "search" not in record_type.expose.operations:
        raise InputError(f"{record_type.plural} cannot be searched")
    if len(text) > MAX_TEXT:
        raise LimitError(f"the text is longer than {MAX_TEXT} characters")
    visibility = Visibility(services.contract, viewer.roles)
    visibility.require_may(record_type, "search")
    offered = [p for p in record_type.properties if p.search.suggest]
    plain = tuple(p.name for p in offered if visibility.form(p) is Form.PLAIN)
    if not offered:
        raise InputError(
            f"{record_type.plural} have no suggestions",
            hint="the contract marks no property with search.suggest",
        )
    if not plain or visibility.row_filters(record_type) is not None:
        raise ForbiddenError(f"you may not see suggestions of {record_type.plural}")
    standing = await require(services, services.search, freshness, (record_type.name,))
    found = await services.search.suggest(record_type.name, text, first, plain)
    generation = await generation_of(services.search, record_type.name)
    return found, _report(services, standing, generation, "suggestions")
