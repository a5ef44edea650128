"""What keeps a table from being published, decided before anything is: by the server's release, and
by what the owner's replica identity holds."""

from __future__ import annotations

import dataclasses

import pytest

from stores.canonical.capture_steps import NO_KEY, capture_steps
from stores.canonical.catalog import Column, Leaf, Publication, Table
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


def steps(
    found: Table, version: int = 180_000, *, managed: bool = False, followed: bool = False
) -> list[Step]:
    given = contract(managed=managed)
    made = capture_steps(given, {NAME: found}, None, version, followed=followed)
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


@pytest.mark.parametrize("managed", [True, False])
def test_a_followed_table_whose_key_is_gone_tells_whole_rows(managed: bool) -> None:
    """Postgres would fail the application's updates and deletes of it."""
    found = table(Leaf(NAME, "d", False), id=PLAIN, n=PLAIN)
    (step,) = steps(found, managed=managed, followed=True)
    assert (step.text, step.blocked) == ("set REPLICA IDENTITY FULL on public.item", "")
    assert [s.blocked for s in steps(found, managed=managed)] == [NO_KEY] * (not managed)


@pytest.mark.parametrize(("other", "why"), [("inheriting", "NO INHERIT"), ("unlogged", "LOGGED")])
def test_rows_whose_changes_nothing_tells_keep_a_table_from_being_published(
    other: str, why: str
) -> None:
    found = dataclasses.replace(table(BY_KEY, id=PLAIN, n=PLAIN), **{other: (("public", "more"),)})
    (step,) = steps(found)
    assert "follow public.more" in step.text
    assert why in step.blocked


def test_the_tables_that_a_publication_lacks_or_has_too_many_are_named() -> None:
    found = Publication(False, True, frozenset({("public", "other")}), False)
    (step,) = capture_steps(contract(), {NAME: table(BY_KEY, id=PLAIN, n=PLAIN)}, found, 180_000)
    assert step.text.endswith(", with public.item and without public.other")
