"""Every error has a stable code that is documented; what is not for a caller's eyes is not
shown."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import orjson
import psycopg
import pytest
from graphql import GraphQLError, OperationDefinitionNode, build_schema, parse

from gateway.http.problems import STATUS, HttpProblem, graphql_error, outside, problem_response
from gateway.shape.arguments import coerced_variables
from stores import errors
from stores.errors import (
    ConflictError,
    ConstraintError,
    ContractError,
    FencedError,
    ForbiddenError,
    GapError,
    InputError,
    LimitError,
    NotLoaded,
    NotReadable,
    RecordgateError,
    SchemaChanged,
    SetupError,
    SourceError,
    StaleError,
    StoreError,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
    TimeoutExceeded,
    TooMuchWork,
)

PAGE = (Path(__file__).parents[2] / "docs/reference/errors.md").read_text("utf-8")
CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, RecordgateError)
]


@pytest.mark.parametrize("code", sorted({c.code for c in CLASSES} | set(STATUS)))
def test_every_code_is_documented(code: str) -> None:
    assert re.search(rf"^\| `{code}` \|", PAGE, re.MULTILINE), f"{code} is not in errors.md"


def test_every_documented_status_is_the_one_that_is_sent() -> None:
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d{3}) \|", PAGE, re.MULTILINE))
    assert documented == {code: str(status) for code, status in STATUS.items()}


SEEN: dict[type[RecordgateError], list[tuple[RecordgateError, str]]] = {
    RecordgateError: [(RecordgateError("x"), "INTERNAL")],
    ContractError: [(ContractError("x"), "INTERNAL")],
    InputError: [(InputError("x"), "BAD_USER_INPUT")],
    LimitError: [(LimitError("x"), "LIMIT_EXCEEDED")],
    ConstraintError: [(ConstraintError("x", field="name"), "CONSTRAINT_VIOLATION")],
    ConflictError: [(ConflictError("x"), "CONFLICT")],
    FencedError: [(FencedError("x"), "CONFLICT")],
    ForbiddenError: [(ForbiddenError("x"), "FORBIDDEN")],
    TimeoutExceeded: [(TimeoutExceeded("x"), "TIMEOUT")],
    StoreError: [(StoreError("x", store="mongodb"), "STORE_UNAVAILABLE")],
    StoreUnavailable: [(StoreUnavailable("x", store="tantivy"), "STORE_UNAVAILABLE")],
    StoreRefused: [
        *((StoreRefused("x", store=s), "STORE_UNAVAILABLE") for s in ("elasticsearch", "tantivy", "mongodb", "sqlite")),
        (StoreRefused("x", store="postgres"), "INTERNAL"),
    ],
    TooMuchWork: [(TooMuchWork("x", store="sqlite"), "STORE_UNAVAILABLE")],
    NotLoaded: [(NotLoaded("x", store="tantivy"), "STORE_UNAVAILABLE")],
    NotReadable: [(NotReadable("works", "x"), "STORE_UNAVAILABLE")],
    StoreLost: [(StoreLost("x", store="elasticsearch"), "STORE_UNAVAILABLE")],
    StaleError: [(StaleError("x", behind_ms=1.4), "STALE")],
    GapError: [(GapError("x"), "STORE_UNAVAILABLE")],
    SetupError: [(SetupError("x"), "STORE_UNAVAILABLE")],
    SchemaChanged: [(SchemaChanged("x"), "STORE_UNAVAILABLE")],
    SourceError: [(SourceError("x"), "INTERNAL"), (SourceError("x", code="BAD_PAGE"), "INTERNAL")],
}  # fmt: skip
"""Every class of the tree, and what a caller sees of it."""


def test_every_class_of_the_tree_has_its_place_outside() -> None:
    assert set(SEEN) == set(CLASSES)


class Raised(psycopg.Error):
    """An error as the server tells it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("relation secret")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "code"),
    [
        *(pair for pairs in SEEN.values() for pair in pairs),
        (TimeoutError(), "TIMEOUT"),
        (psycopg.OperationalError("connection refused"), "STORE_UNAVAILABLE"),
        *((Raised(state), code) for state, code in (
            ("23503", "CONSTRAINT_VIOLATION"), ("P0001", "CONSTRAINT_VIOLATION"), ("44000", "CONSTRAINT_VIOLATION"),
            ("40001", "CONFLICT"), ("55P03", "CONFLICT"), ("22001", "BAD_USER_INPUT"), ("54000", "LIMIT_EXCEEDED"),
            ("28P01", "STORE_UNAVAILABLE"), ("42501", "STORE_UNAVAILABLE"), ("42P01", "STORE_UNAVAILABLE"),
            ("42703", "STORE_UNAVAILABLE"), ("53300", "STORE_UNAVAILABLE"), ("57P03", "STORE_UNAVAILABLE"),
            ("58030", "STORE_UNAVAILABLE"), ("25006", "STORE_UNAVAILABLE"), ("57014", "TIMEOUT"),
            ("XX001", "STORE_UNAVAILABLE"), ("42601", "INTERNAL"), ("XX000", "INTERNAL"),
        )),
        (GraphQLError("x", original_error=StoreRefused("x", store="sqlite")), "STORE_UNAVAILABLE"),
        (ValueError("x"), "INTERNAL"),
        (HttpProblem("BODY_TOO_LARGE", "x"), "BODY_TOO_LARGE"),
    ],
)  # fmt: skip
def test_an_error_has_its_code_outside(error: Exception, code: str) -> None:
    assert outside(error).code == code
    assert problem_response(error).status_code == STATUS[code]
    found = graphql_error(error).extensions
    assert found is not None
    assert found["code"] == code
    assert "secret" not in outside(error).message


