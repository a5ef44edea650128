"""The operations handbook has a row for every alert, and names drills that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "howto" / "operations.md").read_text("utf-8")
(RULES,) = (ROOT / "compose").rglob("rules.yml")


def test_every_alert_has_a_row() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text("utf-8"))
    assert len(alerts) > 5
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.M))
    assert rows == set(alerts)


def test_the_rules_lie_where_the_page_says() -> None:
    assert f"`{RULES.relative_to(ROOT)}`" in TEXT


@pytest.mark.parametrize("drill", re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT))
def test_a_drill_is_a_test_that_exists(drill: str) -> None:
    file, _, name = drill.partition("::")
    assert re.search(rf"def {name}\(", (ROOT / file).read_text("utf-8"))
