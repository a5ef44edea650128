"""The small decisions of sync: visibility of transactions, plans of generations, keys next to each
other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stores.protocols import Generation
from sync.generations import Entry, plan
from sync.ranges import just_before
from sync.visibility import Snapshot


def test_a_running_or_later_transaction_is_not_visible() -> None:
    snapshot = Snapshot.parse("100:110:103,107")
    assert [x for x in range(98, 112) if not snapshot.sees(x)] == [103, 107, 110, 111]
    assert Snapshot.parse("5:5:").sees(4)


def test_ids_of_32_bits_are_read_near_the_snapshot() -> None:
    epoch = 3 << 32
    snapshot = Snapshot.parse(f"{epoch + 5}:{epoch + 10}:{epoch + 7}")
    assert snapshot.sees(6)
    assert not snapshot.sees(7)
    assert not snapshot.sees(12)
    assert snapshot.sees(0xFFFFFFF0), "of the epoch before"
    before = Snapshot.parse(f"{epoch - 10}:{epoch - 5}:")
    assert not before.sees(3), "of the epoch after"


def active(number: int, shape: str = "s") -> Generation:
    return Generation(number, "active", shape)


def decide(
    stored: list[Generation], books: list[Entry], *, required: bool = False, keep: int = 2
) -> tuple[list[int], int | None, list[int]]:
    found = plan(stored, books, "s", required=required, keep=keep)
    return sorted(found.write), found.build, sorted(found.drop)


def test_an_empty_store_is_loaded() -> None:
    assert decide([], []) == ([], 1, [])


def test_a_right_generation_is_kept() -> None:
    assert decide([active(3)], [Entry(3, "active", "s")]) == ([3], None, [])


def test_another_shape_is_built_beside() -> None:
    assert decide([active(1, "old")], [Entry(1, "active", "old")]) == ([1], 2, [])


def test_a_building_goes_on_where_the_books_know_it() -> None:
    building = Generation(2, "building", "s")
    assert decide([active(1), building], [Entry(1, "active", "s"), Entry(2, "building", "s", "k")]) == (
        [1, 2], 2, [],
    )  # fmt: skip
    assert decide([active(1, "old"), building], [Entry(1, "active", "old")]) == ([1], 3, [2])


def test_of_two_buildings_the_later_goes_on() -> None:
    """The worker died between beginning it and dropping the one that it gave up."""
    stored = [Generation(3, "building", "s"), Generation(2, "building", "s"), active(1)]
    books = [Entry(1, "active", "s"), Entry(2, "building", "s", "k"), Entry(3, "building", "s")]
    assert decide(stored, books) == ([1, 3], 3, [2])


def test_kept_generations_are_warm_unless_they_missed_changes() -> None:
    stored = [Generation(1, "retired", "s"), Generation(2, "retired", "s"), active(3)]
    books = [Entry(n, "retired", "s") for n in (1, 2)] + [Entry(3, "active", "s")]
    assert decide(stored, books) == ([2, 3], None, [1])
    assert decide(stored, books, required=True) == ([3], 4, [1, 2])
    assert decide([Generation(2, "retired", "other"), active(3)], books) == ([3], None, [2])


def test_a_number_is_never_used_twice() -> None:
    assert decide([], [Entry(7, "retired", "s")])[1] == 8
    assert decide([], [Entry(7, "building", "s", "k")])[1] == 1, "it was never made"


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_the_text_just_before_a_key_is_smaller(key: str) -> None:
    before = just_before(key)
    assert before is not None
    assert before.encode() < key.encode()
