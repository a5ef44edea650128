"""Walking the pages of any order, forwards and backwards, gives every record once and in order; a
cursor that is not ours is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.library_world import Library, running_library


@pytest.fixture(scope="module")
def library(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with running_library(postgres, tmp_path_factory.mktemp("library")) as world:
        yield world


SQL_COLUMNS = {
    "title": "b.title",
    "pages": 'b."select"',
    "published": "b.published",
    "big": "b.big",
    "uid": "b.uid",
    "lent": "b.lent",
    "weight": "b.weight",
    "cover": "b.cover",
    "number": "b.no",
    "shelf": "b.shelf",
    "author.name": 'a."na""me"',
    "author.born": "a.born",
    "author.rating": "a.rating",
    "author.score": 'a."score $1; --"',
    "author.mentor.name": 'm."na""me"',
}
DIRECTIONS = {
    "ASC": "ASC",
    "DESC": "DESC",
    "ASC_NULLS_FIRST": "ASC NULLS FIRST",
    "ASC_NULLS_LAST": "ASC NULLS LAST",
    "DESC_NULLS_FIRST": "DESC NULLS FIRST",
    "DESC_NULLS_LAST": "DESC NULLS LAST",
}
JOINS = """FROM books b LEFT JOIN "Au""thors" a ON a.id = b.author_id
           LEFT JOIN "Au""thors" m ON m.id = a.mentor_id"""
FORWARD = """query ($order: [BookOrderBy!], $n: Int, $at: String, $f: BookFilter) {
  books(orderBy: $order, first: $n, after: $at, filter: $f) {
    edges { cursor node { number } } totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
BACKWARD = """query ($order: [BookOrderBy!], $n: Int, $at: String, $f: BookFilter) {
  books(orderBy: $order, last: $n, before: $at, filter: $f) {
    edges { cursor node { number } } totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""

orders = st.lists(
    st.tuples(st.sampled_from(sorted(SQL_COLUMNS)), st.sampled_from(sorted(DIRECTIONS))),
    max_size=4,
    unique_by=lambda step: step[0],
)


def order_by(order: list[tuple[str, str]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path, direction in order:
        entry: Any = direction
        for name in reversed(path.split(".")):
            entry = {name: entry}
        found.append(entry)
    return found


def by_hand(library: Library, order: list[tuple[str, str]], where: str = "true") -> list[int]:
    steps = [f"{SQL_COLUMNS[path]} {DIRECTIONS[direction]}" for path, direction in order]
    given_ = {path for path, _ in order}
    steps += [c for n, c in (("shelf", "b.shelf"), ("number", "b.no")) if n not in given_]
    return library.column(f"SELECT b.no {JOINS} WHERE {where} ORDER BY {', '.join(steps)}")


def walk(
    library: Library, query: str, variables: dict[str, Any], expected: list[int], size: int
) -> None:
    """Page through with `query` and compare each page, its cursors and flags with `expected`."""
    backward = query is BACKWARD
    at: str | None = None
    done = 0
    while True:
        page = library.data(query, {**variables, "n": size, "at": at})["books"]
        info, edges = page["pageInfo"], page["edges"]
        if backward:
            end = len(expected) - done
            part = expected[max(0, end - size) : end]
        else:
            part = expected[done : done + size]
        assert [e["node"]["number"] for e in edges] == part
        assert page["totalCount"] == len(expected)
        more = done + len(part) < len(expected)
        assert info["hasPreviousPage" if backward else "hasNextPage"] == more
        assert info["hasNextPage" if backward else "hasPreviousPage"] == (done > 0)
        assert info["startCursor"] == (edges[0]["cursor"] if edges else None)
        assert info["endCursor"] == (edges[-1]["cursor"] if edges else None)
        done += len(part)
        if not more:
            break
        at = info["startCursor" if backward else "endCursor"]
    assert done == len(expected)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=orders, size=st.integers(7, 160))
def test_walking_the_pages_of_any_order_gives_every_record_once(
    library: Library, order: list[tuple[str, str]], size: int
) -> None:
    expected = by_hand(library, order)
    assert len(expected) == 300
    for query in (FORWARD, BACKWARD):
        walk(library, query, {"order": order_by(order)}, expected, size)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=orders, size=st.integers(1, 20))
def test_walking_a_filtered_set_in_small_pages(
    library: Library, order: list[tuple[str, str]], size: int
) -> None:
    expected = by_hand(library, order, "b.lent AND a.mentor_id IS NULL AND a.id IS NOT NULL")
    variables = {
        "order": order_by(order),
        "f": {"lent": {"eq": True}, "author": {"mentorId": {"isNull": True}}},
    }
    for query in (FORWARD, BACKWARD):
        walk(library, query, variables, expected, size)


def test_a_page_between_two_cursors(library: Library) -> None:
    order: list[tuple[str, str]] = [("pages", "DESC"), ("title", "ASC")]
    expected = by_hand(library, order)
    edges = library.data(FORWARD, {"order": order_by(order), "n": 300})["books"]["edges"]
    query = """query ($order: [BookOrderBy!], $a: String, $b: String, $first: Int, $last: Int) {
      books(orderBy: $order, after: $a, before: $b, first: $first, last: $last) {
        nodes { number } pageInfo { hasNextPage hasPreviousPage } } }"""
    variables = {
        "order": order_by(order),
        "a": edges[99]["cursor"],
        "b": edges[110]["cursor"],
    }
    page = library.data(query, {**variables, "first": 4})["books"]
    assert [n["number"] for n in page["nodes"]] == expected[100:104]
    assert page["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": True}
    page = library.data(query, {**variables, "last": 4})["books"]
    assert [n["number"] for n in page["nodes"]] == expected[106:110]
    assert page["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": True}
    page = library.data(query, {**variables, "first": 0})["books"]
    assert page == {"nodes": [], "pageInfo": {"hasNextPage": True, "hasPreviousPage": True}}


def test_a_record_deleted_under_the_cursor_leaves_no_gap(library: Library) -> None:
    everything = library.column("SELECT nr FROM reviews ORDER BY nr")
    page = "query ($at: String) { reviews(first: 2, after: $at) { nodes { nr } pageInfo { endCursor hasPreviousPage } } }"
    cursor = library.data(page)["reviews"]["pageInfo"]["endCursor"]
    library.conn.execute(
        b'DELETE FROM "odd schema; --".reviews WHERE nr IN (%s, %s)'
        % (str(everything[0]).encode(), str(everything[1]).encode())
    )
    after = library.data(page, {"at": cursor})["reviews"]
    assert [n["nr"] for n in after["nodes"]] == everything[2:4]
    assert after["pageInfo"]["hasPreviousPage"] is False


def test_a_cursor_of_another_order_or_type_is_refused(library: Library) -> None:
    by_title = library.data(FORWARD, {"order": [{"title": "ASC"}], "n": 1})["books"]
    cursor = by_title["pageInfo"]["endCursor"]
    for order in ([], [{"title": "DESC"}], [{"title": "ASC_NULLS_FIRST"}], [{"pages": "ASC"}]):
        assert library.codes(FORWARD, {"order": order, "at": cursor}) == ["BAD_USER_INPUT"]
    query = "query ($at: String) { reviews(after: $at) { totalCount } }"
    assert library.codes(query, {"at": cursor}) == ["BAD_USER_INPUT"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.floats(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(values=st.lists(json_values, min_size=3, max_size=3), keep=st.integers(0, 3))
def test_a_hostile_cursor_gives_records_or_a_clear_error(
    library: Library, values: list[Any], keep: int
) -> None:
    order = [{"published": "DESC"}]
    good = library.data(FORWARD, {"order": order, "n": 1})["books"]["pageInfo"]["endCursor"]
    real = json.loads(base64.urlsafe_b64decode(good + "=="))
    forged = [real[0], *real[1 : keep + 1], *values][:4]
    cursor = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    answer = library.ask(FORWARD, {"order": order, "n": 1, "at": cursor})
    codes = [e["extensions"]["code"] for e in answer.get("errors", ())]
    assert codes in ([], ["BAD_USER_INPUT"])
    assert len(library.column("SELECT no FROM books")) == 300


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cursor=st.text(max_size=60))
def test_any_text_as_a_cursor_is_refused(library: Library, cursor: str) -> None:
    assert library.codes(FORWARD, {"at": cursor}) == ["BAD_USER_INPUT"]
