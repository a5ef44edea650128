"""Reads the input of a mutation into values of properties: names resolved, values coerced, what the
viewer may not see refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from graphql import FieldNode, ListValueNode, ObjectValueNode, VariableNode

from gateway.shape.names import property_of
from gateway.shape.shaping import key_values
from gateway.shape.visibility import Form, Visibility
from gateway.write.rows import BadRow, Row, each
from gateway.write.sql import Values
from stores.canonical.rule_words import allowed_values
from stores.contract.model import Property, RecordType
from stores.errors import ForbiddenError, InputError, LimitError
from stores.values import coerce, from_text, to_text

_VARCHAR = re.compile(r"(?:character varying|character|varchar|char)\((\d+)\)\Z")
MAX_RECORDS = 1_000
"""Records of one createMany or upsertMany."""
MAX_DELETES = 10_000
"""The largest `max` of a deleteMany."""


def read_values(record_type: RecordType, raw: Any, visibility: Visibility) -> dict[str, Any]:
    """Property name → value. An explicit null is None, what is not given is absent."""
    if not isinstance(raw, Mapping):
        raise InputError("a record must be an object")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        prop = property_of(record_type, str(name))
        if prop is None:
            raise InputError(f"{record_type.graphql} has no property {str(name)[:60]!r}")
        if prop.generated:
            raise InputError(f"{prop.graphql} is computed and cannot be written")
        if visibility.form(prop) is not Form.PLAIN:
            raise ForbiddenError(f"you may not write {prop.graphql}")
        if value is None and prop.required:
            raise InputError(f"{prop.graphql} must not be null")
        values[prop.name] = coerce(prop, value)
        _check_type(prop, values[prop.name])
    return values


def _check_type(prop: Property, value: Any) -> None:
    """Raise InputError for what Postgres refuses by the column's type, without saying of which
    column: a label that its enum type has not, a text that is too long for it."""
    if prop.array or not isinstance(value, str):
        return
    if prop.enum and "." in prop.sql_type and value not in prop.enum:
        raise InputError(f"{prop.graphql} {allowed_values(prop)}")
    longest = _VARCHAR.match(prop.sql_type)
    # Blanks beyond the length are cut off, says the SQL standard.
    if longest and value[int(longest[1]) :].strip(" "):
        raise InputError(f"{prop.graphql} must have at most {longest[1]} characters")


def read_many(
    record_type: RecordType, raw: Any, visibility: Visibility
) -> tuple[list[Row], list[BadRow]]:
    """Several records: the good ones and the bad ones. Raises LimitError above MAX_RECORDS."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InputError("the input must be a list of records")
    if len(raw) > MAX_RECORDS:
        raise LimitError(
            f"more than {MAX_RECORDS} records in one call", hint="use `recordgate import` for more"
        )
    return each(raw, lambda one: read_values(record_type, one, visibility))


def require_keys(record_type: RecordType, rows: Sequence[Values]) -> list[tuple[str, ...]]:
    """The keys (texts of the columns) of records to upsert: all given, none twice."""
    keys: list[tuple[str, ...]] = []
    for row in rows:
        texts: list[str] = []
        for prop in record_type.key_properties:
            value = row.get(prop.name)
            if value is None:
                raise InputError(f"{prop.graphql} is part of the key and must be given")
            texts.append(to_text(prop, value))
        keys.append(tuple(texts))
    if len(set(keys)) != len(keys):
        raise InputError("two of the records have the same key")
    return keys


def read_key(record_type: RecordType, raw: Any) -> tuple[tuple[str, ...], list[Any]]:
    """A record's `id`: the texts of the key's columns, and their values."""
    if not isinstance(raw, str):
        raise InputError("id must be a string")
    texts = key_values(record_type, raw)
    values = [
        from_text(prop, text) for prop, text in zip(record_type.key_properties, texts, strict=True)
    ]
    return texts, values


def read_version(args: Mapping[str, Any]) -> str | None:
    """The version that the record must have; None where any will do."""
    raw = args.get("ifVersion")
    if "ifVersion" in args and not isinstance(raw, str):
        raise InputError("ifVersion must be a string", hint="leave it out to write any version")
    return raw


def read_max(raw: Any) -> int:
    """The cap of a deleteMany."""
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < 1:
        raise InputError("max must be a positive integer")
    if raw > MAX_DELETES:
        raise LimitError(f"max is more than {MAX_DELETES}")
    return raw


def require_given(nodes: Sequence[FieldNode], variables: Mapping[str, Any], argument: str) -> None:
    """Raise InputError where `argument` of the field at `nodes` is written with a variable that has
    no value: GraphQL leaves its place out, and what remains asks for more than was meant. Without
    the argument nothing is to be given."""
    waiting = [a.value for n in nodes for a in n.arguments or () if a.name.value == argument]
    while waiting:
        node = waiting.pop()
        if isinstance(node, VariableNode) and node.name.value not in variables:
            raise InputError(
                f"{argument}: the variable ${node.name.value} has no value",
                hint="give it, or write the operation without it",
            )
        if isinstance(node, ObjectValueNode):
            waiting += [field.value for field in node.fields]
        elif isinstance(node, ListValueNode):
            waiting += node.values
