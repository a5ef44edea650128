"""A product's additions to its schema in Python: modules with plain Strawberry types, found by the
setting `extensions`.

A module may hold classes named Query, Mutation and Subscription, and classes that `extends` a
record type. `load` imports the modules and checks every name against the contract, so that a
mistake is told at the start with its place.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import strawberry
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from gateway.schema import static
from gateway.shape.names import field_of
from stores.contract.model import Contract
from stores.errors import RecordgateError, SetupError

ROOTS = ("Query", "Mutation", "Subscription")


@dataclass(frozen=True, slots=True)
class OwnField:
    """A field that a module adds to a record type. `needs`: properties of the record that its
    resolver reads."""

    module: str
    place: str
    needs: tuple[str, ...]
    field: StrawberryField


@dataclass(slots=True)
class RecordClass:
    """The one Strawberry type that stands for a record type in all modules of this process, and
    what they add to it. `places`: where each module names it."""

    type: type
    places: dict[str, str] = field(default_factory=dict)
    fields: list[OwnField] = field(default_factory=list)


_records: dict[str, RecordClass] = {}
"""The classes that stand for record types, by the type's GraphQL name."""


@dataclass(slots=True)
class Extensions:
    """The additions of all modules. `roots`: the classes of each root, by its name."""

    modules: tuple[str, ...] = ()
    roots: dict[str, list[type]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.modules)

    @property
    def records(self) -> dict[str, RecordClass]:
        """The record types that a module names, with the fields of these modules alone."""
        return {
            name: RecordClass(
                known.type,
                known.places,
                [f for f in known.fields if f.module in self.modules],
            )
            for name, known in _records.items()
            if any(m in known.places for m in self.modules)
        }


def record(name: str) -> Any:
    """The record type `name`, for the annotations of resolvers that return such records."""
    module, place = _caller()
    return _record_class(name, module, place).type


def extends(name: str, *, needs: Sequence[str] = ("id",)) -> Callable[[type], Any]:
    """Decorate a class whose Strawberry fields are added to the record type `name`. Its resolvers
    read the properties in `needs` from `self`; they are read with the record, also where the caller
    has not selected them. The name of the class stands for the record type afterwards, as what
    `record` gives."""
    module, place = _caller()

    def decorate(cls: type) -> Any:
        known = _record_class(name, module, place)
        definition = get_object_definition(strawberry.type(cls), strict=True)
        own = [OwnField(module, place, tuple(needs), f) for f in definition.fields]
        # A module that is imported anew brings its fields anew.
        known.fields = [f for f in known.fields if f.module != module] + own
        return known.type

    return decorate


def _record_class(name: str, module: str, place: str) -> RecordClass:
    known = _records.get(name)
    if known is None:
        made = strawberry.type(type(name, (static.Node,), {}), name=name)
        known = _records[name] = RecordClass(made)
    known.places[module] = place
    return known


def _caller() -> tuple[str, str]:
    """The module that calls, and where."""
    frame = sys._getframe(2)
    return str(frame.f_globals.get("__name__")), f"{frame.f_code.co_filename}:{frame.f_lineno}"


# Loading ---------------------------------------------------------------------------------------


def load(names: Sequence[str], contract: Contract) -> Extensions:
    """Import the modules and check them against the contract. Raises SetupError with the place of
    what is wrong."""
    roots: dict[str, list[type]] = {}
    for name in names:
        module = _imported(name)
        for root in ROOTS:
            kind = vars(module).get(root)
            if kind is None:
                continue
            if get_object_definition(kind) is None:
                raise SetupError(
                    f"{place_of(kind)}: {root} is not a Strawberry type",
                    hint="decorate it with @strawberry.type",
                )
            roots.setdefault(root, []).append(kind)
    found = Extensions(tuple(names), roots)
    _check(found, contract)
    return found


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except RecordgateError:
        raise
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise SetupError(
                f"the setting `extensions`: there is no module {name}",
                hint="name it as Python imports it, and put its folder on PYTHONPATH",
            ) from error
        raise SetupError(f"{_place_of(error)}: {error}", hint=_IMPORT_HINT) from error
    except Exception as error:
        raise SetupError(
            f"{_place_of(error)}: the extension {name} cannot be imported:"
            f" {type(error).__name__}: {error}",
            hint=_IMPORT_HINT,
        ) from error


_IMPORT_HINT = "correct the module, or remove it from the setting `extensions`"


def _place_of(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    outside = [
        f for f in frames if not f.filename.startswith("<") and "strawberry" not in f.filename
    ]
    last = outside[-1] if outside else None
    return f"{last.filename}:{last.lineno}" if last else "?"


def place_of(kind: type) -> str:
    """File and line of a class."""
    try:
        return f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        return kind.__module__


def _check(found: Extensions, contract: Contract) -> None:
    types = {t.graphql: t for t in contract.types.values()}
    for name, known in found.records.items():
        place = next(p for m, p in known.places.items() if m in found.modules)
        record_type = types.get(name)
        if record_type is None:
            raise SetupError(
                f"{place}: the contract has no record type {name}",
                hint=f"one of {', '.join(sorted(types))}",
            )
        properties = {"id", *(field_of(record_type, p) for p in record_type.properties)}
        for own in known.fields:
            for need in own.needs:
                if need not in properties:
                    raise SetupError(
                        f"{own.place}: {name} has no property {need}",
                        hint=f"`needs` may name {', '.join(sorted(properties))}",
                    )


def merged(name: str, own: type | None, more: Sequence[type]) -> type | None:
    """One root type of several. Raises SetupError where two have a field of one name."""
    kinds = [*([own] if own else []), *more]
    if not kinds:
        return None
    taken: dict[str, type] = {}
    for kind in kinds:
        definition = get_object_definition(kind)
        assert definition is not None
        for one in definition.fields:
            if one.python_name in taken and taken[one.python_name] is not kind:
                raise SetupError(
                    f"{place_of(kind)}: {name} has a field {one.python_name} already,"
                    f" of {place_of(taken[one.python_name])}",
                    hint="give one of them another name",
                )
            taken[one.python_name] = kind
    if len(kinds) == 1 and own is None and kinds[0].__name__ == name:
        return kinds[0]
    bases = tuple(k for i, k in enumerate(kinds) if k not in kinds[:i])
    return strawberry.type(type(name, bases, {}), name=name)
