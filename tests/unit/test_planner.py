"""The planner takes the document store exactly where a document means what canonical would say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.query.planner import CANONICAL, plan
from gateway.shape.shapes import (
    EdgeCursor,
    Edges,
    Id,
    KeyShape,
    Many,
    Nodes,
    One,
    PageInfo,
    PageShape,
    RecordField,
    RecordShape,
    TotalCount,
    TypeName,
    Value,
    Window,
)
from gateway.shape.shaping import is_plain_key, key_shape
from gateway.shape.visibility import Form, Visibility
from stores.contract.model import Scalar
from stores.protocols import Capability
from stores.query import EVERYTHING, Compare, Op, Order
from stores.roles import StoreRole
from tests.library_world import AUTHOR, BOOK, LIBRARY, PERSON, REVIEW

CAN = frozenset({Capability.CHILDREN})
NOBODY = Visibility(LIBRARY)


def record(*fields: RecordField) -> RecordShape:
    return RecordShape(AUTHOR, fields)


def books(**changes: object) -> Many:
    page = PageShape(
        BOOK, EVERYTHING, (Order("shelf"), Order("number")), Window(5), (TotalCount("n"),)
    )
    return Many("b", AUTHOR.relation_by_name["books"], replace(page, **changes))  # type: ignore[arg-type]


NAME = Value("name", AUTHOR.by_name["name"])
MENTOR = AUTHOR.relation_by_name["mentor"]
BOOK_AUTHOR = BOOK.relation_by_name["author"]
REVIEWS = Many(
    "r",
    BOOK.relation_by_name["reviews"],
    PageShape(REVIEW, EVERYTHING, (Order("nr"),), Window(1), (TotalCount("n"),)),
)

TABLE: list[tuple[str, RecordShape, bool]] = [
    ("plain values", record(NAME, Id("id"), Id("g", glob=True), TypeName("t", "Author")), True),
    ("a masked value", record(Value("n", AUTHOR.by_name["name"], Form.HASH)), False),
    ("an embedded record", record(One("m", MENTOR, record(NAME))), True),
    ("embedded deeper than the document", record(One("m", MENTOR, record(One("m", MENTOR, record(NAME))))), False),
    ("children", record(books()), True),
    ("children with edges", record(books(fields=(Edges("e", (EdgeCursor("c"),)), PageInfo("p", ())))), True),
    ("children of an embedded record", record(One("m", MENTOR, record(books()))), False),
    ("children with what is embedded in them", record(books(fields=(Nodes("x", RecordShape(BOOK, (One("a", BOOK_AUTHOR, record(NAME)),))),))), True),
    ("children of children", record(books(fields=(Nodes("x", RecordShape(BOOK, (REVIEWS,))),))), False),
    ("children filtered", record(books(filter=Compare("pages", Op.EQ, 1))), False),
    ("children ordered", record(books(default_order=False)), False),
    ("children after a cursor", record(books(window=Window(5, after=("A", "1")))), False),
    ("children before a cursor", record(books(window=Window(5, before=("A", "1")))), False),
    ("the last children", record(books(window=Window(5, backward=True))), False),
]  # fmt: skip


@pytest.mark.parametrize(("what", "shape", "documents"), TABLE, ids=[t[0] for t in TABLE])
def test_documents_answer_what_they_hold(what: str, shape: RecordShape, documents: bool) -> None:
    planned = plan(KeyShape(("1",), shape), NOBODY, CAN, bytewise=True)
    assert (planned.candidates[0].store == StoreRole.DOCUMENTS) is documents, what
    assert planned.candidates[-1].store == CANONICAL
    assert {r.store for r in planned.rejected} | {c.store for c in planned.candidates} == {
        CANONICAL,
        StoreRole.DOCUMENTS,
        "search",
    }
    assert all(r.why for r in planned.rejected)


def test_children_need_the_capability_and_the_same_order_of_text() -> None:
    shape = KeyShape(("1",), record(books()))
    assert plan(shape, NOBODY, frozenset(), bytewise=True).candidates[0].store == CANONICAL
    assert plan(shape, NOBODY, CAN, bytewise=False).candidates[0].store == CANONICAL
    assert plan(shape, NOBODY, CAN, bytewise=True).candidates[0].store == StoreRole.DOCUMENTS


@pytest.mark.parametrize(
    ("key", "store"), [("7", StoreRole.DOCUMENTS), ("07", CANONICAL), ("-0", CANONICAL)]
)
def test_a_key_that_documents_do_not_know_by_that_text(key: str, store: str) -> None:
    planned = plan(key_shape(record(NAME), key), NOBODY, CAN, bytewise=True)
    assert planned.candidates[0].store == store


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("2024-01-08,AB", True),
        ("2024-01-08,AB ", False),
        ("2024-01-08 00:00:00,AB", False),
        ("0044-03-15 BC,AB", False),
        ("12024-01-08,AB", False),
    ],
)
def test_a_day_and_a_fixed_text_in_a_key_are_known_by_the_form_that_postgres_prints(
    key: str, plain: bool
) -> None:
    day = replace(AUTHOR.properties[0], sql_type="date", scalar=Scalar.DATE)
    code = replace(AUTHOR.by_name["name"], sql_type="character(5)", scalar=Scalar.STRING)
    dated = replace(AUTHOR, properties=(day, code), key=(day.column, code.column))
    assert is_plain_key(dated, tuple(key.split(","))) is plain


def test_rows_that_depend_on_who_asks_come_from_canonical() -> None:
    shape = KeyShape(("a",), RecordShape(PERSON, (Id("id"),)))
    assert plan(shape, NOBODY, CAN, bytewise=True).candidates[0].store == CANONICAL
    all_rows = Visibility(LIBRARY, frozenset({"hr"}))
    assert plan(shape, all_rows, CAN, bytewise=True).candidates[0].store == StoreRole.DOCUMENTS


def test_a_list_is_canonicals() -> None:
    planned = plan(books().page, NOBODY, CAN, bytewise=True)
    assert [c.store for c in planned.candidates] == [CANONICAL]
