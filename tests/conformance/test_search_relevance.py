"""The first hits are the right ones: a floor under judged queries that tuned nothing, for every
search store."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

from benchmarks.judged import Judged, cities, city_queries
from benchmarks.relevance import contract, fill, measured, ours
from stores.query import Match
from tests.conformance.store_backends import Place

FLOOR = 0.96
"""Of nDCG@10 and of the mean reciprocal rank; both are 0.97 and more."""


@cache
def judged() -> tuple[list[dict[str, Any]], list[Judged]]:
    places = cities(3_000, smallest=15_000)
    return places, [q for q in city_queries(places, 300) if q.held_out]


def test_the_first_hits_of_misspelled_names_are_the_right_ones(search_place: Place) -> None:
    async def story() -> None:
        places, queries = judged()
        async with search_place.open(contract=contract()) as store:
            await fill(store, "place", places)
            for match in (Match.AUTO, Match.FORGIVING):
                gain, rank = await measured(ours(store, "place", match), queries)
                assert min(gain, rank) >= FLOOR, (match, gain, rank)

    asyncio.run(story())
