"""The resolvers of root fields. What the contract's own are answered by is decided by
`gateway.query.prepare`, as for the compiled path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from graphql import GraphQLObjectType, GraphQLResolveInfo

from gateway.compiler.json_text import decode
from gateway.context.services import RequestContext
from gateway.query.prepare import prepare
from gateway.query.reads import read_prepared
from gateway.query.records import answer
from gateway.query.roots import Root, RootKind
from gateway.search.fields import resolve_search, resolve_suggest
from gateway.write.mutations import resolve_mutation
from stores.contract.model import RecordType
from stores.errors import InputError

TYPE = ""
"""The key under which a record that `node` gives says its type; no response name is empty."""

Resolver = Callable[..., Awaitable[Any]]


def resolve_get(record_type: RecordType) -> Resolver:
    return _resolver(Root(RootKind.GET, record_type))


def resolve_list(record_type: RecordType) -> Resolver:
    return _resolver(Root(RootKind.LIST, record_type))


def resolve_aggregate(record_type: RecordType) -> Resolver:
    return _resolver(Root(RootKind.AGGREGATE, record_type))


def _resolver(root: Root) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        return await _read(info, root, args)

    return resolve


async def resolve_node(_source: Any, info: GraphQLResolveInfo[Any], id: str) -> Any:
    name, colon, key = id.partition(":")
    types = info.context.services.contract.types.values()
    record_type = next((t for t in types if t.graphql == name), None)
    if record_type is None or not colon or "get" not in record_type.expose.operations:
        raise InputError("this is not the nodeId of a record", hint='it looks like "City:2988507"')
    record = await _read(info, Root(RootKind.GET, record_type), {"id": key})
    return None if record is None else {**record, TYPE: record_type.graphql}


async def _read(info: GraphQLResolveInfo[Any], root: Root, args: Mapping[str, Any]) -> Any:
    """Return the value of a root field by response names. It is not read again where the compiled
    path has done so, and found that its bytes are not the answer's."""
    context: RequestContext = info.context
    path = str(info.path.key)
    read = context.read.get(path) if context.read else None
    if read is None:
        prepared = prepare(context, root, info, args)
        assert prepared is not None  # it is not kept
        read = await read_prepared(context, path, prepared, prepared.statement.filled({}), {})
    by_documents, found = read
    return found if by_documents or found is None else decode(found)


def search_resolver(record_type: RecordType, kind: GraphQLObjectType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        return await answer(info, kind, await resolve_search(info, record_type, args))

    return resolve


def suggest_resolver(record_type: RecordType, kind: GraphQLObjectType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        found = await resolve_suggest(info, record_type, args)
        return [await answer(info, kind, one) for one in found]

    return resolve


def resolve_write(record_type: RecordType, operation: str, payload: GraphQLObjectType) -> Resolver:
    async def resolve(_source: Any, info: GraphQLResolveInfo[Any], **args: Any) -> Any:
        value = await resolve_mutation(info, record_type, operation, args)
        return await answer(info, payload, value)

    return resolve
