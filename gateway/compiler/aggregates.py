"""Aggregates as SQL: groups, measures, having and order in one statement that yields a JSON
array."""

from __future__ import annotations

from psycopg import sql

from gateway.compiler.conditions import both, linked
from gateway.compiler.float_measures import float_average, float_sum, in_range, percentile
from gateway.compiler.joins import Joins
from gateway.compiler.json_text import Json, as_sql, object_text, value_text
from gateway.compiler.keysets import Key, order_by
from gateway.compiler.masks import bound_by
from gateway.compiler.selects import Compiler, where_clause
from gateway.compiler.statement import Statement, cast_of, column, comparable, table_of
from gateway.shape.aggregates import AggregateShape, Group, Measure, Part, Term, result_of
from gateway.shape.shapes import TypeName
from gateway.shape.visibility import Form
from stores.canonical.json_form import finite
from stores.contract.model import Property, Relation, Scalar


def _shown(prop: Property, expression: sql.Composable) -> sql.Composable:
    """The value by which records are grouped and counted: what is shown of it."""
    return finite(expression) if prop.scalar is Scalar.FLOAT else comparable(prop, expression)


def compile_aggregate(compiler: Compiler, shape: AggregateShape) -> Statement:
    """The groups as a JSON array, in order."""
    return _Aggregate(compiler, shape).statement()


class _Aggregate:
    def __init__(self, compiler: Compiler, shape: AggregateShape) -> None:
        self.compiler = compiler
        self.shape = shape
        self.table = compiler.binder.alias()
        self.joins = Joins()
        self.related: dict[str, sql.SQL] = {}
        """The aliases of the records that groups are related to, by relation."""
        self.columns: dict[Term, sql.SQL] = {}
        """The terms that the answer shows, by the column that they have in the inner select."""

    def statement(self) -> Statement:
        shape, conditions = self.shape, self.compiler.conditions
        members = as_sql(object_text([(p.key, self._member(p)) for p in shape.parts]))
        where = conditions.visible(shape.type, self.table)
        where += conditions.filter(shape.type, shape.filter, self.table)
        having = [
            conditions.compare(
                result_of(h.measure.function, h.measure.property),
                h.op,
                h.value,
                self._term(h.measure),
            )
            for h in shape.having
        ]
        order = [self._key(term, *direction.value) for term, direction in shape.order]
        columns: list[sql.Composable] = [
            sql.SQL("{} AS {}").format(self._term(t), name) for t, name in self.columns.items()
        ]
        group = self._group_by()
        text = sql.SQL(
            "SELECT '[' || coalesce(string_agg({members}, ',' ORDER BY r.n), '') || ']' FROM"
            " (SELECT row_number() OVER () AS n, s.* FROM (SELECT {columns} FROM {table} {alias}"
            "{joins}{where}{group}{having}{order} LIMIT {limit}) s) r"
        ).format(
            members=members,
            columns=sql.SQL(", ").join(columns or [sql.SQL("count(*) AS c")]),
            table=table_of(shape.type),
            alias=self.table,
            joins=self.joins.text(),
            where=where_clause(where),
            group=group,
            having=sql.SQL(" HAVING ") + both(having) if having else sql.SQL(""),
            order=order_by(order) if order else sql.SQL(""),
            limit=sql.Literal(shape.limit),
        )
        return self.compiler.binder.statement(text)

    def _group_by(self) -> sql.Composable:
        if not self.shape.groups:
            return sql.SQL("")
        columns = [self._term(group) for group in self.shape.groups]
        return sql.SQL(" GROUP BY ") + sql.SQL(", ").join(columns)

    def _member(self, part: Part) -> Json:
        if isinstance(part.value, TypeName):
            return f'"{part.value.name}"'
        if isinstance(part.value, tuple):
            return object_text([(p.key, self._member(p)) for p in part.value])
        term = part.value
        name = self.columns.setdefault(term, sql.SQL(f"c{len(self.columns)}"))
        prop = term.property if isinstance(term, Group) else result_of(term.function, term.property)
        assert prop is not None
        place = sql.SQL("r.") + name
        text = value_text(
            prop, place, Form.PLAIN, bound_by(self.compiler.binder, None), required=False
        )
        if isinstance(term, Measure) and prop.scalar is Scalar.FLOAT:
            return in_range(place, text)
        return text

    def _term(self, term: Term) -> sql.Composable:
        if term.property is None:
            return sql.SQL("count(*)")
        if isinstance(term, Group):
            alias = self.table if term.relation is None else self._related(term.relation)
            return _shown(term.property, column(alias, term.property.column))
        value = column(self.table, term.property.column)
        if term.function == "countDistinct":
            return sql.SQL("count(DISTINCT {})").format(_shown(term.property, value))
        if term.fraction is not None:
            return percentile(term.property, term.fraction, value)
        if term.function in ("min", "max"):
            form = sql.SQL("{}({})")
            return form.format(sql.SQL(term.function), _shown(term.property, value))
        if term.property.scalar is Scalar.FLOAT:
            return float_sum(value) if term.function == "sum" else float_average(value)
        result = result_of(term.function, term.property)
        return sql.SQL("{}({})::{}").format(sql.SQL(term.function), value, sql.SQL(result.sql_type))

    def _related(self, relation: Relation) -> sql.SQL:
        """Joined once; a record that the viewer may not see is as one that is not there."""
        alias = self.related.get(relation.name)
        if alias is None:
            alias = self.related[relation.name] = self.compiler.binder.alias()
            target = self.compiler.contract.types[relation.target]
            conditions = linked(relation, self.table, alias)
            conditions += self.compiler.conditions.visible(target, alias)
            self.joins.add(target, alias, conditions)
        return alias

    def _key(self, term: Term, descending: bool, first: bool | None) -> Key:
        counted = isinstance(term, Measure) and term.function in ("count", "countDistinct")
        prop = (
            result_of(term.function, term.property) if isinstance(term, Measure) else term.property
        )
        return Key(
            self._term(term),
            descending,
            descending if first is None else first,
            not counted,
            cast_of(prop),
        )
