"""What a contract may say that Tantivy, or a file system, does not take as it is. (A contract that
changes under an index: tests/conformance/test_search_contract_change.py.)"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stores.contract.model import Contract, RecordType, SearchOptions
from stores.errors import StoreRefused
from stores.protocols import Write
from stores.search.tantivy.analyzers import analyzer
from stores.search.tantivy.store import TantivyStore
from tests.conformance.store_backends import run
from tests.conformance.store_contract import document, prop, record_type

BEFORE = record_type(
    "thing", (prop("id"), prop("name", search=SearchOptions(text=True)), prop("size")), ("id",)
)


def contract(of: RecordType) -> Contract:
    return Contract("change", "Change", "1", {"thing": of})


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
