"""Shows errors to callers: code, message, HTTP status; as an RFC 9457 problem or as the
`extensions` of a GraphQL error. An error that is not ours, or says nothing to a caller, is INTERNAL
with a reference that the log also has, and nothing else; a store that cannot answer is
STORE_UNAVAILABLE."""

from __future__ import annotations

import logging
import math
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import psycopg
from graphql import GraphQLError
from starlette.responses import Response

from gateway.http.trace_context import trace_id
from gateway.shape.refusals import bare
from stores.canonical.driver_errors import STORE, translate
from stores.errors import (
    ConstraintError,
    LimitError,
    NotReadable,
    RecordgateError,
    SetupError,
    StaleError,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

log = logging.getLogger("gateway")

STATUS = {
    "BAD_USER_INPUT": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "PERSISTED_QUERY_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "REQUEST_TIMEOUT": 408,
    "NOT_ACCEPTABLE": 406,
    "CONFLICT": 409,
    "GONE": 410,
    "BODY_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RANGE_NOT_SATISFIABLE": 416,
    "CONSTRAINT_VIOLATION": 422,
    "HEAD_TOO_LARGE": 431,
    "LIMIT_EXCEEDED": 400,
    "OUT_OF_RANGE": 422,
    "RATE_LIMITED": 429,
    "INTERNAL": 500,
    "OVERLOADED": 503,
    "STORE_UNAVAILABLE": 503,
    "STALE": 503,
    "TIMEOUT": 504,
}
"""Every code that leaves the gateway, with its status outside GraphQL."""

_SEEN_OUTSIDE = {
    "STORE_LOST": "STORE_UNAVAILABLE",
    "GAP": "STORE_UNAVAILABLE",
    "STORE_ERROR": "STORE_UNAVAILABLE",
}


_COMPLETING = ("complete_list_value", "complete_object_value", "ensure_valid_runtime_type")
"""Functions of graphql-core that refuse what a resolver returned."""


class HttpProblem(RecordgateError):
    """A request that HTTP itself refuses; `code` is a key of STATUS."""

    def __init__(
        self, code: str, message: str, *, hint: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Outside:
    """An error as a caller may see it."""

    code: str
    message: str
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return STATUS[self.code]


def outside(error: BaseException) -> Outside:
    """Return what a caller sees of `error`. Logs what it hides, under the reference it gives."""
    if isinstance(error, GraphQLError) and error.original_error is not None:
        seen = outside(error.original_error)
        return replace(seen, message=_place_in_variable(error) + seen.message)
    if isinstance(error, TimeoutError):
        return Outside("TIMEOUT", "the call took too long and was stopped")
    if isinstance(error, psycopg.Error):
        return outside(bare(translate(error)))
    if isinstance(error, GraphQLError):
        if _is_of_output(error):
            return _hidden(error)
        return Outside("BAD_USER_INPUT", error.message)
    refused = isinstance(error, StoreRefused) and error.store != STORE
    if refused or isinstance(error, SetupError | NotReadable):
        return _cannot_answer(error)
    if not isinstance(error, RecordgateError) or isinstance(error, StoreRefused):
        return _hidden(error)
    code = _SEEN_OUTSIDE.get(error.detail_code, error.detail_code)
    if code not in STATUS:
        code = error.code if error.code in STATUS else "INTERNAL"
    if code == "INTERNAL":
        return _hidden(error)
    extra: dict[str, Any] = {}
    if error.hint:
        extra["hint"] = error.hint
    if isinstance(error, ConstraintError) and error.field:
        extra["field"] = error.field
    if error.rows:
        extra["rows"] = list(error.rows)
    if isinstance(error, StaleError) and error.behind_ms is not None:
        extra["behindMs"] = round(error.behind_ms)
    if isinstance(error, StoreError):
        extra["store"] = error.store
    if isinstance(error, StoreUnavailable) and error.retry_after is not None:
        extra["retryAfter"] = error.retry_after
    return Outside(code, error.message, extra)


def _place_in_variable(error: GraphQLError) -> str:
    """Return what graphql-core puts before the message of an input value that is wrong: which
    variable, and where in it. It is empty for all other errors."""
    inner = error.original_error
    if not isinstance(inner, GraphQLError) or not error.message.endswith(inner.message):
        return ""
    place = error.message[: len(error.message) - len(inner.message)]
    return place if place.startswith("Variable '$") else ""


def _is_of_output(error: GraphQLError) -> bool:
    """Return whether a resolver returned a value that its type cannot hold: no fault of the
    caller's, and the message has the value."""
    trace = error.__traceback__
    last = ""
    while trace is not None:
        last = trace.tb_frame.f_code.co_name
        if last == "complete_leaf_value":
            return True
        trace = trace.tb_next
    return last in _COMPLETING


def _said_by_server(error: BaseException) -> str:
    """Return the server's message, which names a column or table and holds no value of a row."""
    cause = error.__cause__
    said = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return f": {said}" if said else ""


def _hidden(error: BaseException) -> Outside:
    reference = secrets.token_hex(8)
    log.error("internal error %s%s", reference, _trace(), exc_info=error)
    return Outside("INTERNAL", "an internal error", {"reference": reference})


def _cannot_answer(error: BaseException) -> Outside:
    """A store that refuses, or whose surroundings are wrong: an operator's to mend, who finds in
    the log what it is. What canonical refuses of the statements that we make is a fault of ours,
    and INTERNAL."""
    reference = secrets.token_hex(8)
    log.error(
        "a store cannot answer %s%s: %s%s", reference, _trace(), error, _said_by_server(error)
    )
    store = error.store if isinstance(error, StoreRefused) else STORE
    extra = {"store": store, "reference": reference}
    return Outside("STORE_UNAVAILABLE", "the store is not configured so that it can answer", extra)


def _trace() -> str:
    found = trace_id.get()
    return f" of trace {found}" if found else ""


def graphql_error(error: BaseException) -> GraphQLError:
    """`error` with path and places kept, a code in its extensions, and nothing hidden shown."""
    seen = outside(error)
    known = error if isinstance(error, GraphQLError) else None
    extensions = {"code": seen.code, **seen.extra}
    if known and known.original_error is None and known.extensions:
        extensions |= {k: v for k, v in known.extensions.items() if k not in extensions}
        extensions["code"] = known.extensions.get("code", seen.code)
    return GraphQLError(
        seen.message,
        nodes=known.nodes if known else None,
        source=known.source if known else None,
        positions=known.positions if known else None,
        path=known.path if known else None,
        extensions=extensions,
    )


def problem_response(error: BaseException, request_id: str = "") -> Response:
    """RFC 9457 problem details for `error`."""
    seen = outside(error)
    body: dict[str, Any] = {
        "type": f"urn:recordgate:error:{seen.code}",
        "title": seen.code.replace("_", " ").capitalize(),
        "status": seen.status,
        "detail": seen.message,
        "code": seen.code,
        **seen.extra,
    }
    if request_id:
        body["requestId"] = request_id
    if trace_id.get():
        body["traceId"] = trace_id.get()
    headers = dict(error.headers) if isinstance(error, HttpProblem) else {}
    if seen.status == 503:
        after = error.retry_after if isinstance(error, StoreUnavailable) else None
        headers.setdefault("Retry-After", str(math.ceil(after or 1)))
    if isinstance(error, LimitError):
        body["title"] = "A limit is exceeded"
    return Response(orjson.dumps(body), seen.status, headers, media_type="application/problem+json")
