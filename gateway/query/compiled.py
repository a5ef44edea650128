"""The compiled path: answers a query by its plan, the stores' JSON bytes put together without being
read.

Byte for byte what `gateway.query.execute` with `orjson` gives; what cannot be the same goes that
way, with what was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError, located_error

from gateway.compiler.json_text import exact
from gateway.context.services import ReadField, RequestContext
from gateway.http.problems import graphql_error
from gateway.query.documents import MissingValue
from gateway.query.execute import (
    LONG,
    MAX_KEPT_LENGTH,
    ServedSchema,
    admit,
    apply_freshness,
    execute,
    extension,
)
from gateway.query.operations import structure
from gateway.query.plans import PlannedField, QueryPlan, make_plan
from gateway.query.reads import read_prepared
from gateway.shape.open_values import Features
from stores.errors import RecordgateError


class NotExact(Exception):
    """The bytes at hand are not those of ordinary execution. `read`: by response name what was
    read, which execution need not read again."""

    def __init__(self, read: Mapping[str, ReadField] | None = None) -> None:
        super().__init__()
        self.read = read or {}


@dataclass(frozen=True, slots=True)
class Answer:
    """A GraphQL answer as it is sent. `code`: of the first error, "OK" where there is none."""

    body: bytes
    has_data: bool
    code: str


async def respond(
    schema: ServedSchema,
    context: RequestContext,
    query: str,
    variables: Mapping[str, Any] | None = None,
    operation_name: str | None = None,
) -> Answer:
    """The answer to a request, by its plan where it has one."""
    if len(query) >= LONG:
        await schema.parsed.read(schema.graphql, query, context.services.limits)
    found = _plan(schema, context, query, variables or {}, operation_name)
    if found is not None:
        plan, values = found
        try:
            return await _run(plan, context, values)
        except NotExact as inexact:
            read = context.read = inexact.read
            context.routes = {k: v for k, v in context.routes.items() if k in read}
            context.plans = {k: v for k, v in context.plans.items() if k in read}
    answer = await execute(schema, context, query, variables, operation_name)
    errors = answer.get("errors") or [{}]
    code = errors[0].get("extensions", {}).get("code", "OK")
    return Answer(orjson.dumps(answer), "data" in answer, code)


def _plan(
    schema: ServedSchema,
    context: RequestContext,
    query: str,
    variables: Mapping[str, Any],
    operation_name: str | None,
) -> tuple[QueryPlan, Mapping[str, Any]] | None:
    """The plan and the coerced variables; None where the ordinary way is to be gone."""
    try:
        limits = context.services.limits
        operation = schema.parsed.operation(schema.graphql, query, operation_name, limits)
        if operation is None or not operation.covered:
            return None
        node = operation.node
        values: Mapping[str, Any] = {}
        shape: tuple[Any, ...] = ()
        if node.variable_definitions:
            coerced = operation.coerced(variables)
            if coerced is None:
                return None
            values = coerced
            shape = tuple((n, structure(operation.kinds[n], v)) for n, v in values.items())
        admit(context, operation, variables)
        if node.directives or context.freshness.after is not None:
            apply_freshness(schema.graphql, context, node, dict(variables))
        plans = context.services.plans
        key = (query, operation_name, context.viewer.roles, shape)
        if len(query) > MAX_KEPT_LENGTH:
            plan = make_plan(operation, context, values, Features())
        else:
            known, plan = plans.find(key, values)
            if not known:
                plan = make_plan(operation, context, values, plans.features(key))
                plans.keep(key, values, plan)
    except (RecordgateError, GraphQLError):
        return None
    context.operation = "query"
    return None if plan is None else (plan, values)


async def _run(plan: QueryPlan, context: RequestContext, variables: Mapping[str, Any]) -> Answer:
    fields = plan.fields
    try:
        parameters = [f.prepared.statement.filled(variables) if f.prepared else [] for f in fields]
    except RecordgateError:
        raise NotExact from None
    errors: list[GraphQLError] = []
    if len(fields) == 1:
        read = [await _read(fields[0], context, variables, parameters[0], errors)]
    else:
        read = await asyncio.gather(
            *(
                _read(f, context, variables, p, errors)
                for f, p in zip(fields, parameters, strict=True)
            )
        )
    body = [b'{"data":{']
    for field_, (value, _) in zip(fields, read, strict=True):
        if value is None:
            raise NotExact({f.key: r for f, (_, r) in zip(fields, read, strict=True) if r})
        body += (field_.head, value)
    code = "OK"
    if errors:
        formatted = [graphql_error(e).formatted for e in errors]
        code = str(formatted[0]["extensions"]["code"])
        body += (b'},"errors":', orjson.dumps(formatted), b',"extensions":')
    else:
        body.append(b'},"extensions":')
    if (
        not plan.by_canonical
        or context.rerouted
        or context.explain
        or context.token is not None
        or context.services.listener.sources
    ):
        body.append(orjson.dumps({"recordgate": extension(context, [f.key for f in fields])}))
    else:
        body += (plan.extensions, b',"cost":%d}}' % context.cost)
    body.append(b"}")
    return Answer(b"".join(body), True, code)


async def _read(
    field: PlannedField,
    context: RequestContext,
    variables: Mapping[str, Any],
    parameters: list[str | list[str]],
    errors: list[GraphQLError],
) -> tuple[bytes | None, ReadField | None]:
    """The JSON of one root field, and what it was made of: null where reading failed, with its
    error added. None in place of JSON whose bytes are not those of ordinary execution."""
    if field.prepared is None:
        return b"", None
    try:
        read = await read_prepared(
            context, field.key, field.prepared, parameters, variables, kept=True
        )
    except MissingValue:
        return None, None
    except Exception as error:
        errors.append(located_error(error, field.nodes, [field.key]))
        return b"null", None
    by_documents, found = read
    if by_documents:
        return orjson.dumps(found), read
    if found is None:
        return b"null", read
    return (found if exact(found) else None), read
