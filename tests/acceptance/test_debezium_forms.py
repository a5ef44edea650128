"""Keys and foreign keys from Kafka read as `::text` prints them, however the connector writes
values."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import psycopg
import pytest

from stores.canonical.connect import connect as connect_canonical
from stores.contract.model import Contract
from stores.errors import SetupError
from sync.changes import ChangeSource
from tests.change_tables import changes, read_to, record_type, wal_end
from tests.debezium_stage import connector

pytestmark = pytest.mark.servers

KINDS = {
    "i2": ("int2", ["-32768", "7"]),
    "i8": ("int8", ["9223372036854775807", "-1"]),
    "oid": ("oid", ["4294967295"]),
    "yes": ("boolean", ["true", "false"]),
    "f8": (
        "float8",
        [
            "'NaN'",
            "'-Infinity'",
            "0.1::float8 + 0.2",
            "1e15",
            "123456789012345",
            "1e-5",
            "0.0001",
            "-0.0",
            "1.5e300",
            "1e23",
        ],
    ),
    "f4": ("float4", ["'Infinity'", "0.1", "3.1415927", "1e6", "100000", "16777216", "1e-5"]),
    "plain": ("numeric", ["1.500", "1e20", "-0.000001", "'NaN'", "'Infinity'", "0.00"]),
    "fixed": ("numeric(10,2)", ["3.1", "-0.05", "'NaN'", "12345678.90"]),
    "whole": ("numeric(5,0)", ["12345", "-7"]),
    "day": (
        "date",
        ["'0044-03-15 BC'", "'12000-12-31'", "'infinity'", "'-infinity'", "'2024-02-29'"],
    ),
    "at": (
        "timestamptz",
        ["'2024-03-01 12:00:00.5+02'", "'0044-03-15 01:02:03 BC'", "'infinity'", "'1900-01-01'"],
    ),
    "ts": (
        "timestamp",
        [
            "'2024-03-01 12:00:00.123456'",
            "'1969-12-31 23:59:59.9'",
            "'2024-03-01'",
            "'0044-03-15 01:02:03 BC'",
        ],
    ),
    "ts3": ("timestamp(3)", ["'2024-03-01 12:00:00.5'", "'1999-12-31 23:59:59.999'"]),
    "tod": ("time", ["'12:00:01.5'", "'00:00'", "'24:00:00'"]),
    "tod3": ("time(3)", ["'12:00:01.005'"]),
    "span": ("interval", ["'1 day 2 hours'", "'-1 mon 2 days -3:00:00.25'", "'0'", "'14 months'"]),
    "raw": ("bytea", ["'\\x00ff41'", "''", "'\\xfbff3e'"]),
    "padded": ("character(5)", ["'ab'", "''"]),
    "host": ("inet", ["'10.0.0.1'", "'::1'", "'10.0.0.0/8'"]),
    "net": ("cidr", ["'10.0.0.0/8'"]),
    "uid": ("uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    "mood": ("mood", ["'so so'"]),
    "txt": ("text", ["'{\"schema\":1}'", "'żółć 🐘'", "''"]),
    "js": ("jsonb", ["'{\"b\": [1, 2.50]}'"]),
    "answer": ("answer", ["true"]),
}
MODES = {
    "ours": {},
    "defaults with a schema": {
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive",
        "binary.handling.mode": "bytes",
        "value.converter.schemas.enable": "true",
        "key.converter.schemas.enable": "true",
    },
    "defaults without": {
        "decimal.handling.mode": "precise",
        "time.precision.mode": "adaptive",
        "binary.handling.mode": "bytes",
    },
    "doubles and milliseconds": {
        "decimal.handling.mode": "double",
        "time.precision.mode": "connect",
        "binary.handling.mode": "base64",
    },
    "iso strings": {
        "time.precision.mode": "isostring",
        "binary.handling.mode": "base64-url-safe",
    },
    "nanoseconds": {"time.precision.mode": "nanoseconds"},
    "adaptive times with a schema": {
        "decimal.handling.mode": "string",
        "time.precision.mode": "adaptive_time_microseconds",
        "value.converter.schemas.enable": "true",
    },
}
REFUSED = {
    "defaults with a schema": {"plain"},
    "defaults without": {"plain"},
    "doubles and milliseconds": {"plain", "ts", "tod"},
    "iso strings": {"tod", "tod3"},
    "nanoseconds": {"ts", "ts3"},
}
"""What a mode cannot say at all."""
NULL = {
    "defaults with a schema": {"fixed"},
    "defaults without": {"fixed"},
    "doubles and milliseconds": {"fixed"},
}
"""Columns of which the connector writes null for some values: NaN."""


def contract_of(mode: str) -> Contract:
    columns = [c for c in KINDS if c not in REFUSED.get(mode, ())]
    foreign = dict.fromkeys(columns, "other.id")
    return Contract("k", "k", "1", {"odd": record_type("odd", ["id"], columns, **foreign)})


def test_every_mode_of_the_connector_gives_the_text_that_canonical_prints(
    database: str, kafka: str, connect: str
) -> None:
    rows = [
        [values[i] if i < len(values) else "NULL" for _, values in KINDS.values()]
        for i in range(max(len(v) for _, v in KINDS.values()))
    ]
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in KINDS.items())

    async def seen(source: ChangeSource) -> list[dict[str, str | None]]:
        await source.open(None)
        with connect_canonical(database) as conn:
            conn.execute(b"TRUNCATE public.odd")
            for i, row in enumerate(rows):
                conn.execute(f"INSERT INTO public.odd VALUES ({i}, {', '.join(row)})".encode())
            end = wal_end(conn)
        found = changes(await read_to(source, end))
        await source.close()
        return [dict(c.new) for c in found if c.new]

    with ExitStack() as stack:
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute("CREATE TYPE mood AS ENUM ('so so'); CREATE DOMAIN answer AS boolean")
            conn.execute(f"CREATE TABLE odd (id int PRIMARY KEY, {columns})".encode())
        for mode, overrides in MODES.items():
            contract = contract_of(mode)
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute("DROP PUBLICATION IF EXISTS debezium")
            make = stack.enter_context(connector(database, contract, kafka, connect, **overrides))
            found = asyncio.run(seen(make()))
            tracked = list(found[0])
            with connect_canonical(database) as conn:
                texts = ", ".join(f"{name}::text" for name in tracked)
                expected = [
                    dict(zip(tracked, row, strict=True))
                    for row in conn.execute(
                        f"SELECT {texts} FROM public.odd ORDER BY id".encode()
                    ).fetchall()
                ]
            wrong = {
                (name, want[name], got.get(name, "absent"))
                for got, want in zip(found, expected, strict=True)
                for name in tracked
                if got.get(name, "absent") != want[name]
            }
            unexplained = {w for w in wrong if not (w[0] in NULL.get(mode, ()) and w[2] is None)}
            assert not unexplained, mode
            stack.close()


def test_what_a_mode_cannot_say_is_refused_by_name(database: str, kafka: str, connect: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE TABLE odd (id int PRIMARY KEY, at timetz, cost numeric, many int[])")
    foreign = dict.fromkeys(("at", "cost", "many"), "other.id")
    contract = Contract(
        "k", "k", "1", {"odd": record_type("odd", ["id"], list(foreign), **foreign)}
    )
    overrides = {"decimal.handling.mode": "double"}
    with (
        connector(database, contract, kafka, connect, **overrides) as make,
        pytest.raises(SetupError) as caught,
    ):
        asyncio.run(make().open(None))
    for column in foreign:
        assert f"column {column} of public.odd" in caught.value.message
