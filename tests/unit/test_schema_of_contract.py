"""The schema that a contract becomes: its fields, its types, what it leaves out, and what it
refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    find_breaking_changes,
    parse,
    print_schema,
    validate,
    validate_schema,
)
from graphql import build_schema as parse_schema

from gateway.schema import build_schema
from gateway.schema.extensions import load
from gateway.shape.aggregates import aggregate_shape
from gateway.shape.visibility import Visibility
from stores.contract.load import load_contract
from stores.contract.model import Expose, Scalar, SearchOptions
from stores.errors import ContractError
from tests.library_world import BOOK, LIBRARY, REVIEW, prop

DEMO = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
EXAMPLES = Path(__file__).parents[2] / "examples"
KEPT_SCHEMAS = Path(__file__).parent / "kept_schemas"


def test_the_schema_is_valid_and_prints_as_it_reads() -> None:
    for contract in (LIBRARY, load_contract(DEMO)):
        schema = build_schema(contract).graphql
        assert validate_schema(schema) == []
        text = print_schema(schema)
        assert print_schema(parse_schema(text)) == text


KEPT = {
    "demo": (DEMO, ()),
    **{
        name: (EXAMPLES / name / f"{name}.odcs.yaml", own)
        for name, own in (("library", ()), ("orders", ()), ("lending", ("lending",)))
    },
}
"""The contracts whose schemas are kept: the demo's as it was before Strawberry came."""
MEANT = (
    "clients of the kept schema break; where that is meant, say it in CHANGELOG.md and keep the new"
    " one: `recordgate schema print`"
)


@pytest.mark.parametrize("subgraph", [False, True], ids=["open", "subgraph"])
@pytest.mark.parametrize("name", KEPT)
def test_nothing_breaks_for_clients_of_a_kept_schema(
    name: str, subgraph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own = KEPT[name]
    monkeypatch.syspath_prepend(str(path.parent))
    before = parse_schema((KEPT_SCHEMAS / f"{name}.graphql").read_text())
    contract = load_contract(path)
    added = load(own, contract)
    schema = build_schema(contract, added, subgraph=subgraph).graphql
    assert [c.description for c in find_breaking_changes(before, schema)] == [], MEANT
    if subgraph:
        open_schema = build_schema(contract, added).graphql
        more = schema.type_map.keys() - open_schema.type_map.keys() - {"DateTime"}
        assert more == {"Freshness", "_Any", "_Entity", "_Service"}


def test_the_demo_has_the_fields_that_its_users_hold_on_to() -> None:
    schema = build_schema(load_contract(DEMO)).graphql
    assert schema.query_type
    assert schema.mutation_type
    query, mutation = schema.query_type.fields, schema.mutation_type.fields
    assert {"node", "city", "cities", "citiesAggregate", "searchCities", "country"} <= set(query)
    assert list(query["cities"].args) == ["filter", "orderBy", "first", "after", "last", "before"]
    assert set(query["citiesAggregate"].args) == {"filter", "groupBy", "having", "orderBy", "first"}
    assert set(query["searchCities"].args) == {
        "query",
        "filter",
        "facets",
        "sort",
        "first",
        "after",
        "match",
        "prefix",
        "operators",
        "facetFirst",
        "facetRanges",
    }
    assert {
        "createCity", "createCities", "upsertCities", "updateCity", "deleteCity", "deleteCities",
    } <= set(mutation)  # fmt: skip
    assert set(mutation["deleteCities"].args) == {"filter", "max", "idempotencyKey"}
    city = print_schema(schema).split("type City implements Node {")[1].split("\n}")[0]
    assert "  id: ID!" in city
    assert "  nodeId: ID!" in city
    assert "  geonameid: Int!" in city
    assert "  country: Country" in city
    assert "  latitude: Float\n" in city  # a float may read as missing
    assert "  alternateNames: [String]" in city


def test_only_what_is_exposed_is_there() -> None:
    closed = replace(REVIEW, expose=Expose(frozenset({"get"})))
    schema = build_schema(replace(LIBRARY, types={**LIBRARY.types, "review": closed})).graphql
    assert schema.query_type
    assert schema.mutation_type
    assert {f for f in schema.query_type.fields if "eview" in f} == {"review"}
    assert not [f for f in schema.mutation_type.fields if "eview" in f]
    reads = Expose(frozenset({"get", "list"}))
    types = {n: replace(t, expose=reads) for n, t in LIBRARY.types.items()}
    assert build_schema(replace(LIBRARY, types=types)).graphql.mutation_type is None


def test_a_key_named_id_is_the_records_id_and_another_property_keeps_its_value() -> None:
    author = print_schema(build_schema(LIBRARY).graphql).split("type Author implements Node {")[1]
    assert "  id_" not in author.split("\n}")[0]
    odd = replace(REVIEW, properties=(*REVIEW.properties, prop("id", Scalar.STRING, "text")))
    text = print_schema(
        build_schema(replace(LIBRARY, types={**LIBRARY.types, "review": odd})).graphql
    )
    assert "  id_: String" in text.split("type Review implements Node {")[1].split("\n}")[0]


def test_names_that_collide_are_refused() -> None:
    twice = replace(BOOK, name="tome", graphql="Tome")
    with pytest.raises(ContractError, match="book"):
        build_schema(replace(LIBRARY, types={**LIBRARY.types, "tome": twice}))
    same = replace(BOOK, name="tome", single="tome", plural="tomes")
    with pytest.raises(ContractError):
        build_schema(replace(LIBRARY, types={**LIBRARY.types, "tome": same}))


def test_a_property_named_as_graphql_names_a_value_can_be_grouped_and_counted_by() -> None:
    searched = SearchOptions(text=True, facet=True)
    props = tuple(
        prop(n, Scalar.STRING, "text", search=searched) for n in ("true", "false", "null")
    )
    odd = replace(REVIEW, properties=(*REVIEW.properties, *props))
    schema = build_schema(replace(LIBRARY, types={**LIBRARY.types, "review": odd})).graphql
    assert validate_schema(schema) == []
    query = "{ reviewsAggregate(groupBy: [true_, null_]) { group { true null } count }"
    query += ' searchReviews(query: "", facets: [false_, true_]) { totalCount } }'
    assert validate(schema, parse(query)) == []
    groups, facets = schema.type_map["ReviewGroupBy"], schema.type_map["ReviewFacet"]
    assert isinstance(groups, GraphQLEnumType)
    assert isinstance(facets, GraphQLEnumType)
    assert groups.values["true_"].value == ("true",)
    assert facets.values["null_"].value == "null"
    shape = aggregate_shape(odd, {"groupBy": [("null",)]}, (), Visibility(LIBRARY))
    assert [g.property.name for g in shape.groups] == ["null"]
