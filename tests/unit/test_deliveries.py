"""Deliveries: late, missing, short and long ones are said, by what is usual on such a day or what
is promised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from recordgate.monitoring.deliveries import (
    ARRIVED,
    DUE,
    EARLY,
    LATE,
    LEARNING,
    LONG,
    MISSING,
    NOT_DUE,
    SHORT,
    Standing,
    band_of,
    judge_volume,
    standing_of,
)
from stores.canonical.deliveries import Day
from stores.contract.load import load_contract
from stores.contract.model import Contract

MONDAY = date(2026, 3, 2)
CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: sale
    properties: [{name: id, logicalType: integer, primaryKey: true}]
"""


@pytest.fixture
def contract(tmp_path: Path) -> Callable[[str], Contract]:
    def made(more: str = "") -> Contract:
        path = tmp_path / "shop.odcs.yaml"
        path.write_text(CONTRACT + (f"slaProperties: [{more}]\n" if more else ""))
        return load_contract(path)

    return made


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute), UTC)


def history(weeks: int, *, rows: int = 1000, weekend: int | None = None) -> list[Day]:
    """One delivery a day at seven, up to the Sunday before MONDAY; on weekends `weekend`
    records."""
    days: list[Day] = []
    for back in range(7 * weeks, 0, -1):
        day = MONDAY - timedelta(days=back)
        quiet = weekend is not None and day.weekday() >= 5
        count = (weekend or 0) if quiet else rows + back % 3
        days.append(Day(day, at(day, 7), at(day, 7), count, 1, 120.0))
    return days


def today(rows: int, hour: int = 7, day: date = MONDAY) -> Day:
    return Day(day, at(day, hour), at(day, hour), rows)


def state(contract: Contract, days: list[Day], now: datetime) -> Standing:
    found = standing_of(contract, "sale", days, now)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(0, SHORT), (500, SHORT), (800, SHORT), (960, ARRIVED), (1250, LONG), (2000, LONG)],
)
def test_a_volume_is_compared_with_the_same_weekday(rows: int, expected: str) -> None:
    assert judge_volume(history(8, weekend=300), today(rows))[0] == expected


def test_a_quiet_weekend_is_ordinary_and_a_busy_one_is_not() -> None:
    saturday = MONDAY + timedelta(days=5)
    days = [
        *history(8, weekend=300),
        *(today(1000, day=MONDAY + timedelta(days=n)) for n in range(5)),
    ]
    assert judge_volume(days, today(300, day=saturday))[0] == ARRIVED
    assert judge_volume(days, today(1000, day=saturday))[0] == LONG


def test_nothing_is_judged_before_four_such_weekdays_were_seen() -> None:
    assert judge_volume(history(3), today(1)) == (LEARNING, None)
    assert judge_volume(history(4), today(1))[0] == SHORT
    assert judge_volume([], today(1)) == (LEARNING, None)


def test_an_odd_day_is_not_learned_from_and_a_new_level_is() -> None:
    days = history(8)
    days[-7] = Day(days[-7].day, days[-7].first, days[-7].last, 10)
    assert judge_volume(days, today(800))[0] == SHORT
    level = [today(5000, day=MONDAY + timedelta(days=n)) for n in range(60)]
    assert judge_volume([*history(8), *level[:1]], level[1])[0] == LONG
    assert judge_volume([*history(8), *level[:-1]], level[-1])[0] == ARRIVED


def test_small_numbers_have_room_and_constant_ones_a_width() -> None:
    assert band_of([1, 1, 1, 1]).low == 0
    assert band_of([10_000] * 8).low == 9_000
    assert band_of([0, 0, 0, 0]) == band_of([0])


def test_what_usually_comes_at_seven_is_late_at_eight(contract: Callable[[str], Contract]) -> None:
    days, now = history(8), contract("")
    assert state(now, days, at(MONDAY, 6)).state == NOT_DUE
    assert state(now, days, at(MONDAY, 7, 10)).state == DUE
    late = state(now, days, at(MONDAY, 8))
    assert (late.state, late.by, late.due) == (LATE, "habit", at(MONDAY, 7))
    assert "nothing has come since 2026-03-01 07:00 UTC" in late.why
    assert state(now, [*days, today(1000)], at(MONDAY, 8)).state == ARRIVED
    assert state(now, [*days, today(1000, hour=3)], at(MONDAY, 8)).state == EARLY


def test_yesterdays_delivery_is_missing_until_one_comes(
    contract: Callable[[str], Contract],
) -> None:
    tuesday = MONDAY + timedelta(days=1)
    missing = state(contract(""), history(8), at(tuesday, 3))
    assert missing.state == MISSING
    assert "Monday, 2026-03-02" in missing.why


def test_no_delivery_is_expected_on_a_day_that_usually_has_none(
    contract: Callable[[str], Contract],
) -> None:
    days = [d for d in history(8) if d.day.weekday() < 5]
    saturday, sunday = MONDAY - timedelta(days=2), MONDAY - timedelta(days=1)
    assert (
        state(contract(""), [d for d in days if d.day < saturday], at(saturday, 20)).state
        == NOT_DUE
    )
    assert state(contract(""), [d for d in days if d.day < sunday], at(sunday, 20)).state == NOT_DUE
    assert state(contract(""), days, at(MONDAY, 3)).state == NOT_DUE
    assert state(contract(""), days, at(MONDAY, 9)).state == LATE


def test_half_of_a_day_is_not_short_before_its_time(contract: Callable[[str], Contract]) -> None:
    days = [*history(8), today(500, hour=5)]
    assert state(contract(""), days, at(MONDAY, 6)).state != SHORT
    short = state(contract(""), days, at(MONDAY, 9))
    assert short.state == SHORT
    assert "500 records on Monday, 2026-03-02, fewer than usual: 843 to 1,159" in short.why


def test_a_promised_time_says_from_when_on_it_is_too_late(
    contract: Callable[[str], Contract],
) -> None:
    promised = contract(
        '{property: timeOfAvailability, value: "09:00-05:00", element: sale}, {property: latency,'
        " value: 1, unit: min}"
    )
    due = at(MONDAY, 14)
    early = state(promised, history(8), at(MONDAY, 12))
    assert (early.state, early.due, early.by) == (NOT_DUE, due, "promised time")
    assert early.latest_safe == due - timedelta(minutes=3)
    close = state(promised, history(8), at(MONDAY, 13, 58))
    assert close.state == DUE
    assert "is not there when it was promised" in close.why
    assert state(promised, history(8), at(MONDAY, 14, 1)).state == LATE


def test_a_promised_frequency_counts_from_the_last_delivery(
    contract: Callable[[str], Contract],
) -> None:
    promised = contract("{property: frequency, value: 1, unit: d}")
    days = [today(10, hour=7)]
    assert state(promised, days, at(MONDAY, 20)).state == NOT_DUE
    assert state(promised, days, at(MONDAY + timedelta(days=1), 8)).state == LATE


def test_a_type_that_is_never_imported_has_no_deliveries(
    contract: Callable[[str], Contract],
) -> None:
    assert standing_of(contract(""), "sale", [], at(MONDAY, 8)) is None
    learning = state(contract(""), [today(10)], at(MONDAY + timedelta(days=1), 8))
    assert learning.state == LEARNING
    promised = contract('{property: timeOfAvailability, value: "07:00"}')
    assert state(promised, [], at(MONDAY, 8)).state == LATE
