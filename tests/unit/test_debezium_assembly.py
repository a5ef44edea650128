"""Records of several partitions become transactions again, in order, whatever order they are read
in."""

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
        Source("postgresql", "x", "public", table, 1000 * xid, xid, 10),
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


def logs_of(rng: random.Random) -> tuple[dict[str, list[Read | End]], dict[int, list[str]]]:
    """Transactions over three tables of two partitions each; each partition in the order of the
    log, now and then a piece of it again. Partition → its records; END → the keys of its
    transaction."""
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
    return logs, expected


@given(seed=st.integers(0, 1 << 32), part=st.sampled_from([3, 50]))
@settings(max_examples=200, deadline=None)
def test_any_interleaving_tells_everything_and_never_runs_ahead(seed: int, part: int) -> None:
    rng = random.Random(seed)
    logs, expected = logs_of(rng)
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


def test_what_ended_before_the_beginning_is_left_out_with_the_parts_told_before_its_end() -> None:
    assembly = Assembly(TABLES, 0, part=3)
    for place in range(1, 9):
        assembly.change(read(7, place, "a", f"import {place}"), "a", place)
    assembly.end(end(7, 100, a=8), "t", 1)
    assembly.end(end(8, 200), "t", 2)  # the marker
    assert not assembly.end_of(9)
    assembly.change(read(9, 1, "a", "behind"), "a", 9)
    assembly.end(end(9, 300, a=1), "t", 3)
    assert assembly.begin(assembly.end_of(8) or 0)
    assert keys(assembly.take()) == [["behind"]]


def test_changes_that_are_read_after_an_end_before_the_start_are_left_out() -> None:
    """The topic of transactions is short, and is read far ahead of the others."""
    assembly = Assembly(TABLES, 150)
    told = feed(
        assembly,
        ("t", 1, end(7, 100, a=2)),
        ("t", 2, end(8, 200, a=1)),
        ("a", 1, read(7, 1, "a", "1")),
        ("a", 2, read(7, 2, "a", "2")),
        ("a", 3, read(8, 1, "a", "behind")),
    )
    assert keys(told) == [["behind"]]
    again = feed(assembly, ("a", 4, read(7, 1, "a", "1")), ("a", 5, read(8, 1, "a", "behind")))
    assert keys(again) == [["behind"]], "what comes again behind the start is told again"


def test_looking_for_the_beginning_holds_little_and_loses_nothing_behind_it() -> None:
    assembly = Assembly(TABLES, 0, part=3)
    for place in range(1, 50_001):
        assembly.change(read(7, place, "a", str(place)), "a", place)
        if place % 2000 == 0:
            assembly.forget()
    assert sum(len(e.changes) for e in assembly._events) <= 22_000
    assert not assembly.begin(50), "a part of what ends behind it has been let go"
    assembly.end(end(7, 100, a=50_000), "t", 1)
    assert not assembly.begin(50)
    assert assembly.begin(100)
    assert not keys(assembly.take())


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=200, deadline=None)
def test_wherever_the_events_begin_all_behind_it_is_told(seed: int) -> None:
    rng = random.Random(seed)
    logs, expected = logs_of(rng)
    markers = {record.xid: record.lsn for record in logs["t"] if isinstance(record, End)}
    assembly = Assembly(TABLES, 0, part=3)
    at, begun, told = dict.fromkeys(logs, 0), 0, set()
    while open_ones := [name for name in logs if at[name] < len(logs[name])]:
        name = rng.choice(open_ones)
        said = logs[name][at[name]]
        if isinstance(said, End):
            assembly.end(said, name, at[name])
        else:
            assembly.change(said, name, at[name])
        at[name] += 1
        if not begun and rng.random() < 0.5:
            assembly.forget(rng.randint(0, 5))
        met = [lsn for xid, lsn in markers.items() if assembly.end_of(xid)]
        if not begun and met and rng.random() < 0.5 and assembly.begin(place := rng.choice(met)):
            begun = place
        if begun:
            told |= {k for ks in keys(assembly.take()) for k in ks if k}
    if begun:
        assert told >= {k for lsn, ks in expected.items() if lsn > begun for k in ks}


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
