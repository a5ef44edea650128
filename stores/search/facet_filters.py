"""Finds the part of a filter that a facet does not count by: its own, so that choosing one of a
facet's values leaves the other choices. A condition is a facet's own where it must hold and is
about nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stores.query import And, Compare, Filter, Not, Or, SearchQuery


@dataclass(frozen=True, slots=True)
class FacetFilters:
    """A query's filter in parts that all must hold. `own`: by property, the conditions of its facet
    alone."""

    shared: tuple[Filter, ...]
    own: dict[str, tuple[Filter, ...]]

    def all_own(self) -> tuple[Filter, ...]:
        return tuple(part for parts in self.own.values() for part in parts)

    def but(self, property: str) -> tuple[Filter, ...]:
        """The own conditions of all other facets."""
        return tuple(p for name, parts in self.own.items() if name != property for p in parts)


def facet_filters(query: SearchQuery) -> FacetFilters:
    facets = {f.property for f in query.facets} | {r.property for r in query.ranges}
    shared: list[Filter] = []
    own: dict[str, tuple[Filter, ...]] = {}
    for part in _conjuncts(query.filter):
        names = set(_about(part))
        name = names.pop() if len(names) == 1 else None
        if name is not None and name in facets:
            own[name] = (*own.get(name, ()), part)
        else:
            shared.append(part)
    return FacetFilters((*shared, query.rows), own)


def _conjuncts(filter: Filter) -> Iterator[Filter]:
    if isinstance(filter, And):
        for part in filter.parts:
            yield from _conjuncts(part)
    else:
        yield filter


def _about(filter: Filter) -> Iterable[str | None]:
    """Yield the properties that a filter tests, None for one of a related record."""
    match filter:
        case Compare(property=name):
            yield name
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _about(part)
        case Not(part=part):
            yield from _about(part)
        case _:
            yield None
