"""The JSON schema for editors and the cookbook know what the linter knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator

from stores.contract import sla
from stores.contract.json_schema import contract_schema
from stores.contract.lint import lint_text
from stores.contract.model import Expose, Masking
from stores.contract.node import Node
from stores.contract.options import (  # fmt: skip
    CARDINALITIES,
    DELETED_BY,
    DRIFTS,
    KNOWN,
    OPTIONS,
    PAGED_BY,
    SECRETS,
)
from stores.contract.promises import SEVERITIES
from stores.contract.quality import OPERATORS
from stores.contract.rules import METRICS
from stores.contract.yaml_source import parse
from tests.unit.test_contract_lint import CASES, extension, order

ROOT = Path(__file__).parents[2]
COOKBOOK = ROOT / "docs/howto/contract-cookbook.md"
STRUCTURAL = {
    "SCHEMA", "MISSING_KEY", "UNKNOWN_KEY", "UNKNOWN_EXTENSION", "UNKNOWN_SLA", "BAD_EXTENSION",
}  # fmt: skip
"""Codes of what is wrong in a mapping by itself, which an editor can see."""
OF_THE_REST = {
    "text search of a number", "partial of a number", "hash of a number", "row filter with a null",
    "row filter of another type", "boosted by what is not there", "boosted by a text",
}  # fmt: skip
"""Cases that depend on the properties that are there, and on their types."""

SCHEMA = contract_schema()
VALIDATOR = Draft201909Validator(SCHEMA)


def cookbook() -> str:
    found = re.search(r"```yaml file=\S+\n(.*?)```", COOKBOOK.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_it_is_a_schema() -> None:
    Draft201909Validator.check_schema(SCHEMA)


CONTRACTS = sorted(
    p for folder in ("examples", "recordgate",
    "tests") for p in (ROOT / folder).rglob("*.odcs.yaml")
)  # fmt: skip


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda p: p.name)
def test_each_contract_of_the_repository_is_valid(path: Path) -> None:
    errors = VALIDATOR.iter_errors(parse(path.read_text("utf-8"), str(path)).data)
    assert [(e.message, list(e.absolute_path)) for e in errors] == []


def structural() -> Iterator[str]:
    for name, text in CASES.items():
        if re.findall(r"#! (\w+)", text)[0] in STRUCTURAL and name not in OF_THE_REST:
            yield name


@pytest.mark.parametrize("name", list(structural()))
def test_each_structural_mistake_is_one_for_the_schema(name: str) -> None:
    assert not VALIDATOR.is_valid(parse(CASES[name], "case.yaml").data)


def test_a_misspelled_key_of_each_mapping_is_refused_by_both() -> None:
    """What is known is known in one place; here that both ask it."""
    for place, value in (
        ("expose", "{page_limit: 5}"), ("expose", "{roles: {wrte: []}}"), ("embed",
        "[{relaton: a}]"),
        ("search", "{synonms: []}"), ("boostBy", "{by: id}"), ("collect", "{htp: {}}"), ("collect",
        "{http: {ulr: a}}"),
        ("collect", "{http: {url: 'https://a.example', pages: {bye: none}}}"),
        ("collect", "{http: {url: 'https://a.example', auth: {bye: none}}}"),
        ("collect", "{file: {path: a, fromat: csv}}"), ("collect", "{file: {path: a}, drift: {ad:"
                                                                   " note}}"),
    ):  # fmt: skip
        text = order(schema=extension(place, value))
        assert [f for f in lint_text(text) if f.severity == "error"], value
        assert not VALIDATOR.is_valid(parse(text, "case.yaml").data), value


# The cookbook -------------------------------------------------------------------------------------


def test_the_cookbook_has_no_findings_but_what_nothing_measures() -> None:
    found = lint_text(cookbook(), "cookbook.yaml")
    assert {f.code for f in found} == {"NOT_MEASURED"}
    assert all(f.severity == "warning" for f in found)
    assert VALIDATOR.is_valid(parse(cookbook(), "cookbook.yaml").data)


def test_the_cookbook_shows_every_option_that_the_linter_knows() -> None:
    seen: dict[str, set[str]] = {}
    walk(SCHEMA, parse(cookbook(), "cookbook.yaml").data, seen)
    for name, keys in (KNOWN | OPTIONS).items():
        there = seen.get(name, set())
        assert there >= set(keys), f"{name}: {set(keys) - there} is missing in the cookbook"


def test_the_cookbook_shows_every_key_that_the_linter_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the resolving asks a mapping for, somewhere in the cookbook there is one."""
    asked: set[str] = set()
    get = Node.get

    def noted(self: Node, key: str) -> Node:
        asked.add(key)
        return get(self, key)

    monkeypatch.setattr(Node, "get", noted)
    text = cookbook()
    lint_text(text)
    assert len(asked) > 100
    assert asked - set(keys_of(parse(text, "cookbook.yaml").data)) == set()


@pytest.mark.parametrize(
    "words",
    [
        [m.value for m in Masking], CARDINALITIES, SEVERITIES, PAGED_BY, DELETED_BY, DRIFTS,
        list(SECRETS), OPERATORS, METRICS, sla.KNOWN, sorted(Expose().operations),
    ],
)  # fmt: skip
def test_the_cookbook_shows_every_word_of_a_short_list(words: list[str]) -> None:
    text = cookbook()
    assert [w for w in words if not re.search(rf"\b{re.escape(w)}\b", text)] == []


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield key
            yield from keys_of(below)
    elif isinstance(value, list):
        for below in value:
            yield from keys_of(below)


NAMES = {
    "Recordgate" + "".join(w[:1].upper() + w[1:] for w in re.split("[ .]", name)): name
    for name in (*KNOWN, *OPTIONS)
}


def walk(part: Any, value: Any, seen: dict[str, set[str]]) -> None:
    """Note the keys of `value` under the definitions of the schema that they are keys of."""
    if not isinstance(part, dict):
        return
    if "$ref" in part:
        defined = part["$ref"].rpartition("/")[2]
        if (name := NAMES.get(defined)) is not None:
            entries = value if isinstance(value, list) else []
            ours = {e["property"] for e in entries if e.get("vendor") == "recordgate"}
            seen.setdefault(name, set()).update(value if isinstance(value, dict) else ours)
        walk(SCHEMA["$defs"][defined], value, seen)
    for word in ("allOf", "anyOf", "oneOf"):
        for one in part.get(word, ()):
            walk(one, value, seen)
    condition = {"$defs": SCHEMA["$defs"], **part.get("if", {})}
    if "if" in part and Draft201909Validator(condition).is_valid(value):
        walk(part.get("then"), value, seen)
    if isinstance(value, dict):
        known = part.get("properties", {})
        for key, below in value.items():
            walk(known.get(key, part.get("additionalProperties")), below, seen)
    elif isinstance(value, list):
        for below in value:
            walk(part.get("items"), below, seen)


def test_the_hint_for_a_bare_enum_says_how_it_is_written() -> None:
    for text in (
        order("{name: a, logicalType: string, enum: [red, blue]}"),
        order("{name: a, logicalType: string, logicalTypeOptions: {enum: [red]}}"),
    ):
        found = lint_text(text)
        assert all("enum: [{value: red}, {value: blue}]" in f.hint for f in found), found
    written = order("{name: a, logicalType: string, enum: [{value: red}, {value: blue}]}")
    assert lint_text(written) == []
