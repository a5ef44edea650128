"""Cron expressions: what is one, and when it is due next. All times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def schedule_problem(expression: str) -> str:
    """Return why the text is no cron expression that ever fires, or an empty string."""
    try:
        next(CronSim(expression, _SOME_DAY))
    except CronSimError:
        return "is no cron expression"
    except StopIteration:
        return "never fires"
    return ""


def next_due(expression: str, after: datetime) -> datetime | None:
    """The first time after `after` at which it fires; None where it never does."""
    try:
        return next(CronSim(expression, after.astimezone(UTC)))
    except (CronSimError, StopIteration):
        return None
