"""A refused value is told of by its property and by what is allowed, never by a constraint's
name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.shape.visibility import Visibility
from gateway.write.input import read_values
from stores.canonical.checks import check_expressions
from stores.canonical.rule_words import MOST, what_is_allowed
from stores.canonical.tables import check_rules
from stores.contract.load import load_contract
from stores.contract.model import Contract, Logical, Property, Scalar
from stores.errors import InputError

CONTRACT = load_contract(Path(__file__).parents[1] / "acceptance" / "every_type.odcs.yaml")


def text(**more: object) -> Property:
    return replace(Property("rank", "rank", "rank", Logical.STRING, Scalar.STRING, "text"), **more)  # type: ignore[arg-type]


def test_each_check_of_a_table_has_words_for_what_it_allows() -> None:
    rules = [pair for t in CONTRACT.types.values() for pair in check_rules(t).items()]
    assert {rule for _, (_, rule) in rules} >= {"enum", "min", "minlen", "maxlen"}
    for name, (prop, rule) in rules:
        said = what_is_allowed(prop, rule)
        assert said.startswith("must ")
        assert "None" not in said
        assert name not in said


def test_the_values_of_an_enum_are_listed_and_a_long_list_is_cut() -> None:
    assert what_is_allowed(text(enum=("low", "high")), "enum") == "must be one of low, high"
    many = what_is_allowed(text(enum=tuple(f"value{n}" for n in range(1000))), "enum")
    assert many.endswith("…")
    assert len(many) < MOST + 30


def test_every_rule_of_a_property_is_known() -> None:
    prop = text(enum=("a",), min_length=1, max_length=2, pattern="^a")
    number = text(
        scalar=Scalar.INT, sql_type="integer", minimum="1", maximum="9", exclusive_minimum="0",
        exclusive_maximum="10", multiple_of="2",
    )  # fmt: skip
    for one in (prop, number):
        for rule, _ in check_expressions(one):
            assert what_is_allowed(one, rule)


@pytest.mark.parametrize(
    ("sql_type", "enum", "value", "said"),
    [
        ("public.mood", ("sad", "ok"), "SECRET", "rank must be one of sad, ok"),
        ("character varying(3)", (), "SECRET", "rank must have at most 3 characters"),
        ("character varying(3)", (), "abc   ", ""),
        ("text", ("sad",), "SECRET", ""),  # canonical's own check says it
    ],
)
def test_what_postgres_refuses_without_a_name_is_told_before_it_is_asked(
    sql_type: str, enum: tuple[str, ...], value: str, said: str
) -> None:
    team = CONTRACT.types["team"]
    record_type = replace(team, properties=(text(sql_type=sql_type, enum=enum),))
    contract: Contract = replace(CONTRACT, types={**CONTRACT.types, "team": record_type})
    visibility = Visibility(contract)
    if not said:
        assert read_values(record_type, {"rank": value}, visibility) == {"rank": value}
        return
    with pytest.raises(InputError) as refused:
        read_values(record_type, {"rank": value}, visibility)
    assert refused.value.message == said
