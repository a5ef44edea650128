"""Reads what a root field was prepared to be answered by, for the compiled path and for ordinary
execution alike."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gateway.context.freshness import report
from gateway.context.services import ReadField, RequestContext
from gateway.query.canonical import fetch_json
from gateway.query.key_reads import explain, read_by_key
from gateway.query.list_reads import ask_canonical, read_list
from gateway.query.planner import CANONICAL, PREFERRED
from gateway.query.prepare import Prepared
from stores.canonical.readers import Parameter
from stores.errors import StoreUnavailable


async def read_prepared(
    context: RequestContext,
    path: str,
    prepared: Prepared,
    parameters: list[Parameter],
    variables: Mapping[str, Any],
    *,
    kept: bool = False,
) -> ReadField:
    """Return what the first store gives that is up and fresh enough, and note in the request which
    one it was.

    `parameters` are the statement's, filled with `variables`; `path` is the field's name in the
    response. `kept`: the statement is sent again by other requests, and MissingValue is raised for
    a document whose bytes would not be those of ordinary execution. Raises RecordgateError.
    """
    statement, planned = prepared.statement, prepared.plan

    async def canonical() -> bytes | None:
        return await fetch_json(context.services, statement, parameters, prepare=kept)

    def note(why: str) -> None:
        context.routes[path] = report(CANONICAL, why or planned.candidates[-1].reason)
        if context.explain:
            explain(context, path, planned, CANONICAL, [statement.text], why)

    if prepared.documents is not None:
        route = prepared.documents.record.type.route
        if route.prefer[:1] == (CANONICAL,) and not context.services.canonical_away():
            with suppress(StoreUnavailable):
                found = await ask_canonical(context.services, canonical)
                note(PREFERRED)
                return False, found
        return await read_by_key(
            context,
            path,
            planned,
            prepared.documents,
            prepared.key(variables),
            statement.text,
            canonical,
            strict=kept,
        )
    if prepared.page is not None:
        return await read_list(
            context,
            path,
            planned,
            prepared.page,
            variables,
            statement.text,
            canonical,
            note,
            strict=kept,
        )
    note("")
    return False, await canonical()
