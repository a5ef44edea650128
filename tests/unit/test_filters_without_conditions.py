"""What is left out of a filter never widens it: a part that is empty is refused by its path, and a
filter that holds of every record is known for what it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from graphql import parse
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.shape.aggregates import aggregate_shape
from gateway.shape.filters import parse_filter
from gateway.shape.simplify import NOTHING, simplified
from gateway.shape.visibility import Visibility
from gateway.write.input import require_given
from stores.errors import InputError
from stores.query import EVERYTHING, And, Compare, Filter, Not, Op, Or
from tests.library_world import BOOK, LIBRARY

ALL = Visibility(LIBRARY)


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({}, "filter"),
        ({"pages": {}}, "filter.pages"),
        ({"or": []}, "filter.or"),
        ({"and": []}, "filter.and"),
        ({"and": [{}]}, "filter.and[0]"),
        ({"not": {}}, "filter.not"),
        ({"not": {"or": []}}, "filter.not.or"),
        ({"pages": {}, "title": {}}, "filter.pages"),
        ({"title": {"eq": "x"}, "pages": {}}, "filter.pages"),
        ({"or": [{"title": {"eq": "x"}}, {"pages": {}}]}, "filter.or[1].pages"),
        ({"author": {}}, "filter.author"),
        ({"author": {"name": {}}}, "filter.author.name"),
        ({"reviews": {"and": [{"nr": {}}]}}, "filter.reviews.and[0].nr"),
    ],
)
def test_an_empty_part_is_refused_by_its_path(raw: Any, path: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_filter(BOOK, raw, ALL)
    assert refused.value.message == f"{path} is empty"
    assert refused.value.hint


@pytest.mark.parametrize("having", [{}, {"count": {}}, {"sum": {}}, {"sum": {"pages": {}}}])
def test_an_empty_part_of_having_is_refused(having: Any) -> None:
    with pytest.raises(InputError, match="is empty"):
        aggregate_shape(BOOK, {"having": having}, (), ALL)


PAGES = st.sampled_from([None, 0, 1, 2])
TITLES = st.sampled_from(["", "a", "ab"])
LEFT_OUT = object()
"""Stands for a variable without a value: GraphQL leaves its place out."""


def or_left_out(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.just(LEFT_OUT))


COMPARISONS = st.one_of(
    st.fixed_dictionaries(
        {"pages": st.dictionaries(st.sampled_from(["eq", "neq", "gt", "lte"]), or_left_out(PAGES), max_size=2)}
    ),
    st.fixed_dictionaries(
        {"pages": st.dictionaries(st.sampled_from(["in", "notIn"]), or_left_out(st.lists(PAGES, max_size=2)), max_size=2)}
    ),
    st.fixed_dictionaries(
        {"title": st.dictionaries(st.sampled_from(["eq", "contains", "startsWith"]), or_left_out(TITLES), max_size=2)}
    ),
    st.fixed_dictionaries({"title": st.fixed_dictionaries({"isNull": or_left_out(st.booleans())})}),
    st.fixed_dictionaries({"pages": st.fixed_dictionaries({"isNull": or_left_out(st.booleans())})}),
)  # fmt: skip
FILTERS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": or_left_out(inner)}),
        st.fixed_dictionaries({"and": or_left_out(st.lists(or_left_out(inner), max_size=3))}),
        st.fixed_dictionaries({"or": or_left_out(st.lists(or_left_out(inner), max_size=3))}),
        st.builds(lambda a, b: {**a, **b}, inner, inner),
    ),
    max_leaves=6,
)


def coerced(raw: Any) -> Any:
    """What GraphQL makes of input in which variables are left out: a field goes, an element of a
    list is null."""
    if isinstance(raw, Mapping):
        return {k: coerced(v) for k, v in raw.items() if v is not LEFT_OUT}
    if isinstance(raw, list):
        return [None if v is LEFT_OUT else coerced(v) for v in raw]
    return raw


def has_a_hole(raw: Any) -> bool:
    """Whether some part has no condition, or a null where a value belongs."""
    if isinstance(raw, Mapping):
        return not raw or any(
            has_a_hole(v) if name not in ("in", "notIn") else None in v for name, v in raw.items()
        )
    if isinstance(raw, list):
        return not raw or any(has_a_hole(v) for v in raw)
    return raw is None


RECORDS = [{"pages": p, "title": t} for p in (None, 0, 1, 2, 3) for t in ("", "a", "b", "ab")]
"""Every kind of record that the generated filters can tell apart; a title is required."""


def holds(part: Filter, record: Mapping[str, Any]) -> bool:
    if isinstance(part, And):
        return all(holds(p, record) for p in part.parts)
    if isinstance(part, Or):
        return any(holds(p, record) for p in part.parts)
    if isinstance(part, Not):
        return not holds(part.part, record)
    assert isinstance(part, Compare)
    found, value = record[part.property], part.value
    if part.op is Op.IS_NULL:
        return (found is None) is value
    return found is not None and bool(_MEANING[part.op](found, value))


_MEANING: dict[Op, Callable[[Any, Any], Any]] = {
    Op.EQ: operator.eq, Op.NEQ: operator.ne, Op.GT: operator.gt, Op.LTE: operator.le,
    Op.IN: lambda found, value: found in value, Op.NOT_IN: lambda found, value: found not in value,
    Op.CONTAINS: operator.contains, Op.STARTS_WITH: str.startswith,
}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(FILTERS)
def test_a_hole_in_a_filter_is_refused_and_the_rest_selects_what_it_says(raw: Any) -> None:
    given_ = coerced(raw)
    if has_a_hole(given_):
        with pytest.raises(InputError):
            parse_filter(BOOK, given_, ALL)
        return
    asked = parse_filter(BOOK, given_, ALL)
    simple = simplified(LIBRARY, BOOK, asked)
    for record in RECORDS:
        assert holds(simple, record) == holds(asked, record)
    if simple == EVERYTHING:
        assert all(holds(asked, r) for r in RECORDS)


@pytest.mark.parametrize(
    ("raw", "simple"),
    [
        ({"not": {"pages": {"in": []}}}, EVERYTHING),
        ({"title": {"notIn": []}}, EVERYTHING),
        ({"title": {"isNull": False}}, EVERYTHING),
        ({"title": {"contains": ""}}, EVERYTHING),
        ({"shelf": {"startsWith": ""}}, EVERYTHING),
        ({"not": {"not": {"not": {"title": {"isNull": True}}}}}, EVERYTHING),
        ({"or": [{"pages": {"eq": 1}}, {"not": {"pages": {"eq": 1}}}]}, EVERYTHING),
        ({"or": [{"pages": {"isNull": True}}, {"pages": {"isNull": False}}]}, EVERYTHING),
        ({"or": [{"pages": {"eq": 1}}, {"title": {"isNull": False}}]}, EVERYTHING),
        ({"and": [{"pages": {"eq": 1}}, {"not": {"pages": {"eq": 1}}}]}, NOTHING),
        ({"reviews": {"nr": {"isNull": True}}}, NOTHING),
        ({"pages": {"isNull": False}}, Not(Compare("pages", Op.IS_NULL, True))),
        ({"title": {"eq": ""}}, Compare("title", Op.EQ, "")),
    ],
)
def test_a_filter_that_holds_of_every_record_is_known(raw: Any, simple: Filter) -> None:
    assert simplified(LIBRARY, BOOK, parse_filter(BOOK, raw, ALL)) == simple


@pytest.mark.parametrize(
    ("filter_", "variables", "fine"),
    [
        ("{nr: {gte: $x}}", {"x": 1}, True),
        ("{nr: {gte: $x}}", {"x": None}, True),
        ("{nr: {gte: 1, lte: $x}}", {}, False),
        ("{and: [{nr: {gte: 1}}, {nr: $x}]}", {}, False),
        ("{and: $x}", {}, False),
        ("{nr: {in: [1, $x]}}", {}, False),
    ],
)
def test_a_delete_needs_each_variable_of_its_filter(
    filter_: str, variables: dict[str, Any], fine: bool
) -> None:
    field: Any = parse(f"mutation {{ gone(filter: {filter_}) }}").definitions[0]
    nodes = field.selection_set.selections
    if fine:
        require_given(nodes, variables, "filter")
    else:
        with pytest.raises(InputError, match=r"\$x"):
            require_given(nodes, variables, "filter")
