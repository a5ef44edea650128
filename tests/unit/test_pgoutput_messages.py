"""pgoutput's messages, put together and taken apart without a server; garbage gives an error, no
hang."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores.errors import StoreRefused
from sync.changes import Change, ChangeOp, Transaction
from sync.sources.pgoutput.decoder import row_decoders
from sync.sources.pgoutput.transactions import Assembler, TrackedTable

HEAD = b"w" + bytes(24)
TEXT, BOOLEAN, CHARACTER, INET = 25, 16, 1042, 869
UNCHANGED = object()
TABLES = {("public", "item"): TrackedTable("item", ("id",), ("id", "owner"))}


def begin(xid: int = 7, moment: int = 0) -> bytes:
    return HEAD + struct.pack(">cQqI", b"B", 1, moment, xid)


def commit(end: int) -> bytes:
    return HEAD + struct.pack(">cBQQq", b"C", 0, end - 1, end, 0)


def alive(lsn: int, reply: int = 0) -> bytes:
    return struct.pack(">cQqB", b"k", lsn, 0, reply)


def relation(
    *columns: str, oid: int = 5, table: str = "item", types: tuple[int, ...] = ()
) -> bytes:
    kinds = types or (TEXT,) * len(columns)
    body = struct.pack(">cI", b"R", oid) + b"public\0" + table.encode() + b"\0d"
    body += struct.pack(">H", len(columns))
    for column, kind in zip(columns, kinds, strict=True):
        body += b"\1" + column.encode() + b"\0" + struct.pack(">Ii", kind, -1)
    return HEAD + body


def row(*values: object) -> bytes:
    out = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            out += b"n"
        elif value is UNCHANGED:
            out += b"u"
        else:
            text = str(value).encode()
            out += b"t" + struct.pack(">I", len(text)) + text
    return out


def insert(*values: object, oid: int = 5) -> bytes:
    return HEAD + struct.pack(">cI", b"I", oid) + b"N" + row(*values)


def update(new: bytes, old: bytes = b"", *, oid: int = 5) -> bytes:
    return HEAD + struct.pack(">cI", b"U", oid) + old + b"N" + new


def delete(old: bytes, *, oid: int = 5) -> bytes:
    return HEAD + struct.pack(">cI", b"D", oid) + old


def feed(*data: bytes, part: int = 5000) -> Assembler:
    assembler = Assembler(TABLES, 0, part=part)
    for message in data:
        assembler.feed(message)
    return assembler


def only(*data: bytes) -> Change:
    """The one change of a transaction of `data`."""
    events = feed(begin(), *data, commit(9)).take()
    assert isinstance(events[0], Transaction)
    (change,) = events[0].changes
    return change


COLUMNS = relation("a", "id", "b", "owner", "c")


def test_an_insert_carries_the_tracked_columns() -> None:
    assert only(COLUMNS, insert("x", 1, None, "o", "y")) == Change(
        "public", "item", ChangeOp.INSERT, {"id": "1", "owner": "o"}, {}
    )


def test_null_is_not_the_empty_text() -> None:
    assert only(COLUMNS, insert("", "", "", None, "")).new == {"id": "", "owner": None}


def test_a_full_old_row_tells_nulls_and_a_key_row_tells_none() -> None:
    new = row("x", 2, "y", "p", "z")
    full = only(COLUMNS, update(new, b"O" + row("x", 1, "y", None, "z")))
    assert full.old == {"id": "1", "owner": None}
    key = only(COLUMNS, update(new, b"K" + row(None, 1, None, None, None)))
    assert key.old == {"id": "1"}
    assert key.new == full.new == {"id": "2", "owner": "p"}


def test_a_value_that_was_not_sent_is_absent_or_what_it_was() -> None:
    new = row("x", 1, UNCHANGED, UNCHANGED, UNCHANGED)
    assert only(COLUMNS, update(new)).new == {"id": "1"}
    assert only(COLUMNS, update(new, b"O" + row("x", 1, "y", "o", "z"))).new == {
        "id": "1",
        "owner": "o",
    }


def test_a_delete_has_only_an_old_row() -> None:
    change = only(COLUMNS, delete(b"K" + row(None, 1, None, None, None)))
    assert (change.op, change.new, change.old) == (ChangeOp.DELETE, {}, {"id": "1"})


def test_values_are_what_a_cast_to_text_gives() -> None:
    made = row_decoders(
        "s", "t", ["b", "c", "i", "j"], [BOOLEAN, CHARACTER, INET, INET], ["b", "c", "i", "j"]
    )
    assert made.insert(insert("f", "ab  ", "10.0.0.1", "10.0.0.0/8")).new == {
        "b": "false",
        "c": "ab",
        "i": "10.0.0.1/32",
        "j": "10.0.0.0/8",
    }
    assert made.insert(insert("t", "", "::1", None)).new == {
        "b": "true",
        "c": "",
        "i": "::1/128",
        "j": None,
    }


def test_a_domain_prints_as_its_base_type() -> None:
    assembler = Assembler(TABLES, 0, base_types={70_000: BOOLEAN})
    for message in (begin(), relation("id", types=(70_000,)), insert("t"), commit(9)):
        assembler.feed(message)
    (event,) = assembler.take()
    assert isinstance(event, Transaction)
    assert event.changes[-1].new == {"id": "true"}


def test_a_new_description_makes_a_new_decoder() -> None:
    assembler = feed(begin(), COLUMNS, insert("x", 1, "y", "o", "z"))
    assembler.feed(relation("owner", "id"))
    assembler.feed(insert("o2", 2))
    assembler.feed(relation("id"))
    assembler.feed(insert(3))
    assembler.feed(commit(9))
    (event,) = assembler.take()
    assert isinstance(event, Transaction)
    assert [(c.op, dict(c.new)) for c in event.changes] == [
        (ChangeOp.INSERT, {"id": "1", "owner": "o"}),
        (ChangeOp.RESHAPED, {}),
        (ChangeOp.INSERT, {"owner": "o2", "id": "2"}),
        (ChangeOp.UNTOLD, {}),
        (ChangeOp.INSERT, {"id": "3"}),
    ]


def test_tables_outside_of_the_contract_are_stepped_over() -> None:
    assembler = feed(begin(), relation("id", oid=6, table="else"), insert(1, oid=6), commit(9))
    assert assembler.take() == []
    assert assembler.position == 9


def test_a_transaction_is_split_and_closed_with_its_position() -> None:
    rows = [insert("x", i, "y", "o", "z") for i in range(4)]
    events = feed(begin(xid=3), COLUMNS, *rows, commit(9), part=2).take()
    assert [(e.lsn, len(e.changes)) for e in events if isinstance(e, Transaction)] == [
        (0, 2),
        (0, 2),
        (9, 0),
    ]


def test_a_keepalive_moves_the_position_only_between_transactions() -> None:
    assembler = feed(alive(5))
    assert (assembler.position, assembler.reply_requested) == (5, False)
    assembler.feed(alive(4, reply=1))
    assert (assembler.position, assembler.reply_requested) == (5, True)
    assembler.feed(begin())
    assembler.feed(alive(8))
    assert assembler.position == 5
    assembler.feed(commit(9))
    assert assembler.position == 9


def test_a_truncate_tells_the_tables_that_are_ours() -> None:
    tables = struct.pack(">cIBII", b"T", 2, 1, 5, 6)
    assert only(COLUMNS, HEAD + tables) == Change("public", "item", ChangeOp.TRUNCATE)


def test_rows_without_a_tracked_column_say_so_once_in_a_transaction() -> None:
    first, second = feed(
        begin(),
        relation("owner"),
        insert("o"),
        insert("p"),
        commit(9),
        begin(),
        insert("q"),
        commit(12),
    ).take()
    assert isinstance(first, Transaction)
    assert isinstance(second, Transaction)
    assert [c.op for c in first.changes] == [ChangeOp.UNTOLD, ChangeOp.INSERT, ChangeOp.INSERT]
    assert [c.op for c in second.changes] == [ChangeOp.UNTOLD, ChangeOp.INSERT]


def test_a_renamed_table_is_still_the_table_that_it_was() -> None:
    other = relation("x", "id", "y", "owner", "z", table="item_old")
    assembler = feed(begin(), COLUMNS, other, insert("x", 1, "y", "o", "z"), commit(9))
    (event,) = assembler.take()
    assert isinstance(event, Transaction)
    assert [(c.table, c.op) for c in event.changes] == [
        ("item", ChangeOp.RESHAPED),
        ("item", ChangeOp.INSERT),
    ]


def test_a_row_before_that_is_wanted_and_not_told_is_noticed() -> None:
    table = TrackedTable("item", ("id",), ("id", "owner"), ("owner",))
    assembler = Assembler({("public", "item"): table}, 0)
    told = delete(b"O" + row("x", 1, "y", "o", "z"))
    untold = delete(b"K" + row(None, 1, None, None, None))
    for message in (begin(), COLUMNS, told, untold, commit(9)):
        assembler.feed(message)
    (event,) = assembler.take()
    assert isinstance(event, Transaction)
    assert [c.op for c in event.changes] == [
        ChangeOp.DELETE,
        ChangeOp.UNTOLD_OLD,
        ChangeOp.DELETE,
    ]


@pytest.mark.parametrize(
    "data",
    [
        (b"",),
        (b"x",),
        (HEAD,),
        (HEAD + b"?",),
        (b"k" + bytes(3),),
        (HEAD + b"B",),
        (begin(), begin()),
        (commit(5),),
        (COLUMNS[:-1],),
        (COLUMNS + b"x",),
        (begin(), insert(1)),
        (begin(), COLUMNS, insert(1)),
        (COLUMNS, insert("x", 1, "y", "o", "z")),
        (begin(), COLUMNS, insert("x", 1, "y", "o", "z")[:-4][:45]),
        (begin(), COLUMNS, update(row("x", 1, "y", "o", "z"), b"Q")),
        (begin(), COLUMNS, delete(b"")),
        (HEAD + struct.pack(">cIB", b"T", 1 << 31, 0),),
    ],
)
def test_a_malformed_message_is_refused(data: tuple[bytes, ...]) -> None:
    with pytest.raises(StoreRefused, match="canonical sent a change that cannot be read"):
        feed(*data)


def test_text_that_is_not_utf8_names_the_table() -> None:
    bad = insert("x", "§", "y", "o", "z").replace("§".encode(), b"\xff\xfe")
    with pytest.raises(StoreRefused, match=r"of table public\.item: text that is not UTF-8"):
        feed(begin(), COLUMNS, bad)


VALUES = st.one_of(st.none(), st.just(UNCHANGED), st.text(max_size=20))


@given(values=st.lists(VALUES, min_size=1, max_size=8), data=st.data())
def test_any_row_with_any_tracked_columns_is_told_as_it_is(
    values: list[object], data: st.DataObject
) -> None:
    names = [f"c{i}" for i in range(len(values))]
    tracked = data.draw(st.lists(st.sampled_from(names), unique=True))
    made = row_decoders("s", "t", names, [TEXT] * len(names), tracked)
    known = {n: v for n, v in zip(names, values, strict=True) if n in tracked}
    sent = {n: v for n, v in known.items() if v is not UNCHANGED}
    assert made.insert(insert(*values)).new == sent
    assert made.delete(delete(b"O" + row(*values))).old == sent
    not_null = {n: v for n, v in sent.items() if v is not None}
    assert made.delete(delete(b"K" + row(*values))).old == not_null
    before = ["before"] * len(values)
    change = made.update(update(row(*values), b"O" + row(*before)))
    assert change.new == {n: "before" if v is UNCHANGED else v for n, v in known.items()}


VALID = [
    begin(), COLUMNS, insert("x", 1, "y", "o", "z"), update(row("x", 1, "y", "o", "z")),
    delete(b"O" + row("x", 1, "y", "o", "z")), commit(9), alive(10, 1),
    HEAD + struct.pack(">cIBI", b"T", 1, 0, 5),
]  # fmt: skip


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.binary(max_size=60).map(lambda b: HEAD + b),
            st.sampled_from(VALID),
            # A valid one with a byte changed, or cut short.
            st.builds(
                lambda m, at, byte: m[: at % len(m)] + bytes([byte]) + m[at % len(m) + 1 :],
                st.sampled_from(VALID),
                st.integers(0, 200),
                st.integers(0, 255),
            ),
            st.builds(lambda m, at: m[: at % len(m)], st.sampled_from(VALID), st.integers(0, 200)),
        ),
        max_size=12,
    )
)
def test_garbage_gives_a_clear_error_and_nothing_else(data: list[bytes]) -> None:
    assembler = Assembler(TABLES, 0)
    try:
        for message in data:
            assembler.feed(message)
    except StoreRefused:
        pass  # any other error fails the test
    for event in assembler.take():
        assert isinstance(event, Transaction)
