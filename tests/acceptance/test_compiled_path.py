"""The compiled path gives the bytes of ordinary execution, and is the path that queries take.

`Library.ask` compares both for every query of the acceptance tests; here are those where they could
differ.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.context.services import Freshness, RequestContext, Viewer
from gateway.query import compiled
from gateway.query.compiled import NotExact, respond
from gateway.query.execute import execute
from gateway.schema import build_schema
from tests.library_world import LIBRARY, Library, running_library


@pytest.fixture(scope="module")
def library(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with running_library(postgres, tmp_path_factory.mktemp("library")) as world:
        yield world


@pytest.fixture
def only_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary execution, but for the comparison in `Library.ask`, is an error."""

    async def refuse(*_: Any) -> dict[str, Any]:
        raise NotExact

    monkeypatch.setattr(compiled, "execute", refuse)


VARIABLES: list[tuple[str, list[dict[str, Any]]]] = [
    (
        "query ($id: ID!) { book(id: $id) { id title weight } }",
        [{"id": "A,0"}, {"id": "a,1"}, {"id": "\\\\,3"}, {"id": "A,99999"}, {"id": "A,00"}],
    ),
    (
        "query ($n: Int, $f: BookFilter) { books(first: $n, filter: $f) { nodes { number } } }",
        [
            {},
            {"n": None, "f": None},
            {"n": 1},
            {"f": {"pages": {"gt": 1}}},
            {"f": {"pages": {"gt": 3}}},
            {"f": {"pages": {"in": []}}},
            {"f": {"pages": {"in": [1, 2]}}},
            {"f": {"pages": {"in": [3]}}},
            {"f": {"tags": {"contains": "Ω"}}},
            {"f": {"tags": {"contains": 'quo"te\\'}}},
            {"f": {"title": {"in": ['quo"te', "back\\slash", "", "🦉 owl"]}}},
            {"f": {"lent": {"eq": True}}},
            {"f": {"lent": {"isNull": False}, "or": [{"pages": {"eq": 1}}, {"pages": {"eq": 2}}]}},
            {"f": {"author": {"name": {"startsWith": "A"}}}},
        ],
    ),
    (
        "query ($a: Int, $b: [Int!]) { books(filter: {pages: {gte: $a, in: $b}}) { totalCount } }",
        [{"a": 1, "b": [1, 2]}, {"a": 2, "b": [2]}, {"a": 1, "b": []}],
    ),
    (
        "query ($a: Int!, $b: Int!) { books(filter: {pages: {in: [$a, 3, $b]}}) { totalCount } }",
        [{"a": 1, "b": 2}, {"a": 4, "b": 4}],
    ),
    (
        "query ($yes: Boolean!, $o: [BookOrderBy!]) { books(first: 3, orderBy: $o) {"
        " nodes { id @include(if: $yes) title @skip(if: $yes) } pageInfo { endCursor } } }",
        [
            {"yes": True},
            {"yes": False, "o": []},
            {"yes": True, "o": [{"pages": "DESC"}]},
            {"yes": True, "o": [{"pages": "ASC"}, {"author": {"name": "DESC_NULLS_LAST"}}]},
        ],
    ),
    (
        "query ($min: BigInt) { booksAggregate(groupBy: [lent], having: {count: {gte: $min}}) { count } }",
        [{"min": 1}, {"min": "100"}],
    ),
]


@pytest.mark.usefixtures("only_compiled")
@pytest.mark.parametrize(("query", "several"), VARIABLES, ids=[q[:60] for q, _ in VARIABLES])
def test_one_plan_serves_other_values_of_the_same_structure(
    library: Library, query: str, several: list[dict[str, Any]]
) -> None:
    for variables in [*several, *reversed(several)]:
        library.data(query, variables)


