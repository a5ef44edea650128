"""Proves with Arrow, many values at once, that Postgres will take them. Pure.

A proof is one-sided: a value that is proven satisfies the type and every rule of its property as
Postgres understands them; one that is not proven may still be good, and Postgres itself decides
(see checks.py). So every form accepted here must be one that Postgres reads the same way.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import pyarrow as pa

from stores.canonical.importing.arrow import compute as pc
from stores.contract.model import Property, Scalar

_YEAR = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_DATE = _YEAR + r"-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_SHORT_DATE = _YEAR + r"-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)"
_PRECISION = re.compile(r"(?<=time|tamp)\(\d\)")
_BOOLEANS = pa.array(["true", "false", "t", "f", "1", "0"])
_INTEGERS = {"smallint": (pa.int16(), 4), "integer": (pa.int32(), 9), "bigint": (pa.int64(), 18)}
_SAFE_PATTERN = re.compile(r"[\w \[\]\-{},+*?()|$^]*", re.ASCII)
_ODD_JSON = re.compile(r"\\u|[eE][+-]?[0-9]{4}")

Mask = Any
"""A boolean array, or None where every value is proven."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Values of an ordered type as Arrow reads them, NULL where `plain` is false."""

    typed: Any
    plain: Mask


def proven(
    column: Any, prop: Property, pg_type: str, index_bytes: int | None, sound: Mask = None
) -> Mask:
    """Return the mask of the values of a string array that are sure to be taken, or None where all
    are.

    `pg_type` is the type as format_type prints it; `index_bytes` the largest size of a value in an
    index, None where it is in none; `sound` as in Block.
    """
    if column.null_count == len(column):
        return None if not prop.required else pc.is_valid(column)
    mask = _array(prop, pg_type, sound) if prop.array else _by_type(column, prop, pg_type)
    if mask is False:
        return pc.and_(pc.is_null(column), not prop.required)
    if index_bytes is not None:
        mask = _both(mask, _small(column, index_bytes))
    if prop.enum and not prop.array:
        values = pa.array(list(prop.enum), pa.string())
        mask = _both(mask, pc.is_in(column, value_set=values))
    if column.null_count:
        # Comparisons with NULL give NULL; it is right where nothing is required.
        if mask is not None:
            mask = pc.fill_null(pc.or_kleene(mask, pc.is_null(column)), True)
        if prop.required:
            mask = _both(mask, pc.is_valid(column))
    return None if mask is None or pc.all(mask, min_count=0).as_py() else mask


def _both(one: Mask, other: Mask) -> Mask:
    if one is None:
        return other
    return one if other is None else pc.and_kleene(one, other)


def _by_type(column: Any, prop: Property, pg_type: str) -> Mask:
    """False where nothing can be proven."""
    pg_type = _PRECISION.sub("", pg_type)
    if prop.enum and prop.scalar is not Scalar.STRING:
        return False
    if pg_type == "text" or pg_type.startswith("character varying"):
        return _text(column, prop, pg_type)
    bounded = _bounds(prop)
    if pg_type in _INTEGERS:
        return _integers(column, prop, pg_type)
    if pg_type in ("double precision", "real"):
        return _floats(column, prop, pg_type)
    if pg_type.startswith("numeric"):
        return _decimals(column, prop, pg_type)
    if pg_type == "date":
        return _dates(column, prop)
    if bounded or prop.multiple_of is not None or _has_text_rules(prop):
        return False
    if pg_type == "boolean":
        return pc.is_in(column, value_set=_BOOLEANS)
    if pg_type in ("timestamp with time zone", "timestamp without time zone"):
        return _timestamps(column, zone=pg_type.endswith("with time zone"))
    if pg_type == "time without time zone":
        return pc.match_substring_regex(column, f"^{_CLOCK}$")
    if pg_type == "uuid":
        return pc.match_substring_regex(
            column, "^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
        )
    if pg_type in ("json", "jsonb"):
        return pa.array([v is None or _is_plain_json(v) for v in column.to_pylist()], pa.bool_())
    if pg_type == "bytea":
        return None
    return False


