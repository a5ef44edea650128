"""Records, connections and key reads as SQL that yields the finished JSON, named as the response names it.

A page is cut first, in a subselect with LIMIT that reads only what is needed of its records; what is
nested is made afterwards, for the page's rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from psycopg import sql

from gateway.compiler.conditions import Conditions, both, linked
from gateway.compiler.keysets import Key, beyond, order_by
from gateway.compiler.statement import (
    Binder,
    Statement,
    cast_of,
    column,
    comparable,
    quoted,
    table_of,
)
from gateway.compiler.values import value_as_json
from gateway.orders import nulls_first, order_property, signature
from gateway.shapes import (
    EdgeCursor,
    EdgeNode,
    Edges,
    Id,
    KeyShape,
    Many,
    Nodes,
    One,
    PageInfo,
    PageShape,
    RecordShape,
    TotalCount,
    TypeName,
    Value,
    records_in,
)
from stores.contract.model import Contract, Property, RecordType, Relation
from stores.keys import sql_key
from stores.query import Filter, Order

Row: TypeAlias = "Callable[[str], sql.Composable]"
"""Gives the expression of a column of the record at hand."""


class Compiler:
    """Compiles one root field. `rows` gives the rows of a type that the viewer may see, `salt` goes
    before every value that is shown hashed."""

    def __init__(
        self, contract: Contract, rows: Callable[[RecordType], Filter], salt: str = ""
    ) -> None:
        self.contract = contract
        self.salt = salt
        self.binder = Binder()
        self.conditions = Conditions(contract, self.binder, rows)

    # Statements --------------------------------------------------------------------------------

    def one(self, shape: KeyShape) -> Statement:
        """The record of a key as a JSON object; no row where there is none."""
        alias = self.binder.alias()
        record_type = shape.record.type
        where: list[sql.Composable] = [
            sql.SQL("{} = {}").format(
                comparable(p, column(alias, p.column)), self.binder.bind(text, cast_of(p))
            )
            for p, text in zip(record_type.key_properties, shape.values, strict=True)
        ]
        where += self.conditions.visible(record_type, alias)
        body = sql.SQL("SELECT {} FROM {} {} WHERE {}").format(
            self._record(shape.record, lambda c: column(alias, c)),
            table_of(record_type),
            alias,
            both(where),
        )
        return self.binder.statement(body)

    def several(self, shape: RecordShape, keys: Sequence[tuple[str, ...]]) -> Statement:
        """The records of several keys: a JSON object by key text."""
        alias = self.binder.alias()
        record_type = shape.type
        names = [sql.SQL(f"k{i}") for i in range(len(record_type.key))]
        bound = [
            self.binder.bind([k[i] for k in keys], cast_of(p))
            for i, p in enumerate(record_type.key_properties)
        ]
        where: list[sql.Composable] = [
            sql.SQL("{} = k.{}").format(comparable(p, column(alias, p.column)), name)
            for p, name in zip(record_type.key_properties, names, strict=True)
        ]
        where += self.conditions.visible(record_type, alias)
        body = sql.SQL(
            "SELECT coalesce(json_object_agg({key}, {record}), '{{}}'::json)"
            " FROM unnest({bound}) AS k({names}) JOIN {table} {alias} ON {where}"
        ).format(
            key=self._key_text(record_type, lambda c: column(alias, c)),
            record=self._record(shape, lambda c: column(alias, c)),
            bound=sql.SQL(", ").join(bound),
            names=sql.SQL(", ").join(names),
            table=table_of(record_type),
            alias=alias,
            where=both(where),
        )
        return self.binder.statement(body)

    def page(self, shape: PageShape) -> Statement:
        """A connection as a JSON object."""
        return self.binder.statement(self._page(shape, lambda _: []))

    # Records -----------------------------------------------------------------------------------

    def _record(self, shape: RecordShape, row: Row) -> sql.Composable:
        """A scalar expression: the record's JSON object."""
        items: list[tuple[str, sql.Composable]] = []
        for part in shape.fields:
            if isinstance(part, TypeName):
                items.append((part.key, text_literal(part.name)))
            elif isinstance(part, Id):
                key = self._key_text(shape.type, row)
                if part.glob:
                    key = sql.SQL("({} || {})").format(text_literal(f"{shape.type.graphql}:"), key)
                items.append((part.key, key))
            elif isinstance(part, Value):
                expression = row(part.property.column)
                value = value_as_json(part.property, expression, part.form, self._salt)
                items.append((part.key, value))
            elif isinstance(part, One):
                items.append((part.key, self._one(part, row)))
            else:
                relation = part.relation
                page = self._page(part.page, lambda t, r=relation: linked(r, row, t))  # type: ignore[misc]
                items.append((part.key, sql.SQL("(") + page + sql.SQL(")")))
        return as_object(items)

    def _one(self, part: One, row: Row) -> sql.Composable:
        alias = self.binder.alias()
        target = part.record.type
        where = linked(part.relation, row, alias) + self.conditions.visible(target, alias)
        return sql.SQL("(SELECT {} FROM {} {} WHERE {})").format(
            self._record(part.record, lambda c: column(alias, c)),
            table_of(target),
            alias,
            both(where),
        )

    def _key_text(self, record_type: RecordType, row: Row) -> sql.Composable:
        return sql_key([row(c) for c in record_type.key])

    def _salt(self) -> sql.Composable:
        return self.binder.bind(self.salt, "text")

    # Connections -------------------------------------------------------------------------------

    def _page(
        self, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> sql.Composable:
        """A SELECT of one JSON object. `link` ties the page's records to the record around them."""
        items: list[tuple[str, sql.Composable]] = []
        gathered: list[sql.Composable] = []
        page = self.binder.alias()
        places = {c: sql.SQL(f"c{i}") for i, c in enumerate(_columns(shape))}

        def row(name: str) -> sql.Composable:
            return page + sql.SQL(".") + places[name]

        wants_cursor = False
        for part in shape.fields:
            if isinstance(part, TypeName):
                items.append((part.key, text_literal(part.name)))
            elif isinstance(part, TotalCount):
                items.append((part.key, self._count(shape, link)))
            elif isinstance(part, PageInfo):
                wants_cursor |= any(name.endswith("Cursor") for _, name in part.fields)
                items.append((part.key, self._page_info(part, shape, link)))
            else:
                if isinstance(part, Nodes):
                    each = self._record(part.record, row)
                else:
                    wants_cursor |= any(isinstance(f, EdgeCursor) for f in part.fields)
                    each = self._edge(part, page, row)
                place = sql.SQL(f"a{len(gathered)}")
                gathered.append(
                    _gather(each, page, shape, sql.SQL("json_agg"), "'[]'::json", place)
                )
                items.append((part.key, sql.SQL("g.") + place))
        if not gathered and not any(isinstance(p, PageInfo) for p in shape.fields):
            return sql.SQL("SELECT {}").format(as_object(items))
        if wants_cursor:
            cursor = page + sql.SQL(".cur")
            gathered.append(
                _gather(cursor, page, shape, sql.SQL("array_agg"), "'{}'::text[]", sql.SQL("curs"))
            )
        return sql.SQL("SELECT {} FROM (SELECT {}, count(*) AS cnt FROM ({}) {}) g").format(
            as_object(items),
            sql.SQL(", ").join(gathered) if gathered else sql.SQL("NULL AS none"),
            self._rows(shape, link, places, wants_cursor),
            page,
        )

    def _edge(self, edges: Edges, page: sql.SQL, row: Row) -> sql.Composable:
        items: list[tuple[str, sql.Composable]] = []
        for part in edges.fields:
            if isinstance(part, EdgeNode):
                items.append((part.key, self._record(part.record, row)))
            elif isinstance(part, EdgeCursor):
                items.append((part.key, page + sql.SQL(".cur")))
            else:
                items.append((part.key, text_literal(part.name)))
        return as_object(items)

    def _rows(
        self,
        shape: PageShape,
        link: Callable[[sql.SQL], list[sql.Composable]],
        places: dict[str, sql.SQL],
        wants_cursor: bool,
    ) -> sql.Composable:
        """The rows of the page and one more, numbered in the direction that is read."""
        alias = self.binder.alias()
        keys, joins = self._keys(shape.type, shape.order, alias)
        where = self._where(shape, link, alias)
        window = shape.window
        backwards = [k.reversed() for k in keys]
        if window.after is not None:
            where.append(beyond(keys, window.after, self.binder))
        if window.before is not None:
            where.append(beyond(backwards, window.before, self.binder))
        columns: list[sql.Composable] = [
            sql.SQL("{} AS {}").format(column(alias, c), place) for c, place in places.items()
        ]
        if wants_cursor:
            columns.append(self._cursor(shape, keys))
        return sql.SQL(
            "SELECT row_number() OVER () AS n, s.* FROM"
            " (SELECT {columns} FROM {table} {alias}{joins}{where}{order} LIMIT {limit}) s"
        ).format(
            columns=sql.SQL(", ").join(columns),
            table=table_of(shape.type),
            alias=alias,
            joins=joins,
            where=where_clause(where),
            order=order_by(backwards if window.backward else keys),
            limit=sql.Literal(window.limit + 1),
        )

    def _cursor(self, shape: PageShape, keys: list[Key]) -> sql.Composable:
        """`gateway.cursors.encode`, in SQL."""
        return sql.SQL(
            "translate(encode(convert_to(json_build_array({}, {})::text, 'UTF8'), 'base64'),"
            " E'+/=\\n', '-_') AS cur"
        ).format(
            text_literal(signature(shape.type, shape.order)),
            sql.SQL(", ").join([sql.SQL("{}::text").format(k.expression) for k in keys]),
        )

    def _where(
        self, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]], alias: sql.SQL
    ) -> list[sql.Composable]:
        return [
            *link(alias),
            *self.conditions.visible(shape.type, alias),
            *self.conditions.filter(shape.type, shape.filter, alias),
        ]

    def _count(
        self, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> sql.Composable:
        alias = self.binder.alias()
        return sql.SQL("(SELECT count(*) FROM {} {}{})").format(
            table_of(shape.type), alias, where_clause(self._where(shape, link, alias))
        )

    def _exists(
        self,
        shape: PageShape,
        link: Callable[[sql.SQL], list[sql.Composable]],
        values: tuple[str | None, ...],
        *,
        backward: bool,
    ) -> sql.Composable:
        """Whether a record stands at `values`, or on that side of them."""
        alias = self.binder.alias()
        keys, joins = self._keys(shape.type, shape.order, alias)
        if backward:
            keys = [k.reversed() for k in keys]
        where = self._where(shape, link, alias)
        where.append(beyond(keys, values, self.binder, inclusive=True))
        return sql.SQL("EXISTS (SELECT FROM {} {}{}{})").format(
            table_of(shape.type), alias, joins, where_clause(where)
        )

    def _page_info(
        self, part: PageInfo, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> sql.Composable:
        window = shape.window
        more = sql.SQL("(g.cnt > {})").format(sql.Literal(window.limit))
        first, last = sql.SQL("g.curs[1]"), sql.SQL("g.curs[cardinality(g.curs)]")
        items: list[tuple[str, sql.Composable]] = []
        for key, name in part.fields:
            if name == "__typename":
                value: sql.Composable = text_literal("PageInfo")
            elif name.endswith("Cursor"):
                value = first if name == "startCursor" else last
            else:
                forward = name == "hasNextPage"
                edge = window.before if forward else window.after
                ways: list[sql.Composable] = [more] if forward is not window.backward else []
                if edge is not None:
                    ways.append(self._exists(shape, link, edge, backward=not forward))
                value = sql.SQL(" OR ").join(ways) if ways else sql.SQL("FALSE")
            items.append((key, value))
        return as_object(items)

    def _keys(
        self, record_type: RecordType, order: Iterable[Order], alias: sql.SQL
    ) -> tuple[list[Key], sql.Composable]:
        """The order's steps, and the joins that they need."""
        keys: list[Key] = []
        joins: list[sql.Composable] = []
        known: dict[tuple[str, ...], sql.SQL] = {(): alias}
        for step in order:
            there, nullable = alias, False
            here_type = record_type
            for i, name in enumerate(step.path):
                relation = here_type.relation_by_name[name]
                here_type = self.contract.types[relation.target]
                nullable = True
                path = step.path[: i + 1]
                if path not in known:
                    known[path] = self.binder.alias()
                    joins.append(self._join(relation, here_type, there, known[path]))
                there = known[path]
            prop = order_property(self.contract, record_type, step)
            keys.append(
                Key(
                    comparable(prop, column(there, prop.column)),
                    step.descending,
                    nulls_first(step),
                    nullable or not _never_null(here_type, prop),
                    cast_of(prop),
                )
            )
        return keys, sql.SQL("").join(joins)

    def _join(
        self, relation: Relation, target: RecordType, here: sql.SQL, there: sql.SQL
    ) -> sql.Composable:
        on = linked(relation, here, there) + self.conditions.visible(target, there)
        return sql.SQL(" LEFT JOIN {} {} ON {}").format(table_of(target), there, both(on))


def _never_null(record_type: RecordType, prop: Property) -> bool:
    return prop.required or prop.column in record_type.key


def _columns(shape: PageShape) -> list[str]:
    """The columns of the page's records that what is made of them needs."""
    found: dict[str, None] = {}
    for record in records_in(shape):
        for part in record.fields:
            if isinstance(part, Value):
                found[part.property.column] = None
            elif isinstance(part, Id):
                found.update(dict.fromkeys(record.type.key))
            elif isinstance(part, One | Many):
                found.update(dict.fromkeys(part.relation.columns))
    return list(found)


def _gather(
    each: sql.Composable,
    page: sql.SQL,
    shape: PageShape,
    function: sql.SQL,
    empty: str,
    name: sql.SQL,
) -> sql.Composable:
    """An aggregate of the page's rows without the one beyond it, in the order of the answer."""
    return sql.SQL(
        "coalesce({function}({each} ORDER BY {page}.n{way}) FILTER (WHERE {page}.n <= {limit}), {empty}) AS {name}"
    ).format(
        function=function,
        each=each,
        page=page,
        way=sql.SQL(" DESC" if shape.window.backward else ""),
        limit=sql.Literal(shape.window.limit),
        empty=sql.SQL(empty),
        name=name,
    )


def as_object(items: list[tuple[str, sql.Composable]]) -> sql.Composable:
    """A scalar expression: a JSON object with these members in this order."""
    members = [sql.SQL("{} AS {}").format(value, quoted(key)) for key, value in items]
    return sql.SQL("(SELECT row_to_json(x.*) FROM (SELECT {}) x)").format(
        sql.SQL(", ").join(members)
    )


def text_literal(text: str) -> sql.Composable:
    return sql.Literal(text) + sql.SQL("::text")


def where_clause(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE ") + both(conditions) if conditions else sql.SQL("")