SECRETS = "SELECT secret FROM hidden WHERE password = 'hunter2'"


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRETS),
        KeyError(SECRETS),
        StoreRefused(SECRETS, store="search"),
        SetupError(SECRETS),
        psycopg.errors.SyntaxError(SECRETS),
        psycopg.OperationalError(SECRETS),
        GraphQLError("x", original_error=RuntimeError(SECRETS)),
    ],
)
def test_nothing_of_an_internal_error_is_shown_but_a_reference(error: Exception) -> None:
    shown = problem_response(error).body
    assert b"hunter2" not in shown
    assert b"SELECT" not in shown
    graphql = orjson.dumps(graphql_error(error).formatted)
    assert b"hunter2" not in graphql
    assert b"SELECT" not in graphql
    if outside(error).code == "INTERNAL" or isinstance(error, SetupError | StoreRefused):
        assert len(outside(error).extra["reference"]) == 16


def test_a_problem_says_what_and_how_to_go_on() -> None:
    response = problem_response(InputError("first is wrong", hint="make it right"), "abc")
    assert response.media_type == "application/problem+json"
    body = orjson.loads(response.body)
    assert body["code"] == "BAD_USER_INPUT"
    assert body["status"] == 400
    assert body["detail"] == "first is wrong"
    assert body["hint"] == "make it right"
    assert body["requestId"] == "abc"


def test_a_wrong_variable_is_named_with_the_place_in_it() -> None:
    schema = build_schema("input F { n: [Int!] } type Query { a(f: F): Int }")
    document = parse("query ($f: F) { a(f: $f) }")
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    found = coerced_variables(schema, operation, {"f": {"n": [1, "x"]}})
    assert isinstance(found, list)
    seen = graphql_error(found[0]).formatted
    assert seen["message"] == (
        "Variable '$f' has invalid value at .n[1]: Int cannot represent non-integer value: 'x'"
    )
    assert seen["extensions"]["code"] == "BAD_USER_INPUT"


def test_the_place_in_a_variable_shows_nothing_of_an_internal_error() -> None:
    inner = GraphQLError("secret", original_error=RuntimeError("secret"))
    error = GraphQLError("Variable '$f' has invalid value: secret", original_error=inner)
    seen = outside(error)
    assert (seen.code, seen.message) == (
        "INTERNAL",
        "Variable '$f' has invalid value: an internal error",
    )
