"""Records, connections and key reads as SQL that yields the finished JSON, named as the response
names it.

A page is cut first, in a subselect with LIMIT that reads only what is needed of its records; what
is nested is made afterwards, for the page's rows alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from psycopg import sql

from gateway.compiler.conditions import Conditions, both, linked
from gateway.compiler.joins import Joins
from gateway.compiler.json_text import (
    Json,
    as_sql,
    constant,
    joined,
    object_text,
    or_null,
    quoted_text,
    value_text,
)
from gateway.compiler.keysets import Key, beyond, order_by
from gateway.compiler.masks import KeyBinder, MaskKey, bound_by
from gateway.compiler.statement import Binder, Statement, cast_of, column, comparable, table_of
from gateway.shape.open_values import Deferred
from gateway.shape.orders import nulls_first, order_property, signature
from gateway.shape.shapes import (
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
    RowVersion,
    TotalCount,
    TypeName,
    Value,
    records_in,
)
from gateway.shape.visibility import non_null
from stores.canonical.joint_reads import JointStatement
from stores.contract.model import Contract, Property, RecordType, Relation, Scalar
from stores.keys import sql_key
from stores.query import EVERYTHING, Filter, Order

Row: TypeAlias = "Callable[[str], sql.Composable]"
"""Returns the expression of a column of the record at hand."""

PLAIN_KEYS = (Scalar.INT, Scalar.BIGINT, Scalar.DECIMAL, Scalar.UUID)
"""Scalars of keys whose text needs no escape in JSON."""


ROW_VERSION = "xmin"


class Compiler:
    """Compiles one root field. `rows` gives the rows of a type that the viewer may see; with
    `mask_key` values are hashed that are shown so."""

    def __init__(
        self,
        contract: Contract,
        rows: Callable[[RecordType], Filter],
        mask_key: MaskKey | None = None,
    ) -> None:
        self.contract = contract
        self.mask_key = mask_key
        self.binder = Binder()
        self.conditions = Conditions(contract, self.binder, rows)

    # Statements --------------------------------------------------------------------------------

    def one(self, shape: KeyShape) -> Statement:
        """The record of a key as a JSON object; no row where there is none."""
        keys = [
            self.binder.bind(text, cast_of(p))
            for p, text in zip(shape.record.type.key_properties, shape.values, strict=True)
        ]
        return self.binder.statement(self._by_key(shape.record, keys))

    def one_or_many(self, shape: KeyShape) -> Statement:
        """Compile as `one` does, with the same for many keys at once, unless the statement has
        parameters beside the key."""
        statement = self.one(shape)
        properties = shape.record.type.key_properties
        if len(statement.parameters) > len(properties):
            return statement
        self.binder = self.conditions.binder = Binder()
        keys = [sql.SQL(f"k.k{i}::{cast_of(p)}") for i, p in enumerate(properties)]
        many = sql.SQL(
            "SELECT k.place, ({record}) FROM unnest({lists}) WITH ORDINALITY AS k({names}, place)"
        ).format(
            record=self._by_key(shape.record, keys),
            lists=sql.SQL(", ").join(sql.SQL(f"${i + 1}::text[]") for i in range(len(keys))),
            names=sql.SQL(", ").join(sql.SQL(f"k{i}") for i in range(len(keys))),
        )
        return replace(statement, joint=JointStatement(statement.text, many.as_string(None)))

    def _by_key(self, shape: RecordShape, keys: Sequence[sql.Composable]) -> sql.Composable:
        alias = self.binder.alias()
        where: list[sql.Composable] = [
            sql.SQL("{} = {}").format(comparable(p, column(alias, p.column)), key)
            for p, key in zip(shape.type.key_properties, keys, strict=True)
        ]
        where += self.conditions.visible(shape.type, alias)
        joins = Joins()
        record = self._record(shape, lambda c: column(alias, c), joins)
        return sql.SQL("SELECT {} FROM {} {}{} WHERE {}").format(
            as_sql(record), table_of(shape.type), alias, joins.text(), both(where)
        )

    def several(
        self, shape: RecordShape, keys: Sequence[tuple[str, ...]], filter: Filter = EVERYTHING
    ) -> Statement:
        """The records of several keys that satisfy `filter`: a JSON object by key text."""
        alias = self.binder.alias()
        record_type = shape.type
        names = [sql.SQL(f"k{i}") for i in range(len(record_type.key))]
        bound = [
            self.binder.bind([k[i] for k in keys], cast_of(p), many=True)
            for i, p in enumerate(record_type.key_properties)
        ]
        where: list[sql.Composable] = [
            sql.SQL("{} = k.{}").format(comparable(p, column(alias, p.column)), name)
            for p, name in zip(record_type.key_properties, names, strict=True)
        ]
        where += self.conditions.visible(record_type, alias)
        where += self.conditions.filter(record_type, filter, alias)
        joins = Joins()
        key = quoted_text(self._key_text(record_type, lambda c: column(alias, c)))
        record = self._record(shape, lambda c: column(alias, c), joins)
        body = sql.SQL(
            "SELECT '{{' || coalesce(string_agg({member}, ','), '') || '}}'"
            " FROM unnest({bound}) AS k({names}) JOIN {table} {alias} ON {where}{joins}"
        ).format(
            member=as_sql(joined([key, ":", record])),
            bound=sql.SQL(", ").join(bound),
            names=sql.SQL(", ").join(names),
            table=table_of(record_type),
            alias=alias,
            where=both(where),
            joins=joins.text(),
        )
        return self.binder.statement(body)

    def page(self, shape: PageShape) -> Statement:
        """A connection as a JSON object."""
        return self.binder.statement(self._page(shape, lambda _: []))

    # Records -----------------------------------------------------------------------------------

    def _record(self, shape: RecordShape, row: Row, joins: Joins) -> Json:
        """The record's JSON object. `joins` are added to where `row` comes from."""
        items: list[tuple[str, Json]] = []
        for part in shape.fields:
            value: Json
            if isinstance(part, TypeName):
                value = f'"{part.name}"'
            elif isinstance(part, Id):
                value = self._id(part, shape.type, row)
            elif isinstance(part, RowVersion):
                value = joined(['"', row(ROW_VERSION) + sql.SQL("::text"), '"'])
            elif isinstance(part, Value):
                prop = part.property
                value = value_text(
                    prop, row(prop.column), part.form, self._key(), required=non_null(prop)
                )
            elif isinstance(part, One):
                value = self._one(part, row, joins)
            else:
                relation = part.relation
                page = self._page(part.page, partial(linked, relation, row))
                value = sql.SQL("(") + page + sql.SQL(")")
            items.append((part.key, value))
        return object_text(items)

    def _id(self, part: Id, record_type: RecordType, row: Row) -> Json:
        key = self._key_text(record_type, row)
        start = f"{record_type.graphql}:" if part.glob else ""
        if all(p.scalar in PLAIN_KEYS for p in record_type.key_properties):
            return joined([f'"{start}', key, '"'])
        if start:
            key = sql.SQL("({} || {})").format(constant(start), key)
        return quoted_text(key)

    def _one(self, part: One, row: Row, joins: Joins) -> Json:
        """Joined where the target's key says that there is one at most."""
        alias = self.binder.alias()
        target = part.record.type
        where = linked(part.relation, row, alias) + self.conditions.visible(target, alias)
        unique = set(part.relation.target_columns) == set(target.key)
        inside = joins if unique else Joins()
        if unique:
            joins.add(target, alias, where)
        record = as_sql(self._record(part.record, lambda c: column(alias, c), inside))
        if unique:
            return sql.SQL("CASE WHEN {} IS NULL THEN 'null' ELSE {} END").format(
                column(alias, target.key[0]), record
            )
        return or_null(
            sql.SQL("(SELECT {} FROM {} {}{} WHERE {})").format(
                record, table_of(target), alias, inside.text(), both(where)
            )
        )

    def _key_text(self, record_type: RecordType, row: Row) -> sql.Composable:
        return sql_key([row(c) for c in record_type.key])

    def _key(self) -> KeyBinder:
        return bound_by(self.binder, self.mask_key)

    # Connections -------------------------------------------------------------------------------

    def _page(
        self, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> sql.Composable:
        """A SELECT of one JSON object. `link` ties the page's records to the record around them."""
        lists = [p for p in shape.fields if isinstance(p, Nodes | Edges)]
        if any(isinstance(p, PageInfo) for p in shape.fields) or len(lists) > 1:
            return self._gathered(shape, link)
        items: list[tuple[str, Json]] = []
        for part in shape.fields:
            if isinstance(part, TypeName):
                items.append((part.key, f'"{part.name}"'))
            elif isinstance(part, TotalCount):
                items.append((part.key, self._count(shape, link)))
            elif isinstance(part, Nodes | Edges):
                items.append((part.key, self._list(part, shape, link)))
        return sql.SQL("SELECT {}").format(as_sql(object_text(items)))

    def _list(
        self, part: Nodes | Edges, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> Json:
        """The page's one list. Its rows come in their order already, unless joins or the direction
        of reading change that."""
        page, joins, row = self._place(shape)
        each = self._each(part, page, row, joins)
        ordered = bool(joins) or shape.window.backward
        rows = self._rows(shape, link, wants_cursor=_wants_cursor(part), more=0, numbered=ordered)
        way = " DESC" if shape.window.backward else ""
        items = sql.SQL("array_to_string(ARRAY(SELECT {} FROM ({}) {}{}{}), ',')").format(
            as_sql(each),
            rows,
            page,
            joins.text(),
            sql.SQL(f" ORDER BY {page.as_string(None)}.n{way}" if ordered else ""),
        )
        return joined(["[", items, "]"])

    def _gathered(
        self, shape: PageShape, link: Callable[[sql.SQL], list[sql.Composable]]
    ) -> sql.Composable:
        """A connection of which more than one thing is made: the rows of its page are gathered
        once."""
        items: list[tuple[str, Json]] = []
        gathered: list[sql.Composable] = []
        page, joins, row = self._place(shape)
        wants_cursor = False
        for part in shape.fields:
            if isinstance(part, TypeName):
                items.append((part.key, f'"{part.name}"'))
            elif isinstance(part, TotalCount):
                items.append((part.key, self._count(shape, link)))
            elif isinstance(part, PageInfo):
                wants_cursor |= any(name.endswith("Cursor") for _, name in part.fields)
                items.append((part.key, self._page_info(part, shape, link)))
            else:
                wants_cursor |= _wants_cursor(part)
                each = as_sql(self._each(part, page, row, joins))
                place = sql.SQL(f"a{len(gathered)}")
                gathered.append(
                    _gather(f"string_agg({{}}, ','{GATHERED}", "''", each, page, shape, place)
                )
                items.append((part.key, joined(["[", sql.SQL("g.") + place, "]"])))
        if wants_cursor:
            cursor = page + sql.SQL(".cur")
            gathered.append(
                _gather(
                    f"array_agg({{}}{GATHERED}",
                    "'{{}}'::text[]",
                    cursor,
                    page,
                    shape,
                    sql.SQL("curs"),
                )
            )
        rows = self._rows(shape, link, wants_cursor=wants_cursor, more=1, numbered=True)
        return sql.SQL("SELECT {} FROM (SELECT {}, count(*) AS cnt FROM ({}) {}{}) g").format(
            as_sql(object_text(items)),
            sql.SQL(", ").join(gathered) if gathered else sql.SQL("NULL AS none"),
            rows,
            page,
            joins.text(),
        )

    def _place(self, shape: PageShape) -> tuple[sql.SQL, Joins, Row]:
        """The alias of the page's rows, what is joined to them, and where their columns are."""
        page = self.binder.alias()
        places = _places(shape)
        return page, Joins(), lambda name: page + sql.SQL(".") + places[name]

    def _each(self, part: Nodes | Edges, page: sql.SQL, row: Row, joins: Joins) -> Json:
        if isinstance(part, Nodes):
            return self._record(part.record, row, joins)
        items: list[tuple[str, Json]] = []
        for inner in part.fields:
            if isinstance(inner, EdgeNode):
                items.append((inner.key, self._record(inner.record, row, joins)))
            elif isinstance(inner, EdgeCursor):
                items.append((inner.key, joined(['"', page + sql.SQL(".cur"), '"'])))
            else:
                items.append((inner.key, f'"{inner.name}"'))
        return object_text(items)

    def _rows(
        self,
        shape: PageShape,
        link: Callable[[sql.SQL], list[sql.Composable]],
        *,
        wants_cursor: bool,
        more: int,
        numbered: bool,
    ) -> sql.Composable:
        """The rows of the page and `more` beyond it, in the direction that is read, which `n`
        numbers."""
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
            sql.SQL("{} AS {}").format(column(alias, c), place)
            for c, place in _places(shape).items()
        ]
        if wants_cursor:
            columns.append(self._cursor(shape, keys))
        number = "SELECT row_number() OVER () AS n, s.* FROM ({}) s" if numbered else "{}"
        rows = sql.SQL(
            "SELECT {columns} FROM {table} {alias}{joins}{where}{order} LIMIT {limit}"
        ).format(
            columns=sql.SQL(", ").join(columns),
            table=table_of(shape.type),
            alias=alias,
            joins=joins,
            where=where_clause(where),
            order=order_by(backwards if window.backward else keys),
            limit=sql.Literal(window.limit + more),
        )
        return sql.SQL(number).format(rows)

    def _cursor(self, shape: PageShape, keys: list[Key]) -> sql.Composable:
        """`gateway.shape.cursors.encode`, in SQL."""
        return sql.SQL(
            "translate(encode(convert_to(json_build_array({}, {})::text, 'UTF8'), 'base64'),"
            " E'+/=\\n', '-_') AS cur"
        ).format(
            constant(signature(shape.type, shape.order)),
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
        return sql.SQL("(SELECT count(*)::text FROM {} {}{})").format(
            table_of(shape.type), alias, where_clause(self._where(shape, link, alias))
        )

    def _exists(
        self,
        shape: PageShape,
        link: Callable[[sql.SQL], list[sql.Composable]],
        values: tuple[str | Deferred | None, ...],
        *,
        backward: bool,
    ) -> sql.Composable:
        """Return the condition that a record stands at `values`, or on that side of them."""
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
    ) -> Json:
        window = shape.window
        more = sql.SQL("(g.cnt > {})").format(sql.Literal(window.limit))
        first, last = sql.SQL("g.curs[1]"), sql.SQL("g.curs[cardinality(g.curs)]")
        items: list[tuple[str, Json]] = []
        for key, name in part.fields:
            value: Json
            if name == "__typename":
                value = '"PageInfo"'
            elif name.endswith("Cursor"):
                cursor = first if name == "startCursor" else last
                value = or_null(sql.SQL("('\"' || {} || '\"')").format(cursor))
            else:
                forward = name == "hasNextPage"
                edge = window.before if forward else window.after
                ways: list[sql.Composable] = [more] if forward is not window.backward else []
                if edge is not None:
                    ways.append(self._exists(shape, link, edge, backward=not forward))
                value = "false"
                if ways:
                    value = sql.SQL("({})::text").format(sql.SQL(" OR ").join(ways))
            items.append((key, value))
        return object_text(items)

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


def _places(shape: PageShape) -> dict[str, sql.SQL]:
    """The columns of the page's records that what is made of them needs, and their names there."""
    found: dict[str, None] = {}
    for record in records_in(shape):
        for part in record.fields:
            if isinstance(part, Value):
                found[part.property.column] = None
            elif isinstance(part, Id):
                found.update(dict.fromkeys(record.type.key))
            elif isinstance(part, RowVersion):
                found[ROW_VERSION] = None
            elif isinstance(part, One | Many):
                found.update(dict.fromkeys(part.relation.columns))
    return {name: sql.SQL(f"c{i}") for i, name in enumerate(found)}


def _wants_cursor(part: Nodes | Edges) -> bool:
    return isinstance(part, Edges) and any(isinstance(f, EdgeCursor) for f in part.fields)


GATHERED = " ORDER BY {page}.n{way}) FILTER (WHERE {page}.n <= {limit})"


def _gather(
    aggregate: str,
    empty: str,
    each: sql.Composable,
    page: sql.SQL,
    shape: PageShape,
    name: sql.SQL,
) -> sql.Composable:
    """An aggregate of the page's rows without the one beyond it, in the order of the answer."""
    return sql.SQL(f"coalesce({aggregate}, {empty}) AS {{name}}").format(
        each,
        page=page,
        way=sql.SQL(" DESC" if shape.window.backward else ""),
        limit=sql.Literal(shape.window.limit),
        name=name,
    )


def where_clause(conditions: list[sql.Composable]) -> sql.Composable:
    return sql.SQL(" WHERE ") + both(conditions) if conditions else sql.SQL("")
