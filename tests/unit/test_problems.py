"""Every error has a stable code that is documented; what is not for a caller's eyes is not shown."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import orjson
import psycopg
import pytest
from graphql import GraphQLError

from gateway.problems import STATUS, HttpProblem, graphql_error, outside, problem_response
from stores import errors
from stores.errors import (
    ConstraintError,
    ForbiddenError,
    GapError,
    InputError,
    LimitError,
    RecordgateError,
    SetupError,
    StaleError,
    StoreLost,
    StoreRefused,
    StoreUnavailable,
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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), "BAD_USER_INPUT"),
        (LimitError("x"), "LIMIT_EXCEEDED"),
        (ForbiddenError("x"), "FORBIDDEN"),
        (StaleError("x", behind_ms=1.4), "STALE"),
        (ConstraintError("x", field="name"), "CONSTRAINT_VIOLATION"),
        (StoreUnavailable("x", store="search"), "STORE_UNAVAILABLE"),
        (StoreLost("x", store="search"), "STORE_UNAVAILABLE"),
        (GapError("x"), "STORE_UNAVAILABLE"),
        (StoreRefused("x", store="search"), "INTERNAL"),
        (SetupError("x"), "INTERNAL"),
        (TimeoutError(), "TIMEOUT"),
        (psycopg.OperationalError("connection refused"), "STORE_UNAVAILABLE"),
        (ValueError("x"), "INTERNAL"),
        (HttpProblem("BODY_TOO_LARGE", "x"), "BODY_TOO_LARGE"),
    ],
)
def test_an_error_has_its_code_outside(error: Exception, code: str) -> None:
    assert outside(error).code == code
    assert problem_response(error).status_code == STATUS[code]


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
    if outside(error).code == "INTERNAL":
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
