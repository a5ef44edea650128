"""One property of the contract → `Property`, with findings for what is wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from stores.contract import names
from stores.contract.extensions import Access, property_extensions
from stores.contract.model import Logical, Property, Scalar
from stores.contract.node import Node
from stores.contract.regexes import regex_problem
from stores.contract.types import INT_BITS, TypeOf, type_of
from stores.errors import InputError
from stores.values import coerce

_NUMERIC = frozenset((Scalar.INT, Scalar.BIGINT, Scalar.FLOAT, Scalar.DECIMAL))
_ORDERED = _NUMERIC | {Scalar.DATE, Scalar.TIMESTAMP, Scalar.DATETIME, Scalar.TIME}


@dataclass(frozen=True, slots=True)
class Declared:
    """A property with its place in the contract, for the checks that look at several."""

    node: Node
    property: Property
    primary: bool
    position: int


def resolve_property(node: Node, access: Access, *, managed: bool) -> Declared | None:
    """Return the property at `node`, or None if its errors leave none; a finding says why."""
    name = node.text("name")
    if not name:
        return None  # the JSON schema has said so
    at_name = node.get("name")
    problem = names.contract_name_problem(name)
    if problem:
        at_name.report(
            "BAD_NAME",
            f"the property name {name!r} {problem}",
            "name it in ASCII letters; `physicalName` may hold the column's name",
        )
    column = node.text("physicalName") or (names.snake(name) if managed else name)
    problem = names.physical_problem(column)
    if not problem and column.lower() in names.SYSTEM_COLUMNS:
        problem = "is a system column of Postgres"
    if problem and (node.has("physicalName") or names.physical_problem(name) == ""):
        at = node.get("physicalName") if node.has("physicalName") else at_name
        code = "RESERVED_NAME" if "system" in problem else "BAD_NAME"
        at.report(code, f"the column name {column!r} {problem}", "choose another `physicalName`")
    kind = type_of(node, managed=managed)
    if kind is None:
        return None
    primary = node.flag("primaryKey")
    extensions = property_extensions(node, kind, access)
    if primary and (extensions.masking or extensions.read_roles is not None):
        at_name.report(
            "BAD_EXTENSION",
            f"{name} is part of the key, so it cannot be hidden: every answer and cursor"
            " contains the key",
            "hide rows by `rowFilter`, or use another key",
        )
    limits = _limits(node, kind)
    prop = Property(
        name=name,
        column=column,
        graphql=names.camel(name),
        logical=kind.logical,
        scalar=kind.scalar,
        sql_type=kind.sql_type,
        array=kind.array,
        required=primary or node.flag("required") or _quality_says(node, "nullValues"),
        unique=node.flag("unique") or _quality_says(node, "duplicateValues"),
        generated=extensions.generated,
        description=node.text("description"),
        search=extensions.search,
        masking=extensions.masking,
        partial=extensions.partial,
        read_roles=extensions.read_roles,
        **limits,
    )
    position = node.get("primaryKeyPosition").data
    position = position if isinstance(position, int) and not isinstance(position, bool) else -1
    return Declared(node, prop, primary, position)


def _quality_says(node: Node, metric: str) -> bool:
    """True where a quality rule says that there are none of `metric`."""
    return any(
        rule.text("metric") == metric and rule.get("mustBe").data == 0 and not rule.has("arguments")
        for rule in node.items("quality")
    )


def _limits(node: Node, kind: TypeOf) -> dict[str, Any]:
    """Enum, pattern, lengths and bounds of the property, or of its items where it is an array."""
    at = node.get("items") if kind.array and node.has("items") else node
    options = at.get("logicalTypeOptions")
    found: dict[str, Any] = {}
    if kind.scalar is Scalar.STRING:
        found |= _lengths(options)
        pattern = options.get("pattern")
        rule = next((r for r in _value_rules(at) if r.get("arguments").text("pattern")), None)
        if not pattern.data and rule is not None:
            pattern = rule.get("arguments").get("pattern")
        if isinstance(pattern.data, str) and _pattern_fits(pattern):
            found["pattern"] = pattern.data
    if kind.scalar in _ORDERED:
        found |= _bounds(options, kind)
    probe = _probe(kind, found)
    enum = _enum(at, probe)
    if enum:
        found["enum"] = enum
    return found


def _probe(kind: TypeOf, limits: dict[str, Any]) -> Property:
    """A property of one value of the type, to try values against."""
    return Property(
        "value",
        "value",
        "value",
        kind.logical,
        kind.scalar,
        kind.sql_type.removesuffix("[]"),
        **limits,
    )


def _value_rules(node: Node) -> list[Node]:
    return [
        rule
        for rule in node.items("quality")
        if rule.text("metric") == "invalidValues" and rule.get("mustBe").data == 0
    ]


def _enum(node: Node, probe: Property) -> tuple[str, ...]:
    """The values of `enum`, else of a quality rule `invalidValues`, as they are written."""
    given: list[Node] = []
    for entry in node.items("enum"):
        if isinstance(entry.data, dict):
            given += [entry.get("value")] if "value" in entry.data else []
        else:
            entry.report("BAD_ENUM", "an element of `enum` is no mapping", _ENUM_HINT)
    if not given:
        for rule in _value_rules(node):
            given = list(rule.get("arguments").get("validValues"))
    values: list[str] = []
    for at in given:
        text = at.spelling
        if isinstance(at.data, dict | list) or at.data is None:
            at.report("BAD_ENUM", "an enum value is null or not a scalar", "quote it if it is text")
        elif text in values:
            at.report("BAD_ENUM", f"the enum value {text!r} occurs twice")
        elif problem := misfit(probe, text):
            at.report("BAD_ENUM", f"the enum value {text!r} {problem}")
        else:
            values.append(text)
    return tuple(values)


def misfit(probe: Property, text: str) -> str:
    """Return why the text is no value of the property, or an empty string."""
    if probe.scalar in (Scalar.JSON, Scalar.BYTES):
        return "has a type that does not support enum"
    value: Any = text
    try:
        if probe.scalar in (Scalar.INT, Scalar.BIGINT):
            value = int(text)
        elif probe.scalar is Scalar.FLOAT:
            value = float(text)
        elif probe.scalar is Scalar.BOOLEAN:
            value = {"true": True, "false": False}[text]
        coerce(probe, value)
    except (InputError, ValueError, KeyError):
        return f"is not a valid {probe.logical.value}"
    if probe.max_length is not None and len(text) > probe.max_length:
        return f"is longer than maxLength {probe.max_length}"
    if probe.min_length is not None and len(text) < probe.min_length:
        return f"is shorter than minLength {probe.min_length}"
    if probe.pattern is not None and not re.search(probe.pattern, text):
        return "does not match the pattern"
    return ""


def _lengths(options: Node) -> dict[str, Any]:
    low, high = options.get("minLength").data, options.get("maxLength").data
    if isinstance(low, int) and isinstance(high, int) and low > high:
        options.get("minLength").report("BAD_BOUND", f"minLength {low} is above maxLength {high}")
        return {}
    return {
        key: value
        for key, value in (("min_length", low), ("max_length", high))
        if isinstance(value, int) and not isinstance(value, bool)
    }


_ENUM_HINT = "write enum: [{value: red}, {value: blue}]"
_BOUNDS = (
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("exclusive_minimum", "exclusiveMinimum"),
    ("exclusive_maximum", "exclusiveMaximum"),
)


def _bounds(options: Node, kind: TypeOf) -> dict[str, Any]:
    """Bounds as text that Postgres reads as the column's type; contradictions are findings."""
    probe = _probe(kind, {})
    text: dict[str, str] = {}
    values: dict[str, Any] = {}
    for field, key in _BOUNDS:
        at = options.get(key)
        if at.data is None or isinstance(at.data, bool | dict | list):
            continue
        value = _bound_value(probe, at)
        if value is None:
            at.report(
                "BAD_BOUND",
                f"{key} {at.spelling!r} is not a valid {kind.logical.value} ({kind.sql_type})",
            )
            continue
        values[field] = value
        text[field] = str(value) if kind.scalar in (Scalar.INT, Scalar.BIGINT) else at.spelling
    _report_contradiction(options, values)
    if kind.least is not None and "minimum" not in text and "exclusive_minimum" not in text:
        text["minimum"] = str(kind.least)
    if kind.most is not None and "maximum" not in text and "exclusive_maximum" not in text:
        text["maximum"] = str(kind.most)
    text |= _multiple_of(options.get("multipleOf"), kind)
    return text


