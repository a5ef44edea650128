"""`boostBy` of a type: `population`, or `{property: population, weight: 2}`."""

from __future__ import annotations

from collections.abc import Mapping

from stores.contract.extensions import number_value, suggestion, unknown_key, wrong
from stores.contract.model import BoostBy, Property, Scalar
from stores.contract.node import Node
from stores.contract.options import OPTIONS

MAX_WEIGHT = 100.0
BOOSTING = frozenset(
    (
        Scalar.INT,
        Scalar.BIGINT,
        Scalar.FLOAT,
        Scalar.DECIMAL,
        Scalar.DATE,
        Scalar.TIMESTAMP,
        Scalar.DATETIME,
    )
)


def boost_by_value(at: Node | None, properties: Mapping[str, Property]) -> BoostBy | None:
    """Return what is at `at`. What is wrong is reported as a finding, and None returned."""
    if at is None:
        return None
    named, weight = at, 1.0
    if isinstance(at.data, dict):
        for key, value in at.entries():
            if key == "weight":
                weight = float(number_value(value, key, 0.01, MAX_WEIGHT, 1.0))
            elif key != "property":
                unknown_key(value, "boostBy", key, OPTIONS["boostBy"])
        named = at.get("property")
    name = named.data
    if not isinstance(name, str):
        wrong(at, "`boostBy` must name a property", "boostBy: population")
        return None
    found = properties.get(name)
    if found is None:
        wrong(named, f"no such property: {name!r}", suggestion(name, tuple(properties)))
        return None
    if found.scalar not in BOOSTING or found.array:
        wrong(
            named,
            f"{name} is {found.sql_type}: hits are boosted by a number, a date or a moment",
        )
        return None
    return BoostBy(name, weight)
