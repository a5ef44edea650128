"""A statement and its bound parameters, and the quoting of names and types that all parts share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from psycopg import sql

from gateway.shape.open_values import Deferred
from stores.canonical.joint_reads import JointStatement
from stores.contract.model import Property, RecordType

TYPES = frozenset(
    (
        "text", "character varying", "character", "uuid", "bytea", "smallint", "integer", "bigint",
        "real", "double precision", "numeric", "boolean", "date", "timestamp with time zone",
        "timestamp without time zone", "time without time zone", "jsonb", "json",
    )
)  # fmt: skip
"""Types that are compared as themselves; any other one is compared and ordered by its text."""

_CAST = {
    "smallint": "bigint",
    "integer": "bigint",
    "character": "bpchar",
    "character varying": "text",
}
"""A parameter's type where it is wider than the column's, so that a value that no record can have
matches none instead of failing. Indexes serve the comparison all the same."""


Parameter: TypeAlias = "str | list[str] | Deferred"


@dataclass(frozen=True, slots=True)
class Statement:
    """`text` has `$1`, `$2`, … for `parameters`: texts, lists of texts, or what becomes such.
    `joint`: the same for many keys at once, where the keys are all that requests differ in."""

    text: str
    parameters: tuple[Parameter, ...]
    joint: JointStatement | None = None

    def filled(self, variables: Mapping[str, Any]) -> list[str | list[str]]:
        """The parameters of one request. Raises what its values are refused with."""
        return [p.resolve(variables) if isinstance(p, Deferred) else p for p in self.parameters]


@dataclass(slots=True)
class Binder:
    """Collects the parameters of a statement and hands out its table aliases."""

    parameters: list[Parameter] = field(default_factory=list)
    aliases: int = 0

    def bind(self, value: Parameter, cast: str, *, many: bool = False) -> sql.Composable:
        """A placeholder for `value`, cast to one of our own type names; `many`: to a list of
        them."""
        self.parameters.append(value)
        array = "[]" if many else ""
        return sql.SQL(f"${len(self.parameters)}::{cast}{array}")

    def alias(self) -> sql.SQL:
        self.aliases += 1
        return sql.SQL(f"t{self.aliases}")

    def statement(self, text: sql.Composable) -> Statement:
        return Statement(text.as_string(None), tuple(self.parameters))


class LiteralBinder(Binder):
    """COPY takes no parameters: values go in as literals, quoted by the driver.
    `standard_conforming_strings` is pinned in every session of ours. What must not be read in a
    statement's text is none of them."""

    def bind(self, value: Parameter, cast: str, *, many: bool = False) -> sql.Composable:
        array = "[]" if many else ""
        return sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(f"{cast}{array}"))


@lru_cache(maxsize=8192)
def quoted(name: str) -> sql.SQL:
    """A name, quoted by libpq's rules; kept, since quoting costs more than all else here."""
    return sql.SQL(sql.Identifier(name).as_string(None))


def table_of(record_type: RecordType) -> sql.Composable:
    return quoted(record_type.schema) + sql.SQL(".") + quoted(record_type.table)


def column(alias: sql.SQL, name: str) -> sql.Composable:
    return sql.SQL(f"{alias.as_string(None)}.{quoted(name).as_string(None)}")


@lru_cache(maxsize=1024)
def base_type(sql_type: str) -> str:
    """The type without length, precision and `[]`."""
    return re.sub(r"\([^)]*\)", "", sql_type).replace("[]", "").strip()


def cast_of(prop: Property) -> str:
    """The type that a parameter compared with the property has."""
    base = base_type(prop.sql_type)
    return _CAST.get(base, base) if base in TYPES else "text"


def comparable(prop: Property, expression: sql.Composable) -> sql.Composable:
    """The expression by which the property is compared and ordered."""
    if prop.array or base_type(prop.sql_type) in TYPES:
        return expression
    return sql.SQL("{}::text").format(expression)
