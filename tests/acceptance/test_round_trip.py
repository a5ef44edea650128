"""What recordgate exports, it imports again as it was: every type in every format."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gateway.export.rows import Export, Format, Written, stream
from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect, connect_async
from stores.canonical.importing import ImportOptions, Mode, run_import
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.contract.reflect import contract_from_database
from stores.errors import InputError
from stores.far_days import FIRST_DAY, LAST_DAY, LAST_MOMENT_DAY, clock_form, day_parts, moment_form
from tests.conftest import drop_database, url_of

TYPES = {
    "plain": ("string", "text"),
    "short": ("string", "varchar(20)"),
    "fixed": ("string", "char(5)"),
    "uid": ("string", "uuid"),
    "raw": ("string", "bytea"),
    "small": ("integer", "smallint"),
    "medium": ("integer", "integer"),
    "large": ("integer", "bigint"),
    "single": ("number", "real"),
    "double": ("number", "double precision"),
    "price": ("number", "numeric(10,2)"),
    "wide": ("number", "numeric(50,10)"),
    "exact": ("number", "numeric"),
    "flag": ("boolean", "boolean"),
    "day": ("date", "date"),
    "moment": ("timestamp", "timestamptz"),
    "millis": ("timestamp", "timestamp(3) with time zone"),
    "local": ("timestamp", "timestamp"),
    "clock": ("time", "time"),
    "extra": ("object", "jsonb"),
    "anything": ("array", "jsonb"),
    "texts": ("array", "text[]"),
    "codes": ("array", "char(3)[]"),
    "numbers": ("array", "integer[]"),
    "doubles": ("array", "double precision[]"),
    "prices": ("array", "numeric(10,2)[]"),
    "flags": ("array", "boolean[]"),
    "days": ("array", "date[]"),
    "moments": ("array", "timestamptz[]"),
    "clocks": ("array", "time[]"),
    "uids": ("array", "uuid[]"),
}
ITEMS = {
    "texts": "string", "codes": "string", "numbers": "integer", "doubles": "number", "prices": "number",
    "flags": "boolean", "days": "date", "moments": "timestamp", "clocks": "time", "uids": "string",
}  # fmt: skip


def contract_text() -> str:
    lines = [
        "apiVersion: v3.2.0", "kind: DataContract", "id: trips", "name: trips", "version: 1.0.0",
        "status: active", "schema:", "  - name: thing", "    physicalName: things", "    properties:",
        "      - {name: nr, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}",
    ]  # fmt: skip
    for name, (logical, physical) in TYPES.items():
        items = ""
        if logical == "array":
            inner = physical.removesuffix("[]")
            item = ITEMS.get(name, "object")
            exact = f', physicalType: "{inner}"' if name in ITEMS else ""
            items = f", items: {{name: item, logicalType: {item}{exact}}}"
        lines.append(
            f'      - {{name: {name}, logicalType: {logical}, physicalType: "{physical}"{items}}}'
        )
    return "\n".join(lines) + "\n"


TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
ODD = st.sampled_from(
    [
        "",
        " ",
        "NULL",
        "null",
        "123",
        "true",
        "{a,b}",
        "[1]",
        '"',
        "\\",
        "a\nb",
        "\r\n",
        ",",
        "\\x00",
    ]
)
ANY_TEXT = TEXT | ODD
JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | ANY_TEXT
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
DAY = st.one_of(
    st.integers(-800_000, 40_000), st.integers(FIRST_DAY, LAST_DAY), st.sampled_from([FIRST_DAY, LAST_DAY])
).map(lambda d: "".join(day_parts(d))) | st.sampled_from(["infinity", "-infinity"])  # fmt: skip
MICROS = st.one_of(
    st.integers(-(10**17), 10**17),
    st.integers(FIRST_DAY * 86_400_000_000, LAST_MOMENT_DAY * 86_400_000_000),
)
INFINITE = st.sampled_from(["infinity", "-infinity"])
MOMENT = MICROS.map(lambda m: moment_form(m, "+00:00")) | INFINITE
LOCAL = MICROS.map(lambda m: moment_form(m, "")) | INFINITE
CLOCK = st.integers(0, 86_400_000_000).map(clock_form)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
SINGLE = st.floats(allow_nan=False, allow_infinity=False, width=32)
PRICE = st.decimals(-99_999_999, 99_999_999, places=2)
VALUES: dict[str, SearchStrategy[Any]] = {
    "plain": ANY_TEXT,
    "short": ANY_TEXT,
    "fixed": st.text("ab \u00e9\"'", max_size=5),
    "uid": st.uuids(),
    "raw": st.binary(max_size=8),
    "small": st.integers(-(2**15), 2**15 - 1),
    "medium": st.integers(-(2**31), 2**31 - 1),
    "large": st.integers(-(2**63), 2**63 - 1),
    "single": SINGLE,
    "double": FLOAT,
    "price": PRICE,
    "wide": st.decimals(-(10**39), 10**39, places=10),
    "exact": st.decimals(allow_nan=False, allow_infinity=False, places=5) | st.integers(-(10**60), 10**60),
    "flag": st.booleans(),
    "day": DAY,
    "moment": MOMENT,
    "millis": st.integers(-(10**14), 10**14).map(lambda m: moment_form(m * 1000, "+00:00")),
    "local": LOCAL,
    "clock": CLOCK,
    "extra": JSON.map(json.dumps),
    "anything": JSON.map(json.dumps),
}  # fmt: skip
ELEMENTS = {
    "texts": ANY_TEXT, "codes": st.text("ab\u00e9", max_size=3), "numbers": VALUES["medium"], "doubles": FLOAT,
    "prices": PRICE, "flags": st.booleans(), "days": DAY, "moments": MOMENT, "clocks": CLOCK, "uids": st.uuids(),
}  # fmt: skip
VALUES |= {
    name: st.lists(st.none() | inner.map(str), max_size=3) for name, inner in ELEMENTS.items()
}
NO_ROW: dict[str, Any] = dict.fromkeys(TYPES)
ROW = st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()})


class Trips:
    def __init__(self, url: str, contract: Contract, folder: Path) -> None:
        self.url, self.contract, self.folder = url, contract, folder

    def put(self, rows: list[dict[str, Any]]) -> None:
        columns = ", ".join(TYPES)
        places = ", ".join(f"%s::{physical}" for _, physical in TYPES.values())
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute("TRUNCATE things")
            conn.cursor().executemany(
                f"INSERT INTO things (nr, {columns}) VALUES (%s, {places})".encode(),
                [(number, *(row[name] for name in TYPES)) for number, row in enumerate(rows)],
            )
            conn.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept AS TABLE things")

    def there_and_back(self, form: Format) -> None:
        file = self.folder / f"things.{form.value}"
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute("TRUNCATE things; INSERT INTO things TABLE kept")
        asyncio.run(self._export(form, file))
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute("TRUNCATE things")
        report = run_import(
            self.url, self.contract, "thing", [file], ImportOptions(mode=Mode.INSERT)
        )
        assert not report.reasons, report

    async def _export(self, form: Format, file: Path) -> None:
        conn = await connect_async(self.url)
        try:
            asked = Export(self.contract.types["thing"], form)
            with file.open("wb") as out:
                async for block in stream(conn, self.contract, asked, Written()):
                    out.write(block)
        finally:
            await conn.close()

    def differences(self, kept: dict[str, str]) -> list[tuple[Any, ...]]:
        """Of each column what came back otherwise; `kept`: what of a column is not carried, as
        SQL."""
        found: list[tuple[Any, ...]] = []
        with psycopg.connect(self.url, autocommit=True) as conn:
            for name, (_, physical) in TYPES.items():
                expected = kept.get(name, "k.{}").format(name)
                # The digits of a number count, and its value where a sign of zero is the only
                # difference.
                text = "::text" if physical.startswith("numeric") else ""
                found += conn.execute(
                    f"SELECT '{name}', k.nr, ({expected})::text, t.{name}::text FROM kept k FULL JOIN things t"
                    f" USING (nr) WHERE ({expected}){text} IS DISTINCT FROM t.{name}{text}".encode()
                ).fetchall()
        return found


@pytest.fixture(scope="module")
def trips(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trips]:
    folder = tmp_path_factory.mktemp("trips")
    file = folder / "trips.odcs.yaml"
    file.write_text(contract_text())
    contract = load_contract(file)
    name = f"trips_{secrets.token_hex(4)}"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    url = url_of(postgres, name)
    with connect(url) as connection:
        migrate(connection)
        apply_plan(connection, contract, make_plan(connection, contract))
    yield Trips(url, contract, folder)
    drop_database(postgres, name)


_FINITE = "CASE WHEN isfinite(k.{0}) THEN k.{0} END"
_HELD = "CASE WHEN isfinite(k.{0}) AND k.{0} < '294247-01-01' THEN k.{0} END"
NOT_CARRIED = {
    # JSON's null and no value are one to a reader of NDJSON.
    Format.NDJSON: {"extra": "nullif(k.{}, 'null')", "anything": "nullif(k.{}, 'null')"},
    Format.CSV: {},
    # Columns of days and microseconds have no infinity, and end with their 64 bits.
    Format.PARQUET: {"day": _FINITE, "moment": _HELD, "local": _HELD},
}


@settings(
    # An example is an import of each format: to make it small would take minutes, and its row is
    # named anyway.
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    max_examples=5,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(ROW, min_size=20, max_size=40))
@example(
    [NO_ROW | {"extra": json.dumps(v)} for v in ("123", 123, "true", True, None, "null", [], "")]
)
@example([NO_ROW | {"day": d} for d in ("0044-03-15 BC", "0001-01-01", "12000-02-29", "infinity")])
@example(
    [NO_ROW | {"clock": "24:00:00"}, NO_ROW | {"fixed": "ab"}, NO_ROW | {"codes": ["abc", "a"]}]
)
def test_every_value_of_every_type_comes_back_from_every_format(
    trips: Trips, rows: list[dict[str, Any]]
) -> None:
    trips.put(rows)
    for form in Format:
        trips.there_and_back(form)
        assert trips.differences(NOT_CARRIED[form]) == [], form


def test_lists_of_lists_come_back_from_the_formats_that_have_them(trips: Trips) -> None:
    trips.put([NO_ROW | {"numbers": [[1, 2], [3, 4]], "texts": [["a", "NULL"], ["", None]]}])
    for form in (Format.NDJSON, Format.CSV):
        trips.there_and_back(form)
        assert trips.differences({}) == []


def test_floats_that_are_no_numbers_are_missing_in_every_format_and_decimals_come_back(
    trips: Trips,
) -> None:
    odd = [math.nan, math.inf, -math.inf]
    trips.put(
        [
            NO_ROW
            | {"double": v, "single": v, "exact": v, "doubles": [1.5, v]}
            | {"price": math.nan, "prices": [math.nan]}
            for v in odd
        ]
    )
    for form in Format:
        trips.there_and_back(form)
        with psycopg.connect(trips.url) as conn:
            found = conn.execute(
                "SELECT double, single, exact::text, doubles, price::text, prices::text FROM things ORDER BY nr"
            ).fetchall()
        # A column of decimals with a precision has no NaN in Parquet.
        price = (None, "{NULL}") if form is Format.PARQUET else ("NaN", "{NaN}")
        words = ("NaN", "Infinity", "-Infinity")
        assert found == [(None, None, word, [1.5, None], *price) for word in words], form


COUNTED = """
apiVersion: v3.2.0
kind: DataContract
id: counted
name: counted
version: 1.0.0
status: active
customProperties: [{property: managed, vendor: recordgate, value: false}]
schema:
  - name: thing
    physicalName: counted
    properties:
      - name: nr
        logicalType: integer
        primaryKey: true
        primaryKeyPosition: 1
        required: true
        customProperties: [{property: generated, vendor: recordgate, value: true}]
      - {name: word, logicalType: string}
      - name: loud
        logicalType: string
        customProperties: [{property: generated, vendor: recordgate, value: true}]
