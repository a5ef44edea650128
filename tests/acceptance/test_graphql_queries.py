"""Reads through GraphQL give what the same question in hand-written SQL gives, whatever names,
nulls and values stand in canonical."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from gateway.context.services import Limits
from tests.library_world import Library, running_library


@pytest.fixture(scope="module")
def library(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with running_library(postgres, tmp_path_factory.mktemp("library")) as world:
        yield world


def test_a_connection_gives_the_first_records_in_key_order(library: Library) -> None:
    data = library.data("{ books(first: 3) { nodes { shelf number } totalCount } }")
    rows = library.conn.execute(
        b'SELECT shelf, no FROM "odd schema; --".books ORDER BY shelf, no LIMIT 3'
    ).fetchall()
    assert [(n["shelf"], n["number"]) for n in data["books"]["nodes"]] == rows
    assert data["books"]["totalCount"] == 300


FILTERS: list[tuple[str, str]] = [
    ("{pages: {eq: 3}}", '"select" = 3'),
    ("{pages: {neq: 3}}", '"select" <> 3'),
    ("{pages: {in: [1, 2]}}", '"select" IN (1, 2)'),
    ("{pages: {in: []}}", "false"),
    ("{pages: {notIn: [1, 2]}}", '"select" NOT IN (1, 2)'),
    ("{pages: {notIn: []}}", '"select" IS NOT NULL'),
    ("{pages: {gt: 1, lte: 3}}", '"select" > 1 AND "select" <= 3'),
    ("{pages: {isNull: true}}", '"select" IS NULL'),
    ("{pages: {isNull: false}}", '"select" IS NOT NULL'),
    ("{not: {pages: {gt: 1}}}", '("select" > 1) IS NOT TRUE'),
    ("{or: [{pages: {eq: 1}}, {lent: {eq: true}}]}", '"select" = 1 OR lent'),
    ("{and: [{pages: {eq: 1}}, {lent: {eq: false}}]}", '"select" = 1 AND NOT lent'),
    ('{title: {contains: "%"}}', "title LIKE '%\\%%'"),
    ('{title: {contains: ""}}', "true"),
    ('{title: {contains: "\\\\s"}}', "strpos(title, '\\s') > 0"),
    ('{title: {startsWith: "O\'"}}', "title LIKE 'O''%'"),
    ('{title: {eq: "李雷"}}', "title = '李雷'"),
    ('{title: {gte: "a", lt: "b"}}', "title >= 'a' AND title < 'b'"),
    ('{tags: {contains: "Ω"}}', "'Ω' = ANY (tags)"),
    ("{tags: {isNull: true}}", "tags IS NULL"),
    ('{published: {gte: "2020-01-02T01:00:00+01:00"}}', "published >= '2020-01-02Z'"),
    (
        '{published: {eq: "2020-01-02T00:00:00.123456Z"}}',
        "published = '2020-01-02 00:00:00.123456Z'",
    ),
    ('{big: {eq: "9223372036854775807"}}', "big = 9223372036854775807"),
    ("{big: {lt: 0}}", "big < 0"),
    ('{cover: {eq: "AQD/"}}', "cover = '\\x0100ff'"),
    ('{uid: {in: ["00000000-0000-0000-0000-000000000001"]}}', "uid::text LIKE '%1'"),
    ("{weight: {lt: 1}}", "weight < 1"),
    ("{weight: {eq: 0.1}}", "weight = 0.1"),
    ("{data: {isNull: true}}", "data IS NULL"),
    (
        '{author: {name: {eq: "Ann"}}}',
        """EXISTS (SELECT FROM "Au""thors" a WHERE a.id = author_id AND a."na""me" = 'Ann')""",
    ),
    ("{author: {id: {isNull: false}}}", "author_id IS NOT NULL"),
    ("{not: {author: {id: {isNull: false}}}}", "author_id IS NULL"),
    (
        '{author: {score: {eq: "1.1"}}}',
        """author_id IN (SELECT id FROM "Au""thors" WHERE "score $1; --" = 1.10)""",
    ),
    ('{author: {score: {eq: "1.104"}}}', "false"),
    (
        "{author: {rating: {eq: 0.1}}}",
        """author_id IN (SELECT id FROM "Au""thors" WHERE rating = 0.1::real)""",
    ),
    (
        "{author: {mentor: {mentor: {id: {isNull: false}}}}}",
        """author_id IN (SELECT a.id FROM "Au""thors" a JOIN "Au""thors" m ON m.id = a.mentor_id
           WHERE m.mentor_id IS NOT NULL)""",
    ),
    (
        "{reviews: {stars: {gte: 5}}}",
        "EXISTS (SELECT FROM reviews r WHERE (r.book_shelf, r.book_no) = (shelf, no) AND stars >= 5)",
    ),
]


@pytest.mark.parametrize(("filter_", "where"), FILTERS, ids=[f for f, _ in FILTERS])
def test_a_filter_means_what_its_sql_means(library: Library, filter_: str, where: str) -> None:
    query = f"{{ books(first: 500, filter: {filter_}) {{ nodes {{ number }} totalCount }} }}"
    books = library.data(query)["books"]
    expected = library.column(f"SELECT no FROM books WHERE {where} ORDER BY shelf, no")
    assert [n["number"] for n in books["nodes"]] == expected
    assert books["totalCount"] == len(expected)


def test_filters_of_this_file_select_something() -> None:
    assert len(FILTERS) > 30


def test_values_have_their_json_form(library: Library) -> None:
    fields = "number pages published tags big data cover uid lent weight title"
    nodes = library.data(f"{{ books(first: 500) {{ nodes {{ {fields} }} }} }}")["books"]["nodes"]
    expected = library.column(
        """SELECT json_build_object('number', no, 'pages', "select", 'published', published, 'tags', tags,
             'big', CASE WHEN abs(big::numeric) < 2^53 THEN to_jsonb(big) ELSE to_jsonb(big::text) END,
             'data', data, 'cover', encode(cover, 'base64'), 'uid', uid, 'lent', lent, 'title', title,
             'weight', CASE WHEN weight::text IN ('NaN', 'Infinity') THEN NULL ELSE weight END)
           FROM books ORDER BY shelf, no"""
    )
    assert nodes == expected


def test_relations_are_followed_both_ways_over_a_composite_key(library: Library) -> None:
    nodes = library.data(
        "{ reviews(first: 500) { nodes { nr book { id author { name mentor { id } } } } } }"
    )["reviews"]["nodes"]
    rows = library.conn.execute(
        b"""SELECT nr, shelf, no, a.id, a."na""me", a.mentor_id FROM "odd schema; --".reviews r
            LEFT JOIN "odd schema; --".books b ON (shelf, no) = (book_shelf, book_no)
            LEFT JOIN "odd schema; --"."Au""thors" a ON a.id = author_id ORDER BY nr"""
    ).fetchall()
    for node, (nr, shelf, number, author, name, mentor) in zip(nodes, rows, strict=True):
        escaped = None if shelf is None else shelf.replace("\\", "\\\\").replace(",", "\\,")
        book = None
        if shelf is not None:
            inner = None
            if author is not None:
                inner = {"name": name, "mentor": {"id": str(mentor)} if mentor else None}
            book = {"id": f"{escaped},{number}", "author": inner}
        assert node == {"nr": nr, "book": book}


def test_nested_connections_have_their_own_arguments(library: Library) -> None:
    authors = library.data(
        """{ authors(first: 500) { nodes { id
             few: books(first: 2, filter: {lent: {eq: true}}, orderBy: [{title: DESC}]) {
               totalCount nodes { number } pageInfo { hasNextPage } }
             last: books(last: 1) { edges { node { number } } } } } }"""
    )["authors"]["nodes"]
    some = 0
    for author in authors:
        lent = library.column(
            f"SELECT no FROM books WHERE author_id = {author['id']} AND lent"
            " ORDER BY title DESC, shelf, no"
        )
        everything = library.column(
            f"SELECT no FROM books WHERE author_id = {author['id']} ORDER BY shelf, no"
        )
        assert [n["number"] for n in author["few"]["nodes"]] == lent[:2]
        assert author["few"]["totalCount"] == len(lent)
        assert author["few"]["pageInfo"]["hasNextPage"] == (len(lent) > 2)
        assert [e["node"]["number"] for e in author["last"]["edges"]] == everything[-1:]
        some += len(lent)
    assert some > 10


def test_aliases_fragments_and_directives_are_kept_apart(library: Library) -> None:
    data = library.data(
        """query ($no: Boolean!) {
          one: books(first: 1) { ...Page edges { a: cursor b: cursor x: node { title } } }
          two: books(first: 2, orderBy: [{title: DESC}]) { ...Page nodes @skip(if: true) { big } }
          __typename
        }
        fragment Page on BookConnection {
          __typename all: totalCount totalCount
          edges { __typename node { __typename t: title title ... on Node { id } nodeId @include(if: $no)
            author { n: name } author { name } } }
          more: edges { node { number } }
        }""",
        {"no": False},
    )
    first = data["one"]["edges"][0]
    assert list(data["one"]) == ["__typename", "all", "totalCount", "edges", "more"]
    assert list(first) == ["__typename", "node", "a", "b", "x"]
    assert list(first["node"]) == ["__typename", "t", "title", "id", "author"]
    assert list(first["node"]["author"] or {"n": 1, "name": 1}) == ["n", "name"]
    assert first["a"] == first["b"]
    assert first["x"] == {"title": first["node"]["title"]}
    assert data["__typename"] == "Query"
    assert first["__typename"] == "BookEdge"
    assert first["node"]["__typename"] == "Book"
    assert len(data["two"]["more"]) == 2


def test_node_gives_every_record_by_its_node_id(library: Library) -> None:
    nodes = library.data("{ books(first: 40) { nodes { id nodeId title } } }")["books"]["nodes"]
    for node in nodes:
        query = "query ($id: ID!) { node(id: $id) { id nodeId ... on Book { title } } }"
        assert library.data(query, {"id": node["nodeId"]})["node"] == node
        query = "query ($id: ID!) { book(id: $id) { id nodeId title } }"
        assert library.data(query, {"id": node["id"]})["book"] == node
    assert library.data('{ author(id: "77") { id } node(id: "Author:77") { id } }') == {
        "author": None,
        "node": None,
    }


AGGREGATES: list[tuple[str, str]] = [
    (
        "booksAggregate(groupBy: [lent]) { group { lent } count sum { pages big } avg { pages }"
        " min { title published } max { pages } countDistinct { title } }",
        """SELECT jsonb_build_object('group', jsonb_build_object('lent', lent), 'count', count(*),
             'sum', jsonb_build_object('pages', sum("select"), 'big', sum(big)::text),
             'avg', jsonb_build_object('pages', avg("select")::float8),
             'min', jsonb_build_object('title', min(title), 'published', min(published)),
             'max', jsonb_build_object('pages', max("select")),
             'countDistinct', jsonb_build_object('title', count(DISTINCT title)))
           FROM books GROUP BY lent ORDER BY lent""",
    ),
    (
        "booksAggregate(groupBy: [shelf, pages], having: {count: {gte: 10}},"
        " orderBy: [{count: DESC}, {group: {pages: ASC}}], first: 4) { count group { shelf pages } }",
        """SELECT jsonb_build_object('count', count(*), 'group',
             jsonb_build_object('shelf', shelf, 'pages', "select"))
           FROM books GROUP BY shelf, "select" HAVING count(*) >= 10
           ORDER BY count(*) DESC, "select", shelf LIMIT 4""",
    ),
    (
        "booksAggregate(filter: {pages: {gt: 100}}) { count sum { pages } }",
        "SELECT jsonb_build_object('count', 0, 'sum', jsonb_build_object('pages', NULL::int))",
    ),
    (
        'booksAggregate(groupBy: [authorId], having: {sum: {pages: {gt: 5}}, max: {title: {lt: "z"}}},'
        " orderBy: [{sum: {pages: DESC_NULLS_LAST}}]) { group { authorId } }",
        """SELECT jsonb_build_object('group', jsonb_build_object('authorId', author_id))
           FROM books GROUP BY author_id HAVING sum("select") > 5 AND max(title) < 'z'
           ORDER BY sum("select") DESC NULLS LAST, author_id""",
    ),
    (
        "authorsAggregate(filter: {rating: {lt: 1e9}}) { count sum { score rating } avg { score } }",
        """SELECT jsonb_build_object('count', count(*), 'sum', jsonb_build_object('score', sum("score $1; --")::text,
             'rating', sum(rating::float8)), 'avg', jsonb_build_object('score', avg("score $1; --")::text))
           FROM "Au""thors" WHERE rating < 1e9 AND rating > '-Infinity' """,
    ),
    (
        "booksAggregate(groupBy: [author_name, lent], having: {count: {gt: 2}},"
        " orderBy: [{count: DESC}, {group: {author: {name: DESC}}}]) {"
        " n: count group { lent author { who: name __typename } __typename } }",
        """SELECT jsonb_build_object('n', count(*), 'group', jsonb_build_object('lent', lent, 'author',
             jsonb_build_object('who', "na""me", '__typename', 'BookGroupOfAuthor'), '__typename', 'BookGroup'))
           FROM books LEFT JOIN "Au""thors" a ON a.id = author_id GROUP BY "na""me", lent
           HAVING count(*) > 2 ORDER BY count(*) DESC, "na""me" DESC, "na""me", lent""",
    ),
    (
        "booksAggregate(groupBy: [lent]) { count p: percentile(fraction: 0.5) { pages }"
        " percentile(fraction: 0.9) { number } }",
        """SELECT jsonb_build_object('count', count(*),
             'p', jsonb_build_object('pages', percentile_cont(0.5) WITHIN GROUP (ORDER BY "select")),
             'percentile', jsonb_build_object('number', percentile_cont(0.9) WITHIN GROUP (ORDER BY no)))
           FROM books GROUP BY lent ORDER BY lent""",
    ),
    (
        "peopleAggregate(groupBy: [boss_code]) { count group { boss { code } } }",
        "SELECT jsonb_build_object() WHERE false",
    ),
]


@pytest.mark.parametrize(("query", "by_hand"), AGGREGATES, ids=[q[:60] for q, _ in AGGREGATES])
def test_an_aggregate_is_what_its_sql_gives(library: Library, query: str, by_hand: str) -> None:
    (answer,) = library.data(f"{{ {query} }}").values()
    assert answer == library.column(by_hand)


REFUSED: list[tuple[str, str]] = [
    ("{ booksAggregate { percentile(fraction: 1.5) { pages } } }", "BAD_USER_INPUT"),
    ("{ booksAggregate(groupBy: [lent]) { group { author { name } } } }", "BAD_USER_INPUT"),
    ("{ booksAggregate(orderBy: [{group: {author: {}}}]) { count } }", "BAD_USER_INPUT"),
    ("{ booksAggregate(orderBy: [{group: {author: null}}]) { count } }", "BAD_USER_INPUT"),
    ("{ booksAggregate(groupBy: [reviews_text]) { count } }", "BAD_USER_INPUT"),
    ("{ peopleAggregate(groupBy: [boss_salary]) { count } }", "FORBIDDEN"),
    ("{ peopleAggregate { percentile(fraction: 0.5) { salary } } }", "FORBIDDEN"),
    ("{ books(first: -1) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(last: -2147483648) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(first: 1, last: 1) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(first: 501) { totalCount } }", "LIMIT_EXCEEDED"),
    ("{ authors(first: 1000) { nodes { books(first: 500) { nodes { id } } } } }", "LIMIT_EXCEEDED"),
    ('{ books(after: "") { totalCount } }', "BAD_USER_INPUT"),
    ('{ books(after: "WyJhIl0") { totalCount } }', "BAD_USER_INPUT"),
    ('{ books(before: "🦉") { totalCount } }', "BAD_USER_INPUT"),
    ("{ books(filter: {pages: {eq: null}}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {pages: null}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {not: null}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {or: null}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {author: null}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {pages: {in: null}}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {pages: {in: [null]}}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(filter: {tags: {contains: null}}) { totalCount } }", "BAD_USER_INPUT"),
    ('{ books(filter: {uid: {eq: "no"}}) { totalCount } }', "BAD_USER_INPUT"),
    ('{ books(filter: {published: {eq: "yesterday"}}) { totalCount } }', "BAD_USER_INPUT"),
    ('{ books(filter: {title: {eq: "a\\u0000b"}}) { totalCount } }', "BAD_USER_INPUT"),
    ("{ books(filter: {pages: {eq: 99999}}) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(orderBy: [{title: null}]) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(orderBy: [{}]) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(orderBy: [{title: ASC, pages: ASC}]) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(orderBy: [{tags: ASC}]) { totalCount } }", "BAD_USER_INPUT"),
    ("{ books(orderBy: [{author: null}]) { totalCount } }", "BAD_USER_INPUT"),
    ('{ book(id: "A") { id } }', "BAD_USER_INPUT"),
    ('{ book(id: "A,x") { id } }', "BAD_USER_INPUT"),
    ('{ author(id: "1; DROP TABLE x") { id } }', "BAD_USER_INPUT"),
    ('{ author(id: "99999999999999999999") { id } }', "BAD_USER_INPUT"),
    ('{ node(id: "Nobody:1") { id } }', "BAD_USER_INPUT"),
    ('{ node(id: "Book") { id } }', "BAD_USER_INPUT"),
    ("{ booksAggregate { group { title } } }", "BAD_USER_INPUT"),
    ("{ booksAggregate(having: {count: {gt: null}}) { count } }", "BAD_USER_INPUT"),
    ("{ nothing }", "BAD_USER_INPUT"),
    ("{", "BAD_USER_INPUT"),
    (f"{{ books {{ {'x' * 64}: totalCount }} }}", "LIMIT_EXCEEDED"),
    ('query @freshness(after: "forged") { books { totalCount } }', "BAD_USER_INPUT"),
]


@pytest.mark.parametrize(("query", "code"), REFUSED, ids=[q[:70] for q, _ in REFUSED])
def test_bad_input_is_refused_with_a_code_and_tells_nothing(
    library: Library, query: str, code: str
) -> None:
    answer = library.ask(query)
    assert [e["extensions"]["code"] for e in answer["errors"]] == [code]
    message = str(answer["errors"])
    for secret in ("SELECT", "odd schema", "psycopg", "Traceback"):
        assert secret not in message
    assert not any((answer.get("data") or {}).values())


def _nested(levels: int) -> dict[str, Any]:
    filter_: dict[str, Any] = {"pages": {"eq": 1}}
    for _ in range(levels):
        filter_ = {"not": filter_}
    return filter_


def test_the_size_of_a_filter_is_bounded(library: Library) -> None:
    query = "query ($f: BookFilter) { books(filter: $f) { totalCount } }"
    assert library.codes(query, {"f": _nested(9)}) == []
    assert library.codes(query, {"f": _nested(10)}) == ["LIMIT_EXCEEDED"]
    assert library.codes(query, {"f": {"pages": {"in": [1] * 1000}}}) == []
    assert library.codes(query, {"f": {"pages": {"in": [1] * 1001}}}) == ["LIMIT_EXCEEDED"]
    assert library.codes(query, {"f": {"or": [{"pages": {"eq": 1}}] * 501}}) == ["LIMIT_EXCEEDED"]
    assert library.codes(query, {"f": None}) == []


def test_each_root_field_names_its_store_and_the_plan_shows_no_value(library: Library) -> None:
    answer = library.ask(
        '{ a: book(id: "A,0") { id } b: books(filter: {title: {eq: "wh1sper"}}) { totalCount } }',
        explain=True,
    )
    extension = answer["extensions"]["recordgate"]
    assert extension["fields"]["a"]["store"] == "documents"
    assert extension["fields"]["a"]["generation"] == 1
    assert extension["fields"]["b"]["store"] == "canonical"
    assert extension["plan"]["b"]["considered"]
    assert "wh1sper" not in str(extension)
    assert "$1" in extension["plan"]["b"]["statements"][0]


def test_a_query_past_its_time_is_stopped_with_a_code(library: Library) -> None:
    services = replace(library.services, limits=Limits(statement_timeout=0.05))
    with psycopg.connect(library.url) as locker:
        locker.execute(b'LOCK TABLE "odd schema; --".reviews IN ACCESS EXCLUSIVE MODE')
        assert library.codes("{ reviews { totalCount } }", services=services) == ["TIMEOUT"]
        running = locker.execute(
            b"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        ).fetchone()
    assert running == (0,)
    assert library.codes("{ reviews { totalCount } }", services=library.services) == []


def test_response_names_that_the_statement_uses_itself_do_no_harm(library: Library) -> None:
    names = (
        "x",
        "g",
        "s",
        "r",
        "n",
        "t1",
        "t2",
        "t3",
        "c0",
        "c1",
        "a0",
        "cnt",
        "cur",
        "curs",
        "select",
    )
    values = " ".join(f"{n}: title" for n in names)
    titles = library.column("SELECT title FROM books ORDER BY shelf, no LIMIT 2")
    for name in names:
        query = f"{{ books(first: 2) {{ {name}: nodes {{ {values} }} p: pageInfo {{ {name}: endCursor }} }} }}"
        answer = library.data(query)["books"]
        for node, title in zip(answer[name], titles, strict=True):
            assert [node[n] for n in names] == [title] * len(names)
        assert answer["p"][name]


def test_a_selection_of_which_nothing_is_left_is_an_empty_object(library: Library) -> None:
    data = library.data(
        """{ a: books(first: 1) { nodes { id @skip(if: true) } }
             b: books(first: 1) { nodes @skip(if: true) { id } }
             c: books(first: 1) { edges { cursor @skip(if: true) } pageInfo { endCursor @skip(if: true) } }
             d: booksAggregate { count @skip(if: true) }
             e: booksAggregate { sum { pages @skip(if: true) } }
             f: author(id: "1") { id @skip(if: true) }
             g: node(id: "Author:1") { id @include(if: false) }
             h: reviews(first: 1) { nodes { book { id @skip(if: true) } nr @skip(if: true) } } }"""
    )
    h = data.pop("h")
    assert h["nodes"][0]["book"] in ({}, None)
    assert data == {
        "a": {"nodes": [{}]},
        "b": {},
        "c": {"edges": [{}], "pageInfo": {}},
        "d": [{}],
        "e": [{"sum": {}}],
        "f": {},
        "g": {},
    }
