"""Orders and cursors as SQL: null-safe keyset conditions over columns of any direction."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from gateway.compiler.conditions import FALSE, both, either
from gateway.compiler.statement import Binder
from gateway.shape.open_values import Deferred


@dataclass(frozen=True, slots=True)
class Key:
    """One step of an order, resolved: its expression, whether it can be NULL, its parameters'
    type."""

    expression: sql.Composable
    descending: bool
    nulls_first: bool
    nullable: bool
    cast: str

    def reversed(self) -> Key:
        return Key(
            self.expression, not self.descending, not self.nulls_first, self.nullable, self.cast
        )


def order_by(keys: list[Key]) -> sql.Composable:
    parts: list[sql.Composable] = []
    for key in keys:
        # Left off where it is the rule anyway or says nothing: a plain index serves the order then.
        nulls = ""
        if key.nullable and key.nulls_first != key.descending:
            nulls = " NULLS FIRST" if key.nulls_first else " NULLS LAST"
        parts.append(key.expression + sql.SQL((" DESC" if key.descending else "") + nulls))
    return sql.SQL(" ORDER BY ") + sql.SQL(", ").join(parts)


def beyond(
    keys: list[Key],
    values: tuple[str | Deferred | None, ...],
    binder: Binder,
    *,
    inclusive: bool = False,
) -> sql.Composable:
    """The rows that come after `values` in the order of `keys`, or at them where `inclusive`."""
    bound = [
        None if value is None else binder.bind(value, key.cast)
        for key, value in zip(keys, values, strict=True)
    ]
    uniform = len({key.descending for key in keys}) == 1 and not any(k.nullable for k in keys)
    if uniform and all(b is not None for b in bound):
        return _rows(keys, [b for b in bound if b is not None], inclusive)
    ways: list[sql.Composable] = []
    equal: list[sql.Composable] = []
    for key, value in zip(keys, bound, strict=True):
        after = _after(key, value)
        if after is not None:
            ways.append(both([*equal, after]))
        same = sql.SQL("{} IS NULL") if value is None else sql.SQL("{} = {}")
        equal.append(same.format(key.expression, value or sql.SQL("")))
    if inclusive:
        ways.append(both(equal))
    conditions = [either(ways) if ways else FALSE]
    first = keys[0]
    if not first.nullable and bound[0] is not None:
        # Implied by the rest; it is what an index can be entered at.
        sign = sql.SQL("<=" if first.descending else ">=")
        conditions.append(sql.SQL("{} {} {}").format(first.expression, sign, bound[0]))
    return both(conditions)


def _rows(keys: list[Key], bound: list[sql.Composable], inclusive: bool) -> sql.Composable:
    """All in one direction and never NULL: a row comparison, which an index serves whole."""
    sign = ("<" if keys[0].descending else ">") + ("=" if inclusive else "")
    left = sql.SQL(", ").join([k.expression for k in keys])
    return sql.SQL("(({}) {} ({}))").format(left, sql.SQL(sign), sql.SQL(", ").join(bound))


def _after(key: Key, value: sql.Composable | None) -> sql.Composable | None:
    """Strictly after `value` (None: NULL) in this step; None where nothing can be."""
    if value is None:
        return sql.SQL("{} IS NOT NULL").format(key.expression) if key.nulls_first else None
    sign = sql.SQL("<" if key.descending else ">")
    beyond = sql.SQL("{} {} {}").format(key.expression, sign, value)
    if key.nullable and not key.nulls_first:
        return sql.SQL("({} OR {} IS NULL)").format(beyond, key.expression)
    return beyond
