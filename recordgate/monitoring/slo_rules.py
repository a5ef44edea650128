"""The contract's objectives for other systems: OpenSLO documents, and Prometheus' recording and
alerting rules under the names that sloth uses. Pure.

https://github.com/OpenSLO/OpenSLO, https://sloth.dev, and the SRE workbook's chapter on alerting.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from recordgate.monitoring.objectives import BURN_WINDOWS, MIN_EVENTS, PAIRS, span
from stores.contract.indicators import Indicator

OPENSLO_RATE = "5m"
"""The window of the ratios that OpenSLO documents name: theirs is counted elsewhere."""
GOOD = "recordgate:sli_good:max"
"""The series of whether any gateway finds an indicator good, at each evaluation."""


def slo_name(indicator: Indicator) -> str:
    """Return the indicator's name in lower case, with hyphens, as both formats want it."""
    return re.sub(r"[^a-z0-9]+", "-", indicator.name.lower()).strip("-")[:63].strip("-")


def openslo(service: str, found: Sequence[Indicator]) -> list[dict[str, Any]]:
    """Return one OpenSLO v1 document an indicator."""
    return [
        {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": {"name": slo_name(i), "displayName": i.objective.about},
            "spec": {
                "description": _description(i),
                "service": service,
                "indicator": {
                    "metadata": {"name": slo_name(i)},
                    "spec": {
                        "ratioMetric": {
                            "counter": not i.of_time,
                            "bad": {"metricSource": _source(_bad(i, OPENSLO_RATE))},
                            "total": {"metricSource": _source(_total(i, OPENSLO_RATE))},
                        }
                    },
                },
                "timeWindow": [{"duration": f"{i.objective.window / 86400:g}d", "isRolling": True}],
                "budgetingMethod": "Timeslices" if i.of_time else "Occurrences",
                "objectives": [
                    {
                        "displayName": i.objective.about,
                        "target": round((i.objective.target or 0) / 100, 6),
                        **({"timeSliceTarget": 1.0, "timeSliceWindow": "1m"} if i.of_time else {}),
                    }
                ],
            },
        }
        for i in found
    ]


def prometheus(service: str, found: Sequence[Indicator]) -> dict[str, Any]:
    """Return the groups of a rules file: for each indicator its error ratio over each window, its
    budget, and the two alerts."""
    groups: list[dict[str, Any]] = []
    for one in found:
        target = (one.objective.target or 0) / 100
        labels = {"sloth_service": service, "sloth_slo": slo_name(one), "indicator": one.name}
        rules: list[dict[str, Any]] = []
        if one.of_time:
            # A gateway that says nothing is not good: absent counts as 0.
            good = f"max(recordgate_sli_good{{indicator={_quoted(one.name)}}}) or vector(0)"
            rules.append({"record": GOOD, "expr": good, "labels": labels})
        rules += [
            {
                "record": f"slo:sli_error:ratio_rate{window}",
                "expr": _error_ratio(one, window),
                "labels": labels | {"sloth_window": window},
            }
            for window in BURN_WINDOWS
        ]
        rules += [
            {"record": "slo:objective:ratio", "expr": f"vector({target:g})", "labels": labels},
            {
                "record": "slo:error_budget:ratio",
                "expr": f"vector({1 - target:.10g})",
                "labels": labels,
            },
        ]
        if target < 1:
            rules.append(
                {
                    "record": "slo:current_burn_rate:ratio",
                    "expr": f"{_recorded(one, service, '5m')} / {1 - target:.10g}",
                    "labels": labels,
                }
            )
            rules += [_alert(one, service, urgency, labels) for urgency in ("page", "ticket")]
        groups.append({"name": f"recordgate-slo-{slo_name(one)}", "rules": rules})
    return {"groups": groups}


def _alert(one: Indicator, service: str, urgency: str, labels: dict[str, str]) -> dict[str, Any]:
    budget = 1 - (one.objective.target or 0) / 100
    cases = " or ".join(
        f"({_recorded(one, service, short)} > {rate * budget:.10g} and"
        f" {_recorded(one, service, long)} > {rate * budget:.10g}{_enough(one, long)})"
        for rate, short, long, how in PAIRS
        if how == urgency
    )
    days = one.objective.window / 86400
    return {
        "alert": "RecordgateBudgetBurns",
        "expr": cases,
        "labels": labels | {"severity": "critical" if urgency == "page" else "warning"},
        "annotations": {
            "summary": f"{one.name}: the budget of {days:g} days is used too fast",
            "description": (
                f"{_description(one)} `recordgate slo` says until when the budget lasts."
            ),
        },
    }


def _enough(one: Indicator, window: str) -> str:
    """One failure among few requests wakes nobody."""
    return "" if one.of_time else f" and on() ({_total(one, window)}) >= {MIN_EVENTS}"


def _recorded(one: Indicator, service: str, window: str) -> str:
    series = (
        f"slo:sli_error:ratio_rate{window}{{sloth_service={_quoted(service)},"
        f"sloth_slo={_quoted(slo_name(one))}}}"
    )
    # Windows can only be compared without the label that tells them apart.
    return f"max({series}) without (sloth_window)"


def _error_ratio(one: Indicator, window: str) -> str:
    bad = _bad(one, window)
    return bad if one.of_time else f"({bad}) / ({_total(one, window)})"


def _bad(one: Indicator, window: str) -> str:
    if one.of_time:
        return f"1 - avg_over_time({GOOD}{{indicator={_quoted(one.name)}}}[{window}])"
    bad = f'recordgate_sli_requests_total{{indicator={_quoted(one.name)},outcome="bad"}}'
    return f"sum(increase({bad}[{window}]))"


def _total(one: Indicator, window: str) -> str:
    if one.of_time:
        return "vector(1)"
    return (
        f"sum(increase(recordgate_sli_requests_total{{indicator={_quoted(one.name)}}}[{window}]))"
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _source(query: str) -> dict[str, Any]:
    return {"type": "Prometheus", "spec": {"query": query}}


def _description(one: Indicator) -> str:
    objective = one.objective
    share = f"{objective.target:g} %"
    match objective.name:
        case "availability":
            text = f"{share} of the time {_what(one)} can be read."
        case "errorRate":
            text = f"{share} of requests about {_what(one)} end without a failure of the service."
        case "responseTime":
            most = span(float(objective.value))
            text = f"{share} of requests about {_what(one)} are answered within {most}."
        case _:
            most = span(float(objective.value))
            text = f"{share} of the time {_what(one)} in {one.store} is at most {most} old."
    return text


def _what(one: Indicator) -> str:
    return ", ".join(one.objective.types) or "the product"
