"""What it means that a table's form is another one than before: pure, from two forms."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stores.canonical.followed import Column, FollowedTable, Leaf
from sync.forms import blind, missed

FORM = FollowedTable(
    oid=1,
    partitioned=False,
    columns={"id": Column(1, 23, -1, "700", ""), "name": Column(2, 25, -1, "700", "")},
    leaves={"1": Leaf("public.t", 1, "d")},
    labels={"9": "sad"},
    parts={"8.1": "street 25 -1"},
    published="5 700 6",
    secured=False,
)
PARTED = msgspec.structs.replace(
    FORM, partitioned=True, leaves={"2": Leaf("public.a", 2, "f"), "3": Leaf("public.b", 3, "f")}
)


def but(form: FollowedTable = FORM, **changes: Any) -> FollowedTable:
    return msgspec.structs.replace(form, **changes)


def columns(name: Column | None) -> dict[str, Column | None]:
    return {**FORM.columns, "name": name}


NAME = Column(2, 25, -1, "701", "")


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (None, FORM, "exists again"),
        (FORM, but(oid=2), "created again"),
        (FORM, but(published=None), "some of its changes were not published"),
        (FORM, but(published="5 700 7"), "some of its changes were not published"),
        (FORM, but(published="5 700 6 rows"), "some of its changes were not published"),
        (PARTED, but(PARTED, leaves={"2": PARTED.leaves["2"]}), "partition public.b was removed"),
        (PARTED, but(PARTED, leaves={**PARTED.leaves, "3": Leaf("b", 9, "f")}), "b was emptied"),
        (PARTED, but(PARTED, leaves={**PARTED.leaves, "4": Leaf("c", 4, "d")}), "c was attached with rows"),
        (FORM, but(columns=columns(Column(3, 25, -1, "701", ""))), "name was changed or created"
                                                                   " again"),
        (FORM, but(columns=columns(Column(2, 1043, 9, "701", ""))), "name was changed"),
        (FORM, but(columns=columns(Column(2, 25, -1, "701", "x"))), "the expression of its generated column"),
        (but(columns=columns(None)), FORM, "name was dropped and added again"),
        (FORM, but(columns=columns(NAME), leaves={"1": Leaf("t", 7, "d")}), "name was rewritten"),
        (FORM, but(labels={"9": "blue"}), "value sad of an enum"),
        (FORM, but(parts={"8.1": "road 25 -1"}), "composite type"),
        (FORM, but(silent=("7",)), "a table whose changes are not published"),
        (but(silent=("7",)), FORM, "a table whose changes are not published"),
    ],
)  # fmt: skip
def test_what_no_change_tells(before: FollowedTable | None, now: FollowedTable, why: str) -> None:
    assert why in missed(before, now, {"4"})


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (FORM, FORM),
        (FORM, None),
        (FORM, but(columns=columns(None))),
        (FORM, but(columns={**FORM.columns, "more": Column(3, 23, -1, "9", "")})),
        (FORM, but(columns={"id": FORM.columns["id"]})),
        (FORM, but(columns=columns(NAME))),
        (FORM, but(leaves={"1": Leaf("public.t", 7, "d")})),
        (FORM, but(labels={"9": "sad", "10": "new"})),
        (PARTED, but(PARTED, leaves={**PARTED.leaves, "5": Leaf("public.empty", 5, "d")})),
    ],
    ids=[
        "nothing", "the table is gone", "a column is gone", "the contract names another column",
        "the contract names one less", "a default", "VACUUM FULL", "a new value of an enum",
        "an empty partition",
    ],
)  # fmt: skip
def test_what_misses_nothing(before: FollowedTable, now: FollowedTable | None) -> None:
    assert missed(before, now, {"4"}) == ""


def test_rows_before_are_told_by_a_full_identity_only() -> None:
    half = but(PARTED, leaves={**PARTED.leaves, "4": Leaf("public.c", 4, "d")})
    assert blind(PARTED, PARTED) == ""
    assert "public.c" in blind(PARTED, half)
    assert "public.c" in blind(half, but(half, leaves={"4": Leaf("public.c", 4, "f")}))
