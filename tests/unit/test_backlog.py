"""The dirty keys of a sink: coalescing, first in first out, and never a position beyond what is
published."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.backlog import Backlog, Batch


def test_a_key_marked_twice_is_read_once() -> None:
    backlog = Backlog()
    backlog.mark("t", ["a", "b"])
    backlog.mark("t", ["a"])
    batch = backlog.take(10)
    assert batch is not None
    assert list(batch.keys) == ["a", "b"]
    assert backlog.empty


def test_the_oldest_mark_comes_first_across_types() -> None:
    backlog = Backlog()
    backlog.mark("late", [])
    backlog.mark("early", ["x"])
    backlog.mark("late", ["y"])
    assert [backlog.take(1).type_name for _ in range(2)] == ["early", "late"]  # type: ignore[union-attr]


def test_a_position_is_reached_when_all_before_it_is_published() -> None:
    backlog = Backlog()
    backlog.mark("t", ["a"])
    backlog.boundary(10, 1.0)
    backlog.mark("t", ["b"])
    backlog.boundary(20, 2.0)
    first = backlog.take(1)
    assert first is not None
    assert backlog.reached([first.lowest]) is None
    assert backlog.reached().lsn == 10  # type: ignore[union-attr]
    second = backlog.take(1)
    assert second is not None
    assert backlog.reached([first.lowest, second.lowest]) is None
    assert backlog.reached([second.lowest]).lsn == 10  # type: ignore[union-attr]
    assert backlog.reached().lsn == 20  # type: ignore[union-attr]


def test_what_comes_back_holds_the_position_again() -> None:
    backlog = Backlog()
    backlog.mark("t", ["a"])
    backlog.boundary(10, 1.0)
    batch = backlog.take(1)
    assert batch is not None
    backlog.give_back(batch)
    backlog.boundary(20, 2.0)
    assert backlog.reached() is None
    assert backlog.size == 1


def test_types_that_are_set_aside_wait_and_are_taken_apart() -> None:
    backlog = Backlog()
    backlog.mark("author", ["a"])
    backlog.mark_all("author")
    backlog.mark("book", ["b"])
    backlog.boundary(10, 1.0)
    aside = {"author"}
    assert not backlog.idle(aside)
    batch = backlog.take(10, aside)
    assert batch is not None
    assert (batch.type_name, list(batch.keys)) == ("book", ["b"])
    assert backlog.take(10, aside) is None
    assert backlog.idle(aside)
    assert not backlog.empty
    assert backlog.reached() is None
    batches = backlog.take_types(aside)
    assert [(b.type_name, list(b.keys), b.sweep is not None) for b in batches] == [
        ("author", [], True),
        ("author", ["a"], False),
    ]
    assert backlog.empty
    reached = backlog.reached()
    assert reached is not None
    assert reached.lsn == 10


def test_a_sweep_holds_the_position_until_it_is_done() -> None:
    backlog = Backlog()
    backlog.mark_all("t")
    backlog.boundary(10, 1.0)
    assert backlog.reached() is None
    batch = backlog.take(5)
    assert batch is not None
    assert batch.sweep is not None
    assert backlog.reached([batch.lowest]) is None
    assert backlog.reached().lsn == 10  # type: ignore[union-attr]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("mark"), st.sampled_from("tu"), st.sets(st.integers(0, 9), min_size=1)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("publish"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.integers(0, 3)),
        st.tuples(st.just("spill")),
    ),
    max_size=60,
)


@given(STEPS)
def test_the_position_never_passes_an_unpublished_key(steps: list[tuple[object, ...]]) -> None:
    """Against a model: for each key the position at which it was marked and not yet published
    since."""
    backlog = Backlog()
    lsn = 0
    unpublished: dict[tuple[str, str], list[int]] = {}
    taken: list[tuple[Batch, int]] = []
    for step in steps:
        if step[0] == "mark":
            lsn += 10
            names = [str(k) for k in step[2]]  # type: ignore[attr-defined]
            backlog.mark(str(step[1]), names)
            for name in names:
                unpublished.setdefault((str(step[1]), name), []).append(lsn)
            backlog.boundary(lsn, float(lsn))
        elif step[0] == "take":
            batch = backlog.take(int(step[1]))  # type: ignore[call-overload]
            if batch is not None:
                taken.append((batch, lsn))
        elif taken and step[0] in ("publish", "fail"):
            batch, read_at = taken.pop(int(step[1]) % len(taken))  # type: ignore[call-overload]
            if step[0] == "fail":
                backlog.give_back(batch)
            else:
                for key in batch.keys:
                    marks = unpublished[batch.type_name, key]
                    unpublished[batch.type_name, key] = [m for m in marks if m > read_at]
        elif step[0] == "spill":
            for batch in backlog.take_all():
                backlog.give_back(batch)
        reached = backlog.reached([b.lowest for b, _ in taken])
        oldest = min((m for marks in unpublished.values() for m in marks), default=lsn + 1)
        assert reached is None or reached.lsn < oldest
        if backlog.empty and not taken and lsn:
            assert not any(unpublished.values())
            assert reached is not None
            assert reached.lsn == lsn
