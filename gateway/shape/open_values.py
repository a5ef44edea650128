"""Values of variables that a plan leaves open: a plan is made once for all requests that differ
only in them.

While a plan is made, each scalar in the variables stands as a `Slot`. Whoever reads one either
takes it as it is (`settled`: then the plan is for this value alone), asks something of it
(`feature`: then the plan is for all values with that answer), or makes a `Deferred` of it, which
each request resolves with its own variables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, TypeAlias

Path: TypeAlias = "tuple[str | int, ...]"
Feature: TypeAlias = "tuple[Path, Callable[[Any], Hashable]]"


def at(variables: Any, path: Path) -> Any:
    return reduce(lambda inside, step: inside[step], path, variables)


@dataclass(frozen=True, slots=True)
class Deferred:
    """A value that each request has for itself. `resolve` may raise what reading the value
    raises."""

    resolve: Callable[[Mapping[str, Any]], Any]

    def then(self, convert: Callable[[Any], Any]) -> Deferred:
        return Deferred(lambda variables: convert(self.resolve(variables)))


@dataclass(slots=True)
class Features:
    """The features of the variables that a plan was made with."""

    asked: dict[tuple[Path, str], Feature] = field(default_factory=dict)

    def of(self, variables: Mapping[str, Any]) -> tuple[Hashable, ...]:
        """The answers for other variables of the same structure."""
        return tuple(ask(at(variables, path)) for path, ask in self.asked.values())


@dataclass(frozen=True, slots=True)
class Slot:
    """A scalar, or a list of scalars, at `path` of the variables."""

    path: Path
    value: Any
    features: Features

    def deferred(self) -> Deferred:
        return Deferred(lambda variables: at(variables, self.path))

    def feature(self, name: str, ask: Callable[[Any], Hashable]) -> Any:
        """Return `ask` of the value, and note the question. Raises the errors of `ask`."""
        self.features.asked[self.path, name] = (self.path, ask)
        return ask(self.value)


def last_kept(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`convert`, with its last result kept: one request asks for the same one several times."""
    last: tuple[Any, Any] = (None, None)

    def converted(value: Any) -> Any:
        nonlocal last
        known, result = last
        if known != value or type(known) is not type(value):
            result = convert(value)
            last = (value, result)
        return result

    return converted


def settled(value: Any) -> Any:
    """`value` without slots; the plan is for these values alone."""
    if isinstance(value, Slot):
        return value.feature("value", _key) and value.value
    if isinstance(value, list):
        return [settled(v) for v in value]
    if isinstance(value, Mapping):
        return {k: settled(v) for k, v in value.items()}
    return value


def _key(value: Any) -> Hashable:
    """Hashable, never false, and apart for values that Python takes as equal (1, 1.0 and True)."""
    return (repr(value),)


def deferred_of(value: Any) -> Deferred | None:
    """`value` as a deferred one, where it is a slot or a list with slots in it."""
    if isinstance(value, Slot):
        return value.deferred()
    if isinstance(value, list) and any(isinstance(v, Slot) for v in value):
        parts = [v.deferred() if isinstance(v, Slot) else v for v in value]
        return Deferred(
            lambda variables: [
                p.resolve(variables) if isinstance(p, Deferred) else p for p in parts
            ]
        )
    return None
