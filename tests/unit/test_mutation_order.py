"""Records of one call are written so that what they refer to is there."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.write.order import parents_first
from gateway.write.rows import Row
from tests.library_world import LIBRARY

AUTHOR = LIBRARY.types["author"]


def rows_of(parents: dict[int, int | None]) -> list[Row]:
    return [(n, {"id": i, "mentorId": p}) for n, (i, p) in enumerate(parents.items())]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12)), max_size=10))
def test_each_record_comes_after_the_one_it_refers_to(parents: dict[int, int | None]) -> None:
    rows = rows_of(parents)
    ordered, circular = parents_first(AUTHOR, rows)
    assert sorted(index for index, _ in ordered) == list(range(len(rows)))
    place = {values["id"]: n for n, (_, values) in enumerate(ordered)}
    early = {i for i, p in parents.items() if p in place and p != i and place[p] > place[i]}
    assert circular == bool(_in_a_circle(parents))
    if not circular:
        assert not early
    # Whoever neither is in a circle nor hangs on one keeps to the order.
    assert all(_ends_in_a_circle(i, parents) for i in early)


def _above(start: int, parents: dict[int, int | None]) -> list[int]:
    seen: list[int] = []
    here: int | None = start
    while (up := parents.get(here) if here is not None else None) is not None and up != here:
        if up in seen:
            break
        seen.append(up)
        here = up
    return seen


def _in_a_circle(parents: dict[int, int | None]) -> list[int]:
    return [i for i in parents if i in _above(i, parents)]


def _ends_in_a_circle(start: int, parents: dict[int, int | None]) -> bool:
    circle = set(_in_a_circle(parents))
    return start in circle or bool(circle & set(_above(start, parents)))


def test_records_that_do_not_refer_to_each_other_keep_their_order() -> None:
    rows = rows_of({5: None, 3: 99, 4: None, 1: 1})
    assert parents_first(AUTHOR, rows) == (rows, False)


def test_a_long_chain_the_wrong_way_round_is_put_right() -> None:
    rows = rows_of({i: i + 1 for i in range(1000)})
    ordered, circular = parents_first(AUTHOR, rows)
    assert [index for index, _ in ordered] == list(reversed(range(1000)))
    assert not circular