def _array(prop: Property, pg_type: str, sound: Mask) -> Mask:
    """Arrays of text whose elements keep no rule."""
    if pg_type != "text[]" or sound is None or prop.enum or _bounds(prop) or _has_text_rules(prop):
        return False
    return sound


def _has_text_rules(prop: Property) -> bool:
    return prop.pattern is not None or prop.min_length is not None or prop.max_length is not None


def _text(column: Any, prop: Property, pg_type: str) -> Mask:
    if _bounds(prop) or prop.multiple_of is not None:
        return False
    mask: Mask = None
    size = re.fullmatch(r"character varying(?:\((\d+)\))?", pg_type)
    declared = int(size[1]) if size and size[1] else None
    longest = min((n for n in (prop.max_length, declared) if n is not None), default=None)
    if longest is not None or prop.min_length is not None:
        lengths = pc.utf8_length(column)
        extremes = pc.min_max(lengths)
        if longest is not None and extremes["max"].as_py() > longest:
            mask = pc.less_equal(lengths, longest)
        if prop.min_length is not None and extremes["min"].as_py() < prop.min_length:
            mask = _both(mask, pc.greater_equal(lengths, prop.min_length))
    if prop.pattern is not None:
        if not _same_in_both(prop.pattern):
            return False
        mask = _both(mask, pc.match_substring_regex(column, prop.pattern))
    return mask


def _same_in_both(pattern: str) -> bool:
    """True for patterns that RE2 and Postgres's regular expressions surely understand alike."""
    if not _SAFE_PATTERN.fullmatch(pattern) or "(?" in pattern or pattern.startswith("***"):
        return False
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        return False
    return True


def _small(column: Any, most: int) -> Mask:
    sizes = pc.binary_length(column)
    if (pc.max(sizes).as_py() or 0) <= most:
        return None
    return pc.less_equal(sizes, most)


def _cast(column: Any, kind: Any, plain: Callable[[], Mask]) -> _Numbers:
    """The whole column cast, or that part of it that `plain` says is castable."""
    try:
        return _Numbers(pc.cast(column, kind), None)
    except pa.ArrowInvalid:
        mask = plain()
        kept = pc.if_else(pc.fill_null(mask, False), column, pa.scalar(None, pa.string()))
        return _Numbers(pc.cast(kept, kind), mask)


def _bounds(prop: Property) -> list[tuple[Callable[[Any, Any], Any], str]]:
    found = (
        (pc.greater_equal, prop.minimum),
        (pc.less_equal, prop.maximum),
        (pc.greater, prop.exclusive_minimum),
        (pc.less, prop.exclusive_maximum),
    )
    return [(compare, text) for compare, text in found if text is not None]


def _within(numbers: _Numbers, prop: Property, bound: Callable[[str], Any], kind: Any) -> Mask:
    """`plain` and the property's bounds; False where a bound cannot be expressed in `kind`."""
    mask = numbers.plain
    for compare, text in _bounds(prop):
        try:
            scalar = pa.scalar(bound(text), kind)
        except (ValueError, ArithmeticError, pa.ArrowException):
            return False
        holds = compare(numbers.typed, scalar)
        if not pc.all(holds, min_count=0).as_py():
            mask = _both(mask, holds)
    return mask


def _integers(column: Any, prop: Property, pg_type: str) -> Mask:
    kind, digits = _INTEGERS[pg_type]

    def plain() -> Mask:
        return pc.match_substring_regex(column, f"^-?[0-9]{{1,{digits}}}$")

    if _has_text_rules(prop):
        return False
    if pc.any(pc.match_substring(column, "x", ignore_case=True)).as_py():
        # Arrow reads 0xFF as two's complement, Postgres as a number.
        kept = plain()
        numbers = _Numbers(pc.cast(pc.if_else(pc.fill_null(kept, False), column, None), kind), kept)
    else:
        numbers = _cast(column, kind, plain)
    mask = _within(numbers, prop, int, pa.int64())
    if mask is False or prop.multiple_of is None:
        return mask
    try:
        step = int(prop.multiple_of)
    except ValueError:
        return False
    if step <= 0:
        return False
    rest = pc.modulo(pc.cast(numbers.typed, pa.int64()), pa.scalar(step, pa.int64()))
    return _both(mask, pc.equal(rest, 0))


