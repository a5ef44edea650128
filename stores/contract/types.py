"""The type of a property: `logicalType`, its options and `physicalType` → Postgres type and
scalar."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stores.contract.model import Logical, Scalar
from stores.contract.node import Node

INT_BITS = {"smallint": 16, "integer": 32, "bigint": 64}

_FORMATS: dict[str, tuple[str, int | None, int | None]] = {
    "i8": ("smallint", -(2**7), 2**7 - 1),
    "i16": ("smallint", None, None),
    "i32": ("integer", None, None),
    "int32": ("integer", None, None),
    "i64": ("bigint", None, None),
    "int64": ("bigint", None, None),
    "i128": ("numeric(39,0)", -(2**127), 2**127 - 1),
    "u8": ("smallint", 0, 2**8 - 1),
    "u16": ("integer", 0, 2**16 - 1),
    "u32": ("bigint", 0, 2**32 - 1),
    "u64": ("numeric(20,0)", 0, 2**64 - 1),
    "u128": ("numeric(39,0)", 0, 2**128 - 1),
}
"""ODCS's integer formats: the column's type, and the bounds that the type does not keep by itself.
"""

_ALIASES = {
    "int": "integer", "int2": "smallint", "int4": "integer", "int8": "bigint",
    "float4": "real", "float8": "double precision", "float": "double precision",
    "double": "double precision", "decimal": "numeric", "bool": "boolean",
    "string": "text", "varchar": "character varying", "char": "character", "bpchar": "character",
    "timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone",
    "time": "time without time zone",
}  # fmt: skip

_SCALARS = {
    "text": Scalar.STRING, "character varying": Scalar.STRING, "character": Scalar.STRING,
    "uuid": Scalar.UUID, "bytea": Scalar.BYTES, "smallint": Scalar.INT, "integer": Scalar.INT,
    "bigint": Scalar.BIGINT, "real": Scalar.FLOAT, "double precision": Scalar.FLOAT,
    "numeric": Scalar.DECIMAL, "boolean": Scalar.BOOLEAN, "date": Scalar.DATE,
    "timestamp with time zone": Scalar.TIMESTAMP, "timestamp without time zone": Scalar.DATETIME,
    "time without time zone": Scalar.TIME, "jsonb": Scalar.JSON, "json": Scalar.JSON,
}  # fmt: skip

FITS: dict[Logical, frozenset[Scalar]] = {
    Logical.STRING: frozenset((Scalar.STRING, Scalar.UUID, Scalar.BYTES)),
    Logical.INTEGER: frozenset((Scalar.INT, Scalar.BIGINT, Scalar.DECIMAL)),
    Logical.NUMBER: frozenset((Scalar.FLOAT, Scalar.DECIMAL)),
    Logical.BOOLEAN: frozenset((Scalar.BOOLEAN,)),
    Logical.DATE: frozenset((Scalar.DATE,)),
    Logical.TIMESTAMP: frozenset((Scalar.TIMESTAMP, Scalar.DATETIME)),
    Logical.TIME: frozenset((Scalar.TIME,)),
    Logical.OBJECT: frozenset((Scalar.JSON,)),
    Logical.ARRAY: frozenset((Scalar.JSON,)),
}

_PLAIN: dict[Logical, tuple[str, Scalar]] = {
    Logical.STRING: ("text", Scalar.STRING),
    Logical.INTEGER: ("bigint", Scalar.BIGINT),
    Logical.NUMBER: ("double precision", Scalar.FLOAT),
    Logical.BOOLEAN: ("boolean", Scalar.BOOLEAN),
    Logical.DATE: ("date", Scalar.DATE),
    Logical.TIMESTAMP: ("timestamp with time zone", Scalar.TIMESTAMP),
    Logical.TIME: ("time without time zone", Scalar.TIME),
    Logical.OBJECT: ("jsonb", Scalar.JSON),
    Logical.ARRAY: ("jsonb", Scalar.JSON),
}

FOREIGN_TYPE = re.compile(
    r"""(?:(?:"[^"\x00-\x1f]{1,63}"|[a-z_][a-z0-9_$]*)\.)?
        (?:"[^"\x00-\x1f]{1,63}"|bit\ varying|[a-z_][a-z0-9_$]*)(?:\(\d+(?:,-?\d+)?\))?(?:\[\])?""",
    re.VERBOSE,
)
"""Any other type as `format_type` prints it: nothing in it can end or change a statement."""

KNOWN_PHYSICAL = (
    "text, varchar(n), char(n), uuid, bytea, smallint, integer, bigint, real, double precision, "
    "numeric(p,s), boolean, date, timestamp, timestamptz, time, jsonb, and arrays of these: text[]"
)