"""


@pytest.mark.parametrize("form", list(Format))
def test_a_key_that_postgres_counts_up_and_what_it_computes_stand_in_no_imports_way(
    database: str, tmp_path: Path, form: Format
) -> None:
    (tmp_path / "counted.odcs.yaml").write_text(COUNTED)
    contract = load_contract(tmp_path / "counted.odcs.yaml")
    with connect(database) as conn:
        migrate(conn)
        conn.execute(
            "CREATE TABLE public.counted (nr bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text,"
            " loud text GENERATED ALWAYS AS (upper(word)) STORED);"
            "INSERT INTO public.counted (word) VALUES ('a'), ('b'), ('c')"
        )
    trip = Trips(database, contract, tmp_path)
    file = tmp_path / f"things.{form.value}"
    asyncio.run(trip._export(form, file))
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "DELETE FROM public.counted WHERE nr = 2; UPDATE public.counted SET word = 'x' WHERE nr = 3"
        )
        conn.execute("INSERT INTO public.counted (word) VALUES ('d')")
    report = run_import(database, contract, "thing", [file], ImportOptions(mode=Mode.REPLACE))
    assert (report.inserted, report.updated, report.unchanged, report.deleted) == (1, 1, 1, 1)
    with psycopg.connect(database, autocommit=True) as conn:
        rows = conn.execute("SELECT * FROM public.counted ORDER BY nr").fetchall()
    assert rows == [(1, "a", "A"), (2, "b", "B"), (3, "c", "C")]
    mapped = ImportOptions(columns={"loud": "loud"})
    with pytest.raises(InputError, match="computed by Postgres"):
        run_import(database, contract, "thing", [file], mapped)


@pytest.mark.parametrize("array", [False, True])
def test_an_enum_value_that_the_table_has_renamed_spoils_its_rows_alone(
    database: str, tmp_path: Path, array: bool
) -> None:
    with connect(database) as conn:
        migrate(conn)
        kind = "public.mood[]" if array else "public.mood"
        conn.execute("CREATE TYPE public.mood AS ENUM ('bad', 'well')")
        conn.execute(f"CREATE TABLE public.moods (nr int PRIMARY KEY, mood {kind})".encode())
        (tmp_path / "moods.odcs.yaml").write_text(contract_from_database(conn, "public"))
        conn.execute("ALTER TYPE public.mood RENAME VALUE 'bad' TO 'sad'")
    contract = load_contract(tmp_path / "moods.odcs.yaml")
    file = tmp_path / "moods.ndjson"
    words = ["bad", "well", "sad"]
    file.write_text(
        "".join(
            json.dumps({"nr": n, "mood": [w] if array else w}) + "\n" for n, w in enumerate(words)
        )
    )
    report = run_import(database, contract, "moods", [file], ImportOptions())
    with connect(database) as conn:
        rows = conn.execute("SELECT nr FROM public.moods ORDER BY nr").fetchall()
    assert (1,) in rows
    assert (0,) not in rows
    assert report.inserted + report.rejected == 3
