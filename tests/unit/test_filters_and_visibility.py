"""A filter is read strictly; what a viewer may see is the best that a role of theirs gives, and
nothing without a role."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.shape.filters import operations, parse_filter, row_filter
from gateway.shape.visibility import Form, Visibility
from stores.errors import ForbiddenError, InputError, LimitError
from stores.query import EVERYTHING, And, Compare, Not, Op, Or, Related
from tests.library_world import BOOK, LIBRARY, PERSON


def viewer(*roles: str) -> Visibility:
    return Visibility(LIBRARY, frozenset(roles))


def test_the_parts_of_a_filter_keep_their_meaning() -> None:
    raw = {
        "pages": {"gte": 1, "lt": 5},
        "or": [{"title": {"eq": "x"}}, {"author": {"name": {"contains": "y"}}}],
        "not": {"lent": {"eq": True}},
    }
    assert parse_filter(BOOK, raw, viewer()) == And(
        (
            And((Compare("pages", Op.GTE, 1), Compare("pages", Op.LT, 5))),
            Or(
                (
                    Compare("title", Op.EQ, "x"),
                    Related("author", Compare("name", Op.CONTAINS, "y")),
                )
            ),
            Not(Compare("lent", Op.EQ, True)),
        )
    )
    assert parse_filter(BOOK, None, viewer()) == EVERYTHING


@pytest.mark.parametrize(
    "raw",
    [
        {"pages": None}, {"pages": {"eq": None}}, {"pages": {"in": [None]}}, {"pages": []},
        {"or": None}, {"or": {}}, {"or": [None]}, {"not": None}, {"not": []}, {"author": None},
        {"author": {"name": None}}, {"pages": {"contains": 1}}, {"tags": {"eq": ["x"]}},
        {"data": {"eq": {}}}, {"lent": {"gt": True}}, {"unknown": {"eq": 1}}, [], "x", 1,
        {"pages": {"isNull": None}}, {"pages": {"isNull": "yes"}}, {"pages": {"eq": True}},
        {"title": {"eq": 1}}, {"pages": {"eq": "1"}}, {"and": [{"pages": {"eq": [1]}}]},
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused(raw: Any) -> None:
    with pytest.raises(InputError):
        parse_filter(BOOK, raw, viewer())


def test_the_number_of_conditions_is_bounded() -> None:
    one = {"pages": {"eq": 1}}
    parse_filter(BOOK, {"or": [one] * 500}, viewer())
    with pytest.raises(LimitError):
        parse_filter(BOOK, {"or": [one] * 501}, viewer())


def test_every_type_of_value_can_be_asked_for_nothing() -> None:
    for record_type in LIBRARY.types.values():
        for prop in record_type.properties:
            assert Op.IS_NULL in operations(prop)


FORMS = [
    ("salary", (), Form.NULL),
    ("salary", ("clerk",), Form.NULL),
    ("salary", ("hr",), Form.PLAIN),
    ("salary", ("clerk", "hr"), Form.PLAIN),
    ("email", (), Form.NULL),
    ("email", ("guest",), Form.NULL),
    ("email", ("clerk",), Form.PARTIAL),
    ("email", ("auditor",), Form.HASH),
    ("email", ("auditor", "clerk", "guest"), Form.PARTIAL),
    ("email", ("hr",), Form.PLAIN),
    ("team", (), Form.PLAIN),
]


@pytest.mark.parametrize(("name", "roles", "form"), FORMS)
def test_a_viewer_sees_the_best_form_of_any_role(
    name: str, roles: tuple[str, ...], form: Form
) -> None:
    assert viewer(*roles).form(PERSON.by_name[name]) is form


def test_what_is_not_plain_cannot_be_filtered_by() -> None:
    with pytest.raises(ForbiddenError):
        parse_filter(PERSON, {"salary": {"isNull": True}}, viewer("clerk"))
    parse_filter(PERSON, {"salary": {"isNull": True}}, viewer("hr"))


def test_row_filters_fail_closed() -> None:
    assert row_filter(PERSON, viewer()) == Or(())
    assert row_filter(PERSON, viewer("clerk")) == Or((Compare("team", Op.EQ, "blue"),))
    assert row_filter(PERSON, viewer("clerk", "hr")) == EVERYTHING
    assert row_filter(BOOK, viewer()) == EVERYTHING
