"""The GraphQL scalars, and which of them a property has. Values come out of the stores as JSON
already, so serializing mostly hands them through; input is checked against the property by
`stores.values.coerce`."""

from __future__ import annotations

import re
from typing import Any

from graphql import (
    FloatValueNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLFloat,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
    IntValueNode,
    StringValueNode,
    ValueNode,
    value_from_ast_untyped,
)

from gateway.schema.native_values import text_of
from gateway.shape.visibility import non_null
from stores.contract.model import Property, Scalar
from stores.values import MAX_EXACT_INTEGER, exact_in_json

_INTEGER = re.compile(r"-?\d{1,40}\Z", re.ASCII)
"""Python reads more as an integer than JSON, GraphQL and Postgres do: blanks, `1_0`, digits of
other scripts."""


def _big_in(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.match(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_EXACT_INTEGER:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise GraphQLError("BigInt must be an integer of at most 64 bits, as a number or a string")
    return value


def _big_literal(node: ValueNode, _variables: Any = None) -> int:
    if not isinstance(node, IntValueNode | StringValueNode) or len(node.value) > 40:
        raise GraphQLError("BigInt must be an integer of at most 64 bits", node)
    return _big_in(node.value)


def _decimal_in(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise GraphQLError("Decimal must be a number, best as a string")
    return value


def _decimal_literal(node: ValueNode, _variables: Any = None) -> str:
    if not isinstance(node, IntValueNode | FloatValueNode | StringValueNode):
        raise GraphQLError("Decimal must be a number, best as a string", node)
    return node.value


def _text_scalar(name: str, description: str) -> GraphQLScalarType:
    def parse(value: Any) -> str:
        if not isinstance(value, str):
            raise GraphQLError(f"{name} must be a string")
        return value

    def literal(node: ValueNode, _variables: Any = None) -> str:
        if not isinstance(node, StringValueNode):
            raise GraphQLError(f"{name} must be a string", node)
        return node.value

    return GraphQLScalarType(
        name,
        description=description,
        serialize=text_of,
        parse_value=parse,
        parse_literal=literal,
    )


def _json_literal(node: ValueNode, variables: Any = None) -> Any:
    return value_from_ast_untyped(node, variables)


BIGINT = GraphQLScalarType(
    "BigInt",
    serialize=exact_in_json,
    parse_value=_big_in,
    parse_literal=_big_literal,
    description="A 64-bit integer: a JSON number up to 2^53-1, a string beyond. Input takes both.",
)
DECIMAL = GraphQLScalarType(
    "Decimal",
    serialize=text_of,
    parse_value=_decimal_in,
    parse_literal=_decimal_literal,
    description="An exact decimal number, as a string.",
)
JSON = GraphQLScalarType(
    "JSON",
    parse_value=lambda value: value,
    parse_literal=_json_literal,
    description="Any JSON value.",
)
DATE = _text_scalar("Date", "A day, YYYY-MM-DD.")
DATETIME = _text_scalar(
    "DateTime", "A point in time, ISO 8601 with a time zone; answers are in UTC."
)
LOCAL_DATETIME = _text_scalar("LocalDateTime", "A date and time without a time zone, ISO 8601.")
TIME = _text_scalar("Time", "A time of day, HH:MM:SS[.ffffff].")
UUID = _text_scalar("UUID", "A UUID.")
BYTES = _text_scalar("Bytes", "Bytes, as base64.")
DURATION = _text_scalar("Duration", 'A span of time: "500ms", "2s", "1m", "PT2S".')

SCALARS: dict[Scalar, GraphQLScalarType] = {
    Scalar.STRING: GraphQLString,
    Scalar.INT: GraphQLInt,
    Scalar.BIGINT: BIGINT,
    Scalar.FLOAT: GraphQLFloat,
    Scalar.DECIMAL: DECIMAL,
    Scalar.BOOLEAN: GraphQLBoolean,
    Scalar.DATE: DATE,
    Scalar.TIMESTAMP: DATETIME,
    Scalar.DATETIME: LOCAL_DATETIME,
    Scalar.TIME: TIME,
    Scalar.UUID: UUID,
    Scalar.BYTES: BYTES,
    Scalar.JSON: JSON,
}


def nullable_output(prop: Property) -> Any:
    """The type of the property's value where it may be missing."""
    scalar = SCALARS[prop.scalar]
    return GraphQLList(scalar) if prop.array else scalar


def output(prop: Property) -> Any:
    """The type of the property's value."""
    kind = nullable_output(prop)
    return GraphQLNonNull(kind) if non_null(prop) else kind


def input_type(prop: Property) -> Any:
    return nullable_output(prop)
