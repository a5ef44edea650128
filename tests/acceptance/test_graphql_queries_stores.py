"""Key reads come from the document store where it can answer with canonical's meaning; whatever it
cannot, or cannot now, comes from canonical with the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.context.services import Freshness, Limits, Services
from gateway.context.tokens import sign_token
from stores.canonical.connect import make_pool
from stores.errors import StoreUnavailable
from tests.library_world import LIBRARY, SECRET, SYSTEM, Library, running_library


@pytest.fixture(scope="module")
def library(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with running_library(postgres, tmp_path_factory.mktemp("library")) as world:
        yield world


BOOK = """query ($id: ID!) { book(id: $id) {
  id nodeId shelf number title pages authorId published tags big data cover uid lent weight
  author { id name born rating score }
  few: reviews(first: 1) { totalCount edges { cursor node { nr stars text } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }
  all: reviews { nodes { id nr bookNumber } totalCount __typename } } }"""


def route(answer: dict[str, Any], field: str) -> dict[str, Any]:
    found: dict[str, Any] = answer["extensions"]["recordgate"]["fields"][field]
    return found


class Down:
    """The real store of `library`, whose reads fail as when its file is gone."""

    def __init__(self, library: Library) -> None:
        self.kind = library.store.kind
        self.capabilities = library.store.capabilities
        self.position = library.store.position
        self.generations = library.store.generations

    async def get(self, type_name: str, keys: Sequence[str]) -> dict[str, bytes]:
        raise StoreUnavailable("it is down", store=self.kind)


def without(library: Library, documents: Any) -> Services:
    return replace(library.services, documents=documents)


def test_both_stores_give_the_same_bytes(library: Library) -> None:
    ids = [
        n["id"] for n in library.data("{ books(first: 300) { nodes { id } } }")["books"]["nodes"]
    ]
    reviewed = 0
    for id_ in ids:
        from_documents = library.ask(BOOK, {"id": id_})
        from_canonical = library.ask(BOOK, {"id": id_}, services=without(library, Down(library)))
        assert route(from_documents, "book")["store"] == "documents"
        assert route(from_canonical, "book")["store"] == "canonical"
        assert orjson.dumps(from_documents["data"]) == orjson.dumps(from_canonical["data"])
        reviewed += from_documents["data"]["book"]["all"]["totalCount"]
    assert reviewed > 100


def test_a_store_that_is_down_is_replaced_and_the_reason_says_so(library: Library) -> None:
    answer = library.ask('{ author(id: "1") { name } }', services=without(library, Down(library)))
    assert answer["data"]["author"]["name"]
    assert route(answer, "author")["store"] == "canonical"
    assert "it is down" in route(answer, "author")["reason"]


CANONICAL_ONLY = [
    '{ r: author(id: "5") { books(filter: {lent: {eq: true}}) { totalCount } } }',
    '{ r: author(id: "5") { books(orderBy: [{title: ASC}]) { totalCount } } }',
    '{ r: author(id: "5") { books(last: 1) { totalCount } } }',
    '{ r: author(id: "5") { mentor { mentor { name } } } }',
    '{ r: author(id: "5") { mentor { books { totalCount } } } }',
    '{ r: author(id: "05") { name } }',
]


@pytest.mark.parametrize("query", CANONICAL_ONLY)
def test_what_a_document_cannot_say_comes_from_canonical(library: Library, query: str) -> None:
    answer = library.ask(query)
    assert "errors" not in answer
    assert answer["data"]["r"] is not None
    assert route(answer, "r")["store"] == "canonical"


def test_a_token_that_documents_have_not_reached_is_answered_by_canonical(library: Library) -> None:
    query = '{ author(id: "1") { name } }'
    reached = Freshness(after=sign_token(SYSTEM, 1000, SECRET))
    assert route(library.ask(query, freshness=reached), "author")["store"] == "documents"
    ahead = Freshness(after=sign_token(SYSTEM, 1001, SECRET))
    assert route(library.ask(query, freshness=ahead), "author")["store"] == "canonical"
    foreign = Freshness(after=sign_token("8/5", 1, SECRET))
    assert library.codes(query, freshness=foreign) == ["BAD_USER_INPUT"]


def test_documents_of_another_contract_are_not_read(library: Library) -> None:
    author = LIBRARY.types["author"]
    less = replace(LIBRARY, types={**LIBRARY.types, "author": replace(author, embeds=())})
    answer = library.ask(
        '{ author(id: "1") { name } }',
        services=replace(library.services, contract=less, _shapes={}),
    )
    assert route(answer, "author")["store"] == "canonical"
    assert "reload" in route(answer, "author")["reason"]


def test_text_in_an_order_of_its_own_keeps_children_in_canonical(library: Library) -> None:
    services = replace(library.services, text_order_is_bytewise=False)
    query = '{ author(id: "5") { books { totalCount nodes { title } } } }'
    assert route(library.ask(query, services=services), "author")["store"] == "canonical"
    assert route(library.ask(query), "author")["store"] == "documents"


# What a viewer may see -------------------------------------------------------------------------

PEOPLE = (
    "{ people { nodes { code salary email reports { nodes { code } } boss { code } } totalCount } }"
)


def people(library: Library, *roles: str) -> dict[str, Any]:
    page = library.data(PEOPLE, roles=roles)["people"]
    return {n["code"]: n for n in page["nodes"]} | {"total": page["totalCount"]}


def test_rows_are_hidden_at_every_level(library: Library) -> None:
    assert people(library) == {"total": 0}
    clerk = people(library, "clerk")
    assert set(clerk) == {"ann", "bob", "total"}
    assert clerk["total"] == 2
    assert clerk["ann"]["boss"] is None
    assert clerk["ann"]["reports"]["nodes"] == [{"code": "bob"}]
    assert set(people(library, "clerk", "guest")) == {"ann", "bob", "boss", "cy", "total"}
    assert people(library, "hr")["total"] == 5
    assert library.data('{ person(id: "cy") { code } }', roles=("clerk",)) == {"person": None}
    hidden = '{ people(filter: {boss: {code: {eq: "boss"}}}) { totalCount } }'
    assert library.data(hidden, roles=("clerk",))["people"]["totalCount"] == 0
    assert library.data(hidden, roles=("hr",))["people"]["totalCount"] == 1
    groups = "{ peopleAggregate(groupBy: [team]) { count group { team } } }"
    assert library.data(groups, roles=("clerk",))["peopleAggregate"] == [
        {"count": 2, "group": {"team": "blue"}}
    ]


def test_a_role_sees_a_property_in_its_form(library: Library) -> None:
    assert people(library, "hr")["ann"]["salary"] == 100
    assert people(library, "auditor")["ann"]["salary"] is None
    assert people(library, "hr")["ann"]["email"] == "ann@example.org"
    assert people(library, "clerk")["ann"]["email"] == "a***"
    hashed = people(library, "auditor")
    assert len(hashed["ann"]["email"]) == 64
    assert hashed["ann"]["email"] != hashed["bob"]["email"]
    assert hashed["di"]["email"] is None
    assert people(library, "guest")["boss"]["email"] is None
    assert people(library, "clerk", "hr")["ann"]["email"] == "ann@example.org"


@pytest.mark.parametrize(
    "query",
    [
        "{ people(filter: {salary: {gt: 1}}) { totalCount } }",
        "{ people(filter: {not: {reports: {salary: {isNull: true}}}}) { totalCount } }",
        "{ people(orderBy: [{salary: ASC}]) { totalCount } }",
        "{ people(orderBy: [{boss: {salary: ASC}}]) { totalCount } }",
        "{ peopleAggregate { max { salary } } }",
        "{ peopleAggregate(groupBy: [salary]) { count } }",
        "{ peopleAggregate(having: {sum: {salary: {gt: 1}}}) { count } }",
        "{ peopleAggregate(orderBy: [{sum: {salary: ASC}}]) { count } }",
    ],
)
def test_a_hidden_value_leaves_by_no_door(library: Library, query: str) -> None:
    assert library.codes(query, roles=("clerk",)) == ["FORBIDDEN"]
    assert library.codes(query, roles=("hr",)) == []


def test_types_with_hidden_parts_are_not_read_from_documents(library: Library) -> None:
    answer = library.ask('{ person(id: "ann") { code email } }', roles=("clerk",))
    assert answer["data"]["person"] == {"code": "ann", "email": "a***"}
    assert route(answer, "person")["store"] == "canonical"


def test_a_lost_connection_is_not_the_callers_trouble(library: Library) -> None:
    library.data("{ reviews { totalCount } }")
    killed = library.conn.execute(
        b"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        b" WHERE datname = current_database() AND pid <> pg_backend_pid()"
        b" AND application_name = 'recordgate'"
    ).fetchone()
    assert killed
    assert killed[0] > 0
    assert library.data("{ reviews { totalCount } }")["reviews"]["totalCount"] == 500


def test_canonical_down_leaves_what_documents_can_answer(library: Library) -> None:
    async def closed_pool() -> Any:
        pool = make_pool("postgresql://nobody@127.0.0.1:1/none", 1)
        await pool.open(wait=False)
        return pool

    pool = library.run(closed_pool())
    services = replace(library.services, pool=pool, limits=Limits(statement_timeout=1))
    try:
        answer = library.ask(
            '{ author(id: "1") { id } authors { totalCount } authorsAggregate(groupBy: [name]) {'
            " count } }",
            services=services,
        )
    finally:
        library.run(pool.close())
    total = library.data("{ authors { totalCount } }")["authors"]
    assert answer["data"] == {"author": {"id": "1"}, "authors": total, "authorsAggregate": None}
    assert [e["extensions"]["code"] for e in answer["errors"]] == ["STORE_UNAVAILABLE"]
    assert [e["path"] for e in answer["errors"]] == [["authorsAggregate"]]
