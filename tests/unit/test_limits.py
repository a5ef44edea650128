"""A hostile document is refused with a code, quickly, before any rule that is quadratic in it
runs."""

from __future__ import annotations

import time

import pytest
from graphql import GraphQLError, build_schema, get_introspection_query, parse, validate

from gateway.context.services import Limits
from gateway.query.limits import check_document, check_value, parse_within, scan, validation_rules
from stores.errors import LimitError

LIMITS = Limits()
BOMB = "".join(
    f" fragment f{i} on Q {{ a {{ ...f{i + 1} }} b {{ ...f{i + 1} }} }}" for i in range(12)
)

HOSTILE = {
    "10,000 aliases": "{" + " ".join(f"a{i}: __typename" for i in range(10_000)) + "}",
    "101 aliases": "{" + " ".join(f"a{i}: __typename" for i in range(101)) + "}",
    "aliases through a fragment": "{" + " ".join(f"a{i} {{ ...f }}" for i in range(40))
    + "} fragment f on Q { x: a y: a z: a }",
    "depth 100": "{a" * 100 + "}" * 100,
    "depth 100,000": "{a" * 100_000 + "}" * 100_000,
    "depth through fragments": "{...f0}"
    + "".join(f" fragment f{i} on Q {{ a {{ ...f{i + 1} }} }}" for i in range(30)),
    "lists in a value": "{a(b: " + "[" * 200 + "]" * 200 + ")}",
    "one field named 7,000 times": "{" + "a " * 7_000 + "}",
    "one field named through fragments": "{" + " ".join(f"...f{i}" for i in range(150)) + "}"
    + "".join(f" fragment f{i} on Q {{ a }}" for i in range(150)),
    "60 root fields": "{" + " ".join(f"f{i}" for i in range(60)) + "}",
    "2,000 directives": "{a " + "@skip(if: true) " * 2_000 + "}",
    "300 operations": " ".join(f"query q{i} {{ a }}" for i in range(300)),
    "fragments that double": "{...f0}" + BOMB + " fragment f12 on Q { x }",
    "a cycle of fragments": "{...f} fragment f on Q { a { ...f } }",
    "fragments nobody uses": "{a}" + BOMB + " fragment f12 on Q { x }",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_quickly(name: str) -> None:
    started = time.process_time()
    with pytest.raises(LimitError) as caught:
        parse_within(HOSTILE[name], LIMITS)
    assert caught.value.detail_code == "LIMIT_EXCEEDED"
    # Ten times what it takes: one rule of validation that is quadratic in the text takes minutes.
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "text", ['{a(b:"' + '\\"' * 100_000, '{a(b:"""' + 'x"' * 100_000, "{" + "#" * 500_000, "\ufeff" * 9_000]
)  # fmt: skip
def test_text_that_never_ends_costs_no_more_than_its_length(text: str) -> None:
    started = time.process_time()
    with pytest.raises((GraphQLError, LimitError)):
        parse_within(text, LIMITS)
    assert time.process_time() - started < 1.0


def test_what_is_within_the_limits_passes() -> None:
    parse_within(get_introspection_query(), LIMITS)
    parse_within("{" + " ".join(f"a{i}: b" for i in range(50)) + "}", LIMITS)
    parse_within("{a" * 15 + "}" * 15, LIMITS)
    with pytest.raises(LimitError):
        parse_within("{a" * 16 + "}" * 16, LIMITS)


def test_brackets_in_texts_and_comments_are_not_counted() -> None:
    parse_within('{ a(b: "' + "{" * 500 + '") # ' + "{" * 500 + "\n }", LIMITS)


def test_limits_are_those_of_the_settings() -> None:
    with pytest.raises(LimitError):
        parse_within("{a: b c: d}", Limits(max_aliases=1))
    with pytest.raises(LimitError):
        parse_within("{a{b}}", Limits(max_depth=1))


def test_a_document_parsed_elsewhere_is_held_to_the_limits_while_validating() -> None:
    schema = build_schema("type Query { a: Query }")
    document = parse(HOSTILE["101 aliases"])
    with pytest.raises(LimitError):
        validate(schema, document, validation_rules(LIMITS))
    with pytest.raises(LimitError):
        check_document(document, LIMITS)


def test_circular_introspection_is_refused() -> None:
    schema = build_schema("type Query { a: Query }")
    text = "{__schema{types{fields{type{fields{type{fields{name}}}}}}}}"
    errors = validate(schema, parse_within(text, LIMITS), validation_rules(LIMITS))
    assert "introspection depth" in errors[0].message


def test_variables_nested_too_deep_are_refused() -> None:
    value: object = 1
    for _ in range(10_000):
        value = {"not": value}
    with pytest.raises(LimitError):
        check_value(value)
    check_value({"filter": {"or": [{"name": {"eq": "x"}}]}})


@pytest.mark.parametrize(
    "source",
    [
        "{" + "name " * 400 + "}",
        "{ a { " + "b: name " * 200 + "} }",
        "{ name " + "@x " * 101 + "}",
        " ".join(f"query q{i} {{ name }}" for i in range(201)),
        "#" * 20_001 + "\n{ name }",
    ],
    ids=["a field again", "an alias again", "directives", "definitions", "comments"],
)
def test_what_is_too_much_is_refused_before_it_is_parsed(source: str) -> None:
    with pytest.raises(LimitError):
        scan(source, Limits())


@pytest.mark.parametrize(
    "source",
    [
        "{ " + " ".join(f'a{i}: city(id: "{i}") {{ name }}' for i in range(99)) + " }",
        "{ things(filter: {or: [" + "{nr: {eq: 1}} " * 500 + "]}) { totalCount } }",
        "query (" + " ".join(f"$a{i}: Int" for i in range(300)) + ") { a }",
    ],
    ids=["aliases", "a filter", "variables"],
)
def test_what_is_only_long_is_not(source: str) -> None:
    scan(source, Limits())


def test_variables_of_too_many_values_are_refused() -> None:
    check_value({"rows": [{f"p{i}": i for i in range(20)}] * 1000})
    with pytest.raises(LimitError):
        check_value({"list": list(range(40_000))})
    with pytest.raises(LimitError):
        check_value({"or": [{"nr": {"eq": 1}}] * 1001})
