"""Aggregates as SQL: groups, measures, having and order in one statement that yields a JSON array."""

from __future__ import annotations

from psycopg import sql

from gateway.aggregates import AggregateShape, Group, Measure, Part, Term, result_of
from gateway.compiler.conditions import both
from gateway.compiler.json_text import Json, as_sql, object_text, value_text
from gateway.compiler.keysets import Key, order_by
from gateway.compiler.selects import Compiler, where_clause
from gateway.compiler.statement import Statement, cast_of, column, comparable, table_of
from gateway.masks import bound_by
from gateway.shapes import TypeName
from gateway.visibility import Form


def compile_aggregate(compiler: Compiler, shape: AggregateShape) -> Statement:
    """The groups as a JSON array, in order."""
    return _Aggregate(compiler, shape).statement()


class _Aggregate:
    def __init__(self, compiler: Compiler, shape: AggregateShape) -> None:
        self.compiler = compiler
        self.shape = shape
        self.table = compiler.binder.alias()
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
        text = sql.SQL(
            "SELECT '[' || coalesce(string_agg({members}, ',' ORDER BY r.n), '') || ']' FROM"
            " (SELECT row_number() OVER () AS n, s.* FROM (SELECT {columns} FROM {table} {alias}"
            "{where}{group}{having}{order} LIMIT {limit}) s) r"
        ).format(
            members=members,
            columns=sql.SQL(", ").join(columns or [sql.SQL("count(*) AS c")]),
            table=table_of(shape.type),
            alias=self.table,
            where=where_clause(where),
            group=self._group_by(),
            having=sql.SQL(" HAVING ") + both(having) if having else sql.SQL(""),
            order=order_by(order) if order else sql.SQL(""),
            limit=sql.Literal(shape.limit),
        )
        return self.compiler.binder.statement(text)

    def _group_by(self) -> sql.Composable:
        if not self.shape.groups:
            return sql.SQL("")
        columns = [self._term(Group(p)) for p in self.shape.groups]
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
        return value_text(
            prop,
            sql.SQL("r.") + name,
            Form.PLAIN,
            bound_by(self.compiler.binder, None),
            required=False,
        )

    def _term(self, term: Term) -> sql.Composable:
        if term.property is None:
            return sql.SQL("count(*)")
        value = comparable(term.property, column(self.table, term.property.column))
        if isinstance(term, Group):
            return value
        if term.function == "countDistinct":
            return sql.SQL("count(DISTINCT {})").format(value)
        result = result_of(term.function, term.property)
        if term.function in ("min", "max"):
            return sql.SQL("{}({})").format(sql.SQL(term.function), value)
        return sql.SQL("{}({})::{}").format(sql.SQL(term.function), value, sql.SQL(result.sql_type))

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
