"""An index made by one contract, while the next contract already reads and writes it: until the reload that
the change asks for is done, what the index has is right, and what it lacks is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stores.contract.model import Contract, RecordType, Scalar, SearchOptions
from stores.errors import StoreRefused
from stores.protocols import Outcome, Position, Write
from stores.query import Compare, Facet, Not, Op, Order, SearchQuery
from stores.search.tantivy_analyzers import analyzer
from stores.search.tantivy_store import TantivyStore
from tests.conformance.store_backends import run
from tests.conformance.store_contract import document, prop, record_type

BEFORE = record_type(
    "thing", (prop("id"), prop("name", search=SearchOptions(text=True)), prop("size")), ("id",)
)
AFTER = record_type(
    "thing",
    (
        prop("id"),
        prop("name", search=SearchOptions(text=True, sort=True)),
        prop("size", Scalar.INT),
        prop("color", search=SearchOptions(text=True, facet=True)),
    ),
    ("id",),
)


def contract(of: RecordType) -> Contract:
    return Contract("change", "Change", "1", {"thing": of})


def test_a_newer_contract_refuses_what_the_index_lacks_and_answers_the_rest(tmp_path: Path) -> None:
    async def story() -> None:
        store = TantivyStore(tmp_path)
        await store.open(contract(BEFORE), write=True)
        await store.create_generation("thing", 1)
        await store.activate("thing", 1)
        await store.write("thing", 1, [Write("a", 1, document(id="a", name="old", size="L"))])
        await store.publish(Position("s", 1, 1.0))
        shape = (await store.generations("thing"))[0].shape
        await store.close()

        store = TantivyStore(tmp_path)
        await store.open(contract(AFTER), write=True)
        new = document(id="b", name="new", size=7, color="red")
        (verdict,) = await store.write("thing", 1, [Write("b", 2, new)])
        assert verdict.outcome is Outcome.APPLIED
        await store.publish(Position("s", 2, 2.0))
        found = await store.search(SearchQuery("thing", "new", properties=("name",)))
        assert [h.document for h in found.hits] == [new]
        for lacking in (
            SearchQuery("thing", "red"),
            SearchQuery("thing", filter=Compare("color", Op.EQ, "red")),
            SearchQuery("thing", filter=Not(Compare("color", Op.IS_NULL, True))),
            SearchQuery("thing", filter=Compare("size", Op.GT, 1)),
            SearchQuery("thing", sort=(Order("name"),)),
            SearchQuery("thing", facets=(Facet("color"),)),
        ):
            with pytest.raises(StoreRefused) as refused:
                await store.search(lacking)
            assert "reload" in refused.value.hint
        await store.create_generation("thing", 2)
        assert (await store.generations("thing"))[1].shape != shape
        await store.write("thing", 2, [Write("b", 2, new)])
        await store.publish(None)
        await store.activate("thing", 2)
        found = await store.search(SearchQuery("thing", "red", facets=(Facet("color"),)))
        assert [h.key for h in found.hits] == ["b"]
        await store.close()

    run(story())


def test_a_language_that_tantivy_does_not_know_is_refused_when_an_index_is_made(
    tmp_path: Path,
) -> None:
    odd = replace(
        BEFORE,
        properties=(prop("id"), prop("name", search=SearchOptions(text=True, analyzer="klingon"))),
    )

    async def story() -> None:
        store = TantivyStore(tmp_path)
        await store.open(contract(odd), write=True)
        with pytest.raises(StoreRefused) as refused:
            await store.create_generation("thing", 1)
        assert "klingon" in refused.value.message
        assert await store.generations("thing") == []
        await store.close()

    run(story())


def test_type_names_that_no_folder_can_have_are_stored_all_the_same(tmp_path: Path) -> None:
    names = ["Thing", "THING", "thing", "../thing", "a/b", "con", "é", "x" * 300, ""]
    types = {n: replace(BEFORE, name=n) for n in names}

    async def story() -> None:
        store = TantivyStore(tmp_path / "search")
        await store.open(Contract("odd", "Odd", "1", types), write=True)
        for name in names:
            await store.create_generation(name, 1)
            await store.activate(name, 1)
            await store.write(name, 1, [Write(name[:9], 1, document(id=name))])
            await store.publish(None)
        for name in names:
            assert [s.key for s in await store.scan(name, 1, None, 9)] == [name[:9]]
        await store.close()

    run(story())
    assert [p.name for p in tmp_path.iterdir()] == ["search"]


@pytest.mark.parametrize(
    "language", ["english", "french", "greek", "arabic", "german", "tamil", "turkish"]
)
def test_each_language_of_tantivy_makes_an_analyzer(language: str) -> None:
    assert analyzer(language).analyze("Word") != []
