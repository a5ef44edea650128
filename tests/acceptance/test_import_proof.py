"""What Arrow proves Postgres takes, and both understand the same value: the ground of the fast
path."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from stores.canonical.checks import check_expressions
from stores.canonical.importing.proof import proven
from stores.canonical.json_form import session_options
from stores.contract.model import Logical, Property, Scalar

PIECES = [
    "0", "1", "9", "00", "12", "28", "29", "30", "31", "99", "127", "999", "2020", "1999", "0000", "0001",
    "9999", "-", "-", "+", ".", ":", ":", "/", " ", "T", "t", "Z", "z", "e", "E", "x", "0x", "X", "inf", "nan",
    "NaN", "Infinity", "true", "f", "yes", "_", ",", "{", "}", '"', "\\", "\n", "a", "é", "BC", "+05:30", "-08",
    "+15:59", "+16", "24:00:00", "23:59:60", "10:00", "e400", "e-400", "٣", "",
]  # fmt: skip

USUAL = {
    "bigint": ["-5", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "007"],
    "integer": ["2147483647", "2147483648", "-1"],
    "smallint": ["32767", "-32769", "0x7f", "0xffff"],
    "double precision": ["0", "-0.0", "1e308", "1e309", "4.9e-324", "1e-325", "0.1", ".5", "5.", "1e5"],
    "real": ["3.4e38", "3.5e38", "1e-45", "1e-46", "0.0", "16777217"],
    "numeric(6,2)": ["1234.56", "12345.6", "9999.999", "-0.01", "1e3", "0.001", "1234.5"],
    "numeric": ["1" * 60, "0." + "1" * 40, "1e5", "-0", "NaN"],
    "date": ["2020-02-29", "2019-02-29", "2020-02-30", "1900-01-01", "1899-12-31", "0001-01-01", "20200101"],
    "timestamp with time zone": [
        "2020-01-01 10:00:00", "2020-01-01T10:00:00Z", "2020-02-30 10:00:00Z", "2020-01-01 10:00:00.123456+05:30",
        "2020-01-01 10:00:00.1234567Z", "2020-01-01 24:00:00", "2020-01-01 10:00:00+15", "2020-12-31 23:59:59-1130",
    ],
    "timestamp without time zone": ["2020-01-01 10:00:00", "2020-01-01T10:00:00.5", "2020-06-31 10:00:00"],
    "timestamp(3) with time zone": ["2020-01-01 10:00:00.123456Z"],
    "time without time zone": ["10:00:00", "24:00:00", "10:00", "23:59:59.999999"],
    "boolean": ["true", "t", "1", "yes", "on", "TRUE", "tr"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"],
    "text": ["AB", "ab", "ABC", "", "AB\n"],
    "character varying(3)": ["abc", "abcd", "é€a", "abc "],
    "jsonb": ['{"a": 1}', '{"a": 1e999999}', '"\\u0000"', "[1,", "1 2", "null", '"\\ud800"', '{"a":1,"a":2}'],
    "character(3)": ["abc", "ab", "abcd"],
}  # fmt: skip

SCALARS = {
    "bigint": Scalar.BIGINT, "integer": Scalar.INT, "smallint": Scalar.INT, "double precision": Scalar.FLOAT,
    "real": Scalar.FLOAT, "numeric(6,2)": Scalar.DECIMAL, "numeric": Scalar.DECIMAL, "date": Scalar.DATE,
    "timestamp with time zone": Scalar.TIMESTAMP, "timestamp(3) with time zone": Scalar.TIMESTAMP,
    "timestamp without time zone": Scalar.DATETIME, "time without time zone": Scalar.TIME,
    "boolean": Scalar.BOOLEAN, "uuid": Scalar.UUID, "jsonb": Scalar.JSON,
}  # fmt: skip

RULES: dict[str, list[dict[str, Any]]] = {
    "bigint": [{"minimum": "0", "maximum": "1000"}, {"multiple_of": "3"}, {"exclusive_minimum": "5"}],
    "integer": [{"minimum": "-1.5"}, {"exclusive_maximum": "12"}],
    "smallint": [{"multiple_of": "0.5"}],
    "double precision": [{"minimum": "0.1", "exclusive_maximum": "99"}],
    "real": [{"minimum": "0.1"}],
    "numeric(6,2)": [{"minimum": "0", "maximum": "1234.56"}, {"multiple_of": "0.05"}],
    "numeric": [{"exclusive_minimum": "0"}],
    "date": [{"minimum": "1900-01-01"}, {"exclusive_maximum": "2020-02-29"}],
    "text": [
        {"min_length": 1, "max_length": 2}, {"pattern": "^[A-Z]{2}$"}, {"pattern": "^[^a]+$"}, {"pattern": "a.b|9+"},
        {"pattern": "\\d"}, {"enum": ("AB", "9", "é")},
    ],
    "character varying(3)": [{"max_length": 2}],
}  # fmt: skip


def values_of(kind: str) -> list[str]:
    rng = random.Random(kind)
    found = list(USUAL[kind])
    for _ in range(400):
        found.append("".join(rng.choices(PIECES, k=rng.randint(1, 5))))
        base = rng.choice(USUAL[kind])
        at = rng.randint(0, len(base))
        found.append(base[:at] + rng.choice(PIECES) + base[at + rng.randint(0, 1) :])
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("kind", list(USUAL))
def test_a_proven_value_is_taken_and_keeps_every_rule(postgres: str, kind: str) -> None:
    values = values_of(kind)
    proofs = 0
    with psycopg.connect(postgres, options=session_options()) as connection:
        judged = connection.execute(
            "SELECT ARRAY(SELECT pg_input_is_valid(v, %s) AND pg_input_is_valid(v, %s)"
            " FROM unnest(%s::text[]) WITH ORDINALITY u(v, n) ORDER BY n)",
            (kind, kind.split("(")[0] if kind.startswith("numeric") else kind, values),
        ).fetchone()
        assert judged is not None
        good = [v for v, valid in zip(values, judged[0], strict=True) if valid]
        for rules in [{}, *RULES.get(kind, [])]:
            prop = dataclasses.replace(
                Property("v", "v", "v", Logical.STRING, SCALARS.get(kind, Scalar.STRING), kind),
                **rules,
            )
            kept = rows_that_keep(connection, prop, good)
            for some in (values, good, sorted(kept), good[:3]):
                mask = proven(pa.array([*some, None], pa.string()), prop, kind, None)
                found = [*some, None] if mask is None else [
                    v for v, ok in zip([*some, None], mask.to_pylist(), strict=True) if ok
                ]  # fmt: skip
                assert set(found) - {None} <= kept, rules
                assert None in found
                proofs += len(found) - 1
    assert proofs or kind == "character(3)"


def rows_that_keep(
    connection: psycopg.Connection[Any], prop: Property, good: list[str]
) -> set[str]:
    checks = [sql.SQL("({}) IS NOT FALSE").format(sql.SQL(c)) for _, c in check_expressions(prop)]
    found = connection.execute(
        sql.SQL(
            'SELECT text FROM (SELECT text, text::{} AS "v" FROM unnest({}::text[]) AS g(text)) AS t WHERE {}'
        ).format(
            sql.SQL(prop.sql_type),
            sql.Literal(good),
            sql.SQL(" AND ").join([sql.SQL("true"), *checks]),
        )
    ).fetchall()
    return {row[0] for row in found}


def test_a_missing_value_is_proven_only_where_none_is_required() -> None:
    prop = Property("v", "v", "v", Logical.INTEGER, Scalar.INT, "integer", required=True)
    for some, expected in ((["1", None], [True, False]), ([None, None], [False, False])):
        assert proven(pa.array(some, pa.string()), prop, "integer", None).to_pylist() == expected
