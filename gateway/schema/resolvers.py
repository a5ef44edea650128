"""The resolvers of root fields: shape what is selected, plan, ask the first store that is up and fresh
enough, and note in the request which one it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from graphql import GraphQLObjectType, GraphQLResolveInfo

from gateway.compiler import Statement
from gateway.compiler.aggregates import compile_aggregate
from gateway.compiler.json_text import decode
from gateway.context.freshness import report
from gateway.context.services import RequestContext
from gateway.query.canonical import fetch_json
from gateway.query.key_reads import explain, read_by_key
from gateway.query.planner import AGGREGATES, CANONICAL, Plan, plan
from gateway.query.records import answer, compiler_of, visibility_of
from gateway.search.fields import resolve_search
from gateway.shape.aggregates import aggregate_shape
from gateway.shape.selection import selected_below
from gateway.shape.shaping import Shaper, key_shape, key_values
from gateway.write.mutations import resolve_mutation
from stores.contract.model import RecordType
from stores.errors import InputError
from stores.keys import encode_key

TYPE = ""
"""The key under which a record that `node` gives says its type; no response name is empty."""

Resolver = Callable[..., Awaitable[Any]]


def resolve_get(record_type: RecordType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], id: str) -> Any:
        return await _get(info, record_type, id)

    return resolve


async def resolve_node(_source: Any, info: GraphQLResolveInfo[Any], id: str) -> Any:
    name, colon, key = id.partition(":")
    types = info.context.services.contract.types.values()
    record_type = next((t for t in types if t.graphql == name), None)
    if record_type is None or not colon or "get" not in record_type.expose.operations:
        raise InputError("this is not the nodeId of a record", hint='it looks like "City:2988507"')
    record = await _get(info, record_type, key)
    return None if record is None else {**record, TYPE: record_type.graphql}


async def _get(info: GraphQLResolveInfo[Any], record_type: RecordType, key: str) -> Any:
    context: RequestContext = info.context
    services = context.services
    visibility = visibility_of(context)
    visibility.require_may(record_type, "get")
    object_type = cast(GraphQLObjectType, info.schema.type_map[record_type.graphql])
    record = Shaper(visibility).record(record_type, selected_below(info, object_type))
    shape = key_shape(record, key)
    planned = plan(
        shape,
        visibility,
        services.documents.capabilities,
        bytewise=services.text_order_is_bytewise,
    )
    statement = compiler_of(context).one(shape)
    if planned.candidates[0].store == CANONICAL:
        return await _from_canonical(context, info, planned, statement)
    by_documents, found = await read_by_key(
        context,
        str(info.path.key),
        planned,
        shape,
        encode_key(key_values(record_type, key)),
        statement.text,
        lambda: fetch_json(services, statement, statement.filled({})),
    )
    return found if by_documents or found is None else decode(found)


async def _from_canonical(
    context: RequestContext, info: GraphQLResolveInfo[Any], planned: Plan, statement: Statement
) -> Any:
    path = str(info.path.key)
    context.routes[path] = report(CANONICAL, planned.candidates[-1].reason)
    explain(context, path, planned, CANONICAL, [statement.text], "")
    raw = await fetch_json(context.services, statement, statement.filled({}))
    return None if raw is None else decode(raw)


def resolve_list(record_type: RecordType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        context: RequestContext = info.context
        visibility = visibility_of(context)
        visibility.require_may(record_type, "list")
        kind = cast(GraphQLObjectType, info.schema.type_map[f"{record_type.graphql}Connection"])
        shape = Shaper(visibility).page(record_type, args, selected_below(info, kind))
        planned = plan(
            shape,
            visibility,
            context.services.documents.capabilities,
            bytewise=context.services.text_order_is_bytewise,
        )
        statement = compiler_of(context).page(shape)
        return await _from_canonical(context, info, planned, statement)

    return resolve


def resolve_aggregate(record_type: RecordType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        context: RequestContext = info.context
        visibility = visibility_of(context)
        visibility.require_may(record_type, "aggregate")
        kind = cast(GraphQLObjectType, info.schema.type_map[f"{record_type.graphql}Aggregate"])
        shape = aggregate_shape(record_type, args, selected_below(info, kind), visibility)
        statement = compile_aggregate(compiler_of(context), shape)
        return await _from_canonical(context, info, AGGREGATES, statement)

    return resolve


def search_resolver(record_type: RecordType, kind: GraphQLObjectType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        return await answer(info, kind, await resolve_search(info, record_type, args))

    return resolve


def resolve_write(record_type: RecordType, operation: str, payload: GraphQLObjectType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        value = await resolve_mutation(info, record_type, operation, args)
        return await answer(info, payload, value)

    return resolve
