"""The rows: every value is one that two stores may well see differently, and nulls are
everywhere."""

from __future__ import annotations

import random
from typing import Any, TypeVar

import psycopg
from psycopg.types.json import Jsonb

T = TypeVar("T")

TEXTS = (
    "", " ", "a", "A", "á", "a\u0301", "Á", "a ", " a", "a  b", "a b", "ab", "aB", "ß", "ss", "SS", "ﬁ", "fi",
    "İ", "i", "I", "ı", "ñ", "n\u0303", "🦉", "🦉🦉", "👩\u200d🚀", "\u200b", "\x01", "a\x01", "\uffff",
    "\U0010ffff", "%", "_", "a%", "\\", "\\\\", "'", '"', "null", "NULL", "true", "0", "00", "1e3", "日本", "日",
    "a\nb", "a\tb", "a\r", "-1", ",", "a,b", "Ω", "ω", "\u212b", "Å", "z", "Z", "~", "x" * 300, "é" * 20_000,
)  # fmt: skip
INTS = (0, -1, 1, 7, 8, 9, 10, 100, 2**31 - 1, -(2**31))
LONGS = (0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63 - 2, -(2**63), 10)
FLOATS = (0.0, -0.0, 1.0, -2.5, 0.1, 0.30000000000000004, 0.3, 1e300, 5e-324, 1e15, float("nan"),
          float("inf"), float("-inf"))  # fmt: skip
PRICES = ("0.00", "-1.50", "10.10", "10.1", "9999999999.99", "-9999999999.99", "3", "0.01")
EXACT = (
    "0",
    "0.0",
    "1",
    "1.0",
    "1.00",
    "-1e-20",
    "1e20",
    "0.1",
    "NaN",
    "12345678901234567890.123456789",
)
DATES = ("0001-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "2024-06-01", "9999-12-31")
MOMENTS = (
    "1969-12-31T23:59:59.999999+00:00", "1970-01-01T00:00:00+00:00", "2024-06-01T12:00:00.5+00:00",
    "2024-06-01T12:00:00.12+00:00", "2024-06-01T14:00:00+02:00", "2024-03-31T02:30:00+01:00",
    "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00",
)  # fmt: skip
LOCALS = tuple(m[: m.rindex("+")] for m in MOMENTS)
TIMES = ("00:00:00", "12:30:00", "12:30:00.5", "23:59:59.999999", "24:00:00")
UIDS = ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000a",
        "ffffffff-ffff-ffff-ffff-ffffffffffff")  # fmt: skip
EXTRAS = ({}, {"a": 1}, {"a": [1, None, "ü"]}, {"b": {"c": 1e300}}, {"z": "🦉", "a": ""})
TAGS: tuple[list[Any], ...] = ([], ["a"], ["a", "A", "á"], ["", " "], ["a", "a"], [None, "🦉"])
MARKS: tuple[list[Any], ...] = ([], [0], [2**53 + 1, -(2**63)], [7, 7, None], [2**63 - 1])

CODES = ("", " ", "a", "A", "á", "a\u0301", "a,b", "a\\b", "🦉", "00", "0", "Z", "ß", "\uffff")
THINGS = 300


def fill(conn: psycopg.Connection[Any], seed: int) -> None:
    pick = random.Random(seed)

    def maybe(choices: tuple[T, ...]) -> T | None:
        return None if pick.random() < 0.2 else pick.choice(choices)

    with conn.cursor() as cursor:
        cursor.executemany(
            b"INSERT INTO makers (code, name, founded) VALUES (%s, %s, %s)",
            [(code, maybe(TEXTS[:-1]), maybe(DATES)) for code in CODES],
        )
        keys = [*range(-3, THINGS - 5), 2**53 + 1, -(2**63), 2**63 - 1]
        cursor.executemany(
            b"INSERT INTO things (nr, title, note, short, maker_code, pages, copies, rating, price, exact, lent,"
            b" printed, added, local, opens, uid, cover, extra, tags, marks) VALUES (%s, %s, %s, %s, %s, %s, %s,"
            b" %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    nr, pick.choice(TEXTS), maybe(TEXTS), maybe(tuple(t for t in TEXTS if len(t) <= 8)),
                    maybe(CODES), maybe(INTS), maybe(LONGS), maybe(FLOATS), maybe(PRICES), maybe(EXACT),
                    maybe((True, False)), maybe(DATES), maybe(MOMENTS), maybe(LOCALS), maybe(TIMES),
                    maybe(UIDS), maybe((b"", b"\x00", b"\xff\xfe")),
                    None if pick.random() < 0.2 else Jsonb(pick.choice(EXTRAS)), maybe(TAGS), maybe(MARKS),
                )
                for nr in keys
            ],
        )  # fmt: skip
        parts = {(pick.choice(keys), pick.choice(TEXTS[:-1])) for _ in range(600)}
        cursor.executemany(
            b"INSERT INTO parts (thing_nr, label, weight) VALUES (%s, %s, %s)",
            [(nr, label, maybe(("0", "1.5", "-0.001", "999999.999"))) for nr, label in sorted(parts)],
        )  # fmt: skip


VALUES: dict[str, tuple[Any, ...]] = {
    "String": (*TEXTS, "aa", "b", "\u0301", "\u0000"),
    "Int": (*INTS, 3),
    "BigInt": (*LONGS, 5),
    "Float": (*(v for v in FLOATS if v == v and abs(v) != float("inf")), 2, -1),
    "Decimal": (*PRICES, *EXACT, "10.11", 3, 0.5),
    "Boolean": (True, False),
    "Date": (*DATES, "2024-02-30", "1815-12-10"),
    "DateTime": (*MOMENTS, "2024-06-01T12:00:00Z", "2024-06-01T12:00:00"),
    "LocalDateTime": (*LOCALS, "2024-06-01 12:00:00"),
    "Time": TIMES,
    "UUID": (*UIDS, UIDS[2].upper(), UIDS[2].replace("-", "")),
    "Bytes": ("", "AA==", "//4=", "AAAA"),
}
"""Operands of filters by the name of their GraphQL scalar; some are no such value, for every store
alike."""
