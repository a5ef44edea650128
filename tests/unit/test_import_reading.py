"""Readers of imports: pieces end where rows end, line numbers are true, nothing is lost or
doubled."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.canonical.importing import lines
from stores.canonical.importing.block import FILE_SHIFT
from stores.canonical.importing.csv_reader import CsvReader
from stores.canonical.importing.forms import array_literal, bytes_literal
from stores.canonical.importing.json_reader import JsonReader
from stores.canonical.importing.key_order import KeyOrder
from stores.canonical.importing.limits import problem_of
from stores.canonical.importing.options import ImportOptions, Mode, RowLimit
from stores.canonical.importing.raw_stream import RawStream, format_of
from stores.errors import InputError

VALUES = st.text(alphabet='ab,\n"é', max_size=6)


class Bytes(RawStream):
    """A stream over bytes, which gives them in reads of a few bytes."""

    def __init__(self, data: bytes, step: int = 1 << 20) -> None:
        self.name, self._data, self._step, self._at = "test", data, step, 0

    def read(self, size: int) -> bytes:
        found = self._data[self._at : self._at + min(size, self._step)]
        self._at += len(found)
        return found

    def done(self) -> float:
        return 0.0

    def close(self) -> None:
        return None


def read_csv(
    data: bytes, step: int = 1 << 20
) -> tuple[list[tuple[int, list[str | None]]], list[int]]:
    """([(line, values)], lines of the ragged rows)"""
    reader = CsvReader(Bytes(data, step), ",", 3)
    rows: list[tuple[int, list[str | None]]] = []
    lost: list[int] = []
    for chunk in reader.chunks():
        block = chunk.parse(range(len(reader.columns)), frozenset())
        values = zip(*[c.to_pylist() for c in block.columns], strict=True)
        rows += [
            (r - (3 << FILE_SHIFT), list(v))
            for r, v in zip(block.rows.to_pylist(), values, strict=True)
        ]
        lost += [x.fault.row - (3 << FILE_SHIFT) for x in block.lost]
    return rows, lost


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(VALUES, min_size=2, max_size=3), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_rows_and_lines_are_those_of_the_file_however_it_is_cut(
    rows: list[list[str]], newline: str, final: bool, step: int
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerow(["x", "y"])
    good: list[tuple[int, list[str | None]]] = []
    ragged: list[int] = []
    for row in rows:
        line = out.getvalue().count("\n") + 1
        writer.writerow(row)
        if len(row) == 2:
            good.append((line, list(row)))
        else:
            ragged.append(line)
    text = out.getvalue() if final else out.getvalue().removesuffix(newline)
    assert read_csv(text.encode(), step) == (good, ragged)


def test_a_read_that_ends_between_cr_and_lf_does_not_take_cr_for_the_newline() -> None:
    data = b'"x","y"\r\n"",""'
    assert read_csv(data, len(b'"x","y"\r')) == ([(2, ["", ""])], [])


def test_a_stray_quote_spoils_its_own_row_only() -> None:
    data = 'x,y\n1,5" pipe\n2,"a\nb"\n3,it"s\n4,z\n' * 3
    rows, lost = read_csv(data.encode(), 7)
    assert [v for _, v in rows if v[0] != "x"] == [
        ["1", '5" pipe'], ["2", "a\nb"], ["3", 'it"s'], ["4", "z"],
    ] * 3  # fmt: skip
    assert lost == []


def test_lines_are_counted_past_blank_ones() -> None:
    rows, lost = read_csv(b"x,y\n\n1,2\n\n\n3\n,\n4,5\n")
    assert rows == [(3, ["1", "2"]), (8, ["4", "5"])]
    assert lost == [6]


def test_lines_of_the_old_mac() -> None:
    assert read_csv(b"x,y\r1,2\r3,4") == ([(2, ["1", "2"]), (3, ["3", "4"])], [])


def test_an_unclosed_quote_is_named_by_its_line() -> None:
    for step in (5, 1000):
        with pytest.raises(InputError, match="line 3"):
            read_csv(b'x,y\n1,2\n2,"a\n3,4\n5,6\n', step)


def test_one_row_longer_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PIECE", 40)
    long = "z" * 500
    assert read_csv(f'x,y\n1,{long}\n2,"{long}\n{long}"\n3,4\n'.encode())[0] == [
        (2, ["1", long]), (3, ["2", f"{long}\n{long}"]), (5, ["3", "4"]),
    ]  # fmt: skip


def read_json(
    data: bytes, step: int = 1 << 20
) -> tuple[tuple[str, ...], list[tuple[int, list[str | None]]], list[int]]:
    reader = JsonReader(Bytes(data, step), 0)
    rows: list[tuple[int, list[str | None]]] = []
    lost: list[int] = []
    for chunk in reader.chunks():
        block = chunk.parse(range(len(reader.columns)), frozenset())
        values = zip(*[c.to_pylist() for c in block.columns], strict=True)
        rows += [(r, list(v)) for r, v in zip(block.rows.to_pylist(), values, strict=True)]
        lost += [x.fault.row for x in block.lost]
    return reader.columns, rows, lost


def test_json_keeps_digits_and_nested_values() -> None:
    data = (
        b'{"a": 1.50, "b": {"n": 2.10, "m": [1e3]}}\n\n'
        b'{"a": 123456789012345678901234567890, "b": [true, null]}\n'
        b'{"b": false}\nnope\n"text"\n{"a": "\\u00e9", "b": ""}'
    )
    for step in (9, 10_000):
        assert read_json(data, step) == (
            ("a", "b"),
            [
                (1, ["1.50", '{"n":2.10,"m":[1E+3]}']),
                (3, ["123456789012345678901234567890", "[true,null]"]),
                (4, [None, "false"]),
                (7, ["é", ""]),
            ],
            [5, 6],
        )


def test_a_json_array_counts_its_elements() -> None:
    columns, rows, lost = read_json(b' [ {"a":\n1}, {"a": 2}, 3 ]')
    assert (columns, rows, lost) == (("a",), [(1, ["1"]), (2, ["2"])], [3])


@pytest.mark.parametrize(
    ("text", "literal", "sound"),
    [
        ("[]", "{}", True),
        ('["a", "b,c"]', '{"a","b,c"}', True),
        (
            '["q\\"", "back\\\\slash", "{}", "NULL", ""]',
            '{"q\\"","back\\\\slash","{}","NULL",""}',
            True,
        ),
        ("[1, 2.50, null, true]", '{1,"2.50",NULL,true}', False),
        ("[[1, 2], [3, 4]]", "{{1,2},{3,4}}", False),
        ("{a,b}", "{a,b}", False),
        ("[not json", "[not json", False),
    ],
)
def test_arrays_of_json_become_literals(text: str, literal: str, sound: bool) -> None:
    assert array_literal(text) == (literal, sound)


def test_bytes_are_hexadecimal_or_base64() -> None:
    assert bytes_literal("\\x00fF") == "\\x00fF"
    assert bytes_literal("aGk=") == "\\x6869"
    assert bytes_literal("aG\nk=") == "\\x6869"
    assert bytes_literal("\\x0") is None
    assert bytes_literal("a") is None
    assert bytes_literal("hé") is None


@pytest.mark.parametrize("text", ["", "-1", "x", "101%", "%", "1.5"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        RowLimit.parse(text)


def test_limits() -> None:
    def problem(mode: Mode = Mode.UPSERT, **figures: int) -> str:
        given = {"read": 100, "bad": 0, "deletes": 0, "existing": 1000} | figures
        found = problem_of(ImportOptions(mode=mode), replaces_by_nothing=False, **given)
        return found[0] if found else ""

    assert problem(bad=99) == ""
    assert "every row" in problem(bad=100)
    assert problem(Mode.REPLACE, deletes=500) == ""
    assert "more than half" in problem(Mode.REPLACE, deletes=501)
    assert problem(Mode.REPLACE, deletes=100, existing=101) == ""
    assert problem(Mode.DELETE, deletes=1000) == ""
    assert RowLimit.parse("2.5%").rows(1000) == 25
    assert RowLimit.parse("7").rows(3) == 7


def test_the_format_is_the_names_or_the_options() -> None:
    for name, expected in {
        "a.csv": "csv", "a.CSV.GZ": "csv", "a.b.jsonl.zst": "ndjson", "a.parquet": "parquet",
        "a.json": "json", "a.tsv": "tsv",
    }.items():  # fmt: skip
        assert format_of(Path(name), None) == expected
    assert format_of("-", "NDJSON") == "ndjson"
    refused: list[Callable[[], str]] = [
        lambda: format_of("-", None),
        lambda: format_of(Path("a"), None),
        lambda: format_of(Path("a.gz"), None),
        lambda: format_of(Path("a.csv"), "xlsx"),
    ]
    for call in refused:
        with pytest.raises(InputError):
            call()


def test_arrow_casts_nothing_here() -> None:
    """Values stay the file's own text: what looks like a number is not printed anew."""
    rows, _ = read_csv(b"x,y\n007,1e5\nNaN, 1 \n")
    assert rows == [(2, ["007", "1e5"]), (3, ["NaN", " 1 "])]


def test_keys_that_ascend_are_known_to_be_distinct_whatever_part_comes_first() -> None:
    def distinct(*parts: tuple[int, list[str]]) -> bool:
        order = KeyOrder()
        for row, keys in parts:
            order.add(row, pa.array(keys, pa.string()))
        return order.distinct()

    assert distinct((3, ["5", "7"]), (1, ["-3", "4"]), (9, ["8"]))
    assert not distinct((1, ["1", "1"]))
    assert not distinct((1, ["2", "1"]))
    assert not distinct((3, ["4", "5"]), (1, ["1", "4"]))
    given_up = KeyOrder()
    given_up.give_up()
    assert not given_up.distinct()