@pytest.mark.usefixtures("only_compiled")
def test_a_plan_does_not_grow_with_the_values_it_is_used_for(library: Library) -> None:
    query = "query ($p: Int) { books(filter: {pages: {eq: $p}}) { totalCount } }"
    services = replace(library.services)
    for pages in range(50):
        library.data(query, {"p": pages}, services=services)
    assert services.plans.count == 1


@pytest.mark.usefixtures("only_compiled")
def test_cursors_of_any_order_are_given_to_one_plan(library: Library) -> None:
    query = """query ($after: String) { books(first: 40, after: $after, orderBy: [{pages: DESC}]) {
      nodes { id } pageInfo { endCursor hasNextPage hasPreviousPage } } }"""
    services = replace(library.services)
    after, pages = None, 0
    while True:
        info = library.data(query, {"after": after}, services=services)["books"]["pageInfo"]
        pages += 1
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
    assert pages == 8
    assert services.plans.count <= 3  # the first page, and after a value and after none


SPLICED = [
    "{ books(first: 300) { nodes { id title tags published uid cover lent big } } }",
    "{ a: authors(first: 500) { nodes { id name born score } } b: reviews { totalCount } __typename }",
    "{ books(first: 3) { nodes { author { name mentor { name books(first: 1) { nodes { id } } } } } } }",
    '{ author(id: "1") { name rating books(first: 2) { nodes { title } totalCount } } }',
    '{ author(id: "77") { name } }',
    "{ booksAggregate(groupBy: [lent]) { count sum { pages big } avg { pages } } }",
]


@pytest.mark.usefixtures("only_compiled")
@pytest.mark.parametrize("query", SPLICED)
def test_what_a_statement_prints_exactly_is_not_read_again(library: Library, query: str) -> None:
    library.data(query)


def test_what_a_statement_cannot_print_exactly_is_executed(library: Library) -> None:
    for field in ("weight", "data"):
        library.data(f"{{ books(first: 300) {{ nodes {{ {field} }} }} }}")


class Counted:
    """A way to canonical that counts what goes it."""

    def __init__(self, way: Any) -> None:
        self.way, self.sent = way, 0

    async def read(self, *args: Any, **options: Any) -> Any:
        self.sent += 1
        return await self.way.read(*args, **options)


NOT_EXACT = [
    ("{ books(first: 50) { nodes { id data } } }", 1),
    ("{ books(first: 300) { nodes { weight tags cover } } }", 1),
    ("{ authors(first: 50) { nodes { rating books(first: 2) { nodes { data big } } } } }", 1),
    ('{ book(id: "A,1") { data reviews(filter: {nr: {gte: 0}}) { totalCount } } }', 1),
    ("{ a: books(first: 2) { nodes { data } } b: books(first: 2) { nodes { id } } __typename }", 2),
    ("{ booksAggregate(groupBy: [weight]) { count group { weight } max { weight } } }", 1),
]


@pytest.mark.parametrize(("query", "statements"), NOT_EXACT)
def test_what_cannot_be_exact_in_bytes_is_asked_of_canonical_once(
    library: Library, monkeypatch: pytest.MonkeyPatch, query: str, statements: int
) -> None:
    """Free JSON, floats out of the plain range: execution takes what the compiled path has read."""
    pool = library.services.pool
    ways = [Counted(pool.readers), Counted(pool.joint)]
    strong = RequestContext(
        library.services, Viewer("someone"), Freshness(max_staleness=0), explain=True
    )
    ordinary = replace(strong, routes={}, plans={})
    expected = library.run(execute(library.schema, ordinary, query))
    monkeypatch.setattr(pool, "readers", ways[0])
    monkeypatch.setattr(pool, "joint", ways[1])
    answer = library.run(respond(library.schema, strong, query))
    assert sum(way.sent for way in ways) == statements
    assert answer.body == orjson.dumps(expected)


