"""The quality rules of a type → `Rule`s, with a finding for each that cannot be measured as it
stands."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from stores.contract.draft import Draft
from stores.contract.extensions import suggestion
from stores.contract.model import Logical, Property, Scalar
from stores.contract.node import Node
from stores.contract.promises import DEFAULT_SEVERITY, ROW_METRICS, SEVERITIES, Rule
from stores.contract.properties import misfit
from stores.contract.quality import OPERATORS, PLACEHOLDERS, placeholders, select_problem
from stores.contract.regexes import regex_problem
from stores.contract.schedules import schedule_problem

METRICS = (*ROW_METRICS, "duplicateValues", "rowCount")
UNITS = {"": "rows", "rows": "rows", "row": "rows", "percent": "percent", "%": "percent"}
_DIGITS = 30
"""The most digits of a bound; nobody counts to a number of more."""


def resolve_rules(draft: Draft) -> tuple[Rule, ...]:
    """All rules of the type that are measured, in the contract's order, their ids distinct."""
    found: list[Rule] = []
    for place, prop, items in _places(draft):
        ids: set[str] = set()
        for node in place.items("quality"):
            given = node.text("id")
            if given and given in ids:
                node.get("id").report("DUPLICATE_ID", f"the id {given!r} is there already")
            ids.add(given)
            rule = _rule(node, draft, prop, items)
            if rule is not None:
                found.append(_distinct(rule, found))
    return tuple(found)


def _places(draft: Draft) -> Iterator[tuple[Node, Property | None, bool]]:
    yield draft.node, None, False
    for declared in draft.declared:
        yield declared.node, declared.property, False
        yield declared.node.get("items"), declared.property, True
        for inner in (*declared.node.items("properties"), *_inside(declared.node.get("items"))):
            for rule in inner.items("quality"):
                _not_measured(rule, "a rule on a part of a value", "put it on the whole property")


def _inside(node: Node) -> list[Node]:
    return node.items("properties")


def _not_measured(at: Node, what: str, hint: str) -> None:
    at.report("NOT_MEASURED", f"{what} is not measured", hint, severity="warning")


def _rule(node: Node, draft: Draft, prop: Property | None, items: bool) -> Rule | None:
    kind = node.text("type") or "library"
    if kind in ("text", "custom"):
        hint = "write it as a rule of type library or sql"
        _not_measured(node, f"a quality rule of type {kind}", hint)
        return None
    if kind not in ("library", "sql"):
        return None  # the JSON schema has said so
    rule = _sql(node, prop) if kind == "sql" else _library(node, draft, prop, items)
    if rule is None:
        return None
    operator = next((op for op in OPERATORS if node.has(op)), None)
    bounds = None if operator is None else _bounds(node.get(operator), rule.unit)
    if operator is None or bounds is None:
        return None
    schedule, external = _schedule(node)
    return dataclasses.replace(
        rule,
        id=node.text("id") or _slug(node.text("name")) or _default_id(rule),
        name=node.text("name"),
        operator=operator,
        bounds=bounds,
        dimension=node.text("dimension"),
        severity=_severity(node),
        schedule=schedule,
        external=external,
    )


def _library(node: Node, draft: Draft, prop: Property | None, items: bool) -> Rule | None:
    metric = node.text("metric") or node.text("rule")
    if metric not in METRICS:
        if not metric:
            node.report(
                "BAD_RULE", "a quality rule without a metric", f"one of {', '.join(METRICS)}"
            )
        else:
            at = node.get("metric") if node.has("metric") else node.get("rule")
            at.report("BAD_RULE", f"no such metric: {metric!r}", suggestion(metric, METRICS))
        return None
    unit = UNITS.get(node.text("unit").lower())
    if unit is None:
        node.get("unit").report(
            "BAD_RULE", f"unknown unit {node.text('unit')!r} of {metric}", "rows or percent"
        )
        return None
    plain = Rule("", metric, "", (), None if prop is None else prop.name, unit=unit)
    if metric == "rowCount":
        if prop is not None or unit == "percent":
            what = "is a rule of the type, not of a property" if prop else "has no percentage"
            node.report("BAD_RULE", f"rowCount {what}")
            return None
        return plain
    if metric == "duplicateValues":
        return _duplicates(node, draft, prop, items, plain)
    if prop is None:
        node.report("BAD_RULE", f"{metric} is a rule of a property", "put it under the property")
        return None
    items = items or (prop.array and metric == "invalidValues")
    if items and not prop.array:
        _not_measured(node, "a rule on the elements of a JSON value", "put it on the property")
        return None
    rule = dataclasses.replace(plain, columns=(prop.column,), items=items)
    return _with_values(node, prop, rule)


