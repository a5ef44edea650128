"""Filters as SQL. A comparison never matches a missing value, and `not` is the plain opposite of
its part, as in the other stores: SQL's third truth value does not leak out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from psycopg import sql

from gateway.compiler.statement import Binder, base_type, cast_of, column, comparable, table_of
from gateway.shape.open_values import Deferred
from stores.contract.model import Contract, Property, RecordType, Relation, Scalar
from stores.patterns import PATTERNS, for_postgres, pattern_of
from stores.query import EVERYTHING, And, Filter, Not, Op, Or, Related
from stores.values import to_text

_SIGNS = {
    Op.EQ: "=", Op.NEQ: "<>", Op.GT: ">", Op.GTE: ">=", Op.LT: "<", Op.LTE: "<=",
}  # fmt: skip

TRUE = sql.SQL("TRUE")
FALSE = sql.SQL("FALSE")


@dataclass(slots=True)
class Conditions:
    """Compiles filters into `binder`. `rows` says which rows of a type the viewer may see."""

    contract: Contract
    binder: Binder
    rows: Callable[[RecordType], Filter]

    def visible(self, record_type: RecordType, alias: sql.SQL) -> list[sql.Composable]:
        """The row filter of the viewer; it is taken as it is written, without those of other
        types."""
        rows = self.rows(record_type)
        return [] if rows == EVERYTHING else [self._filter(record_type, rows, alias, inner=False)]

    def filter(self, record_type: RecordType, part: Filter, alias: sql.SQL) -> list[sql.Composable]:
        """Conditions that all must hold, none for everything."""
        if part == EVERYTHING:
            return []
        return [self._filter(record_type, part, alias, inner=True)]

    def _filter(
        self, record_type: RecordType, part: Filter, alias: sql.SQL, *, inner: bool
    ) -> sql.Composable:
        if isinstance(part, And | Or):
            if not part.parts:
                return TRUE if isinstance(part, And) else FALSE
            several = [self._filter(record_type, p, alias, inner=inner) for p in part.parts]
            return both(several) if isinstance(part, And) else either(several)
        if isinstance(part, Not):
            below = self._filter(record_type, part.part, alias, inner=inner)
            return sql.SQL("(({}) IS NOT TRUE)").format(below)
        if isinstance(part, Related):
            return self._related(record_type, part, alias, inner=inner)
        prop = record_type.by_name[part.property]
        return self.compare(prop, part.op, part.value, column(alias, prop.column))

    def _related(
        self, record_type: RecordType, part: Related, alias: sql.SQL, *, inner: bool
    ) -> sql.Composable:
        relation = record_type.relation_by_name[part.relation]
        target = self.contract.types[relation.target]
        other = self.binder.alias()
        conditions = linked(relation, alias, other)
        if inner:
            conditions += self.visible(target, other)
        if part.filter != EVERYTHING:
            conditions.append(self._filter(target, part.filter, other, inner=inner))
        return sql.SQL("EXISTS (SELECT FROM {} {} WHERE {})").format(
            table_of(target), other, both(conditions)
        )

    def compare(
        self, prop: Property, op: Op, value: Any, expression: sql.Composable
    ) -> sql.Composable:
        """One comparison of `expression`, whose type is the property's."""
        if prop.scalar is Scalar.FLOAT and not prop.array:
            return self._compare_float(prop, op, value, expression)
        return self._compare(prop, op, value, expression)

    def _compare_float(
        self, prop: Property, op: Op, value: Any, expression: sql.Composable
    ) -> sql.Composable:
        """NaN and the infinities are missing, as they are shown. An index serves each part."""
        above = sql.SQL("{} > '-Infinity'").format(expression)
        below = sql.SQL("{} < 'Infinity'").format(expression)  # NaN is greater
        if op is Op.IS_NULL:
            return sql.SQL("({}) IS NOT TRUE" if value else "({})").format(both([above, below]))
        finite = {
            Op.GT: [below], Op.GTE: [below], Op.LT: [above], Op.LTE: [above],
            Op.NEQ: [above, below], Op.NOT_IN: [above, below],
        }.get(op, [])  # fmt: skip
        return both([self._compare(prop, op, value, expression), *finite])

    def _compare(
        self, prop: Property, op: Op, value: Any, expression: sql.Composable
    ) -> sql.Composable:
        if op is Op.IS_NULL:
            return sql.SQL("{} IS NULL" if value else "{} IS NOT NULL").format(expression)
        expression = comparable(prop, expression)
        cast = cast_of(prop)
        if op in (Op.IN, Op.NOT_IN):
            if not value:
                return FALSE if op is Op.IN else sql.SQL("{} IS NOT NULL").format(expression)
            texts = now_or_late(value, lambda values: [operand_text(prop, v) for v in values])
            bound = self.binder.bind(texts, cast, many=True)
            form = "{} = ANY ({})" if op is Op.IN else "{} <> ALL ({})"
            return sql.SQL(form).format(expression, bound)
        if op is Op.CONTAINS and prop.array:
            # `@>` and not `= ANY`: a GIN index serves it.
            text = now_or_late(value, lambda v: [operand_text(prop, v)])
            bound = self.binder.bind(text, "text", many=True)
            return sql.SQL("{} @> {}::{}").format(expression, bound, sql.SQL(_array(prop)))
        if op in PATTERNS:
            # By code points: no collation has a say, and an undetermined one is refused.
            pattern = now_or_late(value, lambda v: for_postgres(pattern_of(op, v)))
            bound = self.binder.bind(pattern, "text")
            return sql.SQL('({}::text COLLATE "C" ~ {})').format(expression, bound)
        bound = self.binder.bind(now_or_late(value, lambda v: operand_text(prop, v)), cast)
        if op is Op.ENDS_WITH:
            return sql.SQL(
                '(right({}::text, char_length({}::text)) COLLATE "C" = {}::text)'
            ).format(expression, bound, bound)
        if op is Op.CONTAINS:
            return sql.SQL("(strpos({}::text, {}::text) > 0)").format(expression, bound)
        if op is Op.STARTS_WITH:
            return sql.SQL("starts_with({}::text, {}::text)").format(expression, bound)
        return sql.SQL("{} {} {}").format(expression, sql.SQL(_SIGNS[op]), bound)


def _array(prop: Property) -> str:
    """The array type of an array property; its elements' modifiers are left off."""
    return f"{base_type(prop.sql_type)}[]"


def linked(
    relation: Relation, here: sql.SQL | Callable[[str], sql.Composable], there: sql.SQL
) -> list[sql.Composable]:
    """The conditions that join the record `here` with its related ones `there`."""
    return [
        sql.SQL("{} = {}").format(column(there, b), here(a) if callable(here) else column(here, a))
        for a, b in zip(relation.columns, relation.target_columns, strict=True)
    ]


def now_or_late(value: Any, convert: Callable[[Any], Any]) -> Any:
    """`convert` of `value`, or of what each request has in its place."""
    return value.then(convert) if isinstance(value, Deferred) else convert(value)


def operand_text(prop: Property, value: Any) -> str:
    """A value as text that Postgres reads back exactly; unlike `to_text` it does not round to a
    scale."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if prop.array:
        prop = _element_of(prop)
    return to_text(prop, value)


def _element_of(prop: Property) -> Property:
    return replace(prop, array=False)


def both(parts: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("(") + sql.SQL(" AND ").join(parts) + sql.SQL(")") if parts else TRUE


def either(parts: Sequence[sql.Composable]) -> sql.Composable:
    return sql.SQL("(") + sql.SQL(" OR ").join(parts) + sql.SQL(")") if parts else FALSE
