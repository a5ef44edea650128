"""docs/reference/graphql.md names everything that a schema has whatever the contract says:
arguments, fields of types that are no records, scalars, directives, comparisons, directions."""

from __future__ import annotations

import re
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLScalarType,
    is_specified_scalar_type,
    specified_directives,
)

from gateway.schema import build_schema
from gateway.shape.orders import Direction
from stores.contract.load import load_contract
from stores.query import Op

ROOT = Path(__file__).parents[2]
CONTRACT = load_contract(ROOT / "recordgate" / "demo" / "geonames.odcs.yaml")
KNOWN = {"String", "Int", "Float", "Boolean", "ID"}


def test_the_reference_of_graphql_names_everything() -> None:
    schema = build_schema(CONTRACT).graphql
    of_contract = {p.graphql for t in CONTRACT.types.values() for p in t.properties}
    of_contract |= {r.graphql for t in CONTRACT.types.values() for r in t.relations}
    of_contract |= {n for t in CONTRACT.types.values() for n in (t.single, t.plural)}
    names: set[str] = {op.value for op in Op} | {direction.name for direction in Direction}
    for directive in schema.directives:
        if directive not in specified_directives:
            names |= {f"@{directive.name}", *directive.args}
    for name, kind in schema.type_map.items():
        if name.startswith("__"):
            continue
        if isinstance(kind, GraphQLScalarType) and not is_specified_scalar_type(kind):
            names.add(name)
        elif isinstance(kind, GraphQLEnumType) and name == "OnError":
            names |= set(kind.values)
        elif isinstance(kind, GraphQLObjectType):
            names |= set(kind.fields)
            names |= {a for f in kind.fields.values() for a in f.args}
        elif isinstance(kind, GraphQLInputObjectType):
            names |= {n for n in kind.fields if n in ("and", "or", "not")}
    for country in ("country", "countries", "Country", "Countries"):
        names -= {n for n in names if re.fullmatch(f".*{country}.*", n) and "ity" not in n}
    text = (ROOT / "docs" / "reference" / "graphql.md").read_text("utf-8")
    words = set(re.findall(r"@?[A-Za-z_]+", text))
    assert sorted(names - words - of_contract) == []
