"""A breaker opens after failures in a row, lets one call try after a pause, and closes when that
works."""

from __future__ import annotations

from gateway.context.breakers import FIRST_PAUSE, MOST_PAUSE, THRESHOLD, Breaker, State


def fail(breaker: Breaker, now: float) -> None:
    ticket = breaker.admit(now)
    assert ticket is not None
    breaker.failed(ticket, now)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        assert breaker.state(now) is State.CLOSED
        fail(breaker, now)
    assert breaker.state(now) is State.OPEN
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_starts_the_count_again() -> None:
    opened()
    breaker = Breaker()
    for _ in range(3 * THRESHOLD):
        fail(breaker, 0)
        ticket = breaker.admit(0)
        assert ticket is not None
        breaker.succeeded(ticket, 0)
    assert breaker.state(0) is State.CLOSED


def test_open_it_lets_nobody_through_and_says_how_long() -> None:
    breaker = opened()
    assert breaker.admit(FIRST_PAUSE / 2) is None
    assert not breaker.admits(FIRST_PAUSE / 2)
    assert breaker.retry_after(FIRST_PAUSE / 4) == FIRST_PAUSE * 3 / 4


def test_half_open_it_lets_one_call_through() -> None:
    breaker = opened()
    trial = breaker.admit(FIRST_PAUSE)
    assert trial is not None
    assert breaker.state(FIRST_PAUSE) is State.HALF_OPEN
    assert breaker.admit(FIRST_PAUSE) is None
    breaker.succeeded(trial, FIRST_PAUSE)
    assert breaker.state(FIRST_PAUSE) is State.CLOSED


def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound() -> None:
    breaker, now, pause = opened(), 0.0, FIRST_PAUSE
    for _ in range(10):
        now += pause
        fail(breaker, now)
        pause = min(MOST_PAUSE, pause * 2)
        assert not breaker.admits(now + pause * 0.99)
        assert breaker.admits(now + pause)


def test_what_began_before_it_opened_says_nothing_about_the_store_now() -> None:
    breaker = Breaker()
    old = breaker.admit(0)
    assert old is not None
    for _ in range(THRESHOLD):
        fail(breaker, 0)
    breaker.succeeded(old, 0.5)
    breaker.failed(old, 0.5)
    assert breaker.state(0.5) is State.OPEN
    assert breaker.admits(FIRST_PAUSE)


def test_a_call_that_nobody_waited_for_is_a_failure_where_the_store_answers_nobody() -> None:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        ticket = breaker.admit(1)
        assert ticket is not None
        breaker.given_up(ticket, 1, 2)
    assert breaker.state(2) is State.OPEN
    breaker = Breaker()
    for _ in range(THRESHOLD):
        ticket, other = breaker.admit(1), breaker.admit(1)
        assert ticket is not None
        assert other is not None
        breaker.succeeded(other, 1.5)
        breaker.given_up(ticket, 1, 2)
    assert breaker.state(2) is State.CLOSED
