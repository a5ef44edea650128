"""A change that breaks somebody is told as breaking; a reload is asked for exactly where content
changes."""

from pathlib import Path

import pytest

from stores.contract.compare import compare
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.contract.shape import document_shape, search_shape

GEONAMES = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
TEXT = GEONAMES.read_text("utf-8").replace(
    "slaProperties:", "roles: [{role: press}]\nslaProperties:"
)


def changed(tmp_path: Path, old: str = "", new: str = "", text: str = TEXT) -> Contract:
    assert old in text
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace(old, new, 1) if old else text, "utf-8")
    return load_contract(path)


ISO3 = "        unique: true\n        required: true\n        logicalTypeOptions: {minLength: 3, maxLength: 3}\n"
CAPITAL = """      - name: capital
        logicalType: string
        customProperties:
          - {property: search, vendor: recordgate, value: {text: true}}
"""
ADMIN = "      - name: admin1\n        logicalType: string\n"

BREAKING = [
    ("id: geonames", "id: places", "contract"),
    ("  - property: freshness\n    value: 5", "  - property: freshness\n    value: 50", "contract"),
    ("roles: [{role: press}]\n", "", "contract"),
    (CAPITAL, "", "country.capital"),
    (CAPITAL, CAPITAL.replace("capital\n", "seat\n"), "country.capital"),
    (ADMIN, ADMIN.replace("string", "integer"), "city.admin1"),
    (ADMIN, ADMIN + "        required: true\n", "city.admin1"),
    (ADMIN, ADMIN + "        unique: true\n", "city.admin1"),
    (ADMIN, ADMIN + "        physicalName: admin\n", "city.admin1"),
    (ADMIN, ADMIN + "        logicalTypeOptions: {maxLength: 3}\n", "city.admin1"),
    (ADMIN, ADMIN + "        logicalTypeOptions: {pattern: '^a'}\n", "city.admin1"),
    (ADMIN, ADMIN + "        enum: [{value: a}]\n", "city.admin1"),
    (ADMIN, ADMIN + "      - {name: code, logicalType: string, required: true}\n", "city.code"),
    (ADMIN, ADMIN + "        customProperties: [{property: readRoles, vendor: recordgate, value: [press]}]\n", "city.admin1"),
    (ADMIN, ADMIN + "        customProperties: [{property: masking, vendor: recordgate, value: {press: drop}}]\n", "city.admin1"),
    ("{value: SA}", "{value: SB}", "country.continent"),
    ("minimum: -90", "minimum: -80", "city.latitude"),
    ("maxLength: 200", "maxLength: 199", "city.name"),
    ("numeric(12,2)", "numeric(11,2)", "country.areaKm2"),
    ("physicalName: cities", "physicalName: towns", "city"),
    ("plural, vendor: recordgate, value: cities", "plural, vendor: recordgate, value: towns", "city"),
    ("value: cities}\n        customProperties", "value: towns}\n        customProperties", "country.cities"),
    ("value: [country]", "value: [country]}\n      - {property: expose, vendor: recordgate, value: {operations: [get]}", "city"),
    ("value: [country]", "value: [country]}\n      - {property: expose, vendor: recordgate, value: {pageLimit: 10}", "city"),
    ("value: [country]", "value: [country]}\n      - {property: expose, vendor: recordgate, value: {roles: {write: [press]}}", "city"),
    ("value: [country]", "value: [country]}\n      - {property: rowFilter, vendor: recordgate, value: {press: {name: {eq: x}}}", "city"),
    ("value: {facet: true}", "value: {facet: false}", "country.continent"),
]  # fmt: skip