@dataclass(frozen=True, slots=True)
class TypeOf:
    """The resolved type of a property. `least` and `most` are the bounds that its format
    implies."""

    logical: Logical
    scalar: Scalar
    sql_type: str
    array: bool = False
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Physical:
    """A Postgres type as `format_type` prints it; `base` is without length, precision and `[]`."""

    base: str
    sql_type: str
    array: bool
    scalar: Scalar | None


def parse_physical(text: str) -> Physical | None:
    """Parse a type such as `varchar(10)`, `timestamp(3) with time zone` or `text[]`; None if it is
    not one."""
    lowered = " ".join(text.lower().split())
    match = re.fullmatch(
        r"([a-z][a-z0-9 ]*?) ?(?:\( ?(\d{1,9})(?: ?, ?(-?\d{1,5}))? ?\))?"
        r"( with time zone| without time zone)? ?((?:\[\d*\])*|array)",
        lowered,
    )
    if not match:
        return None
    name, first, second, zone, brackets = match.groups()
    base = _ALIASES.get(name, name)
    if zone:
        base = base.removesuffix(" with time zone").removesuffix(" without time zone") + zone
    modifier = ""
    if first is not None:
        if second is None and base == "numeric":
            second = "0"
        modifier = f"({first},{second})" if second is not None else f"({first})"
    elif base == "character":
        modifier = "(1)"
    if not _modifier_fits(base, first, second):
        return None
    head, _, tail = base.partition(" with")
    timed = base.startswith(("timestamp", "time "))
    sql = f"{head}{modifier} with{tail}" if timed and tail else base + modifier
    return Physical(base, sql + ("[]" if brackets else ""), bool(brackets), _SCALARS.get(base))


def _modifier_fits(base: str, first: str | None, second: str | None) -> bool:
    if first is None:
        return True
    if base == "numeric":
        return 1 <= int(first) <= 1000 and -1000 <= int(second or 0) <= 1000
    if base in ("character varying", "character"):
        return second is None and 1 <= int(first) <= 10_485_760
    if base.startswith(("timestamp", "time ")):
        return second is None and int(first) <= 6
    return base not in _SCALARS


def type_of(node: Node, *, managed: bool) -> TypeOf | None:
    """Return the type of the property at `node`, or None with a finding if it cannot be stored."""
    name = node.text("name") or "this property"
    logical_text = node.text("logicalType")
    if not logical_text:
        node.report(
            "MISSING_TYPE", f"{name} has no logicalType", "add one: string, integer, …", at_key=True
        )
        return None
    if logical_text == "map":
        logical_text = "object"
    if logical_text == "vector":
        node.get("logicalType").report(
            "UNSUPPORTED_TYPE",
            f"{name} is a vector; recordgate does not store vectors yet",
            "use an array of number, or leave the property out",
        )
        return None
    if logical_text not in tuple(Logical):
        return None  # the JSON schema has said so
    logical = Logical(logical_text)
    if node.has("physicalType"):
        return _physical(node, name, logical, managed)
    options = node.get("logicalTypeOptions")
    form = options.text("format")
    if logical is Logical.INTEGER:
        return _integer(node, options, form)
    if logical is Logical.NUMBER and form == "f32":
        return TypeOf(logical, Scalar.FLOAT, "real")
    if logical is Logical.STRING and form == "uuid":
        return TypeOf(logical, Scalar.UUID, "uuid")
    if logical is Logical.STRING and form in ("byte", "binary"):
        return TypeOf(logical, Scalar.BYTES, "bytea")
    if logical is Logical.TIMESTAMP and options.get("timezone").data is False:
        return TypeOf(logical, Scalar.DATETIME, "timestamp without time zone")
    if logical is Logical.ARRAY:
        return _array(node, name, managed)
    sql_type, scalar = _PLAIN[logical]
    return TypeOf(logical, scalar, sql_type)


def _integer(node: Node, options: Node, form: str) -> TypeOf:
    if form in _FORMATS:
        sql_type, least, most = _FORMATS[form]
    else:
        sql_type, least, most = "bigint", None, None
        low, high = options.get("minimum").data, options.get("maximum").data
        if (
            isinstance(low, int | float)
            and isinstance(high, int | float)
            and -(2**31) <= low <= high < 2**31
        ):
            sql_type = "integer"
    base = sql_type.partition("(")[0]
    return TypeOf(Logical.INTEGER, _SCALARS[base], sql_type, least=least, most=most)


