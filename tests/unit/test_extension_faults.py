"""What a product's modules may have wrong is refused at the start with file, line and hint: an
import that ends or hangs, types that form no schema, names that the contract or a federation
has."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.schema import build_schema, extension_faults
from gateway.schema.extensions import load
from stores.contract.load import load_contract
from stores.errors import SetupError
from tests.acceptance.gateway_rig import GEONAMES
from tests.acceptance.test_extensions import module

__all__ = ["module"]

AIRPORTS = Path(__file__).parents[1] / "federation" / "airports.odcs.yaml"
HEAD = "import asyncio, sys, strawberry\nfrom recordgate.extending import Info, extends, record\n"


def query(body: str, before: str = "") -> str:
    return f"{before}\n@strawberry.type\nclass Query:\n  @strawberry.field\n  {body}\n"


def city(body: str, needs: str = "") -> str:
    return f"@extends('City'{needs})\nclass City:\n  {body}\n"


def named(name: str, kind: str = "type") -> str:
    before = {
        "type": f"@strawberry.type(name='{name}')\nclass K:\n  a: int",
        "input": f"@strawberry.input(name='{name}')\nclass K:\n  a: int",
        "enum": f"import enum\n@strawberry.enum(name='{name}')\nclass K(enum.Enum):\n  A = 1",
    }[kind]
    return query(
        "def x(self, k: K) -> int: return 1" if kind == "input" else "def x(self) -> K: ...", before
    )


BAD = {
    "sys.exit at import": ("sys.exit(0)", "SystemExit"),
    "cancelled at import": ("raise asyncio.CancelledError", "CancelledError"),
    "no annotation": (query("def x(self): return 1"), "MissingReturnAnnotation"),
    "an argument without": (query("def x(self, a) -> int: return 1"), "Missing annotation"),
    "an unknown type": (query("def x(self) -> 'Nothing': return 1"), "resolve the type of 'x'"),
    "an unknown argument": (query("def x(self, a: 'No') -> int: return 1"), "'No' is not defined"),
    "an output as argument": (
        query("def x(self, a: K) -> int: ...", "@strawberry.type\nclass K:\n  a: int"),
        "must be Input Type",
    ),
    "a type of ours": (named("PageInfo"), "PageInfo is defined multiple times"),
    "a scalar of ours": (named("DateTime"), "DateTime is taken"),
    "a generated type": (named("CityFilter"), "CityFilter is taken"),
    "a generated type as input": (named("CityFilter", "input"), "CityFilter is taken"),
    "a record type": (named("City"), "City is taken"),
    "a type of the subgraph": (named("Freshness"), "Freshness is taken"),
    "an enum of the subgraph": (named("Freshness", "enum"), "Freshness is taken"),
    "federation's own": (named("_Service"), "_Service is reserved"),
    "a root field of federation": (
        query("def x(self) -> int: return 1").replace("field\n", "field(name='_entities')\n"),
        "_entities is reserved",
    ),
    "freshness of a record": (
        city("@strawberry.field\n  def freshness(self) -> str: return ''"),
        "has a field freshness already",
    ),
    "id of a record": (
        city("@strawberry.field\n  def node_id(self) -> str: return ''"), "City.nodeId"
    ),
    "a field twice": (
        city("@strawberry.field\n  def z(self) -> str: return ''") * 2, "has a field z already"
    ),
    "a root field twice by its GraphQL name": (
        query("def x_y(self) -> int: return 1\n  @strawberry.field(name='xY')\n  def z(self) ->"
              " int: ..."),
        "has a field xY already",
    ),
    "no resolver on a record": (city("z: str"), "z of City has no resolver"),
    "no resolver on a root": ("@strawberry.type\nclass Query:\n  z: str\n",
    "z of Query has no resolver"),
    "an entity of its own": (
        query("def x(self) -> K: ...", "@strawberry.federation.type(keys=['id'])\nclass K:\n  id:"
                                       " int"),
        "directives of Apollo Federation",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_module_that_does_not_fit_is_refused_with_file_line_and_hint(
    module: Any, name: str
) -> None:
    text, said = BAD[name]
    contract = load_contract(GEONAMES)
    written = module(HEAD + text)
    with pytest.raises(SetupError) as refused:
        build_schema(contract, load([written], contract))
    assert said in refused.value.message
    assert re.search(rf"{written}\.py:\d+: ", refused.value.message), refused.value.message
    assert "\n" not in refused.value.message
    assert refused.value.hint


def test_a_field_and_a_type_that_the_supergraph_has_are_refused(module: Any) -> None:
    contract = load_contract(AIRPORTS)
    for text in (
        "@extends('Airport')\nclass Airport:\n  @strawberry.field\n  def city(self) -> str: ...\n",
        named("City"),
    ):
        written = module(HEAD + text)
        with pytest.raises(SetupError, match=rf"{written}\.py:\d+: .*(city|City)"):
            build_schema(contract, load([written], contract))


def test_fields_of_several_classes_and_of_a_packages_modules_all_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = "@strawberry.field\n  def {}(self) -> str: return ''"
    package = tmp_path / "shop_of_parts"
    package.mkdir()
    (package / "__init__.py").write_text(HEAD + "from shop_of_parts import parts\n")
    two = city(field.format("first")) + city(field.format("second"), ", needs='name'")
    (package / "parts.py").write_text(HEAD + two)
    monkeypatch.syspath_prepend(str(tmp_path))
    contract = load_contract(GEONAMES)
    served = build_schema(contract, load(["shop_of_parts"], contract))
    assert {"first", "second"} <= served.graphql.type_map["City"].fields.keys()  # type: ignore[attr-defined]
    plain = build_schema(contract, load([], contract))
    assert "first" not in plain.graphql.type_map["City"].fields  # type: ignore[attr-defined]


def test_an_import_that_hangs_is_named_with_the_line_it_is_at(
    module: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(extension_faults, "SLOW_IMPORT", 0.1)
    written = module("import threading\nthreading.Event().wait(0.5)\n")
    with caplog.at_level(logging.WARNING):
        load([written], load_contract(GEONAMES))
    assert f"the import of the extension {written} has taken" in caplog.text
    assert f"{written}.py:2" in caplog.text
