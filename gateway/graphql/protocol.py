"""GraphQL over HTTP: what a request asks, in which media type and with which status it is answered.

Follows the GraphQL-over-HTTP specification (https://graphql.github.io/graphql-over-http/draft/),
which the audits of the package `graphql-http` check. Strict where CSRF is concerned: a POST is JSON
only, nothing but a POST runs a mutation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from starlette.requests import Request

from gateway.graphql.trusted import TrustedDocuments
from gateway.http.bodies import json_parameter, parameters, read_json
from gateway.http.problems import HttpProblem
from gateway.query.limits import check_value
from stores.errors import LimitError

JSON = "application/json"
RESPONSE_JSON = "application/graphql-response+json"
_ASKING = ("query", "documentId", "extensions")
MAX_KEPT_HEADER = 200
"""Characters of an Accept header whose meaning is kept."""


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """`read_only`: it did not come by POST, so a mutation is refused."""

    query: str
    variables: dict[str, Any] = field(default_factory=dict)
    operation_name: str | None = None
    extensions: dict[str, Any] = field(default_factory=dict)
    read_only: bool = False


def accepted(header: str) -> str | None:
    """`weighed`, with the answers to the headers that come again and again kept."""
    return _weighed(header) if len(header) <= MAX_KEPT_HEADER else weighed(header)


def weighed(header: str) -> str | None:
    """The media type to answer in, of what an Accept header asks; None where neither will do.

    Plain JSON wins unless the newer type is named with at least as much weight.
    """
    if not header.strip():
        return JSON
    weights: dict[str, float] = {}
    for entry in header.lower().split(",")[:50]:
        name, *parameters = (part.strip() for part in entry.split(";"))
        weight = 1.0
        charset = "utf-8"
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
            elif key.strip() == "charset":
                charset = value.strip().strip('"')
        if charset in ("utf-8", "utf8"):
            weights[name] = max(weight, weights.get(name, 0.0))
    wild = weights.get("application/*", weights.get("*/*", 0.0))
    newer = weights.get(RESPONSE_JSON, 0.0)
    plain = weights.get(JSON, wild)
    if newer > 0 and newer >= plain:
        return RESPONSE_JSON
    return JSON if plain > 0 else None


_weighed = lru_cache(maxsize=256)(weighed)


def wants_page(request: Request) -> bool:
    """A browser that opens the endpoint: it asks for a page, and for no query."""
    return request.query_params.keys().isdisjoint(_ASKING) and "text/html" in request.headers.get(
        "accept", ""
    )


def checked(
    values: dict[str, Any], documents: TrustedDocuments, *, read_only: bool = False
) -> GraphQLRequest:
    """The request that `values` make, its document looked up where they name it by an id. Raises
    HttpProblem, InputError, ForbiddenError, UnknownDocument."""
    name = values.get("operationName")
    if name is not None and not isinstance(name, str):
        raise HttpProblem("BAD_USER_INPUT", "operationName must be a string")
    for key in ("variables", "extensions"):
        if values.get(key) is not None and not isinstance(values[key], dict):
            raise HttpProblem("BAD_USER_INPUT", f"{key} must be an object")
    query = documents.text_of(values)
    variables = values.get("variables") or {}
    check_value(variables)
    return GraphQLRequest(query, variables, name or None, values.get("extensions") or {}, read_only)


async def read_values(
    request: Request, most: int, batch: int
) -> list[dict[str, Any]] | dict[str, Any]:
    """Return the body of a POST, or the parameters of any other method: one request, or a batch of
    up to `batch` (0: none).

    Raises HttpProblem and LimitError.
    """
    if request.method == "POST":
        found = await read_json(request, most)
        if isinstance(found, list) and batch:
            if not found or len(found) > batch:
                raise LimitError(
                    f"a batch must hold 1 to {batch} requests",
                    hint="the limit is the setting max_batch",
                )
            if all(isinstance(entry, dict) for entry in found):
                return found
        if isinstance(found, list):
            raise HttpProblem(
                "BAD_USER_INPUT",
                "batches are not supported here" if not batch else "a batch must hold JSON objects",
                hint="send one request for each operation",
            )
        if not isinstance(found, dict):
            raise HttpProblem("BAD_USER_INPUT", "the body must be a JSON object")
        return found
    given = parameters(request)
    values: dict[str, Any] = {
        k: given[k] for k in ("query", "operationName", "documentId") if k in given
    }
    if values.get("operationName") == "":
        del values["operationName"]
    for key in ("variables", "extensions"):
        if given.get(key):
            values[key] = json_parameter(given[key], key)
    return values


def status_of(media_type: str, *, has_data: bool) -> int:
    """The HTTP status of a GraphQL answer. With plain JSON a document that does not parse or
    validate is still 200, as the specification has it for clients of before."""
    if media_type == RESPONSE_JSON and not has_data:
        return 400
    return 200
