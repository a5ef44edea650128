"""Bulk import on a real Postgres: what is taken, what is set aside, what is refused."""

from __future__ import annotations

import csv
import gzip
import io
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from psycopg.conninfo import make_conninfo

from stores.canonical.importing import Mode, RowLimit, batches
from stores.canonical.importing.connection import connect
from stores.errors import ConflictError, ConstraintError, InputError, LimitError, SetupError
from tests.import_target import Target, new_target


@pytest.fixture(scope="module")
def module_target(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with new_target(postgres, tmp_path_factory.mktemp("import")) as target:
        yield target


@pytest.fixture
def target(module_target: Target) -> Target:
    module_target.clean()
    return module_target


# What is taken ------------------------------------------------------------------------------------


def test_a_csv_file_becomes_records(target: Target) -> None:
    target.load("maker", "code,name\nAB,Able\n")
    report = target.load(
        "item",
        "id,name,code,makerCode,weight,stock,price,born,seenAt,active,tags,extra,picture\n"
        '1,"a ""quoted"", name",x-1,AB,1.5,5,12.50,2020-02-29,2020-01-01T10:00:00Z,true,"[""p"",""q,""]","{""a"": 1.50}",aGk=\n'
        '2,"two\nlines",,,,,,,,,"{r,s}",,\\x6869\n',
    )
    assert (report.read, report.inserted, report.rejected) == (2, 2, 0)
    assert target.rows(
        "SELECT id, name, code, weight, stock, price::text, born::text, active, tags, extra::text, picture"
        " FROM items ORDER BY id"
    ) == [
        (1, 'a "quoted", name', "x-1", 1.5, 5, "12.50", "2020-02-29", True, ["p", "q,"], '{"a": 1.50}', b"hi"),
        (2, "two\nlines", None, None, None, None, None, None, ["r", "s"], None, b"hi"),
    ]  # fmt: skip


def test_an_empty_value_is_null_and_a_quoted_one_an_empty_text(target: Target) -> None:
    target.load("maker", 'code,name\nAB,""\n')
    assert target.rows("SELECT name FROM makers") == [("",)]
    report = target.load("maker", "code,name\nAC,\n", max_rejects=RowLimit(count=1))
    assert report.reasons == {"REQUIRED": 1}


def test_every_format_gives_the_same_records(target: Target) -> None:
    rows: list[dict[str, Any]] = [
        {"code": "AB", "name": 'Ä "quoted"'},
        {"code": "CD", "name": "two\nlines"},
        {"code": "EF", "name": "12345678901234567890.10"},
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["code", "name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    tab = io.StringIO()
    writer = csv.DictWriter(tab, ["code", "name"], delimiter="\t", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    ndjson = (
        '{"code": "AB", "name": "\\u00c4 \\"quoted\\""}\n\n'
        '{"name": "two\\nlines", "code": "CD"}\r\n'
        '{"code": "EF", "name": 12345678901234567890.10}'
    )
    array = "[" + ",\n".join(line for line in ndjson.splitlines() if line) + "]"
    pq.write_table(pa.Table.from_pylist(rows), target.folder / "f.parquet")
    files = {
        "f.csv": data,
        "bom.csv": b"\xef\xbb\xbf" + data,
        "f.tsv": tab.getvalue().encode(),
        "f.ndjson": ndjson.encode(),
        "f.json": array.encode(),
        "f.csv.gz": gzip.compress(data),
        "f.jsonl.zst": zstandard.compress(ndjson.encode()),
        "f.parquet": (target.folder / "f.parquet").read_bytes(),
    }
    for name, content in files.items():
        target.do("DELETE FROM makers")
        report = target.load("maker", content, name=name)
        assert (name, report.inserted, report.rejected) == (name, 3, 0)
        assert target.rows("SELECT code, name FROM makers ORDER BY code") == [
            (r["code"], r["name"]) for r in rows
        ], name


def test_parquet_values_of_every_type_arrive_whole(target: Target) -> None:
    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int32()),
            "name": pa.array(["one", "two"]).dictionary_encode(),
            "weight": pa.array([0.1, None], pa.float64()),
            "price": pa.array(["1.50", "2.00"]).cast(pa.decimal128(10, 2)),
            "born": pa.array([0, 18000], pa.date32()),
            "seenAt": pa.array([1_600_000_000_123_456, None], pa.timestamp("us", "UTC")),
            "active": pa.array([True, False]),
            "tags": pa.array([["a", 'b"'], []], pa.list_(pa.string())),
            "extra": pa.array([{"k": 1}, None], pa.struct([("k", pa.int64())])),
            "picture": pa.array([b"\x00\xff", None], pa.binary()),
        }
    )
    pq.write_table(table, target.folder / "file.parquet")
    assert target.load("item", target.folder / "file.parquet").inserted == 2
    assert target.rows(
        "SELECT id, name, weight, price::text, born::text, extract(epoch from seen_at)::text, active, tags,"
        " extra::text, picture FROM items ORDER BY id"
    ) == [
        (1, "one", 0.1, "1.50", "1970-01-01", "1600000000.123456", True, ["a", 'b"'], '{"k": 1}', b"\x00\xff"),
        (2, "two", None, "2.00", "2019-04-14", None, False, [], None, None),
    ]  # fmt: skip


def test_columns_left_out_of_a_file_are_left_alone(target: Target) -> None:
    target.load("item", "id,name,weight\n1,one,5\n")
    report = target.load("item", "id,name\n1,uno\n")
    assert report.updated == 1
    assert target.rows("SELECT name, weight FROM items") == [("uno", 5.0)]


def test_columns_go_by_any_of_their_names_or_by_map(target: Target) -> None:
    target.load("maker", "CODE,Name\nAB,x\n")
    report = target.load("item", "ID,name,maker_code,junk,Gewicht\n1,one,AB,?,7\n",
                         columns={"junk": "", "Gewicht": "weight"})  # fmt: skip
    assert report.inserted == 1
    assert target.rows("SELECT maker_code, weight FROM items") == [("AB", 7.0)]


def test_several_files_are_one_batch(target: Target) -> None:
    from stores.canonical.importing import ImportOptions, run_import

    one = target.file("one.csv", "code,name\nAB,x\nAC,\n")
    two = target.file("two.csv", "name,code\ny,AD\ny,AB\n")
    out = target.folder / "rejects.csv"
    report = run_import(
        target.url, target.contract, "maker", [one, two], ImportOptions(rejects=out)
    )
    assert (report.read, report.inserted, report.rejected) == (4, 2, 2)
    found = list(csv.DictReader(out.open()))
    assert [(r["line"], r["code"], r["file"]) for r in found] == [
        ("3", "REQUIRED", str(one)),
        ("3", "DUPLICATE_KEY", str(two)),
    ]


def test_rows_may_point_to_rows_of_the_same_file_in_any_order(target: Target) -> None:
    report = target.load("item", "id,name,parentId\n1,one,3\n2,two,1\n3,three,\n4,four,4\n")
    assert (report.inserted, report.rejected) == (4, 0)


# What is set aside --------------------------------------------------------------------------------


def test_a_bad_row_is_set_aside_with_every_reason_of_it(target: Target) -> None:
    target.load("maker", "code,name\nAB,x\n")
    report = target.load(
        "item",
        "id,name,code,color,makerCode,weight,stock,born,price\n"
        "1,fine,a-1,red,AB,1,5,2000-01-01,1\n"
        "2,,A1,blue,ZZ,-1,7,1800-01-01,x\n"
        "3,x,,,,100,99999,2000-02-30,1e99\n"
        "x,much too long for a name to be,a-1,,,nan,,,\n"
        ",none,,,,,,,\n",
    )
    assert (report.inserted, report.rejected, report.state) == (1, 4, "done")
    assert target.reasons() == {
        3: {
            ("name", "REQUIRED"), ("code", "PATTERN"), ("color", "NOT_IN_ENUM"),
            ("makerCode", "FOREIGN_KEY"), ("weight", "TOO_SMALL"), ("stock", "NOT_MULTIPLE"),
            ("born", "TOO_SMALL"), ("price", "INVALID_TYPE"),
        },
        4: {
            ("name", "TOO_SHORT"), ("weight", "TOO_LARGE"), ("stock", "INVALID_TYPE"),
            ("born", "INVALID_TYPE"), ("price", "INVALID_TYPE"),
        },
        5: {
            ("id", "INVALID_TYPE"), ("name", "TOO_LONG"), ("weight", "TOO_LARGE"),
            ("code", "DUPLICATE_VALUE"),
        },
        6: {("id", "REQUIRED")},
    }  # fmt: skip


def test_the_rejects_file_names_line_column_value_and_code(target: Target) -> None:
    out = target.folder / "rejects.csv"
    target.load("item", 'id,Name\n1,one\n2,"a\nb"\nx,"c\nd"\n3\n4,\n', rejects=out)
    assert list(csv.reader(out.open())) == [
        ["line", "column", "value", "code", "message"],
        ["5", "id", "x", "INVALID_TYPE", 'invalid input syntax for type bigint: "x"'],
        ["7", "", "3", "RAGGED_ROW", "1 fields where the header has 2"],
        ["8", "Name", "", "REQUIRED", "a value is required"],
    ]


def test_duplicates_inside_the_file_keep_their_first_row(target: Target) -> None:
    report = target.load(
        "item", "id,name,code\n1,one,a-1\n1,uno,a-2\n2,two,a-1\n3,three,\n4,four,\n"
    )
    assert (report.inserted, report.reasons) == (3, {"DUPLICATE_KEY": 1, "DUPLICATE_VALUE": 1})
    assert target.rows("SELECT id, name FROM items ORDER BY id") == [
        (1, "one"), (3, "three"), (4, "four"),
    ]  # fmt: skip


def test_a_row_falls_with_the_row_that_it_points_to(target: Target) -> None:
    report = target.load("item", "id,name,parentId\n1,x,\n2,two,1\n3,three,2\n4,four,9\n5,five,\n")
    assert report.inserted == 1
    assert target.reasons() == {
        2: {("name", "TOO_SHORT")},
        3: {("parentId", "FOREIGN_KEY")},
        4: {("parentId", "FOREIGN_KEY")},
        5: {("parentId", "FOREIGN_KEY")},
    }


def test_a_unique_value_of_another_record_is_taken(target: Target) -> None:
    target.load("item", "id,name,code\n1,one,a-1\n2,two,a-2\n")
    report = target.load("item", "id,name,code\n1,one,a-1\n3,three,a-2\n")
    assert (report.unchanged, report.reasons) == (1, {"UNIQUE_TAKEN": 1})


def test_nul_ragged_and_huge_rows(target: Target) -> None:
    huge = "x" * 10_000_000
    report = target.load("maker", f"code,name\nAB,a\0b\nAC,{huge}\nAD,x,y\nAE\nAF,ok\n".encode())
    assert (report.inserted, report.reasons) == (2, {"NUL_BYTE": 1, "RAGGED_ROW": 2})
    assert target.rows("SELECT length(name) FROM makers ORDER BY code") == [(10_000_000,), (2,)]


def test_a_key_too_large_for_an_index_is_set_aside(target: Target) -> None:
    noise = "".join(random.Random(1).choices("abcdefghij", k=9000))
    report = target.load("item", f"id,name,code\n1,one,{noise}-1\n2,two,a-1\n")
    assert (report.inserted, report.reasons) == (1, {"TOO_LONG": 1})


def test_bad_json_lines_are_set_aside_and_digits_kept(target: Target) -> None:
    report = target.load(
        "item",
        '{"id": 1, "name": "one", "price": 0.10, "extra": {"n": 1.10, "u": "\\u00e9"}, "tags": ["a", null]}\n'
        "{broken\n"
        '[1]\n{"id": 2, "name": "two", "price": 1e1}\n'
        '{"id": 3, "name": "a\\u0000b"}\n{"id": 4.0, "name": {"no": 1}}\n',
        name="f.ndjson",
    )
    assert report.reasons == {"INVALID_JSON": 2, "NUL_BYTE": 1, "INVALID_TYPE": 1}
    assert target.rows("SELECT id, price::text, extra::text, tags FROM items ORDER BY id") == [
        (1, "0.10", '{"n": 1.10, "u": "é"}', ["a", None]),
        (2, "10.00", None, None),
    ]


def test_a_field_that_comes_up_late_is_a_reason_of_its_row(target: Target) -> None:
    lines = [f'{{"code": "{chr(65 + i // 26 % 26)}{chr(65 + i % 26)}{chr(65 + i // 676)}", "name": "{"x" * 300}"}}'
             for i in range(9000)]  # fmt: skip
    lines.append('{"code": "ZZZZ", "name": "x", "late": 1}')
    report = target.load("maker", "\n".join(lines), name="f.ndjson")
    assert (report.inserted, report.reasons) == (9000, {"UNKNOWN_FIELD": 1})


def test_a_dead_letter_goes_when_its_row_is_mended(target: Target) -> None:
    target.load("item", "id,name\n1,x\n2,two\n3,y\n")
    target.load("item", "id,name\n1,x\n3,three\n")
    assert target.rows("SELECT key, attempts FROM recordgate.dead_letters") == [("1", 2)]


# What changes -------------------------------------------------------------------------------------


def test_unchanged_rows_are_not_touched_and_make_no_change_event(target: Target) -> None:
    header = "id,name,weight,price,tags\n"
    line = '{},{},{}.5,0.10,"[""t""]"\n'
    target.load(
        "item", header + "".join(line.format(i, f"name {i}", i % 90) for i in range(1, 2001))
    )
    before = target.rows("SELECT id, xmin::text, ctid::text FROM items ORDER BY id")
    target.do("CREATE PUBLICATION p FOR TABLE items")
    target.rows("SELECT pg_create_logical_replication_slot('import_events', 'pgoutput')")
    changed = {7, 1999}
    names = ["other" if i in changed else f"name {i}" for i in range(2001)]
    report = target.load(
        "item", header + "".join(line.format(i, names[i], i % 90) for i in range(1, 2001))
    )
    assert (report.inserted, report.updated, report.unchanged) == (0, 2, 1998)
    after = target.rows("SELECT id, xmin::text, ctid::text FROM items ORDER BY id")
    assert {a[0] for a, b in zip(after, before, strict=True) if a != b} == changed
    relation = target.rows("SELECT 'public.items'::regclass::oid::int")[0][0]
    events = [
        data[:1]
        for (data,) in target.rows(
            "SELECT data FROM pg_logical_slot_get_binary_changes('import_events', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'p')"
        )
        if data[:1] in (b"I", b"U", b"D", b"T") and int.from_bytes(data[1:5], "big") == relation
    ]
    assert events == [b"U", b"U"]


def test_the_same_batch_twice_is_one(target: Target) -> None:
    first = target.load("maker", "code,name\nAB,x\nac,y\n", batch="b1")
    target.do("DELETE FROM makers")
    second = target.load("maker", "code,name\nAB,x\nac,y\n", batch="b1")
    assert (first.inserted, first.repeated, second.repeated) == (1, False, True)
    assert (second.inserted, second.rejected, second.reasons) == (1, 1, first.reasons)
    assert target.rows("SELECT count(*) FROM makers") == [(0,)]
    with pytest.raises(ConflictError):
        target.load("item", "id,name\n1,one\n", batch="b1")


def test_a_dry_run_says_what_would_be_done_and_does_nothing(target: Target) -> None:
    target.load("item", "id,name\n1,one\n2,two\n3,three\n")
    content = "id,name\n1,one\n2,zwei\n4,four\n5,x\n"
    dry = target.load("item", content, mode=Mode.REPLACE, dry_run=True)
    assert dry.state == "dry-run"
    assert target.rows("SELECT count(*) FROM items WHERE name = 'zwei'") == [(0,)]
    assert target.rows("SELECT count(*) FROM recordgate.import_batches") == [(1,)]
    assert target.staging_tables() == []
    real = target.load("item", content, mode=Mode.REPLACE)
    figures = ("inserted", "updated", "unchanged", "deleted", "rejected")
    assert (
        [getattr(dry, f) for f in figures] == [getattr(real, f) for f in figures] == [1, 1, 1, 1, 1]
    )


def test_insert_takes_new_rows_only(target: Target) -> None:
    target.load("maker", "code,name\nAB,x\n")
    report = target.load("maker", "code,name\nAB,y\nCD,z\n", mode=Mode.INSERT)
    assert (report.inserted, report.updated, report.reasons) == (1, 0, {"KEY_EXISTS": 1})


def test_replace_makes_the_type_equal_to_the_file(target: Target) -> None:
    target.load("item", "id,name,code\n1,one,a-1\n2,two,a-2\n3,three,a-3\n")
    report = target.load("item", "id,name,code\n2,two,a-2\n4,four,a-1\n", mode=Mode.REPLACE)
    assert (report.inserted, report.unchanged, report.deleted) == (1, 1, 2)
    assert target.rows("SELECT id, code FROM items ORDER BY id") == [(2, "a-2"), (4, "a-1")]


def test_replace_keeps_the_record_of_a_bad_row(target: Target) -> None:
    target.load("item", "id,name\n1,one\n2,two\n")
    report = target.load("item", "id,name\n1,x\n2,two\n", mode=Mode.REPLACE)
    assert (report.deleted, report.rejected) == (0, 1)
    assert target.rows("SELECT name FROM items WHERE id = 1") == [("one",)]


def test_deletes_that_others_point_to_are_set_aside(target: Target) -> None:
    target.load("item", "id,name,parentId\n1,one,\n2,two,1\n3,three,\n4,four,3\n5,five,\n")
    target.load("visit", "itemId,day\n5,2020-01-01\n")
    out = target.folder / "rejects.csv"
    report = target.load("item", "id,ignored\n1,\n3,\n4,\n5,\n77,\n", mode=Mode.DELETE, rejects=out,
                         columns={"ignored": ""})  # fmt: skip
    assert (report.deleted, report.unchanged) == (2, 1)
    assert report.reasons == {"FOREIGN_KEY_IN_USE": 2}
    assert [r["line"] for r in csv.DictReader(out.open())] == ["2", "5"]
    assert target.rows("SELECT id FROM items ORDER BY id") == [(1,), (2,), (5,)]


def test_replace_sets_aside_what_others_point_to(target: Target) -> None:
    target.load("item", "id,name,parentId\n1,one,\n2,two,1\n3,three,\n4,four,3\n")
    target.load("visit", "itemId,day\n3,2020-01-01\n")
    report = target.load("item", "id,name,parentId\n2,two,\n", mode=Mode.REPLACE)
    assert (report.updated, report.deleted, report.reasons) == (1, 2, {"FOREIGN_KEY_IN_USE": 1})
    assert target.rows("SELECT id FROM items ORDER BY id") == [(2,), (3,)]


def test_composite_keys(target: Target) -> None:
    target.load("item", "id,name\n1,one\n2,two\n")
    report = target.load(
        "visit", "day,itemId\n2020-01-01,1\n2020-01-02,1\n2020-01-01,1\n2020-01-01,3\n"
    )
    assert (report.inserted, report.reasons) == (2, {"DUPLICATE_KEY": 1, "FOREIGN_KEY": 1})
    assert target.load("visit", "itemId,day\n1,2020-01-02\n", mode=Mode.DELETE).deleted == 1


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "problem"),
    [
        ("id,name\n1,x\n2,two\n3,y\n", {"max_rejects": RowLimit(count=1)}, "--max-rejects"),
        ("id,name\n1,x\n2,two\n3,three\n", {"max_rejects": RowLimit.parse("30%")}, "--max-rejects"),
        ("id,name\n1,x\n2,y\n", {}, "every row is bad"),
        ("id,name\n", {"mode": Mode.REPLACE}, "empty"),
        ("", {"mode": Mode.REPLACE}, "empty"),
        (
            "id,name\n1,one\n",
            {"mode": Mode.REPLACE, "max_deletes": RowLimit(count=1)},
            "--max-deletes",
        ),
        (
            "id\n1\n2\n",
            {"mode": Mode.DELETE, "max_deletes": RowLimit.parse("50%")},
            "--max-deletes",
        ),
    ],
)
def test_a_limit_refuses_the_whole_batch(
    target: Target, content: str, options: dict[str, Any], problem: str
) -> None:
    target.load("item", "id,name\n1,one\n20,twenty\n2,two\n")
    before = target.rows("SELECT id, name, xmin::text FROM items ORDER BY id")
    out = target.folder / "rejects.csv"
    report = target.load("item", content, rejects=out, **options)
    assert report.state == "refused"
    assert problem in report.problem
    assert report.hint
    assert target.rows("SELECT id, name, xmin::text FROM items ORDER BY id") == before
    assert target.rows("SELECT count(*) FROM recordgate.dead_letters") == [(0,)]
    assert target.staging_tables() == []
    assert len(list(csv.DictReader(out.open()))) == report.rejected