def _report_contradiction(options: Node, values: dict[str, Any]) -> None:
    """Report bounds that no value satisfies."""
    lows = [values[k] for k in ("minimum", "exclusive_minimum") if k in values]
    highs = [values[k] for k in ("maximum", "exclusive_maximum") if k in values]
    if lows and highs:
        low, high = max(lows), min(highs)
        strict = values.get("exclusive_minimum") == low or values.get("exclusive_maximum") == high
        if low > high or (low == high and strict):
            options.report(
                "BAD_BOUND",
                f"no value is between {low} and {high}",
                "swap or widen them",
                at_key=True,
            )


def _multiple_of(step: Node, kind: TypeOf) -> dict[str, str]:
    """Return the bound `multiple_of` as text, or nothing where there is none or it cannot be
    kept."""
    text: dict[str, str] = {}
    if kind.scalar in _NUMERIC and isinstance(step.data, int | float) and step.data > 0:
        if kind.logical is Logical.INTEGER and step.data != int(step.data):
            step.report("BAD_BOUND", "multipleOf of an integer must be an integer")
        elif kind.scalar is Scalar.FLOAT:
            step.report(
                "BAD_BOUND",
                "multipleOf of a floating-point number cannot be checked exactly",
                "use physicalType numeric(p,s)",
            )
        else:
            text["multiple_of"] = (
                str(int(step.data)) if kind.logical is Logical.INTEGER else step.spelling
            )
    return text


def _bound_value(probe: Property, at: Node) -> Any:
    value: Any = at.data
    if probe.scalar in (Scalar.INT, Scalar.BIGINT):
        if (
            not isinstance(value, int | float)
            or value != value
            or value in (float("inf"), -float("inf"))
        ):
            return None
        if value != int(value):
            return None
        bits = INT_BITS[probe.sql_type]
        return int(value) if -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) else None
    if probe.scalar is Scalar.FLOAT:
        return float(value) if isinstance(value, int | float) and abs(value) < 1e308 else None
    try:
        found = coerce(probe, at.spelling)
    except InputError:
        return None
    return None if isinstance(found, Decimal) and not found.is_finite() else found


def _pattern_fits(at: Node) -> bool:
    """Return whether Python and Postgres take the pattern and give it the same meaning; report it
    where they do not."""
    pattern: str = at.data
    hint = "use groups, classes, {n,m}, *, +, ?, |, ^, $, \\d, \\w, \\s"
    problem = regex_problem(pattern)
    if problem:
        at.report("BAD_REGEX", f"the pattern {problem}", hint)
    return not problem
