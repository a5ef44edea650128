"""A library of random books with nulls everywhere, to search, filter and sort."""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from stores.patterns import IGNORING_CASE
from stores.protocols import Store, Write
from stores.query import And, Compare, Filter, Not, Op, Or, Related
from tests.conformance.store_backends import load
from tests.conformance.store_contract import book

WORDS = [
    "ant",
    "Bee",
    "café",
    "dog",
    "Élan",
    "fox",
    "gnu",
    "a.b",
    "x*",
    "100%",
    "o'k",
    'q"t',
    "z\\d",
    "日本",
]
LANGUAGES = ["en", "fr", "EN", "de", "", "日本"]
DAYS = ["0001-01-01", "1969-12-31", "1970-01-01", "2000-02-29", "2024-06-01", "9999-12-31"]
MOMENTS = [
    "1969-12-31T23:59:59.999999+00:00", "1970-01-01T00:00:00+00:00",
    "2024-06-01T12:00:00.5+00:00", "2024-06-01T12:00:00.12+00:00", "2024-06-01T12:00:00+00:00",
]  # fmt: skip
TIMES = ["00:00:00", "12:30:00", "12:30:00.5", "23:59:59.999999"]
PRICES = ["0.00", "-1.50", "10.10", "10.1", "9999999999.99", "3.00"]
NUMBERS = [0, -1, 1, 7, 10, 2**31 - 1, -(2**31)]
LARGE = [0, 2**53 + 1, 2**53, -(2**63), 2**63 - 1]
RATINGS = [0.0, -2.5, 1.0, 1.5, 1e300, 0.1]
UIDS = [str(UUID(int=n)) for n in (0, 1, 2**127)]
AUTHORS = [
    {"id": "a1", "name": "Ada", "born": "1815-12-10"},
    {"id": "a2", "name": None, "born": None},
    {"id": "a,3", "name": "Étienne", "born": "1970-01-01"},
]


def records(count: int, seed: int = 7) -> list[dict[str, Any]]:
    chance = random.Random(seed)

    def maybe(choices: list[Any]) -> Any:
        return None if chance.random() < 0.25 else chance.choice(choices)

    made = []
    for number in range(1, count + 1):
        writer = maybe(AUTHORS)
        values = {
            "title": maybe(WORDS) and " ".join(chance.choices(WORDS, k=chance.randint(1, 3))),
            "blurb": maybe(WORDS),
            "author": writer and writer["id"],
            "language": maybe(LANGUAGES),
            "tags": maybe([[], ["red"], ["red", "blue"], ["Red", None], ["日本"]]),
            "marks": maybe([[], [1], [1, 2, 2], [None, 7]]),
            "pages": maybe(NUMBERS),
            "copies": maybe(LARGE),
            "rating": maybe(RATINGS),
            "price": maybe(PRICES),
            "weight": maybe(["1.000", "1"]),
            "printed": maybe([True, False]),
            "lent": maybe([True, False]),
            "published": maybe(DAYS),
            "added": maybe(MOMENTS),
            "opens": maybe(TIMES),
            "uid": maybe(UIDS),
            "extra": maybe([{"a": 1}]),
            "writer": writer,
        }
        made.append(orjson.loads(book(number, **values)))
    return made


async def fill(store: Store, made: list[dict[str, Any]]) -> None:
    """Write them in two batches, so that no store keeps them in one piece."""
    writes = [Write(str(r["id"]), r["id"], orjson.dumps(r)) for r in made]
    half = len(writes) // 2
    await load(store, "book", writes[:half])
    await load(store, "book", writes[half:])


_OPERANDS: dict[str, list[Any]] = {
    "title": [*WORDS, "ant Bee", ""],
    "language": [*LANGUAGES, "e", "f\uffff"],
    "pages": [*NUMBERS, 3],
    "copies": LARGE,
    "rating": [*RATINGS, 2, -0.0],
    "price": [*map(Decimal, PRICES), Decimal("10.11"), Decimal(3)],
    "printed": [True, False],
    "lent": [True, False],
    "published": [date.fromisoformat(d) for d in DAYS],
    "added": [datetime.fromisoformat(m) for m in MOMENTS]
    + [datetime(2024, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))],
    "opens": [time.fromisoformat(t) for t in TIMES],
    "uid": [UUID(u) for u in UIDS],
}
_ELEMENTS = {"tags": ["red", "blue", "Red", "日本", "none"], "marks": [1, 2, 7, 9]}
_WRITER: dict[str, list[Any]] = {
    "id": ["a1", "a,3", "zz"],
    "name": ["Ada", "Étienne", "A", ""],
    "born": [date(1815, 12, 10), date(1900, 1, 1)],
}
_ORDERED = (Op.GT, Op.GTE, Op.LT, Op.LTE)


def random_filter(chance: random.Random, depth: int = 3) -> Filter:
    kind = chance.random()
    if depth and kind < 0.45:
        parts = tuple(random_filter(chance, depth - 1) for _ in range(chance.randint(0, 3)))
        return And(parts) if kind < 0.25 else Or(parts)
    if depth and kind < 0.6:
        return Not(random_filter(chance, depth - 1))
    if kind < 0.72:
        return Related("writer", _inside_writer(chance, depth))
    if kind < 0.8:
        name = chance.choice(list(_ELEMENTS))
        if chance.random() < 0.3:
            return Compare(name, Op.IS_NULL, chance.random() < 0.5)
        return Compare(name, Op.CONTAINS, chance.choice(_ELEMENTS[name]))
    return _compare(chance, _OPERANDS)


def _inside_writer(chance: random.Random, depth: int) -> Filter:
    found = _compare(chance, _WRITER)
    if depth and chance.random() < 0.4:
        return Not(found) if chance.random() < 0.5 else Or((found, _compare(chance, _WRITER)))
    return found


def _compare(chance: random.Random, operands: dict[str, list[Any]]) -> Compare:
    name = chance.choice(list(operands))
    values = operands[name]
    ops = [Op.EQ, Op.NEQ, Op.IN, Op.NOT_IN, Op.IS_NULL]
    if not isinstance(values[0], bool | UUID):
        ops += _ORDERED
    if isinstance(values[0], str):
        ops += [Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH, *IGNORING_CASE]
    op = chance.choice(ops)
    if op is Op.IS_NULL:
        return Compare(name, op, chance.random() < 0.5)
    if op in (Op.IN, Op.NOT_IN):
        return Compare(name, op, chance.sample(values, chance.randint(1, min(3, len(values)))))
    return Compare(name, op, chance.choice(values))
