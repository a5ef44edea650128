"""When a rule is due, whether a number holds, and what a query's text is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from recordgate.monitoring.quality import due
from stores.canonical.rule_results import judge
from stores.contract.promises import Rule
from stores.contract.quality import filled, function_names, placeholders
from stores.contract.schedules import schedule_problem

NOW = datetime(2026, 3, 29, 6, 30, tzinfo=UTC)  # the day on which clocks are moved in Europe


def rule(operator: str = "mustBe", *bounds: str, **more: str) -> Rule:
    return Rule("r", "nullValues", operator, tuple(map(Decimal, bounds or ("0",))), **more)  # type: ignore[arg-type]


DUE = {
    "never measured": (None, "0 6 * * *", True),
    "this morning's time has come": (NOW - timedelta(hours=1), "0 6 * * *", True),
    "it was measured since": (NOW - timedelta(minutes=10), "0 6 * * *", False),
    "away for three days": (NOW - timedelta(days=3), "0 6 * * *", True),
    "the clock was set back": (NOW + timedelta(days=2), "0 6 * * *", False),
    "no schedule, an hour ago": (NOW - timedelta(hours=1), "", True),
    "no schedule, a minute ago": (NOW - timedelta(minutes=1), "", False),
    "no schedule, the clock was set back": (NOW + timedelta(hours=2), "", False),
    "a leap day that is years away": (NOW - timedelta(days=300), "0 0 29 2 *", False),
}


@pytest.mark.parametrize("case", DUE)
def test_a_rule_is_due_once_its_time_has_come(case: str) -> None:
    last, schedule, expected = DUE[case]
    found = due([rule(schedule=schedule)], {} if last is None else {"r": last}, NOW, 3600)
    assert bool(found) is expected


@pytest.mark.parametrize(
    ("operator", "bounds", "bad", "total", "percent", "state"),
    [
        ("mustBe", ["0"], "0", 5, False, "passed"),
        ("mustNotBe", ["0"], "0", 5, False, "broken"),
        ("mustBeGreaterThan", ["3"], "3", 5, False, "broken"),
        ("mustBeGreaterOrEqualTo", ["3"], "3", 5, False, "passed"),
        ("mustBeLessThan", ["3"], "3", 5, False, "broken"),
        ("mustBeLessOrEqualTo", ["3"], "3", 5, False, "passed"),
        ("mustBeBetween", ["1", "3"], "3", 5, False, "passed"),
        ("mustNotBeBetween", ["1", "3"], "3", 5, False, "broken"),
        ("mustBeLessThan", ["33.4"], "1", 3, True, "passed"),
        ("mustBeLessThan", ["33.3"], "1", 3, True, "broken"),
        ("mustBeLessThan", ["1"], "0", 0, True, "unknown"),
        ("mustBe", ["0.000000001"], "1", 100_000_000_000, True, "passed"),
    ],
)
def test_a_number_holds_or_not(
    operator: str, bounds: list[str], bad: str, total: int, percent: bool, state: str
) -> None:
    unit = "percent" if percent else "rows"
    assert judge(rule(operator, *bounds, unit=unit), Decimal(bad), total).state == state


def test_rules_that_allow_no_bad_row_are_known() -> None:
    assert rule("mustBe", "0").forbids_any
    assert rule("mustBeLessThan", "1").forbids_any
    assert rule("mustBe", "0", unit="percent").forbids_any
    assert not rule("mustBeLessThan", "1", unit="percent").forbids_any
    assert not rule("mustBe", "1").forbids_any
    assert not rule("mustNotBe", "0").forbids_any


def test_placeholders_are_filled_outside_of_strings_and_comments_only() -> None:
    query = "SELECT max(${column}) /* {object} */ FROM {object} WHERE a = '{property}' -- {x}\n ; "
    assert placeholders(query) == ["column", "object"]
    assert filled(query, {"object": '"s"."t"', "property": '"c"'}) == (
        'SELECT max("c") /* {object} */ FROM "s"."t" WHERE a = \'{property}\''
    )


def test_functions_are_seen_however_they_are_written() -> None:
    query = "SELECT PG_SLEEP (1), \"pg_Sleep\"(2), pg_catalog.random /* x */ (), 'nextval(1)', (1), a -- f(\n"
    assert function_names(query) == {"pg_sleep", "pg_Sleep", "random", "select"} - {"select"}


def test_schedules_that_fire_and_those_that_do_not() -> None:
    assert [schedule_problem(s) for s in ("0 6 * * *", "*/5 * * * 1-5", "0 0 29 2 *")] == [
        "",
        "",
        "",
    ]
    for wrong in ("99 99 * * *", "", "daily", "* * * *", "0 0 31 2 *"):
        assert schedule_problem(wrong)