def _duplicates(
    node: Node, draft: Draft, prop: Property | None, items: bool, plain: Rule
) -> Rule | None:
    if items:
        _not_measured(
            node, "a rule on duplicates among elements", "count them by a rule of type sql"
        )
        return None
    named = list(node.get("arguments").get("properties"))
    columns = [prop.column] if prop is not None else []
    for at in named:
        found = draft.property(at.data) if isinstance(at.data, str) else None
        if found is None:
            at.report("UNKNOWN_RELATION", f"{draft.name!r} has no property {at.data!r}")
            return None
        if found.column not in columns:
            columns.append(found.column)
    if not columns:
        node.report(
            "BAD_RULE",
            "duplicateValues of a type without properties",
            "arguments: {properties: [a, b]}",
        )
        return None
    return dataclasses.replace(plain, columns=tuple(columns))


def _with_values(node: Node, prop: Property, rule: Rule) -> Rule | None:
    arguments = node.get("arguments")
    if rule.metric == "missingValues":
        given = arguments.get("missingValues")
        if given.data is not None and not isinstance(given.data, list):
            given.report("BAD_RULE", "`missingValues` must be a list")
            return None
        if prop.array and not rule.items:
            if any(v.data is not None for v in given):
                given.report(
                    "BAD_RULE", "a list is missing where it is null", "put it under `items`"
                )
                return None
            return dataclasses.replace(rule, values=())
        probe = _bare(prop)
        listed = [v.spelling for v in given if v.data is not None]
        words = [""] if given.data is None else listed
        # What is no value of the type, as "" of a number, stands in no row.
        fitting = () if _odd(prop) else tuple(w for w in words if not misfit(probe, w))
        return dataclasses.replace(rule, values=fitting)
    if rule.metric != "invalidValues":
        return rule
    values, pattern = arguments.get("validValues"), arguments.get("pattern")
    if values.data is None and pattern.data is None:
        if not _has_limits(prop):
            node.report(
                "BAD_RULE",
                f"{prop.name} has nothing to hold its values against",
                "arguments: {validValues: […]} or {pattern: …}, or limits of the property",
            )
            return None
        return rule
    if _odd(prop) or (values.data is not None and not isinstance(values.data, list)):
        what = "must be a list" if not _odd(prop) else f"cannot be of a {prop.sql_type}"
        values.report("BAD_RULE", f"`validValues` {what}", at_key=True)
        return None
    sound, probe = True, _bare(prop)
    for at in values:
        if isinstance(at.data, dict | list) or at.data is None:
            at.report("BAD_RULE", "a valid value that is null or no scalar")
            sound = False
        elif problem := misfit(probe, at.spelling):
            at.report("BAD_RULE", f"the valid value {at.spelling!r} {problem}")
            sound = False
    if pattern.data is not None:
        sound = _pattern_is_sound(pattern, prop) and sound
    if not sound:
        return None
    return dataclasses.replace(
        rule,
        values=None if values.data is None else tuple(v.spelling for v in values),
        pattern=pattern.data,
    )


def _pattern_is_sound(at: Node, prop: Property) -> bool:
    if prop.scalar is not Scalar.STRING or not isinstance(at.data, str):
        at.report("BAD_RULE", "`pattern` is a text, of a property of text")
        return False
    problem = regex_problem(at.data)
    if problem:
        at.report("BAD_REGEX", f"the pattern {problem}")
    return not problem


def _odd(prop: Property) -> bool:
    return prop.scalar in (Scalar.JSON, Scalar.BYTES)


def _bare(prop: Property) -> Property:
    """One value of the property's type, without its limits."""
    return Property(
        "value", "value", "value",
        prop.logical if prop.logical is not Logical.ARRAY else Logical.STRING,
        prop.scalar, prop.sql_type.removesuffix("[]"),
    )  # fmt: skip


def _has_limits(prop: Property) -> bool:
    limits = (
        prop.pattern, prop.min_length, prop.max_length, prop.minimum, prop.maximum,
        prop.exclusive_minimum, prop.exclusive_maximum, prop.multiple_of,
    )  # fmt: skip
    return bool(prop.enum) or (not prop.array and any(limit is not None for limit in limits))