HARMLESS = [
    (ADMIN, ADMIN + "      - {name: code, logicalType: string}\n"),
    (ISO3, ISO3.replace("        unique: true\n", "")),
    ("numeric(12,2)", "numeric(14,2)"),
    ("maxLength: 200", "maxLength: 300"),
    ("{value: SA}", "{value: SA}, {value: XX}"),
    ("minimum: -90", "minimum: -100"),
    ("logicalTypeOptions: {minLength: 1, maxLength: 200}", "logicalTypeOptions: {}"),
    ("    value: 5", "    value: 4"),
    ("boost: 4", "boost: 5"),
    ("boost: 4", "boost: 4, forgive: false"),
    ("boost: 4", "boost: 4, forgiveFrom: 5"),
    ("value: [country]", "value: [country]}\n      - {property: boostBy, vendor: recordgate,"
                         " value: population"),
    ("text: true, boost: 4", "text: true, facet: true, boost: 4"),
    ("value: [country]", "value: []"),
    ("value: [country]", "value: [country]}\n      - {property: generations, vendor: recordgate, value: 4"),
    ("value: [country]", "value: [country]}\n      - {property: search, vendor: recordgate, value: {stopWords: [the]}"),
    ("roles: [{role: press}]", "roles: [{role: press}, {role: staff}]"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where"), BREAKING)
def test_a_breaking_change_is_told(tmp_path: Path, old: str, new: str, where: str) -> None:
    before = changed(tmp_path)
    after = changed(tmp_path, old, new)
    assert where in {d.where for d in compare(before, after) if d.breaking}


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_a_harmless_change_is_told_as_such(tmp_path: Path, old: str, new: str) -> None:
    before = changed(tmp_path)
    found = compare(before, changed(tmp_path, old, new))
    assert found
    assert [str(d) for d in found if d.breaking] == []


def test_nothing_changed_is_nothing_told(tmp_path: Path) -> None:
    before = changed(tmp_path)
    assert compare(before, changed(tmp_path, "A populated place", "An inhabited place")) == []


def test_what_is_taken_away_one_way_is_given_the_other(tmp_path: Path) -> None:
    full, less = changed(tmp_path), changed(tmp_path, CAPITAL, "")
    assert [d.breaking for d in compare(full, less) if d.where == "country.capital"] == [True]
    assert [d.breaking for d in compare(less, full) if d.where == "country.capital"] == [False]


SHAPES = [
    # what changes; whether the documents of city, its search index, and country's documents change
    ("A populated place", "An inhabited place", (False, False, False)),
    ("maxLength: 200", "maxLength: 300", (False, False, False)),
    (
        "value: [country]",
        "value: [country]}\n      - {property: search, vendor: recordgate, value: {synonyms: [[a, b]]}",
        (False, False, False),
    ),
    (ADMIN, ADMIN + "        required: true\n", (False, False, False)),
    ("text: true, boost: 4", "text: true, boost: 5", (False, True, False)),
    ("boost: 4", "boost: 4, forgive: false, forgiveFrom: 5", (False, False, False)),
    (
        "value: [country]",
        "value: [country]}\n      - {property: boostBy, vendor: recordgate, value: population",
        (False, False, False),
    ),
    (ADMIN, ADMIN + "      - {name: code, logicalType: string}\n", (True, True, False)),
    # A country is inside the document of a city, a city is in none.
    ("numeric(12,2)", "numeric(12,3)", (True, True, True)),
    (CAPITAL, "", (True, True, True)),
    ("value: [country]", "value: []", (True, True, False)),
    ("physicalName: countries", "physicalName: lands", (True, True, True)),
]


@pytest.mark.parametrize(("old", "new", "wanted"), SHAPES)
def test_a_reload_is_needed_exactly_where_content_changes(
    tmp_path: Path, old: str, new: str, wanted: tuple[bool, bool, bool]
) -> None:
    before = changed(tmp_path)
    after = changed(tmp_path, old, new)
    assert wanted == (
        document_shape(before, "city") != document_shape(after, "city"),
        search_shape(before, "city") != search_shape(after, "city"),
        document_shape(before, "country") != document_shape(after, "country"),
    )


def test_a_shape_is_another_only_where_what_is_indexed_is() -> None:
    """These change with `stores.contract.shape.WORDS`, and with nothing that a query alone
    reads."""
    contract = load_contract(GEONAMES)
    shapes = {name: search_shape(contract, name) for name in contract.types}
    assert shapes == {"country": "c9e0b203c2f778ac", "city": "a482214c112d3b0e"}


def test_a_shape_is_the_same_every_time(tmp_path: Path) -> None:
    shapes = {document_shape(load_contract(GEONAMES), "city") for _ in range(3)}
    assert len(shapes) == 1
    assert all(len(s) == 16 and int(s, 16) >= 0 for s in shapes)
    contract = load_contract(GEONAMES)
    assert document_shape(contract, "city") != search_shape(contract, "city")
