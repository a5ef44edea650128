"""`contract init` describes the tables of a real database so that recordgate can attach to them,
and says what it leaves out and why. Text forms of values are those that this database prints."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from recordgate.cli.app import build
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.canonical.tables import metadata_for
from stores.contract.catalog import ReflectedTable
from stores.contract.lint import lint_text
from stores.contract.load import load_contract
from stores.contract.model import Contract, Logical, Property, Scalar
from stores.contract.reflect import _refused, contract_from_database
from stores.contract.regexes import regex_problem
from stores.errors import ContractError, SetupError
from stores.values import coerce, to_text

TABLES = r"""
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok', '1e5', 'no');
CREATE TYPE "Mixed Mood" AS ENUM ('A b', 'c,"d');
CREATE DOMAIN email AS text CHECK (value LIKE '%@%') NOT NULL;
CREATE DOMAIN price AS numeric(10,2);

CREATE TABLE users (
    id bigserial PRIMARY KEY, "userName" text NOT NULL, email email, mood mood DEFAULT 'ok',
    "Mixed" "Mixed Mood", moods mood[], prices price[], created_at timestamptz NOT NULL, plain timestamp(3),
    ip inet, doc json, docs jsonb[], blob bytea, tags varchar(20)[], born interval,
    manager_id bigint REFERENCES users,
    full_name text GENERATED ALWAYS AS ("userName" || '!') STORED);
COMMENT ON TABLE users IS E'People: #1 "quoted"\nand more';
COMMENT ON COLUMN users.ip IS '- last: {seen}';
CREATE TABLE orders (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL REFERENCES users,
    buyer_id bigint UNIQUE REFERENCES users, placed date, code char(3) UNIQUE, amount numeric, at time);
CREATE TABLE "Order Items" (
    order_id int REFERENCES orders, "line-no" int, cursor text, id int NOT NULL, qty smallint, price price,
    PRIMARY KEY (order_id, "line-no"), UNIQUE (order_id, qty));
CREATE TABLE shipments (
    id uuid PRIMARY KEY, order_id int, line_no int,
    FOREIGN KEY (order_id, line_no) REFERENCES "Order Items" (order_id, "line-no"));
CREATE TABLE measurements (ts timestamptz, sensor int, value real, PRIMARY KEY (ts, sensor)) PARTITION BY RANGE (ts);
CREATE TABLE measurements_2024 PARTITION OF measurements FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE cities (id int PRIMARY KEY, name text);
CREATE UNIQUE INDEX ON cities (name);
CREATE TABLE city (id int PRIMARY KEY, name text);
CREATE UNIQUE INDEX ON city (name) WHERE name <> '';
CREATE TABLE node (id int PRIMARY KEY, "order" text, "select" int, "and" int);
CREATE TABLE "a.b" (id int PRIMARY KEY, "Status" text, status text);
CREATE TABLE "überblick" (id int PRIMARY KEY, "größe" int);
CREATE TABLE other.far (id int PRIMARY KEY, name text);
CREATE TABLE near (far_id int PRIMARY KEY REFERENCES other.far, weird interval day to second);