def _sql(node: Node, prop: Property | None) -> Rule | None:
    query = node.get("query")
    if not isinstance(query.data, str) or select_problem(query.data):
        if not isinstance(query.data, str):
            node.report(
                "BAD_RULE", "a rule of type sql without a query", "query: SELECT count(*) …"
            )
        return None
    for name in placeholders(query.data):
        if name not in PLACEHOLDERS:
            query.report(
                "BAD_RULE", f"the query has {{{name}}}, which is not known",
                "{object} and {property}, or ${table} and ${column}",
            )  # fmt: skip
            return None
        if PLACEHOLDERS[name] == "property" and prop is None:
            query.report("BAD_RULE", f"the query has {{{name}}}, but the rule is of a whole type")
            return None
    return Rule(
        "", "sql", "", (), None if prop is None else prop.name,
        () if prop is None else (prop.column,), query=query.data, unit=node.text("unit") or "rows",
    )  # fmt: skip


def _bounds(at: Node, unit: str) -> tuple[Decimal, ...] | None:
    between = at.path[-1] in ("mustBeBetween", "mustNotBeBetween")
    nodes = list(at) if between else [at]
    found = [number for node in nodes if (number := _number(node)) is not None]
    if len(found) != (2 if between else 1):
        at.report("BAD_RULE", f"`{at.path[-1]}` needs {'two numbers' if between else 'a number'}")
        return None
    if between and found[0] >= found[1]:
        at.report("BAD_RULE", f"nothing is between {found[0]} and {found[1]}", "swap them")
        return None
    if unit == "percent" and not all(0 <= number <= 100 for number in found):
        at.report("BAD_RULE", "a percentage is from 0 to 100")
        return None
    return tuple(found)


def _number(at: Node) -> Decimal | None:
    if isinstance(at.data, bool) or not isinstance(at.data, int | float):
        return None
    if isinstance(at.data, float) and not math.isfinite(at.data):
        return None
    try:
        found = Decimal(at.spelling.replace("_", ""))
    except InvalidOperation:
        found = Decimal(str(at.data))  # another spelling of YAML's: 0x10, 1e3
    return found if abs(found.adjusted()) <= _DIGITS else None


def _severity(node: Node) -> str:
    text = node.text("severity").lower()
    if not text:
        return DEFAULT_SEVERITY
    if text not in SEVERITIES:
        node.get("severity").report(
            "BAD_RULE", f"no such severity: {text!r}", suggestion(text, SEVERITIES)
        )
        return DEFAULT_SEVERITY
    return text


def _schedule(node: Node) -> tuple[str, bool]:
    """The cron expression, and whether another scheduler than ours is named."""
    schedule, scheduler = node.text("schedule").strip(), node.text("scheduler").strip()
    if scheduler and scheduler.lower() != "cron":
        node.get("scheduler").report(
            "NOT_MEASURED",
            f"recordgate does not run rules by the scheduler {scheduler!r}: only `quality run`"
            " does",
            "scheduler: cron",
            severity="warning",
        )
        return "", True
    if not schedule:
        if scheduler:
            node.get("scheduler").report(
                "BAD_SCHEDULE", "a scheduler without a schedule", 'schedule: "0 6 * * *"'
            )
        return "", False
    problem = schedule_problem(schedule)
    if problem:
        node.get("schedule").report(
            "BAD_SCHEDULE", f"the schedule {schedule!r} {problem}", 'as "0 6 * * *", in UTC'
        )
        return "", False
    return schedule, False


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]


def _default_id(rule: Rule) -> str:
    if rule.property_name is not None:
        return f"{rule.property_name}-{rule.metric}" + ("-items" if rule.items else "")
    return "-".join((rule.metric, *rule.columns))[:100]


def _distinct(rule: Rule, before: list[Rule]) -> Rule:
    """The rule with an id that no rule before it has: an id is the contract's only within one
    list."""
    taken = {other.id for other in before}
    name = rule.id
    if name in taken and rule.property_name is not None:
        name = f"{rule.property_name}-{rule.id}"
    number = 2
    while name in taken:
        name = f"{rule.id}-{number}"
        number += 1
    return rule if name == rule.id else dataclasses.replace(rule, id=name)