def test_escapes_and_numbers_are_those_of_the_ordinary_encoder(library: Library) -> None:
    """Every character below U+0300 and some beyond; floats over the whole range and on its
    edges."""
    library.conn.execute('SET search_path = "odd schema; --"')
    texts = [chr(c) for c in range(1, 0x300)] + ["\u2028", "\ud7ff", "\ufffe", "😀", "</script>"]
    floats = [m * 10.0**e for e in range(-8, 24) for m in (1, 1.5, -1, 9.999999999999999, 1 / 3)]
    for start in range(0, len(texts), 200):
        library.conn.execute("DELETE FROM reviews WHERE nr >= 10000")
        with library.conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO reviews (nr, text) VALUES (%s, %s)",
                [(10000 + i, t) for i, t in enumerate(texts[start : start + 200])],
            )
        found = library.data(
            "{ reviews(first: 200, filter: {nr: {gte: 10000}}) { nodes { text } } }"
        )
        assert [n["text"] for n in found["reviews"]["nodes"]] == texts[start : start + 200]
    library.conn.execute("DELETE FROM reviews WHERE nr >= 10000")
    with library.conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO "Au""thors" (id, "na""me", rating) VALUES (%s, 'f', %s)""",
            [(5000 + i, f) for i, f in enumerate(floats)],
        )
        cursor.executemany(
            "INSERT INTO books (shelf, no, title, weight) VALUES ('f', %s, 'f', %s)",
            [(5000 + i, f) for i, f in enumerate(floats)],
        )
    try:
        for i, expected in enumerate(floats):
            query = f"{{ books(filter: {{number: {{eq: {5000 + i}}}}}) {{ nodes {{ weight }} }} }}"
            assert library.data(query)["books"]["nodes"][0]["weight"] == expected
            query = f"{{ authors(filter: {{id: {{eq: {5000 + i}}}}}) {{ nodes {{ rating }} }} }}"
            assert library.data(query)["authors"]["nodes"]
        library.data('{ authors(filter: {name: {eq: "f"}}, first: 500) { nodes { rating } } }')
    finally:
        library.conn.execute("DELETE FROM books WHERE shelf = 'f'")
        library.conn.execute("""DELETE FROM "Au""thors" WHERE "na""me" = 'f'""")


# Selections made at random --------------------------------------------------------------------

SCALARS = {
    "Book": "id nodeId shelf number title pages authorId published tags big cover uid lent weight data __typename",
    "Author": "id nodeId name born rating score mentorId __typename",
    "Review": "id nodeId nr bookShelf bookNumber stars text __typename",
    "Person": "id code team salary email bossCode __typename",
}
ONE = {
    "Book": {"author": "Author"},
    "Author": {"mentor": "Author"},
    "Review": {"book": "Book"},
    "Person": {"boss": "Person"},
}
MANY = {
    "Book": {"reviews": "Review"},
    "Author": {"pupils": "Author", "books": "Book"},
    "Review": {},
    "Person": {"reports": "Person"},
}
ARGUMENTS = ("", "(first: 2)", "(last: 2)", "(first: 0)", "(first: 3, orderBy: [{%s: DESC}])")
ORDERED_BY = {"Book": "title", "Author": "name", "Review": "stars", "Person": "team"}


@st.composite
def records(draw: Any, kind: str, depth: int) -> str:
    parts = [
        (
            f"{draw(st.sampled_from(['a', 'b', 'c0', 'g']))}{i}: {name}"
            if draw(st.booleans())
            else name
        )
        for i, name in enumerate(
            draw(
                st.lists(
                    st.sampled_from(SCALARS[kind].split()), min_size=1, max_size=5, unique=True
                )
            )
        )
    ]
    if depth:
        for name, target in draw(st.lists(st.sampled_from(sorted(ONE[kind].items())), max_size=1)):
            parts.append(f"{name} {{ {draw(records(target, depth - 1))} }}")
        if MANY[kind]:
            for name, target in draw(
                st.lists(st.sampled_from(sorted(MANY[kind].items())), max_size=1)
            ):
                parts.append(f"{name}{draw(pages(target, depth - 1))}")
    return " ".join(draw(st.permutations(parts)))


@st.composite
def pages(draw: Any, kind: str, depth: int) -> str:
    arguments = draw(st.sampled_from(ARGUMENTS))
    if "%s" in arguments:
        arguments %= ORDERED_BY[kind]
    parts = draw(
        st.lists(
            st.sampled_from(
                (
                    "totalCount",
                    "__typename",
                    "pageInfo { hasNextPage endCursor startCursor __typename hasPreviousPage }",
                    f"nodes {{ {draw(records(kind, depth))} }}",
                    f"edges {{ cursor node {{ {draw(records(kind, depth))} }} __typename }}",
                )
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    return f"{arguments} {{ {' '.join(parts)} }}"


ROOTS = {"books": "Book", "authors": "Author", "reviews": "Review", "people": "Person"}


@st.composite
def queries(draw: Any) -> str:
    fields = []
    for i, (name, kind) in enumerate(
        draw(st.lists(st.sampled_from(sorted(ROOTS.items())), min_size=1, max_size=3))
    ):
        fields.append(f"f{i}: {name}{draw(pages(kind, 2))}")
    return f"{{ {' '.join(fields)} }}"


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(query=queries(), roles=st.sampled_from([(), ("hr",), ("clerk",), ("auditor", "guest")]))
def test_any_selection_gives_the_same_bytes_both_ways(
    library: Library, query: str, roles: tuple[str, ...]
) -> None:
    library.ask(query, roles=roles)  # compares


def test_a_plan_is_made_for_the_roles_it_shows_values_to(library: Library) -> None:
    services = replace(library.services)
    query = "{ people { nodes { code salary email } } }"
    seen = {
        roles: orjson.dumps(library.data(query, roles=roles, services=services))
        for roles in ((), ("hr",), ("clerk",), ("auditor",), ("clerk", "hr"))
    }
    for roles, before in [*seen.items()]:
        assert orjson.dumps(library.data(query, roles=roles, services=services)) == before
    assert seen["hr",] != seen["clerk",] != seen["auditor",] != seen[()]


def without_reference(body: bytes) -> bytes:
    """Each internal error has a reference of its own."""
    return re.sub(rb'"reference":"[0-9a-f]+"', b"", body)


def test_a_missing_value_of_a_required_field_is_the_same_error(library: Library) -> None:
    """The contract says that `team` is required; the table lets it be missing."""
    person = LIBRARY.types["person"]
    properties = tuple(
        replace(p, required=True) if p.name in ("team", "bossCode") else p
        for p in person.properties
    )
    strict = replace(
        LIBRARY,
        types={**LIBRARY.types, "person": replace(person, properties=properties, row_filter=())},
    )
    schema = build_schema(strict)
    services = replace(library.services, contract=strict)

    def context() -> RequestContext:
        return RequestContext(services, Viewer())

    for query in (
        "{ people { nodes { code team } } }",
        "{ people { edges { node { bossCode boss { team } } } } }",
        '{ person(id: "di") { code team } person2: person(id: "ann") { code team } }',
    ):
        answer = library.run(respond(schema, context(), query))
        ordinary = library.run(execute(schema, context(), query))
        assert ordinary["errors"]
        assert without_reference(answer.body) == without_reference(orjson.dumps(ordinary))
        assert answer.code == "INTERNAL"


def test_many_at_once_share_the_connections(library: Library) -> None:
    query = (
        "query ($id: ID!) { reviews(filter: {nr: {eq: 1}}) { totalCount } author(id: $id) { id } }"
    )

    async def go() -> list[bytes]:
        return [
            a.body
            for a in await asyncio.gather(
                *(
                    respond(
                        library.schema,
                        RequestContext(library.services, Viewer()),
                        query,
                        {"id": str(i % 30 + 1)},
                    )
                    for i in range(300)
                )
            )
        ]

    found = [orjson.loads(body)["data"] for body in library.run(go())]
    assert [f["author"]["id"] for f in found] == [str(i % 30 + 1) for i in range(300)]