def _floats(column: Any, prop: Property, pg_type: str) -> Mask:
    if prop.multiple_of is not None or _has_text_rules(prop):
        return False

    def plain() -> Mask:
        return pc.match_substring_regex(column, r"^-?[0-9]{1,15}(?:\.[0-9]{1,20})?$")

    numbers = _cast(column, pa.float64(), plain)
    low, high = (1e-300, 1.7e308) if pg_type == "double precision" else (1.2e-38, 3.4e38)
    size = pc.abs(numbers.typed)
    usual = pc.and_(pc.greater(size, low), pc.less(size, high))
    if numbers.plain is None and not pc.all(usual, min_count=0).as_py():
        # Zero by underflow, infinities and NaN: only what is plainly zero is proven.
        zero = pc.match_substring_regex(column, r"^-?0{1,15}(?:\.0{1,20})?$")
        numbers = _Numbers(numbers.typed, pc.or_(usual, zero))
    elif numbers.plain is not None and pg_type == "real":
        numbers = _Numbers(numbers.typed, _both(numbers.plain, usual))
    if pg_type == "real" and _bounds(prop):
        return False
    return _within(numbers, prop, float, pa.float64())


def _decimals(column: Any, prop: Property, pg_type: str) -> Mask:
    if prop.multiple_of is not None or _has_text_rules(prop):
        return False
    declared = re.fullmatch(r"numeric\((\d+),(\d+)\)", pg_type)
    precision, scale = (int(declared[1]), int(declared[2])) if declared else (70, 35)
    if precision > 76 or not 0 <= scale <= precision:
        return False
    whole = precision - scale
    shape = rf"^-?[0-9]{{1,{max(whole, 1)}}}" + (rf"(?:\.[0-9]{{1,{scale}}})?$" if scale else "$")

    def plain() -> Mask:
        mask = pc.match_substring_regex(column, shape)
        return mask if whole else pc.and_(mask, pc.match_substring_regex(column, r"^-?0"))

    kind = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    try:
        numbers = _cast(column, kind, plain)
    except pa.ArrowInvalid:
        return False
    try:
        return _within(numbers, prop, lambda text: Decimal(text), kind)
    except InvalidOperation:
        return False


def _dates(column: Any, prop: Property) -> Mask:
    if prop.multiple_of is not None or _has_text_rules(prop):
        return False
    numbers = _cast(
        column, pa.date32(), lambda: pc.match_substring_regex(column, f"^{_SHORT_DATE}$")
    )
    first = pa.scalar(datetime.date(1, 1, 1), pa.date32())
    real = pc.greater_equal(numbers.typed, first)
    if not pc.all(real, min_count=0).as_py():
        numbers = _Numbers(numbers.typed, _both(numbers.plain, real))
    return _within(numbers, prop, datetime.date.fromisoformat, pa.date32())


def _timestamps(column: Any, *, zone: bool) -> Mask:
    tail = f"(?:[ T]{_CLOCK}" + (f"{_ZONE}?)" if zone else ")")
    mask = pc.match_substring_regex(column, f"^{_DATE}{tail}$")
    short = pc.match_substring_regex(column, f"^{_SHORT_DATE}")
    if not pc.all(short, min_count=0).as_py():
        days = pc.utf8_slice_codeunits(pc.if_else(mask, column, None), 0, 10)
        try:
            pc.cast(days, pa.date32())
        except pa.ArrowInvalid:
            return pc.and_kleene(mask, short)
    return mask


def _is_plain_json(text: str) -> bool:
    if _ODD_JSON.search(text):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return len(text) < 100_000
