"""Keeps plans: by document, roles and structure of the variables, and by what a plan asked of their
values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from gateway.shape.open_values import Features
from stores.errors import RecordgateError

KEPT_PLANS = 2_000
KEPT_BYTES = 64_000_000
"""The most bytes of the documents and statements that plans are kept for."""


class Sized(Protocol):
    """A plan; `size` is about what it takes, in bytes."""

    @property
    def size(self) -> int: ...


P = TypeVar("P", bound=Sized)


@dataclass(slots=True)
class Family(Generic[P]):
    """The plans of one structure of variables. `features` tells them apart."""

    features: Features = field(default_factory=Features)
    plans: dict[tuple[Hashable, ...], P | None] = field(default_factory=dict)


class PlanCache(Generic[P]):
    """The plans used last, bounded in number and bytes."""

    def __init__(self) -> None:
        self._families: OrderedDict[Hashable, Family[P]] = OrderedDict()
        self.count = 0
        self._bytes = 0

    def find(self, key: Hashable, variables: Mapping[str, Any]) -> tuple[bool, P | None]:
        """Return whether the request is known, and its plan; None where there is none for such a
        request. Raises the error with which a value is refused."""
        family = self._families.get(key)
        if family is None:
            return False, None
        self._families.move_to_end(key)
        features = family.features.of(variables)
        return features in family.plans, family.plans.get(features)

    def features(self, key: Hashable) -> Features:
        """Return the place where a new plan of the family notes what it asks."""
        family = self._families.get(key)
        if family is None:
            family = self._families[key] = Family()
        return family.features

    def keep(self, key: Hashable, variables: Mapping[str, Any], made: P | None) -> None:
        family = self._families[key]
        try:
            features = family.features.of(variables)
        except RecordgateError:
            # A value that is refused; no other request is like it.
            if not family.plans:
                del self._families[key]
            return
        family.plans[features] = made
        self.count += 1
        self._bytes += _size(made)
        while self._families and (self.count > KEPT_PLANS or self._bytes > KEPT_BYTES):
            _, old = self._families.popitem(last=False)
            self.count -= len(old.plans)
            self._bytes -= sum(map(_size, old.plans.values()))


def _size(made: Sized | None) -> int:
    return 500 if made is None else made.size
