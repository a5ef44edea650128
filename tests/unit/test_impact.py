"""Which documents a change touches: pure, from the contract and the row's tracked columns."""

from __future__ import annotations

import dataclasses

import pytest

from stores.contract.model import Contract, Embed
from sync.changes import Change, ChangeOp, Row
from sync.impact import Impact, Reach, Touched, reaches
from tests.sync_world import shop_contract


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return shop_contract(tmp_path_factory.mktemp("contract"))


def touch(contract: Contract, *changes: Change) -> Touched:
    touched = Touched()
    Impact(contract).touch(changes, touched)
    return touched


def change(table: str, op: ChangeOp, new: Row | None = None, old: Row | None = None) -> Change:
    return Change("public", table, op, new or {}, old or {})


def keys(touched: Touched) -> dict[str, list[str]]:
    return {name: list(found) for name, found in touched.keys.items()}


def resolved(touched: Touched) -> dict[tuple[str, str], list[tuple[str, ...]]]:
    return {(r.type_name, r.root): list(v) for r, v in touched.reaches.items()}


def test_a_row_touches_its_own_document(contract: Contract) -> None:
    touched = touch(contract, change("products", ChangeOp.INSERT, {"sku": "a"}))
    assert keys(touched) == {"product": ["a"]}


def test_a_changed_key_touches_the_old_and_the_new(contract: Contract) -> None:
    touched = touch(contract, change("products", ChangeOp.UPDATE, {"sku": "b"}, {"sku": "a"}))
    assert sorted(keys(touched)["product"]) == ["a", "b"]
    assert resolved(touched) == {("product", "order"): [("b",), ("a",)]}


def test_a_deleted_row_is_known_by_its_old_key(contract: Contract) -> None:
    touched = touch(contract, change("cities", ChangeOp.DELETE, {}, {"id": "7"}))
    assert keys(touched) == {"city": ["7"]}
    assert resolved(touched) == {("city", "order"): [("7",)]}


def test_a_composite_key_is_escaped(contract: Contract) -> None:
    row = {"shop": "a,b\\c", "number": "1", "city_id": None}
    touched = touch(contract, change("orders", ChangeOp.INSERT, row))
    assert keys(touched) == {"order": ["a\\,b\\\\c,1"]}


def test_a_child_that_moves_touches_both_parents_at_once(contract: Contract) -> None:
    touched = touch(
        contract,
        change(
            "lines",
            ChangeOp.UPDATE,
            {"id": "1", "shop": "s", "number": "2", "sku": "x"},
            {"id": "1", "shop": "s", "number": "1", "sku": "x"},
        ),
    )
    assert keys(touched) == {"line": ["1"], "order": ["s,2", "s,1"]}
    assert not touched.reaches, "the foreign key is the root's key: no question to canonical"


def test_a_child_without_parent_touches_none(contract: Contract) -> None:
    row = {"id": "1", "shop": None, "number": "2", "sku": None}
    assert keys(touch(contract, change("lines", ChangeOp.INSERT, row))) == {"line": ["1"]}


def test_a_parent_reaches_its_children_and_their_children(contract: Contract) -> None:
    touched = touch(contract, change("regions", ChangeOp.UPDATE, {"code": "r1"}))
    assert keys(touched) == {"region": ["r1"]}
    assert resolved(touched) == {("region", "city"): [("r1",)]}
    (reach,) = touched.reaches
    assert [s.type_name for s in reach.steps] == ["country", "city"]


def test_many_changes_of_one_row_are_one_mark(contract: Contract) -> None:
    many = [change("countries", ChangeOp.UPDATE, {"iso": "c1", "region_code": "r1"})] * 100
    touched = touch(contract, *many)
    assert keys(touched) == {"country": ["c1"], "region": ["r1"]}
    assert resolved(touched) == {("country", "city"): [("c1",)]}


def test_a_truncate_touches_all_of_the_type_and_of_what_embeds_it(contract: Contract) -> None:
    assert list(touch(contract, change("lines", ChangeOp.TRUNCATE)).emptied) == ["line", "order"]
    assert sorted(touch(contract, change("regions", ChangeOp.TRUNCATE)).emptied) == [
        "city",
        "region",
    ]


def test_a_table_that_is_not_in_the_contract_touches_nothing(contract: Contract) -> None:
    assert not touch(contract, change("elsewhere", ChangeOp.INSERT, {"id": "1"}))


def test_columns_that_were_not_sent_are_not_taken_for_null(contract: Contract) -> None:
    """With the default replica identity the old row holds the key only."""
    touched = touch(contract, change("lines", ChangeOp.DELETE, {}, {"id": "5"}))
    assert keys(touched) == {"line": ["5"]}


def test_a_self_reference_reaches_the_records_that_embed_the_row(contract: Contract) -> None:
    city = dataclasses.replace(
        contract.types["city"], embeds=(Embed("parent", (Embed("parent"),)),)
    )
    own = dataclasses.replace(contract, types={**contract.types, "city": city})
    found = [r for r in reaches(own) if r.type_name == r.root == "city"]
    assert sorted(len(r.steps) for r in found) == [1, 2]
    assert all(isinstance(r, Reach) and r.columns == ("id",) for r in found)