def test_an_empty_file_may_replace_where_deletes_are_allowed(target: Target) -> None:
    target.load("item", "id,name\n1,one\n2,two\n")
    report = target.load("item", "id,name\n", mode=Mode.REPLACE, max_deletes=RowLimit.parse("100%"))
    assert (report.deleted, report.state) == (2, "done")


def test_replacing_more_than_half_is_asked_for(target: Target) -> None:
    target.load("item", "id,name\n" + "".join(f"{i},name\n" for i in range(300)))
    content = "id,name\n" + "".join(f"{i},name\n" for i in range(149))
    assert target.load("item", content, mode=Mode.REPLACE).state == "refused"
    report = target.load("item", content, mode=Mode.REPLACE, max_deletes=RowLimit(count=151))
    assert (report.state, report.deleted) == ("done", 151)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", "id,nam\n1,one\n", "nam"),
        ("f.csv", "id\n1\n", "lacks name"),
        ("f.csv", "name\none\n", "lacks id"),
        ("f.csv", "id,name,name\n1,a,b\n", "two columns"),
        ("f.csv", "id,name,ID\n1,a,b\n", "both map to item.id"),
        ("f.csv", b"id,name\n1,caf\xe9\n", "line 2: byte 13 (0xe9) is not valid UTF-8"),
        ("f.csv", "id,name\n1,one\n".encode("utf-16"), "UTF-16"),
        ("f.csv", 'id,name\n1,"one\n2,two\n', "line 2: a quoted value is not closed"),
        ("f.csv.gz", gzip.compress(b"id,name\n" + b"1,one\n" * 100_000)[:150], "damaged"),
        ("f.csv.zst", b"\x28\xb5\x2f\xfd" + b"junk" * 10, "damaged"),
        ("f.parquet", "no parquet", "not a Parquet file"),
        ("f.json", '[{"id": 1', "not a JSON array"),
        ("f.ndjson", '{"id": 1, "name": "one", "more": 2}\n', "more"),
        ("f.txt", "id,name\n", "format"),
        ("f.csv", "id,name\n1," + "y" * 20_000_000 + "\n", "more than 16 MiB"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_changes_nothing(
    target: Target, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises((InputError, LimitError)) as caught:
        target.load("item", content, name=name)
    assert message in caught.value.message
    assert target.rows("SELECT count(*) FROM items") == [(0,)]
    assert target.staging_tables() == []


def test_a_number_that_fits_its_type_only_after_rounding_spoils_its_row_alone(
    target: Target,
) -> None:
    """Postgres says that this is a numeric(10,2), and yet cannot cast it."""
    report = target.load("item", "id,name,price\n1,one,1.e-40056\n2,two,1.005\n")
    assert (report.inserted, report.reasons) == (1, {"INVALID_TYPE": 1})
    assert target.rows("SELECT price::text FROM items") == [("1.01",)]


def test_hostile_values_and_headers_stay_values(target: Target) -> None:
    evil = "'; DROP TABLE items; --"
    report = target.load("maker", f'code,name\nAB,"{evil}"\nCD,"%s %(x)s {{}} \\."\n\\.,x\n')
    assert (report.inserted, report.reasons) == (2, {"PATTERN": 1})
    assert target.rows("SELECT name FROM makers ORDER BY code") == [(evil,), ("%s %(x)s {} \\.",)]
    with pytest.raises(InputError, match="DROP TABLE"):
        target.load("item", f'id,name,"{evil}"\n1,one,2\n')
    assert target.load("item", f'id,name,"{evil}"\n1,one,2\n', columns={evil: ""}).inserted == 1


def test_a_database_without_tables_is_a_clear_error(database: str, tmp_path: Path) -> None:
    target = Target(database, tmp_path)
    target.do("DROP TABLE visits, items")
    with pytest.raises(SetupError, match="apply"):
        target.load("item", "id,name\n1,one\n")
    target.do("DROP SCHEMA recordgate CASCADE")
    with pytest.raises(SetupError, match="apply"):
        target.load("maker", "code,name\nAB,x\n")


def test_two_imports_of_one_type_at_once(target: Target) -> None:
    with connect(target.url) as other:
        batches.lock_type(other, "public", "items", 0)
        with pytest.raises(ConflictError, match="another import"):
            target.load("item", "id,name\n1,one\n", lock_wait=0.2)

        assert target.load("maker", "code,name\nAB,x\n").inserted == 1
    assert target.load("item", "id,name\n1,one\n").inserted == 1


def test_a_batch_id_is_of_one_import_at_a_time_whatever_its_type(target: Target) -> None:
    with connect(target.url) as other:
        batches.lock_type(other, "public", "another", 0.0)
        batches.lock_batch(other, "nightly", 0.0)
        with pytest.raises(ConflictError, match="batch nightly"):
            target.load("item", "id,name\n1,one\n", batch="nightly", lock_wait=0.2)
    assert target.load("item", "id,name\n1,one\n", batch="nightly").inserted == 1


def test_rules_of_the_table_that_the_contract_does_not_know_are_reasons_too(
    target: Target, request: pytest.FixtureRequest
) -> None:
    target.do("ALTER TABLE items ADD CONSTRAINT odd CHECK (id % 2 = 1 OR name <> 'two')")
    target.do("ALTER TABLE items ALTER stock SET NOT NULL")
    request.addfinalizer(
        lambda: target.do("ALTER TABLE items DROP CONSTRAINT odd, ALTER stock DROP NOT NULL")
    )
    report = target.load("item", "id,name,stock\n1,one,5\n2,two,5\n3,three,\n")
    assert (report.inserted, report.reasons) == (1, {"CHECK": 1, "REQUIRED": 1})


def test_what_only_postgres_can_refuse_refuses_the_batch(
    target: Target, request: pytest.FixtureRequest
) -> None:
    target.do("CREATE UNIQUE INDEX lower_name ON items (lower(name))")
    request.addfinalizer(lambda: target.do("DROP INDEX lower_name"))
    with pytest.raises(ConstraintError):
        target.load("item", "id,name\n1,one\n2,ONE\n")
    assert target.rows("SELECT count(*) FROM items") == [(0,)]
    assert target.rows("SELECT state FROM recordgate.import_batches") == [("failed",)]
    assert target.staging_tables() == []


def test_a_role_without_rights_is_a_clear_error(target: Target) -> None:
    role = f"reader_{secrets.token_hex(6)}"
    target.do(f"CREATE ROLE {role}")
    target.do(f"GRANT USAGE ON SCHEMA recordgate TO {role}")
    target.do(f"GRANT SELECT ON recordgate.import_batches TO {role}")
    url = target.url
    try:
        target.url = make_conninfo(url, options=f"-crole={role}")
        with pytest.raises(SetupError, match="lacks a privilege"):
            target.load("item", "id,name\n1,one\n")
    finally:
        target.url = url
        target.do(f"DROP OWNED BY {role}")
        target.do(f"DROP ROLE {role}")
