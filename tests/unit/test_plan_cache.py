"""Plans are kept in bounds, whatever is asked."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.context.plan_cache import KEPT_BYTES, KEPT_PLANS, PlanCache
from gateway.shape.open_values import Slot
from stores.errors import InputError


@dataclass
class Made:
    size: int


def test_the_oldest_plans_go_when_there_are_too_many_or_they_are_too_large() -> None:
    plans = PlanCache[Made]()
    for number in range(KEPT_PLANS + 10):
        plans.features(number)
        plans.keep(number, {}, Made(1))
    assert plans.count == KEPT_PLANS
    assert plans.find(9, {}) == (False, None)
    assert plans.find(10, {})[0]
    plans.features("large")
    plans.keep("large", {}, Made(KEPT_BYTES))
    assert (plans.count, plans.find("large", {})[0]) == (1, True)


def test_a_value_that_is_refused_leaves_nothing_behind() -> None:
    def refuse(value: Any) -> Hashable:
        raise InputError("not a key")

    plans = PlanCache[Made]()
    for number in range(10):
        features = plans.features(number)
        with pytest.raises(InputError):
            Slot(("id",), "x", features).feature("key", refuse)
        plans.keep(number, {"id": "x"}, None)
    assert not plans._families
    assert plans.count == 0