CREATE VIEW a_view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW a_matview AS SELECT 1 AS id;
CREATE TABLE no_key (a int);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TABLE deferred (id int, PRIMARY KEY (id) DEFERRABLE);
CREATE TABLE float_key (f float8 PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE "sch""q" (id int PRIMARY KEY);
"""


@pytest.fixture
def tables(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES)
    return database


def described(url: str, schema: str, folder: Path) -> tuple[str, Contract]:
    with connect(url) as conn:
        text = contract_from_database(conn, schema)
    path = folder / "init.yaml"
    path.write_text(text, "utf-8")
    assert [str(f) for f in lint_text(text)] == []
    return text, load_contract(path)


def test_tables_of_every_kind_come_back_as_they_are(tables: str, tmp_path: Path) -> None:
    _, contract = described(tables, "public", tmp_path)
    assert not contract.managed
    assert {t.table: (t.schema, t.key) for t in contract.types.values()} == {
        "users": ("public", ("id",)),
        "orders": ("public", ("id",)),
        "Order Items": ("public", ("order_id", "line-no")),
        "shipments": ("public", ("id",)),
        "measurements": ("public", ("ts", "sensor")),
        "cities": ("public", ("id",)),
        "city": ("public", ("id",)),
        "node": ("public", ("id",)),
        "a.b": ("public", ("id",)),
        "überblick": ("public", ("id",)),
        "near": ("public", ("far_id",)),
        "child": ("public", ("id",)),
    }
    users = contract.types["users"]
    assert (users.single, users.plural, users.graphql) == ("user", "users", "User")
    assert users.description == 'People: #1 "quoted"\nand more'
    assert users.by_column["ip"].description == "- last: {seen}"
    assert {p.column: (p.sql_type, p.scalar, p.array, p.required) for p in users.properties} == {
        "id": ("bigint", Scalar.BIGINT, False, True),
        "userName": ("text", Scalar.STRING, False, True),
        "email": ("text", Scalar.STRING, False, True),
        "mood": ("public.mood", Scalar.STRING, False, False),
        "Mixed": ('public."Mixed Mood"', Scalar.STRING, False, False),
        "moods": ("public.mood[]", Scalar.STRING, True, False),
        "prices": ("public.price[]", Scalar.DECIMAL, True, False),
        "created_at": ("timestamp with time zone", Scalar.TIMESTAMP, False, True),
        "plain": ("timestamp(3) without time zone", Scalar.DATETIME, False, False),
        "ip": ("inet", Scalar.STRING, False, False),
        "doc": ("json", Scalar.JSON, False, False),
        "blob": ("bytea", Scalar.BYTES, False, False),
        "tags": ("character varying(20)[]", Scalar.STRING, True, False),
        "born": ("interval", Scalar.STRING, False, False),
        "manager_id": ("bigint", Scalar.BIGINT, False, False),
        "full_name": ("text", Scalar.STRING, False, False),
    }
    assert users.by_column["mood"].enum == ("sad", "ok", "1e5", "no")
    assert users.by_column["moods"].enum == ("sad", "ok", "1e5", "no")
    assert users.by_column["Mixed"].enum == ("A b", 'c,"d')
    orders = contract.types["orders"]
    generated = {p.column for t in (users, orders) for p in t.properties if p.generated}
    assert generated == {"full_name", "id"}
    assert {p.column for p in orders.properties if p.unique} == {"buyer_id", "code"}


def test_keys_and_relationships_come_back(tables: str, tmp_path: Path) -> None:
    _, contract = described(tables, "public", tmp_path)
    by_table = {t.table: t for t in contract.types.values()}
    owners = {
        (t.table, r.columns): (contract.types[r.target].table, r.target_columns, r.many)
        for t in contract.types.values()
        for r in t.relations
        if r.owner
    }
    assert owners == {
        ("users", ("manager_id",)): ("users", ("id",), False),
        ("orders", ("user_id",)): ("users", ("id",), False),
        ("orders", ("buyer_id",)): ("users", ("id",), False),
        ("Order Items", ("order_id",)): ("orders", ("id",), False),
        ("shipments", ("order_id", "line_no")): ("Order Items", ("order_id", "line-no"), False),
    }
    inverse = {r.name: r.many for r in by_table["users"].relations if not r.owner}
    assert inverse == {"users": True, "ordersByUser": True, "orderByBuyer": False}
    assert by_table["Order Items"].unique_together == (("order_id", "qty"),)
    # A unique index counts as well as a constraint; a partial one says nothing about all rows.
    assert by_table["cities"].by_column["name"].unique
    assert not by_table["city"].by_column["name"].unique


def test_names_that_graphql_cannot_take_get_others(tables: str, tmp_path: Path) -> None:
    _, contract = described(tables, "public", tmp_path)
    by_table = {t.table: t for t in contract.types.values()}
    items = by_table["Order Items"]
    assert (items.name, items.single, items.plural) == ("Order_Items", "orderItem", "orderItems")
    assert {p.column: p.graphql for p in items.properties} == {
        "order_id": "orderId", "line-no": "lineNo", "cursor": "cursorValue", "id": "idValue",
        "qty": "qty", "price": "price",
    }  # fmt: skip
    assert by_table["node"].single != "node"
    assert by_table["node"].by_column["and"].graphql == "andValue"
    assert len({by_table["city"].single, by_table["cities"].single}) == 2
    assert by_table["überblick"].name == "uberblick"
    # Names differing in case only are two to Postgres.
    assert {p.column for p in by_table["a.b"].properties} == {"id", "Status", "status"}


CLASHING = """
CREATE TABLE alpha (id int PRIMARY KEY, "Foo Bar" int, foo_bar int, foo text, "Foo" text);
CREATE TABLE beta (id int PRIMARY KEY);
CREATE TABLE "Order Line" (id int PRIMARY KEY);
CREATE TABLE "order line" (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE order_connection (id int PRIMARY KEY);
CREATE TABLE create_order (id int PRIMARY KEY);
CREATE TABLE parts (id int, day date, alpha_id int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parts_2024 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
CREATE TABLE parts_2024_1 PARTITION OF parts_2024 FOR VALUES IN (1);
ALTER TABLE parts_2024_1 ADD FOREIGN KEY (alpha_id) REFERENCES alpha;
"""


def test_names_that_clash_get_others_and_no_table_is_lost(database: str, tmp_path: Path) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(CLASHING)
    text, contract = described(database, "public", tmp_path)
    assert {t.table for t in contract.types.values()} == {
        "alpha", "beta", "Order Line", "order line", "orders", "order_connection", "create_order", "parts"
    }  # fmt: skip
    columns = {p.name: p.column for p in contract.types["alpha"].properties}
    assert columns == {
        "id": "id", "Foo_Bar": "Foo Bar", "foo_bar2": "foo_bar", "foo": "foo", "Foo2": "Foo"
    }  # fmt: skip
    note = "# - foreign key parts(alpha_id) to alpha: only the partitions parts_2024_1 have it"
    assert [line for line in text.splitlines() if line.startswith("# -")] == [note]
    assert contract.type("order line") is contract.types["order_line2"]
    assert contract.type("Order Line") is contract.types["Order_Line"]
    with connect(database) as conn:
        steps = make_plan(conn, contract).steps
    assert not [s for s in steps if s.kind == "create_table"]


def test_a_finding_is_about_the_table_in_whose_lines_it_stands() -> None:
    chosen = [
        ReflectedTable("first", "table"),
        ReflectedTable("second", "table"),
        ReflectedTable("third", "table"),
    ]
    one = "- name: {0}\n  physicalName: {1}\n  properties:\n  - {{name: id, logicalType: integer, primaryKey: true}}\n"
    text = (
        "apiVersion: v3.2.0\nkind: DataContract\nid: a\nversion: 1.0.0\nstatus: draft\nschema:\n"
        + "".join(
            one.format(name, table.name)
            for name, table in zip(("a", "query", "c"), chosen, strict=True)
        )
    )
    notes: list[str] = []
    assert _refused(text, chosen, notes) == ["second"]
    assert notes == ["table 'second': the GraphQL name 'Query' is reserved"]


def test_what_is_left_out_says_why(tables: str, tmp_path: Path) -> None:
    text, _ = described(tables, "public", tmp_path)
    comment = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for what, why in {
        "view 'a_view'": "no changes",
        "materialized view 'a_matview'": "no changes",
        "table 'no_key'": "no primary key",
        "table 'unlogged'": "write-ahead log",
        "table 'deferred'": "no primary key that is checked at once",
        "table 'float_key'": "cannot be a key",
        "table 'parent'": "inherit",
        "table 'sch\"q'": "quote",
        "column users.'docs'": "array of jsonb",
        "column near.'weird'": "interval day to second",
        "foreign key near(far_id)": "other.far is not in this contract",
    }.items():
        assert re.search(re.escape(what) + ".*" + re.escape(why), comment), what
    assert "measurements_2024" not in text


def test_the_tables_are_as_the_contract_says(tables: str, tmp_path: Path) -> None:
    _, contract = described(tables, "public", tmp_path)
    with connect(tables) as conn:
        assert [step.blocked for step in make_plan(conn, contract).steps if step.blocked] == []


def test_another_schema_is_attached_to(tables: str, tmp_path: Path) -> None:
    _, contract = described(tables, "other", tmp_path)
    assert [(t.schema, t.table) for t in contract.types.values()] == [("other", "far")]


def test_the_same_database_gives_the_same_contract(tables: str) -> None:
    with connect(tables) as conn:
        assert contract_from_database(conn, "public") == contract_from_database(conn, "public")


def test_the_contract_reads_and_writes_nothing_but_the_catalog(tables: str) -> None:
    with connect(tables, autocommit=False) as conn:
        conn.read_only = True
        assert contract_from_database(conn, "public")


def test_a_schema_without_tables_is_refused(database: str) -> None:
    with connect(database) as conn:
        conn.execute('CREATE SCHEMA "Shop"; CREATE TABLE "Shop".thing (id int PRIMARY KEY)')
        with pytest.raises(SetupError, match="no schema 'nowhere'") as lacking:
            contract_from_database(conn, "nowhere")
        with pytest.raises(
            ContractError, match=r"no table in the schema 'public' can be followed.*no tables"
        ) as empty:
            contract_from_database(conn, "public")
        for error in (lacking.value, empty.value):
            assert error.hint.endswith("--schema: tables are in Shop")
        conn.execute("CREATE TABLE public.no_key (a int)")
        with pytest.raises(ContractError, match=r"no_key.*no primary key"):
            contract_from_database(conn, "public")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build(), arguments)


def test_the_commands(tables: str, tmp_path: Path) -> None:
    made = tmp_path / "made.yaml"
    first = run("contract", "init", "--from", tables, "--schema", "other", "--output", str(made))
    assert (first.exit_code, first.stdout) == (0, "")
    printed = run("contract", "init", "--from", tables, "--schema", "other")
    assert (printed.exit_code, printed.stdout) == (0, made.read_text("utf-8"))
    again = run("contract", "init", "--from", tables, "--schema", "other", "--output", str(made))
    assert again.exit_code == 1
    assert "SETUP" in again.stderr

    sound = run("contract", "lint", str(made))
    assert (sound.exit_code, sound.stdout) == (0, "1 checked, no findings\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text(made.read_text("utf-8").replace("logicalType: string", "logicalType: strng"))
    line = next(i for i, t in enumerate(broken.read_text().splitlines(), 1) if "strng" in t)
    refused = run("contract", "lint", str(made), str(broken))
    assert refused.exit_code == 1
    assert re.search(rf"^{re.escape(str(broken))}:{line}:\d+: UNSUPPORTED_TYPE: ", refused.stdout)
    assert "hint: did you mean 'string'?" in refused.stdout
    as_json = json.loads(run("contract", "lint", str(broken), "--json").stdout)
    assert as_json["errors"] == 1
    assert (as_json["findings"][0]["line"], as_json["findings"][0]["code"]) == (
        line,
        "UNSUPPORTED_TYPE",
    )

    same = run("contract", "diff", str(made), str(made))
    assert (same.exit_code, same.stdout) == (0, "no differences\n")
    less = tmp_path / "less.yaml"
    less.write_text(
        re.sub(
            r"  - name: name\n    logicalType: string\n    physicalType: text\n",
            "",
            made.read_text(),
        )
    )
    lost = run("contract", "diff", str(made), str(less), "--json")
    assert lost.exit_code == 1
    assert json.loads(lost.stdout)["breaking"] == [
        {"where": "far.name", "message": "the property was removed"}
    ]
    assert run("contract", "diff", str(less), str(made)).exit_code == 0
    assert run("contract", "diff", str(broken), str(made)).exit_code == 1


def test_a_database_that_is_not_there_is_a_clear_error() -> None:
    found = subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from recordgate.cli.app import main; main()",
                "contract",
                "init",
            ),
            *("--from", "postgresql://x:topsecret@127.0.0.1:1/none"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 1
    assert "error: STORE_UNAVAILABLE" in found.stderr
    assert "topsecret" not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


VALUES: list[tuple[Scalar, str, st.SearchStrategy[Any]]] = [
    (Scalar.STRING, "text", st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))),
    (Scalar.INT, "integer", st.integers(-(2**31), 2**31 - 1)),
    (Scalar.BIGINT, "bigint", st.integers(-(2**63), 2**63 - 1)),
    (Scalar.FLOAT, "double precision", st.floats(allow_nan=False, allow_infinity=False)),
    (Scalar.DECIMAL, "numeric(12,2)", st.decimals(-(10**9), 10**9, places=2).map(str)),
    (Scalar.DECIMAL, "numeric", st.decimals(-(10**9), 10**9, allow_nan=False).map(str)),
    (Scalar.BOOLEAN, "boolean", st.booleans()),
    (Scalar.DATE, "date", st.dates().map(str)),
    (Scalar.TIMESTAMP, "timestamp with time zone", st.datetimes().map(lambda d: d.isoformat() + "Z")),
    (Scalar.DATETIME, "timestamp without time zone", st.datetimes().map(lambda d: d.isoformat())),
    (Scalar.TIME, "time without time zone", st.times().map(lambda t: t.isoformat())),
    (Scalar.UUID, "uuid", st.uuids().map(str)),
    (Scalar.BYTES, "bytea", st.sampled_from(["", "AAECAw==", "/w=="])),
]  # fmt: skip


@pytest.mark.parametrize("array", [False, True], ids=["one", "list"])
@pytest.mark.parametrize(("scalar", "sql_type", "strategy"), VALUES, ids=[v[1] for v in VALUES])
def test_the_text_of_a_value_is_what_postgres_prints(
    postgres: str, scalar: Scalar, sql_type: str, strategy: st.SearchStrategy[Any], array: bool
) -> None:
    if array and scalar is Scalar.BYTES:
        pytest.skip("lists of bytes are no type of a contract")
    full = sql_type + ("[]" if array else "")
    prop = Property("x", "x", "x", Logical.STRING, scalar, full, array)

    with connect(postgres) as conn:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.none() | strategy, max_size=4) if array else strategy)
        def agrees(value: Any) -> None:
            coerced = coerce(prop, value)
            row = conn.execute(f"SELECT %s::{full}::text", (coerced,)).fetchone()  # type: ignore[call-overload]
            assert row is not None
            if scalar is Scalar.FLOAT:
                # The shortest text is not the same one in Python and Postgres; its value is.
                assert _floats(row[0]) == _floats(to_text(prop, coerced))
            else:
                assert row[0] == to_text(prop, coerced)

        agrees()


def _floats(text: str) -> list[float | None]:
    return [None if part == "NULL" else float(part) for part in text.strip("{}").split(",") if part]


def test_a_decimal_has_the_digits_of_its_column() -> None:
    prop = Property("x", "x", "x", Logical.NUMBER, Scalar.DECIMAL, "numeric(5,2)")
    assert to_text(prop, Decimal(1)) == "1.00"


FRAGMENTS = st.sampled_from(
    [*"ab.^$|()[]?*+{}-,\\: 1", r"\d", r"\w", r"\s", r"\.", r"\-", "[a-z]", "[^a-z]", "(?:", "(?=", "(?!",
     "{2}", "{1,3}", "{,3}", "{2,}", "*?", "[]", "[^", r"[\d_]", r"[\w-]", r"[a\]b]", r"\\", r"\t", r"\1",
     r"\W", "é", "/", "[[", r"\u0041", r"\cA", "***"]
)  # fmt: skip
SAMPLES = ["", "a", "b", "ab", "aab", "1", "a1", "-", "a-b", "é", "aé", "[", "]", "]b", "{2}", "a{,3}", "\\", "A", " a", "aaaa"]  # fmt: skip


def test_a_pattern_that_the_linter_takes_means_the_same_to_postgres(postgres: str) -> None:
    query = (
        "SELECT array(SELECT x ~ %s FROM unnest(%s::text[]) WITH ORDINALITY AS t(x, o) ORDER BY o)"
    )
    checked = 0
    with connect(postgres) as conn:

        @settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(FRAGMENTS, min_size=1, max_size=7).map("".join))
        def agrees(pattern: str) -> None:
            nonlocal checked
            if regex_problem(pattern):
                return
            row = conn.execute(query, (pattern, SAMPLES)).fetchone()
            assert row is not None
            assert row[0] == [bool(re.search(pattern, s)) for s in SAMPLES]
            checked += 1

        agrees()
    assert checked > 50


SOUND = """\
apiVersion: v3.2.0
kind: DataContract
id: everything
version: 1.0.0
schema:
  - name: everything
    quality: [{metric: duplicateValues, mustBe: 0, arguments: {properties: [a, b]}}]
    properties:
      - {name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 2}
      - {name: b, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, logicalTypeOptions: {format: u64}}
      - {name: c, physicalName: größe in m², logicalType: string, enum: [{value: "it's"}, {value: 'a\\b%s:x'}]}
      - {name: d, logicalType: string, logicalTypeOptions: {pattern: '^[\\w.:%]{2,5}$', minLength: 2, maxLength: 5}}
      - {name: e, logicalType: integer, logicalTypeOptions: {minimum: -1e3, exclusiveMaximum: 1000, multipleOf: 5}}
      - {name: f, logicalType: number, physicalType: 'numeric(8,3)', logicalTypeOptions: {minimum: 0.125, multipleOf: 0.125}}
      - {name: g, logicalType: number, logicalTypeOptions: {minimum: 1e-3, maximum: 1.5e10}}
      - {name: h, logicalType: date, logicalTypeOptions: {minimum: 2020-01-01}, enum: [{value: 2024-02-29}]}
      - {name: i, logicalType: timestamp, logicalTypeOptions: {exclusiveMinimum: '2020-01-01T00:00:00Z'}}
      - {name: j, logicalType: timestamp, logicalTypeOptions: {timezone: false, maximum: '2030-01-01T00:00:00'}}
      - {name: k, logicalType: time, logicalTypeOptions: {minimum: '08:00'}}
      - {name: l, logicalType: boolean, enum: [{value: true}]}
      - {name: m, logicalType: string, logicalTypeOptions: {format: uuid}, unique: true}
      - {name: n, logicalType: string, logicalTypeOptions: {format: binary}}
      - {name: o, logicalType: object}
      - {name: p, logicalType: array, items: {logicalType: string, enum: [{value: x}, {value: 'y,"z'}]}}
      - {name: q, logicalType: array, items: {logicalType: integer, logicalTypeOptions: {minimum: 0}}}
      - {name: r, logicalType: array, items: {logicalType: object}}
      - {name: s, logicalType: integer, physicalType: smallint, enum: [{value: 1}, {value: -2}]}
      - {name: select, logicalType: number, logicalTypeOptions: {format: f32}}
      - {name: parentA, logicalType: string}
      - {name: parentB, logicalType: integer, logicalTypeOptions: {format: u64}}
    relationships:
      - {id: parent, from: [everything.parentA, everything.parentB], to: [everything.a, everything.b]}
"""


def test_postgres_takes_what_the_linter_takes(database: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.yaml"
    path.write_text(SOUND, "utf-8")
    contract = load_contract(path)
    engine = sa.create_engine(database.replace("postgresql://", "postgresql+psycopg://", 1))
    metadata_for(contract).create_all(engine)
    engine.dispose()
    with connect(database) as conn:
        rows = conn.execute(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'public.everything'::regclass AND attnum > 0"
        ).fetchall()
    wanted = {p.column: p.sql_type for p in contract.types["everything"].properties}
    assert {row[0]: row[1] for row in rows} == wanted
