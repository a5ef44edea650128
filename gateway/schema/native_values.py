"""Python's own types in a product's fields: `datetime.date` and its like go by the scalars that
record types have.

A scalar of the schema has one implementation, whose values are text as the stores have it. Here
arguments that a resolver declares by a Python type become values of that type, and values that it
returns become the scalar's text.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from graphql import GraphQLError
from strawberry.types.base import (
    StrawberryContainer,
    StrawberryList,
    get_object_definition,
)
from strawberry.types.field import StrawberryField

from stores.errors import InputError

Convert: TypeAlias = Callable[[Any, str], Any]
"""Converts a value that GraphQL read, at the path of its argument, to the value that a resolver
takes. Raises InputError."""


def _reading(name: str, read: Callable[[Any], Any]) -> Convert:
    def convert(value: Any, path: str) -> Any:
        try:
            return read(value)
        except (ValueError, ArithmeticError):
            raise InputError(f"{path} is not a valid {name}") from None

    return convert


def _moment(value: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(value)
    return found


def _number(value: Any) -> decimal.Decimal:
    found = decimal.Decimal(str(value))
    if not found.is_finite():
        raise ValueError(value)
    return found


READ: Mapping[Any, Convert] = {
    datetime.date: _reading("Date", datetime.date.fromisoformat),
    datetime.datetime: _reading("DateTime with a time zone", _moment),
    datetime.time: _reading("Time", datetime.time.fromisoformat),
    decimal.Decimal: _reading("Decimal", _number),
    uuid.UUID: _reading("UUID", uuid.UUID),
}


def converter(kind: Any, named: Callable[[Any], str]) -> Convert | None:
    """Return the conversion of arguments of the Strawberry type `kind`, or None where none is
    needed. `named` gives the GraphQL name of an input's field."""
    if isinstance(kind, StrawberryContainer):
        inner = converter(kind.of_type, named)
        if inner is None:
            return None
        if isinstance(kind, StrawberryList):
            return _each(inner)
        return _unless_missing(inner)
    if isinstance(kind, type) and kind in READ:
        return READ[kind]
    definition = get_object_definition(kind)
    if definition is not None and definition.is_input:
        return _InputObject(definition.fields, named)
    return None


def _each(inner: Convert) -> Convert:
    def convert(value: Any, path: str) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return [v if v is None else inner(v, f"{path}.{i}") for i, v in enumerate(items)]

    return convert


def _unless_missing(inner: Convert) -> Convert:
    def convert(value: Any, path: str) -> Any:
        return value if value is None else inner(value, path)

    return convert


class _InputObject:
    """Converts values of an input type, whose fields are looked at when it is first used: it may
    hold itself."""

    def __init__(self, fields: list[StrawberryField], named: Callable[[Any], str]) -> None:
        self._fields, self._named = fields, named
        self._converters: dict[str, Convert] | None = None

    def __call__(self, value: Any, path: str) -> Any:
        if self._converters is None:
            found = {self._named(f): converter(f.type, self._named) for f in self._fields}
            self._converters = {name: each for name, each in found.items() if each is not None}
        if not isinstance(value, Mapping):
            return value
        return {
            name: self._converters[name](v, f"{path}.{name}")
            if v is not None and name in self._converters
            else v
            for name, v in value.items()
        }


def text_of(value: Any) -> Any:
    """The text of a value of one of the types in READ; anything else as it is. Raises GraphQLError
    for a moment without a time zone."""
    if type(value) is str:
        return value
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise GraphQLError("a moment must have a time zone")
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    return value
