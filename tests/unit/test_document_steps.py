"""What is done with a document before it is admitted is linear in its text: counted in calls, not
in time, for texts that are made to take more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from graphql import GraphQLError, GraphQLSchema, OperationDefinitionNode

from gateway.context.services import Limits
from gateway.query.costs import cost_of
from gateway.query.execute import ParsedDocuments
from gateway.schema import build_schema
from stores.contract.load import load_contract
from stores.errors import LimitError

LIMITS = Limits()
GEONAMES = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
A_CHARACTER = 150
"""Calls that a character of the text may cost: a name of one letter and what stands around it are
parsed, visited by each rule of validation and weighed."""
AT_MOST = 700_000
"""Calls for any text at all: what bounds the rules that compare by pairs."""


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(load_contract(GEONAMES)).graphql


def doubled(count: int, of: str = "Query", field: str = "__typename") -> str:
    """Each fragment is spread twice in the next: 2**count times where nobody takes notice."""
    return (
        "".join(f" fragment f{i} on {of} {{ ...f{i - 1} ...f{i - 1} }}" for i in range(1, count))
        + f" fragment f0 on {of} {{ {field} }}"
    )


def each_in_all(count: int, of: str, field: str) -> str:
    """Each fragment spreads all that come after it."""
    return "".join(
        f" fragment f{i} on {of} {{ {field} {' '.join(f'...f{j}' for j in range(i + 1, count))} }}"
        for i in range(count)
    )


def chain(count: int, of: str) -> str:
    return (
        "".join(f" fragment f{i} on {of} {{ a{i}: name ...f{i + 1} }}" for i in range(count - 1))
        + f" fragment f{count - 1} on {of} {{ name }}"
    )


KINDS: dict[str, Callable[[int], str]] = {
    "doubled": lambda n: f"{{ ...f{n - 1} }}" + doubled(n),
    "doubled below fields": lambda n: (
        f"{{ cities {{ nodes {{ ...f{n - 1} }} edges {{ node {{ ...f{n - 1} }} }} }} }}" + doubled(n, "City", "name")
    ),
    "doubled connections": lambda n: (
        f"{{ cities {{ ...f{n - 1} }} }}" + doubled(n, "CityConnection", "totalCount nodes { name }")
    ),
    "doubled in the schema": lambda n: (
        f"{{ __schema {{ ...f{n - 1} }} }}" + doubled(n, "__Schema", "types { fields { name } }")
    ),
    "inline": lambda n: "{" + "... on Query { " * (n // 3) + "__typename" + " }" * (n // 3) + "}",
    "each in all": lambda n: "{ ...f0 }" + each_in_all(n // 2, "Query", "__typename"),
    "each in all, at many places": lambda n: (
        "{" + " ".join(f"c{i}: cities {{ nodes {{ ...f0 }} }}" for i in range(min(n, 45))) + "}"
        + each_in_all(n // 3, "City", "name")
    ),
    "each in all of the schema": lambda n: "{ __schema { ...f0 } }" + each_in_all(n // 2, "__Schema", "description"),
    "chain": lambda n: "{ cities { nodes { ...f0 } } }" + chain(n, "City"),
    "side by side": lambda n: (
        "{ cities { nodes {" + " ".join(f"...f{i}" for i in range(n)) + "} } }"
        + "".join(f" fragment f{i} on City {{ a{i}: name }}" for i in range(n))
    ),
    "fields of one name": lambda n: "{" + " ".join("cities { nodes { ...f0 } }" for _ in range(min(n, 45))) + "}" + chain(n, "City"),
    "operations": lambda n: (
        " ".join(f"query q{i} {{ ...f0 }}" for i in range(n)) + " fragment f0 on Query { " + chain_of_cities(n) + " }"
    ),
    "values": lambda n: "{ cities(filter: {or: [" + '{name: {eq: "x"}}' * n * 5 + "]}) { totalCount } }",
}  # fmt: skip


def chain_of_cities(count: int) -> str:
    return " ".join(f'a{i}: city(id: "{i}") {{ name }}' for i in range(min(count, 20)))


def taken(schema: GraphQLSchema, text: str) -> tuple[int, bool]:
    """The calls until the operation is weighed, and whether it is within the limits."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    documents, whole = ParsedDocuments(), False
    sys.setprofile(count)
    try:
        document, _ = documents.get(schema, text, LIMITS)
        if document is not None:
            first = document.definitions[0]
            assert isinstance(first, OperationDefinitionNode)
            name = first.name.value if first.name else None
            operation = documents.operation(schema, text, name, LIMITS, document)
            assert operation is not None
            operation.cost.estimate({})
            whole = True
    except (LimitError, GraphQLError):
        pass
    finally:
        sys.setprofile(None)
    return calls, whole


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_before_admission_is_linear_in_the_text(
    schema: GraphQLSchema, kind: str
) -> None:
    before: tuple[int, int] | None = None
    for size in (30, 90):
        text = KINDS[kind](size)
        calls, whole = taken(schema, text)
        assert calls <= A_CHARACTER * len(text) + 5_000, (kind, size, len(text))
        assert calls <= AT_MOST, (kind, size)
        if before is not None and whole:
            # graphql-core 3.3 compares what is spread at one place by pairs, up to MAX_COMPARISONS.
            grown = (len(text) / before[0]) * 1.7
            assert calls <= grown * before[1] + 5_000, (kind, size, before, calls)
        before = (len(text), calls)


def test_a_fragment_is_weighed_once_at_a_place(schema: GraphQLSchema) -> None:
    def cost(text: str) -> int:
        documents = ParsedDocuments()
        document, errors = documents.get(schema, text, LIMITS)
        assert document is not None, errors
        operation = documents.operation(schema, text, None, LIMITS, document)
        assert operation is not None
        return operation.cost.estimate({"n": 7})

    page = "cities(first: $n) { totalCount nodes { country { name } } edges { node { name } } }"
    plain = cost(f"query ($n: Int) {{ {page} }}")
    # 1 for the connection, 10 for the count, and 7 times: a node, its country, an edge and its
    # node.
    assert plain == 1 + 10 + 7 * (1 + 1 + 1 + 1)
    spread = (
        "query ($n: Int) { ...a } fragment a on Query { cities(first: $n) { ...b ...c ...b } }"
        " fragment b on CityConnection { totalCount ...c edges { ... on CityEdge { node { name } } } }"
        " fragment c on CityConnection { ... { nodes { ...d } } } fragment d on City { country { name } }"
    )
    assert cost(spread) == plain
    assert cost("{ ...f59 }" + doubled(60, field="city(id: 1) { name }")) == 1


def test_a_long_document_is_read_off_the_loop(schema: GraphQLSchema) -> None:
    """While it is, others have their turns: on the loop it would be done after the first."""
    text = KINDS["values"](160)

    async def go() -> int:
        documents, turns = ParsedDocuments(), 0
        reading = asyncio.ensure_future(documents.read(schema, text, LIMITS))
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1
        assert documents.get(schema, text, LIMITS)[0] is not None
        return turns

    assert asyncio.run(go()) > 5


def test_the_cost_of_an_operation_that_has_none_is_nothing(schema: GraphQLSchema) -> None:
    documents = ParsedDocuments()
    document, _ = documents.get(schema, "{ __typename }", LIMITS)
    assert document is not None
    first = document.definitions[0]
    assert isinstance(first, OperationDefinitionNode)
    assert cost_of(schema, first, {}).estimate({}) == 0
