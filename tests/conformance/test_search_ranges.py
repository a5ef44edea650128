"""Hits counted by ranges; each range is what a filter of it finds."""

from __future__ import annotations

from datetime import date, time
from decimal import Decimal

import pytest

from stores.query import And, Compare, Op, Ranges, SearchQuery
from tests.conformance.search_library import fill, records
from tests.conformance.store_backends import Place, run, searches

RANGES = (
    Ranges("pages", (0, 1, 100)),
    Ranges("copies", (-(2**53) - 1, 0, 2**53 + 1)),
    Ranges("price", (Decimal("0.01"), Decimal("10.1"))),
    Ranges("rating", (-2.5, 0.0, 1.5)),
    Ranges("published", (date(1970, 1, 1), date(2000, 2, 29))),
    Ranges("opens", (time(12, 30),)),
)


@pytest.mark.parametrize("text", ["", "ant"])
def test_each_range_counts_what_its_filter_finds(search_place: Place, text: str) -> None:
    async def story() -> None:
        async with search_place.ready("book") as opened:
            await fill(opened, records(150))
            store = searches(opened)
            own = Compare("pages", Op.GTE, 1)
            other = Compare("language", Op.IS_NULL, False)
            found = await store.search(
                SearchQuery("book", text, filter=And((own, other)), ranges=RANGES)
            )
            for ranges in RANGES:
                counts = []
                # Its own condition does not take its other ranges away.
                around = (other,) if ranges.property == "pages" else (own, other)
                for inside in ranges.filters():
                    part = await store.search(
                        SearchQuery("book", text, filter=And((*around, inside)), first=0)
                    )
                    counts.append(part.total)
                counted = found.ranges[ranges.property]
                assert [c.count for c in counted] == counts, ranges
                assert [c.low for c in counted] == [None, *ranges.bounds]
                assert [c.high for c in counted] == [*ranges.bounds, None]
            assert sum(c.count for c in found.ranges["pages"])

    run(story())
