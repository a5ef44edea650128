"""Reckons what a list costs a store, from the store's statistics. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.query.list_capability import ListNeeds
from stores.query import Statistics

MOST_READS = 5_000
"""Records that a list may read in the document store while canonical is there."""
MOST_READS_AWAY = 50_000
"""And while canonical is away."""
COUNTED = 0.05
"""The cost of an entry of an index that is only counted, beside a record that is read."""
RANGE = 0.25
"""The part of records that a range is taken to hold: statistics know only of single values."""


@dataclass(frozen=True, slots=True)
class ListCost:
    """`reads`: about how many records the store reads; None where that is not known. `index`: by
    which index, () for none."""

    reads: int | None
    index: tuple[str, ...] = ()

    def why_not(self, most: int, rows: int | None) -> str:
        """Empty where a list may cost so much; else why not."""
        if self.reads is not None and self.reads <= most:
            return ""
        if self.reads is None:
            return "no index serves it, and how many records there are is not known yet"
        of = "" if rows is None else f" of {rows}"
        return f"no index serves it: about {self.reads}{of} records would be read"


def cost_of_list(needs: ListNeeds, statistics: Statistics) -> ListCost:
    """The cheapest way to serve a list."""
    rows = statistics.rows
    whole = None if rows is None else rows * needs.steps + rows * needs.counts
    found = [ListCost(whole)]
    for names, shares in statistics.indexes:
        cost = _by_index(needs, names, shares, rows)
        if cost is not None:
            found.append(cost)
    return min(found, key=lambda c: (c.reads is None, c.reads or 0, len(c.index)))


def _by_index(
    needs: ListNeeds, names: tuple[str, ...], shares: tuple[float, ...], rows: int | None
) -> ListCost | None:
    """None where the index is of no use."""
    place = 0
    while place < len(names) and names[place] in needs.equal:
        place += 1
    ranged = needs.ranged & set(names[place : place + 1])
    ordered = needs.order is not None and names[place : place + len(needs.order)] == needs.order
    if not place and not ranged and not ordered:
        return None
    matching = shares[place - 1] if 0 < place <= len(shares) else rows
    if matching is not None and ranged:
        matching *= RANGE
    covered = (
        needs.equal <= set(names[:place])
        and needs.ranged <= ranged
        and not needs.rest
        and len(needs.ranged) <= 1
    )
    if ordered and covered and not needs.counts:
        return ListCost(needs.limit + needs.steps, names)
    if matching is None:
        return None
    reads = matching * (1 if ordered else needs.steps)
    if ordered and covered:
        reads = needs.limit + needs.steps
    each = COUNTED if covered else 1
    return ListCost(round(reads + matching * needs.counts * each) + 1, names)
