"""Reads of many keys at once, as resolvers of a product and a federated gateway make them, are
those of one key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.context.services import Freshness, RequestContext, Services
from gateway.query.key_reads import read_by_keys
from gateway.shape.selection import Selected
from stores.errors import StoreUnavailable
from stores.protocols import Position, Withheld
from tests.library_world import LIBRARY, SYSTEM, UNHEDGED, Library, running_library


@pytest.fixture(scope="module")
def library(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with running_library(postgres, tmp_path_factory.mktemp("library")) as world:
        yield world


class Altered:
    """The library's document store, with another position or another document."""

    def __init__(self, store: Any, **altered: Any) -> None:
        self._store, self._altered = store, altered

    def __getattr__(self, name: str) -> Any:
        return self._altered.get(name) or getattr(self._store, name)


def services(library: Library, **altered: Any) -> Services:
    store: Any = Altered(library.store, **altered)
    return replace(library.services, documents=store)


def asked(
    library: Library, of: Services, freshness: Freshness = UNHEDGED
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Two books with their JSON, and where they were read."""
    context = RequestContext(of, freshness=freshness)
    fields = (Selected("number", "number", {}), Selected("data", "data", {}))
    keys = [n["id"] for n in library.data("{ b: books(first: 2) { nodes { id } } }")["b"]["nodes"]]
    read = library.run(read_by_keys(context, "books", LIBRARY.types["book"], keys, fields))
    return read, context.routes["books"]


def test_of_a_type_that_stays_behind_its_own_position_counts(library: Library) -> None:
    now = library.run(library.store.position())
    assert now is not None
    behind = Position(SYSTEM, now.lsn, now.as_of, (Withheld("book", 1, 1.0),))

    async def position() -> Position:
        return behind

    fresh = replace(UNHEDGED, max_staleness=60.0)
    _, route = asked(library, services(library), fresh)
    assert route["store"] == "documents"
    read, route = asked(library, services(library, position=position), fresh)
    assert route["store"] == "canonical", route
    assert len(read) == 2
    _, route = asked(library, services(library, position=position))
    assert route["stalenessMs"] > 1e12, "its age is said, not that of the other types"


def test_a_number_beyond_a_double_is_read_from_documents(library: Library) -> None:
    async def get(_type: str, keys: Sequence[str]) -> dict[str, bytes]:
        return dict.fromkeys(keys, b'{"shelf":"A","number":1,"data":{"big":1e400}}')

    read, route = asked(library, services(library, get=get))
    assert route["store"] == "documents"
    assert all(r["number"] == 1 for r in read.values())


def test_a_read_in_the_stores_place_is_counted(library: Library) -> None:
    async def get(_type: str, _keys: Sequence[str]) -> dict[str, bytes]:
        raise StoreUnavailable("it is down", store="sqlite")

    down = services(library, get=get)
    read, route = asked(library, down)
    assert (route["store"], len(read)) == ("canonical", 2)
    assert down.fallbacks_taken == 1