def _array(node: Node, name: str, managed: bool) -> TypeOf | None:
    items = node.get("items")
    if not isinstance(items.data, dict):
        node.report(
            "MISSING_TYPE",
            f"{name} is an array without items",
            "declare its elements: items: {name: item, logicalType: string}",
            at_key=True,
        )
        return None
    inner = type_of(items, managed=managed)
    if inner is None:
        return None
    if inner.array or inner.scalar is Scalar.JSON:
        return TypeOf(Logical.ARRAY, Scalar.JSON, "jsonb")
    if inner.scalar is Scalar.BYTES:
        items.report("UNSUPPORTED_TYPE", f"{name} is an array of bytes", "use a jsonb array")
        return None
    return TypeOf(Logical.ARRAY, inner.scalar, f"{inner.sql_type}[]", True, inner.least, inner.most)


def _physical(node: Node, name: str, logical: Logical, managed: bool) -> TypeOf | None:
    """Return the type that a given physicalType names. It takes precedence, and must fit the
    logical type."""
    text = node.text("physicalType").strip()
    at = node.get("physicalType")
    found = parse_physical(text)
    if found is None or found.scalar is None:
        if not managed:
            return _foreign(node, name, logical, text)
        hint = f"known types: {KNOWN_PHYSICAL}"
        if found is not None and found.base in ("serial", "bigserial", "smallserial"):
            hint = "use integer or bigint; recordgate does not generate keys"
        elif found is not None and found.base in ("citext", "hstore", "vector"):
            hint = f"it needs an extension of Postgres; {hint}"
        at.report("UNKNOWN_PHYSICAL_TYPE", f"{name}: unknown physicalType {text!r}", hint)
        return None
    if found.base == "json" and managed:
        at.report("TYPE_CONFLICT", f"{name}: json has no equality in Postgres", "use jsonb")
        return None
    scalar = found.scalar
    if logical is Logical.ARRAY and found.array:
        if node.has("items"):
            inner = type_of(node.get("items"), managed=managed)
            if inner is not None and (inner.array or inner.scalar is not scalar):
                at.report(
                    "TYPE_CONFLICT",
                    f"{name}: physicalType {text!r} does not hold items of {inner.sql_type}",
                )
                return None
        if scalar in (Scalar.BYTES, Scalar.JSON):
            at.report("UNSUPPORTED_TYPE", f"{name}: an array of {found.base}", "use jsonb")
            return None
        return TypeOf(logical, scalar, found.sql_type, True)
    if found.array or scalar not in FITS[logical]:
        at.report(
            "TYPE_CONFLICT",
            f"{name}: physicalType {text!r} does not hold a logicalType {logical.value}",
            "change one of them",
        )
        return None
    if (
        logical is Logical.INTEGER
        and scalar is Scalar.DECIMAL
        and not found.sql_type.endswith(",0)")
    ):
        at.report(
            "TYPE_CONFLICT", f"{name}: {text!r} is not an integer", "use numeric(p,0) or bigint"
        )
        return None
    return TypeOf(logical, scalar, found.sql_type)


def _foreign(node: Node, name: str, logical: Logical, text: str) -> TypeOf | None:
    """Return a type of the attached database (an enum, a domain, inet, …), read in its text form
    or as the base type that the logical type implies."""
    array = text.endswith("[]")
    if not FOREIGN_TYPE.fullmatch(text):
        node.get("physicalType").report(
            "UNKNOWN_PHYSICAL_TYPE",
            f"{name}: {text[:80]!r} is not a type name",
            "write it as Postgres' format_type prints it",
        )
        return None
    if logical is Logical.ARRAY:
        inner = type_of(node.get("items"), managed=False) if node.has("items") else None
        scalar = inner.scalar if inner else Scalar.STRING
        if not array or scalar in (Scalar.BYTES, Scalar.JSON):
            node.get("physicalType").report(
                "TYPE_CONFLICT", f"{name}: {text!r} is not an array of that type"
            )
            return None
        return TypeOf(logical, scalar, text, True)
    options = node.get("logicalTypeOptions")
    scalar = _PLAIN[logical][1]
    if logical is Logical.TIMESTAMP and options.get("timezone").data is False:
        scalar = Scalar.DATETIME
    elif logical is Logical.STRING and options.text("format") == "uuid":
        scalar = Scalar.UUID
    elif logical is Logical.STRING and options.text("format") in ("byte", "binary"):
        scalar = Scalar.BYTES
    elif logical is Logical.INTEGER and options.text("format") in ("i16", "i32"):
        scalar = Scalar.INT
    return TypeOf(logical, scalar, text)
