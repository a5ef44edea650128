"""Durations as people write them, and the decision whether a store is fresh enough."""

from __future__ import annotations

import pytest

from gateway.context.freshness import (
    NOTHING,
    asked,
    from_headers,
    judge,
    parse_duration,
    with_directive,
)
from gateway.context.services import Freshness
from gateway.context.tokens import Commit
from stores.errors import InputError
from stores.protocols import Position

SYSTEM = "1/2"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2s", 2), ("500ms", 0.5), ("1m", 60), ("1min", 60), ("2h", 7200), ("1d", 86400),
        ("3", 3), (3, 3), (0.25, 0.25), ("1.5s", 1.5), ("PT2S", 2), ("PT1.5S", 1.5),
        ("PT1M30S", 90), ("P1DT1H", 90000), ("pt2s", 2), ("0", 0), (" 2 s ", 2),
    ],
)  # fmt: skip
def test_a_duration_is_read_in_each_of_its_forms(text: object, seconds: float) -> None:
    assert parse_duration(text, "maxStaleness") == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1 week", "P", "PT", "nan", "inf", "1e3", "9" * 30, True, None, [], "1s; DROP"]
)  # fmt: skip
def test_anything_else_is_refused_and_named(text: object) -> None:
    with pytest.raises(InputError, match="maxStaleness is not a duration"):
        parse_duration(text, "maxStaleness")


def test_headers_are_read_and_the_directive_counts_more() -> None:
    headers = {"recordgate-max-staleness": "2s", "recordgate-wait-up-to": "1s"}
    base = from_headers(headers)
    assert base == Freshness(None, 2.0, 1.0)
    assert with_directive(base, {"maxStaleness": "500ms"}) == Freshness(None, 0.5, 1.0)
    assert with_directive(base, None) == base


def test_nobody_waits_for_ever() -> None:
    assert asked(None, None, "2h").wait_up_to == 30


def test_a_store_is_usable_from_the_position_of_the_token_on() -> None:
    at = Position(SYSTEM, 100, 1000.0)
    assert judge(at, SYSTEM, Commit(100), None, 1000.0).usable
    behind = judge(at, SYSTEM, Commit(101), None, 1001.0)
    assert not behind.usable
    assert behind.behind_ms == 1000


def test_a_store_is_usable_while_it_is_no_staler_than_asked() -> None:
    at = Position(SYSTEM, 100, 1000.0)
    assert judge(at, SYSTEM, NOTHING, 2.0, 1002.0).usable
    behind = judge(at, SYSTEM, NOTHING, 2.0, 1002.5)
    assert not behind.usable
    assert behind.behind_ms == 500


def test_a_store_without_a_position_or_of_another_database_is_never_usable() -> None:
    assert not judge(None, SYSTEM, NOTHING, None, 0).usable
    assert not judge(Position("9/9", 100, 1000.0), SYSTEM, NOTHING, None, 1000.0).usable


@pytest.mark.parametrize(
    ("timeline", "lsn", "covered"),
    [
        (3, 400, True), (3, 401, False),  # the store's own timeline
        (2, 300, True), (2, 301, False),  # left at 300: what was committed beyond is lost
        (1, 200, True), (1, 201, False), (1, 250, False),
        (4, 100, False), (4, 350, False),  # a later one, which the store knows nothing of
    ],
)  # fmt: skip
def test_a_write_is_covered_only_where_the_stores_history_has_it(
    timeline: int, lsn: int, covered: bool
) -> None:
    at = Position(SYSTEM, 400, 1000.0, (), 3, ((1, 200), (2, 300)))
    assert judge(at, SYSTEM, Commit(lsn, timeline), None, 1000.0).usable is covered


def test_a_store_of_a_timeline_that_canonical_has_left_is_not_usable_until_it_was_looked_at() -> (
    None
):
    at = Position(SYSTEM, 100, 1000.0, timeline=1)
    assert judge(at, SYSTEM, NOTHING, None, 1000.0, timeline=1).usable
    assert not judge(at, SYSTEM, NOTHING, None, 1000.0, timeline=2).usable
    later = Position(SYSTEM, 100, 1000.0, (), 3, ((1, 50), (2, 60)))
    assert judge(
        later, SYSTEM, NOTHING, None, 1000.0, timeline=2
    ).usable  # the worker was first to see it


def test_a_clock_behind_canonicals_makes_no_negative_staleness() -> None:
    assert judge(Position(SYSTEM, 1, 1000.0), SYSTEM, NOTHING, 0.0, 999.0).usable
