"""Lists go to a store that answers them exactly, by an index, where somebody has allowed their
age."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from gateway.context.canonical_away import CanonicalAway, Expiring
from gateway.context.services import Freshness
from gateway.query.list_capability import ListNeeds, Texts, needs_of, why_not_list
from gateway.query.list_costs import MOST_READS, cost_of_list
from gateway.query.list_reads import PageRoute
from gateway.query.planner import documents_allowed
from gateway.shape.shapes import Nodes, PageShape, RecordShape, TotalCount, Value, Window
from gateway.shape.visibility import Visibility
from stores.contract.model import Property, Route, Scalar
from stores.documents.sqlite import lists
from stores.exactness import Exact, exactness
from stores.protocols import Capability
from stores.query import EVERYTHING, Compare, Filter, Not, Op, Order, Related, Statistics
from stores.sort_texts import read_back, scaled_integer, sort_text
from tests.library_world import AUTHOR, BOOK, LIBRARY, PERSON

CAN = frozenset({Capability.LISTS})
PLAIN = Texts(bytewise=True, plain=True)
NOBODY = Visibility(LIBRARY)
NAME = AUTHOR.by_name["name"]


def prop(scalar: Scalar, sql_type: str, *, array: bool = False) -> Property:
    return replace(NAME, scalar=scalar, sql_type=sql_type, array=array)


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        (prop(Scalar.STRING, "text"), Exact.ORDERED),
        (prop(Scalar.STRING, "character(2)"), Exact.ORDERED),
        (prop(Scalar.INT, "integer"), Exact.ORDERED),
        (prop(Scalar.INT, "a_domain"), Exact.MISSING),
        (prop(Scalar.FLOAT, "double precision"), Exact.MISSING),
        (prop(Scalar.DECIMAL, "numeric"), Exact.MISSING),
        (prop(Scalar.DECIMAL, "numeric(12,2)"), Exact.ORDERED),
        (prop(Scalar.DECIMAL, "numeric(19,2)"), Exact.MISSING),
        (prop(Scalar.BYTES, "bytea"), Exact.EQUAL),
        (prop(Scalar.JSON, "jsonb"), Exact.NOTHING),
        (prop(Scalar.STRING, "text[]", array=True), Exact.MISSING),
        (prop(Scalar.TIMESTAMP, "timestamp(3) with time zone"), Exact.ORDERED),
        (replace(NAME, name='a"b'), Exact.NOTHING),
    ],
)
def test_only_what_is_exact_is_compared(given: Property, exact: Exact) -> None:
    assert exactness(given, bytewise=True, plain_collation=True) is exact


def test_text_is_ordered_where_canonical_does_so_by_bytes() -> None:
    assert exactness(NAME, bytewise=False, plain_collation=True) is Exact.EQUAL
    assert exactness(NAME, bytewise=True, plain_collation=False) is Exact.MISSING


DAYS = [
    "-infinity", "4713-01-01 BC", "0044-03-15 BC", "0044-03-16 BC", "0001-01-01", "2024-06-01",
    "9999-12-31", "10000-01-01", "12024-01-08", "294276-12-31", "infinity",
]  # fmt: skip


def test_far_days_sort_and_sqlite_sorts_them_alike() -> None:
    made = [sort_text(day) for day in DAYS]
    assert made == sorted(made)
    connection = sqlite3.connect(":memory:")
    expression = lists.expression(prop(Scalar.DATE, "date"), "?1")
    name = NAME.name
    for day, text in zip(DAYS, made, strict=True):
        document = f'{{"{name}": "{day}"}}'
        assert connection.execute(f"SELECT {expression}", (document,)).fetchone() == (text,)
    assert connection.execute(f"SELECT {expression}", ("{}",)).fetchone() == (None,)


def test_a_decimal_of_more_digits_stands_between_two() -> None:
    price = prop(Scalar.DECIMAL, "numeric(12,2)")
    assert scaled_integer(price, Decimal("-0.50")) == (-50, True)
    assert scaled_integer(price, Decimal("10.105")) == (1010, False)
    assert scaled_integer(price, Decimal("-10.105")) == (-1011, False)
    assert scaled_integer(price, Decimal("1e900"))[0] < scaled_integer(price, Decimal("NaN"))[0]


@pytest.mark.parametrize(
    ("scalar", "sql_type", "text"),
    [
        (Scalar.BIGINT, "bigint", "+7"),
        (Scalar.BIGINT, "bigint", "9" * 30),
        (Scalar.BOOLEAN, "boolean", "t"),
        (Scalar.DATE, "date", "2024-6-1"),
        (Scalar.TIMESTAMP, "timestamp with time zone", "2024-06-01T12:00:00+00"),
        (Scalar.TIMESTAMP, "timestamp with time zone", "2024-06-01 14:00:00+02"),
        (Scalar.DECIMAL, "numeric(12,2)", "1.5"),
        (Scalar.DECIMAL, "numeric(12,2)", "x"),
        (Scalar.UUID, "uuid", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff"),
        (Scalar.STRING, "character(2)", "A "),
    ],
)
def test_a_cursor_with_a_value_that_postgres_does_not_print_is_canonicals(
    scalar: Scalar, sql_type: str, text: str
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text, of whatever type
        read_back(prop(scalar, sql_type), text)


# Capability --------------------------------------------------------------------------------------


def page(filter: Filter = EVERYTHING, order: tuple[Order, ...] = ()) -> PageShape:
    shown = Nodes("n", RecordShape(AUTHOR, (Value("name", NAME),)))
    return PageShape(AUTHOR, filter, (*order, Order("id")), Window(20), (shown,))


MENTORS = Related("mentor", Compare("name", Op.EQ, "Ada"))


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (page(), ""),
        (page(Not(Compare("name", Op.STARTS_WITH, "A")), (Order("name"),)), ""),
        (page(MENTORS, (Order("name", path=("mentor",)),)), ""),
        (page(Related("mentor", MENTORS)), "not in the document"),
        (page(Related("books", Compare("pages", Op.EQ, 1))), "not in the document"),
        (page(order=(Order("name", path=("mentor", "mentor")),)), "not in the document"),
    ],
)
def test_a_filter_and_an_order_are_looked_at(shape: PageShape, why: str) -> None:
    found = why_not_list(shape, NOBODY, CAN, PLAIN)
    assert why in found if why else not found, found


def test_rows_that_depend_on_who_asks_are_not_listed() -> None:
    shape = PageShape(PERSON, EVERYTHING, (), Window(1), (TotalCount("n"),))
    assert "depend on who asks" in why_not_list(shape, NOBODY, CAN, PLAIN)
    assert not why_not_list(shape, Visibility(LIBRARY, frozenset({"hr"})), CAN, PLAIN)
    assert why_not_list(page(), NOBODY, frozenset(), PLAIN) == "it gives no lists"


# Costs -------------------------------------------------------------------------------------------

ROWS = 1_000_000
COUNTED = ROWS // 20
"""What counting all of an index costs, in records read."""
STATISTICS = Statistics(
    1, ROWS, ((("id",), (1.0,)), (("name", "id"), (3.0, 1.0)), (("born", "id"), (10_001.0, 1.0)))
)


def needs(**changes: object) -> ListNeeds:
    plain = ListNeeds(frozenset(), frozenset(), False, ("id",), 51, False, 2)
    return replace(plain, **changes)  # type: ignore[arg-type]


def reads(asked: ListNeeds) -> tuple[int | None, tuple[str, ...]]:
    cost = cost_of_list(asked, STATISTICS)
    return cost.reads, cost.index


def test_an_index_that_gives_the_page_costs_the_page() -> None:
    assert reads(needs()) == (53, ("id",))
    assert reads(needs(equal=frozenset({"name"}))) == (53, ("name", "id"))
    assert reads(needs(order=("name", "id"), ranged=frozenset({"name"}))) == (53, ("name", "id"))


def test_what_an_index_counts_is_cheaper_than_what_is_read() -> None:
    assert cost_of_list(needs(counts=True), STATISTICS).reads == COUNTED + 54
    by_name = needs(equal=frozenset({"name"}), counts=True)
    assert cost_of_list(by_name, STATISTICS).reads == 54
    rest = needs(equal=frozenset({"name"}), counts=True, rest=True)
    assert cost_of_list(rest, STATISTICS).reads == 7


def test_what_no_index_serves_is_not_taken() -> None:
    for asked in (
        needs(order=None),
        needs(rest=True),
        needs(counts=True),
        needs(equal=frozenset({"elsewhere"})),
        needs(equal=frozenset({"born"}), rest=True),
        needs(order=("born", "name", "id")),
    ):
        cost = cost_of_list(asked, STATISTICS)
        assert cost.why_not(MOST_READS, ROWS), asked


def test_a_few_matches_are_sorted_and_unknown_numbers_are_not_believed() -> None:
    few = needs(equal=frozenset({"name"}), order=None, rest=True)
    assert cost_of_list(few, STATISTICS).reads == 7
    unknown = Statistics(1, None, STATISTICS.indexes)
    assert cost_of_list(needs(), unknown).index == ("id",)
    assert cost_of_list(needs(order=None), unknown).reads is None
    assert cost_of_list(needs(order=None), unknown).why_not(MOST_READS, None)


def test_only_the_first_step_of_an_indexed_order_may_be_missing() -> None:
    assert needs_of(page(order=(Order("name"),))).order == ("name", "id")
    assert needs_of(page(order=(Order("name", True),))).order is None  # the key ascends
    missing = next(p.name for p in BOOK.properties if not p.required and p.column not in BOOK.key)
    shape = PageShape(BOOK, EVERYTHING, (Order("shelf"), Order(missing)), Window(1), ())
    assert needs_of(shape).order is None


# Who decides -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefer", "age", "allowed"),
    [
        ((), None, False),
        ((), 0.0, False),
        ((), 10.0, True),
        (("documents", "canonical"), None, True),
        (("canonical",), 10.0, False),
    ],
)
def test_an_older_list_needs_leave(
    prefer: tuple[str, ...], age: float | None, allowed: bool
) -> None:
    assert documents_allowed(Route(prefer), Freshness(max_staleness=age)) is allowed
    # A token alone asks for what is as new as a write, not for what is old.
    assert not documents_allowed(Route(), Freshness(after="token"))


def test_canonical_is_away_for_a_pause_that_doubles() -> None:
    away = CanonicalAway()
    assert not away.why(0.0)
    assert not away.doubtful
    away.failed(9.0, 10.0, connected=False)
    away.failed(9.0, 10.1, connected=False)  # began together with the first
    assert away.why(10.4)
    assert not away.why(10.6)
    assert away.doubtful
    away.failed(10.7, 11.0, connected=False)
    assert away.why(11.9)
    assert not away.why(12.1)
    away.succeeded(11.5)
    assert not away.why(11.6)
    assert not away.doubtful
    # It has answered somebody meanwhile: it is busy. It has answered nobody: it hangs.
    away.failed(11.4, 12.0, connected=True)
    assert not away.why(12.1)
    away.failed(11.6, 12.0, connected=True)
    assert away.why(12.1)


def test_what_was_too_much_is_so_for_a_while() -> None:
    kept: Expiring[str] = Expiring(30.0)
    kept.add("list", 5.0)
    assert kept.has("list", 34.9)
    assert not kept.has("list", 35.1)
    assert not kept.has("other", 6.0)


def test_a_kept_plan_is_decided_within_microseconds() -> None:
    """Five each; fifty here, for a busy machine."""
    route = PageRoute.of(page())
    away, freshness, kept = CanonicalAway(), Freshness(max_staleness=1.0), Expiring[ListNeeds](30.0)

    def decide() -> bool:
        now = time.monotonic()
        allowed = documents_allowed(route.page.type.route, freshness) and not away.why(now)
        cost = route.cost(STATISTICS)
        return allowed and not kept.has(route.needs, now) and not cost.why_not(MOST_READS, ROWS)

    assert decide()
    best = min(_seconds(decide) for _ in range(5))
    assert best < 50e-6


def _seconds(decide: object, times: int = 2_000) -> float:
    began = time.perf_counter()
    for _ in range(times):
        decide()  # type: ignore[operator]
    return (time.perf_counter() - began) / times
