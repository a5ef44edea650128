"""Decides how a root field is answered, for the compiled path and for ordinary execution alike:
from its selection to its shape, from the shape to the stores that can answer and to canonical's
statement. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLObjectType

from gateway.compiler import Statement
from gateway.compiler.aggregates import compile_aggregate
from gateway.context.services import RequestContext
from gateway.query.list_reads import PageRoute, counted_page
from gateway.query.planner import AGGREGATES, CANONICAL, COUNT, Plan, plan
from gateway.query.records import compiler_of, visibility_of
from gateway.query.roots import Root, RootKind
from gateway.shape.aggregates import AggregateShape, aggregate_shape
from gateway.shape.open_values import Deferred, settled
from gateway.shape.selection import Place, has_own_fields, selected_below
from gateway.shape.shapes import KeyShape, PageShape
from gateway.shape.shaping import Shaper, key_shape
from gateway.shape.visibility import Visibility
from stores.keys import encode_key

_KINDS = {RootKind.GET: "", RootKind.LIST: "Connection", RootKind.AGGREGATE: "Aggregate"}
"""The suffix of a record type's name in the type of a root field."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`statement` asks canonical. `documents` is the key read that the document store is asked for
    first, by `document_key`, and None where it is not asked."""

    statement: Statement
    plan: Plan
    page: PageRoute | None = None
    """The page that the document store could give, too."""
    documents: KeyShape | None = None
    document_key: Deferred | str = ""

    def key(self, variables: Mapping[str, Any]) -> str:
        """Return the key that the document store is asked for."""
        key = self.document_key
        return key.resolve(variables) if isinstance(key, Deferred) else key


def prepare(
    context: RequestContext,
    root: Root,
    place: Place,
    args: Mapping[str, Any],
    *,
    kept: bool = False,
) -> Prepared | None:
    """Return what answers a root field of the contract for the viewer. Raises RecordgateError and
    GraphQLError for what is refused.

    `kept`: it serves later requests, too, whose bytes go into the answer unread. `args` may then
    hold slots; and None is returned where a field is selected that the product adds, which only
    execution can answer.
    """
    record_type = root.type
    visibility = visibility_of(context)
    visibility.require_may(record_type, root.kind.value)
    kind = place.schema.type_map[record_type.graphql + _KINDS[root.kind]]
    selected = selected_below(place, cast(GraphQLObjectType, kind))
    if kept and has_own_fields(selected):
        return None
    compiler = compiler_of(context)
    if root.kind is RootKind.AGGREGATE:
        given = {n: v if n == "filter" else settled(v) for n, v in args.items()}
        groups = aggregate_shape(record_type, given, selected, visibility)
        return _aggregate(context, compile_aggregate(compiler, groups), groups, visibility)
    shaper = Shaper(visibility)
    shape: KeyShape | PageShape
    if root.kind is RootKind.LIST:
        shape = shaper.page(record_type, args, selected)
    else:
        shape = key_shape(shaper.record(record_type, selected), args["id"])
    planned = _planned(context, shape, visibility)
    if isinstance(shape, PageShape):
        by_documents = planned.candidates[0].store != CANONICAL
        return Prepared(
            compiler.page(shape), planned, PageRoute.of(shape) if by_documents else None
        )
    statement = compiler.one_or_many(shape) if kept else compiler.one(shape)
    if planned.candidates[0].store == CANONICAL:
        return Prepared(statement, planned)
    return Prepared(statement, planned, None, shape, _document_key(shape.values))


def _aggregate(
    context: RequestContext, statement: Statement, shape: AggregateShape, visibility: Visibility
) -> Prepared:
    """A count alone is that of a list; whatever else is aggregated is canonical's."""
    counted = counted_page(shape)
    if counted is None:
        return Prepared(statement, AGGREGATES)
    page, shown = counted
    planned = _planned(context, page, visibility)
    if planned.candidates[0].store == CANONICAL:
        return Prepared(statement, planned)
    return Prepared(statement, COUNT, PageRoute.of(page, shown))


def _planned(context: RequestContext, shape: KeyShape | PageShape, visibility: Visibility) -> Plan:
    services = context.services
    return plan(
        shape,
        visibility,
        services.documents.capabilities,
        bytewise=services.text_order_is_bytewise,
    )


def _document_key(values: tuple[str | Deferred, ...]) -> Deferred | str:
    if all(isinstance(v, str) for v in values):
        return encode_key(cast(tuple[str, ...], values))
    return Deferred(
        lambda variables: encode_key(
            [v.resolve(variables) if isinstance(v, Deferred) else v for v in values]
        )
    )
