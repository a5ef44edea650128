"""Service levels: what counts as good, what a budget comes to, and what is written for other
systems."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from gateway.http.service_levels import ServiceLevels
from recordgate.monitoring.objectives import (
    BROKEN,
    BURN_WINDOWS,
    KEPT,
    MIN_EVENTS,
    UNKNOWN,
    as_text,
    level_of,
    span,
    windows_of,
)
from recordgate.monitoring.slo_rules import openslo, prometheus
from stores.canonical.service_minutes import Minute, Sums, first_second
from stores.contract.indicators import Indicator, indicators
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.contract.promises import Objective

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86400.0
CONTRACT = """
apiVersion: v3.2.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: sale
    properties: [{name: id, logicalType: integer, primaryKey: true}]
  - name: till
    properties: [{name: id, logicalType: integer, primaryKey: true}]
slaProperties:
  - {property: av, value: 99.9, unit: percent}
  - {property: availability, value: 99, element: sale}
  - {property: responseTime, value: 200, unit: ms, element: sale, customProperties: [{property: percentile, vendor: recordgate, value: 99}]}
  - {property: errorRate, value: 1}
  - {property: freshness, value: 1, unit: min, element: till}
"""


@pytest.fixture
def contract(tmp_path: Path) -> Contract:
    path = tmp_path / "shop.odcs.yaml"
    path.write_text(CONTRACT)
    return load_contract(path)


def sums(
    window: float, *, seconds: float, good_seconds: float = 0, good: int = 0, total: int = 0
) -> Sums:
    return Sums(
        "availability", window, NOW - timedelta(days=40), seconds, good_seconds, good, total
    )


def test_each_share_that_is_promised_is_counted_once_a_store(contract: Contract) -> None:
    assert [i.name for i in indicators(contract)] == [
        "availability", "availability sale", "responseTime sale 0.2s", "errorRate",
        "freshness till 60s documents",
    ]  # fmt: skip
    assert [i.objective.target for i in indicators(contract)] == [99.9, 99, 99, 99, 99]


def test_what_is_promised_and_counted_is_not_said_to_be_measured_nowhere(
    contract: Contract,
) -> None:
    assert not [i for i in indicators(contract) if i.objective.target is None]


def test_a_request_counts_for_what_it_is_about_and_failures_of_the_caller_for_nothing(
    contract: Contract,
) -> None:
    levels = ServiceLevels(indicators(contract))
    sale, till = frozenset({"sale"}), frozenset({"till"})
    levels.note(sale, 0.1, "OK", 200)
    levels.note(sale, 0.3, "OK", 200)
    levels.note(till, 9.0, "OK", 200)
    levels.note(sale, 0.1, "BAD_USER_INPUT", 200)
    levels.note(sale, 0.1, "OK", 404)
    levels.note(sale, 0.1, "STORE_UNAVAILABLE", 200)
    levels.note(frozenset(), 0.0, "OK", 503)
    # Of a search, whose errors have a status; at /graphql it is 200.
    levels.note(sale, 0.1, "STALE", 503)
    levels.note(sale, 0.1, "STALE", 200)
    assert levels.take() == {
        "availability": (3, 5), "availability sale": (2, 3), "responseTime sale 0.2s": (1, 3),
        "errorRate": (3, 5),
    }  # fmt: skip
    assert set(levels.take().values()) == {(0, 0)}


def test_seven_minutes_without_a_gateway_are_seven_minutes_of_the_budget() -> None:
    indicator = Indicator("availability", Objective("availability", 99.9))
    window = 28 * DAY
    level = level_of(indicator, [sums(window, seconds=window, good_seconds=window - 420)], NOW)
    assert (level.used, round(level.allowed)) == (420, 2419)
    assert level.state == KEPT
    assert round(level.remaining or 0, 3) == 0.826


def test_a_young_window_has_the_whole_budget_and_says_what_was_seen() -> None:
    indicator = Indicator("availability", Objective("availability", 99.9))
    level = level_of(indicator, [sums(28 * DAY, seconds=3 * DAY, good_seconds=3 * DAY - 3000)], NOW)
    assert level.state == BROKEN
    assert "3.0 of 28 days seen" in as_text(level)[0]


def test_one_failure_among_few_requests_says_nothing() -> None:
    indicator = Indicator("errorRate", Objective("errorRate", 1.0))
    few = sums(28 * DAY, seconds=DAY, good=MIN_EVENTS - 2, total=MIN_EVENTS - 1)
    many = sums(28 * DAY, seconds=DAY, good=MIN_EVENTS, total=MIN_EVENTS + 1)
    assert level_of(indicator, [few], NOW).state == UNKNOWN
    assert level_of(indicator, [many], NOW).state == BROKEN
    assert level_of(indicator, [], NOW).state == UNKNOWN
    hour = sums(3600, seconds=3600, good=1, total=2)
    assert (level_of(indicator, [many, hour], NOW).burn or {})["1h"] is None


def test_the_pace_of_the_last_hour_says_when_the_budget_is_spent() -> None:
    indicator = Indicator("availability", Objective("availability", 99.0))
    window = 28 * DAY
    budget = window / 100
    level = level_of(
        indicator,
        [
            sums(window, seconds=window, good_seconds=window - budget / 2),
            sums(3600, seconds=3600, good_seconds=3600 - 360),
        ],
        NOW,
    )
    assert level.burn is not None
    assert level.burn["1h"] == pytest.approx(10)
    assert level.lasts_until == NOW + timedelta(seconds=budget / 2 / 0.1)
    assert "it is spent on Monday, 2026-03-02" in as_text(level)[1]


def test_a_promise_of_always_has_no_budget_and_no_rate() -> None:
    indicator = Indicator("availability", Objective("availability", 100.0))
    window = 28 * DAY
    whole = level_of(indicator, [sums(window, seconds=window, good_seconds=window)], NOW)
    short = level_of(indicator, [sums(window, seconds=window, good_seconds=window - 5)], NOW)
    assert (whole.state, short.state) == (KEPT, BROKEN)
    assert whole.remaining is None
    assert set((short.burn or {}).values()) == {None}


def test_the_first_minute_is_seen_from_its_first_good_slice() -> None:
    assert first_second(Minute("a", 60.0, 0b1000)) == 75.0
    assert first_second(Minute("a", 60.0, 0)) == 60.0


def test_times_are_said_in_words() -> None:
    assert [span(s) for s in (0, 0.2, 5, 425, 90000)] == [
        "0 s",
        "200 ms",
        "5 s",
        "7 min 5 s",
        "1 d 1 h",
    ]


def test_every_window_that_a_level_needs_is_read(contract: Contract) -> None:
    assert windows_of(indicators(contract)) == sorted({*BURN_WINDOWS.values(), 28 * DAY})


def test_openslo_has_each_objective_with_its_target(contract: Contract) -> None:
    documents = openslo(contract.id, indicators(contract))
    assert [d["metadata"]["name"] for d in documents] == [
        "availability", "availability-sale", "responsetime-sale-0-2s", "errorrate",
        "freshness-till-60s-documents",
    ]  # fmt: skip
    assert documents[0]["spec"]["objectives"][0]["target"] == 0.999
    assert {d["spec"]["budgetingMethod"] for d in documents} == {"Timeslices", "Occurrences"}


def test_prometheus_takes_the_rules_and_alerts_where_no_gateway_speaks(
    contract: Contract, tmp_path: Path
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    chosen = [i for i in indicators(contract) if i.name in ("availability", "errorRate")]
    rules = prometheus(contract.id, chosen)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules, sort_keys=False))
    case = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": 'recordgate_sli_good{indicator="availability"}',
                        "values": "1x60 _x90",
                    },
                    {
                        "series": 'recordgate_sli_requests_total{indicator="errorRate",outcome="good"}',
                        "values": "0+100x150",
                    },
                    {
                        "series": 'recordgate_sli_requests_total{indicator="errorRate",outcome="bad"}',
                        "values": "0+1x150",
                    },
                ],
                "alert_rule_test": [
                    {"eval_time": "50m", "alertname": "RecordgateBudgetBurns", "exp_alerts": []},
                ],
                "promql_expr_test": [
                    {
                        "expr": 'ALERTS{sloth_slo="availability",severity="critical"} or vector(0)',
                        "eval_time": "85m",
                        "exp_samples": [
                            {
                                "labels": 'ALERTS{alertname="RecordgateBudgetBurns",'
                                ' alertstate="firing",'
                                ' indicator="availability", severity="critical",'
                                ' sloth_service="shop",'
                                ' sloth_slo="availability"}',
                                "value": 1,
                            },
                            {"labels": "{}", "value": 0},
                        ],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(case, sort_keys=False))
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
