"""Records of several partitions become transactions again, in order, whatever order they are read in."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.changes import Change, ChangeOp, Event, Transaction
from sync.sources.debezium.assembly import Assembly
from sync.sources.debezium.envelope import End, Read, Source, TransactionPart

TABLES = ("public.a", "public.b", "public.c")
Record = tuple[str, int, Read | End]
"""Partition, offset, what it says."""


def read(xid: int, place: int, table: str, key: str, *, moved: str = "") -> Read:
    op = ChangeOp.DELETE if moved == "from" else ChangeOp.INSERT
    new, old = ({}, {"id": key}) if moved == "from" else ({"id": key}, {})
    if moved == "to":
        op, old = ChangeOp.UPDATE, {"id": "old of header"}
    return Read(
        Change("public", table, op, new, old),
        Source("postgresql", "public", table, 1000 * xid, xid, 10),
        TransactionPart(place),
        moved,
    )


def end(xid: int, lsn: int, **counts: int) -> End:
    return End(xid, lsn, 1.0 * xid, {f"public.{name}": n for name, n in counts.items()})


def feed(assembly: Assembly, *records: Record) -> list[Event]:
    for partition, offset, said in records:
        if isinstance(said, End):
            assembly.end(said, partition, offset)
        else:
            assembly.change(said, partition, offset)
    return assembly.take()


def keys(events: list[Event]) -> list[list[str | None]]:
    return [[c.new.get("id") for c in e.changes] for e in events if isinstance(e, Transaction)]


def test_a_transaction_is_told_when_its_end_and_all_of_its_changes_have_come() -> None:
    assembly = Assembly(TABLES, 0)
    assert not feed(assembly, ("a", 0, read(7, 1, "a", "1")), ("t", 1, end(7, 100, a=1, b=1)))
    assert assembly.position == 0
    told = feed(assembly, ("b", 0, read(7, 2, "b", "2")))
    assert keys(told) == [["1", "2"]]
    assert [(e.lsn, e.xid) for e in told if isinstance(e, Transaction)] == [(100, 7)]
    assert assembly.position == 100


def test_a_later_transaction_waits_for_an_earlier_one() -> None:
    assembly = Assembly(TABLES, 0)
    late = [("b", 0, read(8, 1, "b", "2")), ("t", 1, end(7, 100, a=1)), ("t", 3, end(8, 200, b=1))]
    assert not feed(assembly, *late)
    assert keys(feed(assembly, ("a", 0, read(7, 1, "a", "1")))) == [["1"], ["2"]]


def test_changes_of_one_transaction_are_in_the_order_in_which_they_were_made() -> None:
    assembly = Assembly(TABLES, 0)
    told = feed(
        assembly,
        ("b", 0, read(7, 2, "b", "2")),
        ("a", 0, read(7, 1, "a", "1")),
        ("a", 1, read(7, 3, "a", "3")),
        ("t", 1, end(7, 100, a=2, b=1)),
    )
    assert keys(told) == [["1", "2", "3"]]


def test_the_halves_of_a_changed_key_are_one_update() -> None:
    assembly = Assembly(TABLES, 0)
    told = feed(
        assembly,
        ("a1", 0, read(7, 2, "a", "new", moved="to")),
        ("a0", 0, read(7, 1, "a", "old", moved="from")),
        ("t", 1, end(7, 100, a=2)),
    )
    (transaction,) = told
    assert isinstance(transaction, Transaction)
    (change,) = transaction.changes
    assert (change.op, dict(change.new), dict(change.old)) == (
        ChangeOp.UPDATE,
        {"id": "new"},
        {"id": "old"},
    )


def test_tables_that_are_not_ours_are_not_waited_for() -> None:
    assembly = Assembly(TABLES, 0)
    assert not feed(assembly, ("t", 1, end(7, 100, elsewhere=5)))
    assert assembly.position == 100


def test_what_comes_again_is_not_counted_twice() -> None:
    """Connect was killed in a transaction: the records since its last commit come again."""
    assembly = Assembly(TABLES, 0)
    first = [("a", i, read(7, i + 1, "a", str(i + 1))) for i in range(5)]
    again = [("a", 5 + i, read(7, 4 + i, "a", str(4 + i))) for i in range(5)]
    assert not feed(assembly, *first, *again[:4], ("t", 1, end(7, 100, a=8)))
    assert keys(feed(assembly, again[4])) == [[str(i + 1) for i in range(8)]]


def test_a_finished_transaction_that_comes_again_holds_nothing_up() -> None:
    assembly = Assembly(TABLES, 0)
    whole = [("a", 0, read(7, 1, "a", "1")), ("t", 1, end(7, 100, a=1))]
    feed(assembly, *whole)
    told = feed(
        assembly,
        ("t", 2, end(7, 100, a=1)),
        ("a", 1, read(7, 1, "a", "1")),
        ("t", 4, end(8, 200, a=0)),
    )
    assert keys(told) in ([], [["1"]])
    assert assembly.position == 200
    assert assembly.settled({"a": 2, "t": 5})


def test_what_ends_before_the_start_is_left_out() -> None:
    assembly = Assembly(TABLES, 100)
    told = feed(
        assembly,
        ("a", 9, read(7, 3, "a", "half of it was before")),
        ("t", 8, end(7, 100, a=3)),
        ("a", 10, read(8, 1, "a", "1")),
        ("t", 9, end(8, 101, a=1)),
    )
    assert keys(told) == [["1"]]


def test_a_large_transaction_is_handed_out_in_parts_without_a_position() -> None:
    assembly = Assembly(TABLES, 0, part=10)
    told = feed(assembly, *[("a", i, read(7, i + 1, "a", str(i))) for i in range(25)])
    told += feed(assembly, ("t", 1, end(7, 100, a=25)))
    transactions = [e for e in told if isinstance(e, Transaction)]
    assert [t.lsn for t in transactions] == [0, 0, 100]
    assert [k for ks in keys(told) for k in ks] == [str(i) for i in range(25)]
    assert {t.xid for t in transactions} == {7}


def test_without_transaction_metadata_changes_come_and_positions_wait() -> None:
    assembly = Assembly(TABLES, 0)
    loose = read(7, 1, "a", "1")
    loose.part = None
    told = feed(assembly, ("a", 0, loose))
    assert keys(told) == [["1"]]
    assert [e.lsn for e in told] == [0]
    assert assembly.position == 0
    assembly.passed(100, {"a": 1})
    assert assembly.position == 100


def test_what_was_counted_wrongly_is_given_up_once_everything_is_known_to_have_come() -> None:
    assembly = Assembly(TABLES, 0)
    assert not feed(assembly, ("a", 0, read(7, 1, "a", "1")), ("t", 1, end(7, 100, a=2)))
    assembly.passed(150, {"a": 1, "t": 2})
    assert keys(assembly.take()) == [["1"]]
    assert assembly.position == 150


@given(seed=st.integers(0, 1 << 32), part=st.sampled_from([3, 50]))
@settings(max_examples=200, deadline=None)
def test_any_interleaving_tells_everything_and_never_runs_ahead(seed: int, part: int) -> None:
    """Transactions over three tables of two partitions each; each partition in the order of the log, now and
    then a piece of it again, read in any order."""
    rng = random.Random(seed)
    logs: dict[str, list[Read | End]] = {}
    expected: dict[int, list[str]] = {}
    for number in range(1, 9):
        xid, lsn = 100 + rng.randint(0, 1000) * 10 + number, number * 100
        counts: dict[str, int] = {}
        expected[lsn] = []
        for place in range(1, rng.randint(0, 9) + 1):
            table = rng.choice("abc")
            key = f"{number}.{place}"
            logs.setdefault(f"{table}{rng.randint(0, 1)}", []).append(read(xid, place, table, key))
            counts[table] = counts.get(table, 0) + 1
            expected[lsn].append(key)
        logs.setdefault("t", []).append(end(xid, lsn, **counts))
    for log in logs.values():
        if rng.random() < 0.4 and len(log) > 1:
            at = rng.randint(1, len(log))
            log[at:at] = log[rng.randint(0, at - 1) : at]
    assembly = Assembly(TABLES, 0, part=part)
    at = dict.fromkeys(logs, 0)
    events: list[Event] = []
    told: set[str] = set()
    while open_ones := [name for name in logs if at[name] < len(logs[name])]:
        name = rng.choice(open_ones)
        for _ in range(rng.randint(1, 4)):
            if at[name] < len(logs[name]):
                events_now = feed(assembly, (name, at[name], logs[name][at[name]]))
                events += events_now
                told |= {k for ks in keys(events_now) for k in ks if k}
                at[name] += 1
        for lsn, wanted in expected.items():
            if lsn <= assembly.position:
                assert told >= set(wanted), "a position runs ahead of its changes"
        for partition, offset in assembly.done.items():
            kept = logs[str(partition)][offset:]
            for record in logs[str(partition)][:offset]:
                if isinstance(record, Read) and record not in kept:
                    assert record.change.new["id"] in told, "a committed offset loses a change"
    assert told == {key for wanted in expected.values() for key in wanted}
    assert assembly.position == 800
    positions = [e.lsn for e in events if isinstance(e, Transaction) and e.lsn]
    assert positions == sorted(positions)


@pytest.mark.parametrize("count", [60_000])
def test_memory_does_not_grow_with_repeated_and_endless_records(count: int) -> None:
    assembly = Assembly(TABLES, 0)
    for i in range(count):
        assembly.change(read(i, 1, "a", str(i)), "a", i)
        assembly.end(end(i, i + 1, a=1), "t", i)
        if i % 1000 == 0:
            assembly.take()
    assembly.take()
    assert len(assembly._finished) <= 20_001
    assert not assembly.waiting
