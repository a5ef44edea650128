"""What keeps a table from being published, decided before anything is: by the server's release, and by what the
owner's replica identity holds."""

from __future__ import annotations

import pytest

from stores.canonical.capture_steps import capture_steps
from stores.canonical.catalog import Column, Leaf, Table
from stores.canonical.steps import Step
from stores.contract.model import Contract, Logical, Property, RecordType, Scalar

PLAIN = Column("integer", True, False)
STORED = Column("integer", True, True)
VIRTUAL = Column("integer", False, True, virtual=True)
NAME = ("public", "item")


def contract(*, managed: bool = False) -> Contract:
    whole = [Property(c, c, c, Logical.INTEGER, Scalar.INT, "integer") for c in ("id", "n")]
    item = RecordType("item", "public", "item", "Item", "item", "items", tuple(whole), ("id",))
    return Contract("shop", "shop", "1.0.0", {"item": item}, managed=managed)


def table(leaf: Leaf, **columns: Column) -> Table:
    return Table("r", columns, ("id",), "item_pkey", (leaf,))


def steps(found: Table, version: int = 180_000, *, managed: bool = False) -> list[Step]:
    made = capture_steps(contract(managed=managed), {NAME: found}, None, version)
    return [s for s in made if s.kind != "create_publication"]


BY_KEY = Leaf(NAME, "d", True)


@pytest.mark.parametrize(
    ("version", "refused"), [(160_000, True), (170_005, True), (180_000, False)]
)
def test_a_generated_key_needs_a_server_that_publishes_it(version: int, refused: bool) -> None:
    found = steps(table(BY_KEY, id=STORED, n=PLAIN), version)
    assert [s.kind for s in found if s.blocked] == ["publish_table"] * refused


def test_a_generated_column_that_is_no_key_stands_in_nobodys_way() -> None:
    for column in (STORED, VIRTUAL):
        assert steps(table(BY_KEY, id=PLAIN, n=column), 180_000) == []
    assert steps(table(BY_KEY, id=PLAIN, n=STORED), 160_000) == []


def test_an_index_that_does_not_hold_the_key_is_widened_to_the_whole_row() -> None:
    enough = Leaf(NAME, "i", True, ("id",))
    assert steps(table(enough, id=PLAIN, n=PLAIN)) == []
    lacking = Leaf(NAME, "i", True, ("n",))
    (step,) = steps(table(lacking, id=PLAIN, n=PLAIN))
    assert step.text == "set REPLICA IDENTITY FULL on public.item"
    assert not step.blocked
    (step,) = steps(table(lacking, id=PLAIN, n=PLAIN, v=VIRTUAL))
    assert "set REPLICA IDENTITY DEFAULT" in step.blocked


def test_tables_of_ours_never_keep_an_identity_that_would_fail() -> None:
    full = Leaf(NAME, "f", True)
    (step,) = steps(table(full, id=PLAIN, n=VIRTUAL), managed=True)
    assert (step.text, step.blocked) == ("set REPLICA IDENTITY DEFAULT on public.item", "")
