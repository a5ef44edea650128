"""A product's additions to its schema in Python: modules with plain Strawberry types, found by the
setting `extensions`.

A module may hold classes named Query, Mutation and Subscription, and classes that `extends` a
record type. `load` imports the modules and checks every name against the contract, so that a
mistake is told at the start with its place.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import strawberry
from strawberry.schema.name_converter import NameConverter
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from gateway.schema import static
from gateway.schema.extension_faults import (
    IMPORT_HINT,
    place_of,
    place_of_error,
    place_of_field,
    told_when_slow,
)
from gateway.shape.names import field_of
from stores.contract.model import Contract
from stores.errors import RecordgateError, SetupError

_NAMES = NameConverter()
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
                [f for f in known.fields if self.has(f.module)],
            )
            for name, known in _records.items()
            if any(self.has(m) for m in known.places)
        }

    def has(self, module: str) -> bool:
        """Return whether a module is one of these, or is inside a package that is."""
        return any(module == m or module.startswith(f"{m}.") for m in self.modules)

    def places(self) -> list[tuple[str, str, str]]:
        """Return type, field and place of all fields that the modules add."""
        of_roots = [
            (root, name_of(one), place_of_field(kind, one))
            for root, kinds in self.roots.items()
            for kind in kinds
            for one in get_object_definition(kind, strict=True).fields
        ]
        of_records = [
            (name, name_of(own.field), own.place)
            for name, known in self.records.items()
            for own in known.fields
        ]
        return of_roots + of_records


def name_of(field: StrawberryField) -> str:
    """Return the GraphQL name of a field."""
    return _NAMES.from_field(field)


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
    properties = (needs,) if isinstance(needs, str) else tuple(needs)

    def decorate(cls: type) -> Any:
        known = _record_class(name, module, place)
        definition = get_object_definition(strawberry.type(cls), strict=True)
        own = [OwnField(module, place, properties, f) for f in definition.fields]
        # A module that is imported anew brings its fields anew.
        before = [f for f in known.fields if (f.module, f.place) != (module, place)]
        known.fields = before + own
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
            for one in get_object_definition(kind, strict=True).fields:
                _require_resolver(place_of_field(kind, one), root, one)
                if name_of(one).startswith("_"):
                    raise SetupError(
                        f"{place_of_field(kind, one)}: the field name {name_of(one)} is reserved",
                        hint="names that begin with _ are those of GraphQL and of federation",
                    )
            roots.setdefault(root, []).append(kind)
    found = Extensions(tuple(names), roots)
    _check(found, contract)
    return found


def _imported(name: str) -> Any:
    try:
        with told_when_slow(name):
            return importlib.import_module(name)
    except (RecordgateError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            raise SetupError(
                f"the setting `extensions`: there is no module {name}",
                hint="name it as Python imports it, and put its folder on PYTHONPATH",
            ) from error
        raise SetupError(f"{place_of_error(error)}: {error}", hint=IMPORT_HINT) from error
    except BaseException as error:  # a module that calls sys.exit() ends no gateway without a word
        raise SetupError(
            f"{place_of_error(error)}: the extension {name} cannot be imported:"
            f" {type(error).__name__}: {error}",
            hint=IMPORT_HINT,
        ) from error


def _check(found: Extensions, contract: Contract) -> None:
    types = {t.graphql: t for t in contract.types.values()}
    for name, known in found.records.items():
        place = next(p for m, p in known.places.items() if found.has(m))
        record_type = types.get(name)
        if record_type is None:
            raise SetupError(
                f"{place}: the contract has no record type {name}",
                hint=f"one of {', '.join(sorted(types))}",
            )
        properties = {"id", *(field_of(record_type, p) for p in record_type.properties)}
        names: dict[str, OwnField] = {}
        for own in known.fields:
            _require_resolver(own.place, name, own.field)
            other = names.setdefault(name_of(own.field), own)
            if other is not own:
                raise SetupError(
                    f"{own.place}: {name} has a field {name_of(own.field)} already,"
                    f" of {other.place}",
                    hint="give one of them another name",
                )
            for need in own.needs:
                if need not in properties:
                    raise SetupError(
                        f"{own.place}: {name} has no property {need}",
                        hint=f"`needs` may name {', '.join(sorted(properties))}",
                    )


def _require_resolver(place: str, kind: str, field: StrawberryField) -> None:
    if field.base_resolver is None:
        raise SetupError(
            f"{place}: the field {field.python_name} of {kind} has no resolver",
            hint="write it as a method with @strawberry.field",
        )


def merged(name: str, own: type | None, more: Sequence[type]) -> type | None:
    """One root type of several. Raises SetupError where two have a field of one name."""
    kinds = [*([own] if own else []), *more]
    if not kinds:
        return None
    taken: dict[str, tuple[type, StrawberryField]] = {}
    for kind in kinds:
        definition = get_object_definition(kind)
        assert definition is not None
        for one in definition.fields:
            field_name = name_of(one)
            other, theirs = taken.setdefault(field_name, (kind, one))
            if other is not kind or theirs is not one:
                raise SetupError(
                    f"{place_of_field(kind, one)}: {name} has a field {field_name} already,"
                    f" of {place_of_field(other, theirs)}",
                    hint="give one of them another name",
                )
    if len(kinds) == 1 and own is None and kinds[0].__name__ == name:
        return kinds[0]
    bases = tuple(k for i, k in enumerate(kinds) if k not in kinds[:i])
    return strawberry.type(type(name, bases, {}), name=name)
