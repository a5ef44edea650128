"""Names derived from the contract are valid in GraphQL and Postgres, and the same every time."""

import re
from pathlib import Path

import pytest
from graphql import is_enum_type, is_introspection_type
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.schema import build_schema
from stores.contract import names
from stores.contract.load import load_contract
from stores.contract.names import GENERATED_TYPES, generated_fields
from stores.contract.quality import select_problem
from stores.contract.regexes import regex_problem
from stores.contract.types import FOREIGN_TYPE, parse_physical


@pytest.mark.parametrize(
    ("name", "camel", "pascal", "snake"),
    [
        ("city", "city", "City", "city"),
        ("area_km2", "areaKm2", "AreaKm2", "area_km2"),
        ("areaKm2", "areaKm2", "AreaKm2", "area_km2"),
        ("ISO_CODE", "isoCode", "IsoCode", "iso_code"),
        ("ID", "id", "Id", "id"),
        ("URLPath", "urlPath", "UrlPath", "url_path"),
        ("OrderLine", "orderLine", "OrderLine", "order_line"),
        ("order-line", "orderLine", "OrderLine", "order_line"),
        ("_hidden", "hidden", "Hidden", "hidden"),
        ("customerID", "customerID", "CustomerID", "customer_id"),
        ("iso3", "iso3", "Iso3", "iso3"),
    ],
)
def test_cases(name: str, camel: str, pascal: str, snake: str) -> None:
    assert (names.camel(name), names.pascal(name), names.snake(name)) == (camel, pascal, snake)


@pytest.mark.parametrize(
    ("name", "singular", "plural", "wanted"),
    [
        ("city", "", "", ("city", "cities")),
        ("cities", "", "", ("city", "cities")),
        ("cities", "", "cities", ("city", "cities")),
        ("orderLine", "", "", ("orderLine", "orderLines")),
        ("order_lines", "", "", ("orderLine", "orderLines")),
        ("person", "", "", ("person", "people")),
        ("status", "", "", ("status", "statuses")),
        ("address", "", "", ("address", "addresses")),
        ("bus", "", "", ("bus", "buses")),
        ("analysis", "", "", ("analysis", "analyses")),
        ("sheep", "", "", ("sheep", "sheepList")),
        ("country", "", "lands", ("country", "lands")),
        ("data", "datum", "data", ("datum", "data")),
        ("x", "x", "x", ("x", "xList")),
    ],
)
def test_one_and_many(name: str, singular: str, plural: str, wanted: tuple[str, str]) -> None:
    assert names.single_and_plural(name, singular, plural) == wanted


@given(st.from_regex(names.CONTRACT_NAME, fullmatch=True))
@settings(max_examples=500)
def test_a_name_that_is_let_through_is_one_everywhere(name: str) -> None:
    if names.contract_name_problem(name):
        return
    assert names.GRAPHQL_NAME.match(names.camel(name))
    assert names.camel(names.camel(name)) == names.camel(name)
    column = names.snake(name)
    assert re.fullmatch(r"[a-z0-9_]+", column)
    assert names.snake(column) == column


@given(st.text(max_size=80))
@settings(max_examples=500)
def test_no_hostile_name_is_let_through(name: str) -> None:
    if names.physical_problem(name) == "":
        assert 0 < len(name.encode()) <= 63
        assert not set(name) & set("\"'`\\%{};\0\n\r")
    if names.contract_name_problem(name) == "":
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name)
        assert not name.startswith("__")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", ("", "a")),
        ("s.a", ("s", "a")),
        ('"s.x"."a.b"', ("s.x", "a.b")),
        ('s."a b"', ("s", "a b")),
        ("a.b.c", None),
        ('"a', None),
        ("", None),
    ],
)
def test_tables_with_their_schema(text: str, wanted: tuple[str, str] | None) -> None:
    assert names.split_table(text) == wanted


@given(st.text(max_size=60))
@settings(max_examples=500)
def test_no_type_can_end_a_statement(text: str) -> None:
    physical = parse_physical(text)
    if physical is not None and physical.scalar is not None:
        assert re.fullmatch(r"[a-z ]+(\(\d+(,-?\d+)?\))?[a-z ]*(\[\])?", physical.sql_type)
    if FOREIGN_TYPE.fullmatch(text):
        assert not re.search(r"[;'\n\0]|--|/\*", re.sub(r'"[^"]*"', "", text))


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]{2}$",
        r"^\d+(\.\d+)?$",
        r"^(?:a|b)*?c$",
        r"^(?=.*\d)\w+$",
        "^[^@]+@[^@]+$",
        r"^\+?[0-9 ]{3,20}$",
        r"a\.b\\c",
    ],
)
def test_ordinary_patterns_are_taken(pattern: str) -> None:
    assert regex_problem(pattern) == ""


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "a{300}", r"\bword\b", "(?i)a", "(?<name>a)", "(?P<n>a)", "(?<!a)b", r"\p{L}", r"\Aa\Z",
     "a++", "(?>a)", "[[:alpha:]]", r"\x41", "(?#no)a", "a\0", "(" * 200 + ")" * 199],
)  # fmt: skip
def test_patterns_that_two_engines_read_differently_are_refused(pattern: str) -> None:
    assert regex_problem(pattern)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM ${table} WHERE ${column} IS NULL",
        "select 1;",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT 'it''s; DELETE' AS x -- ; drop table\n",
        "SELECT /* a /* nested */ ; */ 1",
        "(SELECT 1) UNION (SELECT 2)",
        'SELECT "update" FROM {object}',
        "SELECT $$; delete$$",
        r"SELECT E'\'; delete'",
    ],
)
def test_a_reading_query_is_taken(query: str) -> None:
    assert select_problem(query) == ""


@pytest.mark.parametrize(
    "query",
    ["", " ", ";", "DELETE FROM a", "SELECT 1; SELECT 2", "TRUNCATE a", "SELECT * INTO b FROM a", "EXPLAIN SELECT 1",
     "WITH x AS (INSERT INTO a VALUES (1) RETURNING 1) SELECT * FROM x", "SELECT 1 FOR UPDATE", "SELECT 'open",
     "SELECT /* open", "SELECT $a$ open", "CALL p()", "'SELECT 1'", r"SELECT '\'; DELETE FROM a; --'"],
)  # fmt: skip
def test_anything_else_is_refused(query: str) -> None:
    assert select_problem(query)


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_no_query_makes_the_check_fail(query: str) -> None:
    assert isinstance(select_problem(query), str)


def test_no_type_can_take_a_name_that_graphql_makes_itself() -> None:
    contract = load_contract(Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml")
    schema = build_schema(contract).graphql
    own = {t.graphql + suffix for t in contract.types.values() for suffix in GENERATED_TYPES}
    made = {
        name
        for name, kind in schema.type_map.items()
        if not is_introspection_type(kind)
        and not name.endswith(("Payload", "Filter"))
        and "GroupOf" not in name  # by relation; where one collides the schema says so
        and not (is_enum_type(kind) and name not in own)
    }
    assert made <= own | names.RESERVED_TYPES
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    fields = {*schema.query_type.fields, *schema.mutation_type.fields}
    guarded = {f for t in contract.types.values() for f in generated_fields(t.single, t.plural)}
    assert fields <= guarded | names.RESERVED_ROOTS
