"""Measures of floats as SQL that no value can fail: NaN and the infinities are missing, as they are
shown, and a result that a float cannot hold is an infinity, which the answer says of its field
alone.

Postgres adds floats up in a float, and gives up the whole statement where that overflows. So values
near the end of the range are added up apart, made smaller by a power of two, which costs no digit.
"""

from __future__ import annotations

from psycopg import sql

from gateway.compiler.json_text import MARK, Json, as_sql
from stores.contract.model import Property, Scalar

OUT_OF_RANGE = "out of range"
"""Stands, marked, where a result is that the field's type cannot hold."""

_LARGE = "1e290"
"""The smallest large value: fewer than 1e18 smaller ones cannot overflow together."""
_SCALE = "18446744073709551616::float8"
_MOST = "1.797693134862315e308::float8"
_SMALL_ONES = f"FILTER (WHERE abs({{0}}) < {_LARGE})"
_LARGE_ONES = f"FILTER (WHERE abs({{0}}) >= {_LARGE} AND abs({{0}}) < 'Infinity')"


def float_sum(value: sql.Composable) -> sql.Composable:
    text = (
        f"CASE WHEN sum({{1}} / {_SCALE}) {_LARGE_ONES} IS NULL THEN sum({{1}}) {_SMALL_ONES}"
        f" WHEN abs(sum({{1}} / {_SCALE}) {_LARGE_ONES}) > {_MOST} / {_SCALE}"
        f" THEN sign(sum({{1}} / {_SCALE}) {_LARGE_ONES}) * 'Infinity'::float8"
        f" ELSE sum({{1}} / {_SCALE}) {_LARGE_ONES} * {_SCALE} + coalesce(sum({{1}}) "
        f"{_SMALL_ONES}, 0) END"
    )
    return _over(text, value)


def float_average(value: sql.Composable) -> sql.Composable:
    """Never out of range: it lies between the least and the greatest value."""
    count = "count({0}) FILTER (WHERE abs({0}) < 'Infinity')"
    text = (
        f"CASE WHEN sum({{1}} / {_SCALE}) {_LARGE_ONES} IS NULL THEN avg({{1}}) {_SMALL_ONES}"
        f" ELSE sum({{1}} / {_SCALE}) {_LARGE_ONES} / {count} * {_SCALE} END"
    )
    return _over(text, value)


def _over(text: str, value: sql.Composable) -> sql.Composable:
    """`{1}` is the value as a double: a sum of reals would be a real."""
    return sql.SQL(text).format(value, sql.SQL("{}::float8").format(value))


def percentile(prop: Property, fraction: float, value: sql.Composable) -> sql.Composable:
    """Return the percentile of the property. The greatest or the least double stands in the place
    of a decimal beyond a double's range."""
    if prop.scalar is Scalar.DECIMAL:
        # A decimal's NaN is beyond all numbers.
        plain: sql.Composable = sql.SQL(
            "CASE WHEN {0} > 1e308 THEN 'Infinity' WHEN {0} < -1e308 THEN '-Infinity' ELSE {0} END"
        ).format(value)
    elif prop.scalar is not Scalar.FLOAT:
        plain = value
    else:
        plain = sql.SQL("CASE WHEN abs({0}) < 'Infinity' THEN {0} END").format(value)
    return sql.SQL("percentile_cont({}) WITHIN GROUP (ORDER BY ({})::float8)").format(
        sql.Literal(fraction), plain
    )


def in_range(place: sql.Composable, text: Json) -> sql.Composable:
    """`text`, the JSON of the measure at `place`, or the marked word where that is no number."""
    word = sql.Literal(f'{MARK.decode()}"{OUT_OF_RANGE}"')
    return sql.SQL(
        "CASE WHEN {0} IN ('Infinity', '-Infinity', 'NaN') THEN {1} ELSE {2} END"
    ).format(place, word, as_sql(text))
