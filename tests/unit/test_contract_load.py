"""A sound contract loads to exactly what it says: names, types, keys, relations in both
directions."""

from pathlib import Path

import pytest

from stores.contract.lint import lint_text
from stores.contract.load import load_contract
from stores.contract.model import Contract, Embed, Masking, Property, Scalar
from stores.errors import ContractError

GEONAMES = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
HEAD = "apiVersion: v3.2.0\nkind: DataContract\nid: shop\nversion: 1.10\nschema:\n"
EXTENSION = "{{property: {}, vendor: recordgate, value: {}}}"


def load(tmp_path: Path, text: str) -> Contract:
    path = tmp_path / "shop.yaml"
    path.write_text(text, "utf-8")
    assert [str(f) for f in lint_text(text) if f.severity == "error"] == []
    return load_contract(path)


def record(name: str, *properties: str, key: str = "integer", more: str = "") -> str:
    lines = "".join(f"      - {p}\n" for p in properties)
    return (
        f"  - name: {name}\n{more}    properties:\n"
        f"      - {{name: id, logicalType: {key}, primaryKey: true}}\n{lines}"
    )


def relations(contract: Contract, name: str) -> dict[str, tuple[str, bool, bool, str]]:
    """name → (target, many, owner, inverse)."""
    found = contract.types[name].relations
    return {r.name: (r.target, r.many, r.owner, r.inverse) for r in found}


def test_geonames_loads_to_exactly_what_it_says() -> None:
    contract = load_contract(GEONAMES)
    assert (contract.id, contract.version, contract.slug) == ("geonames", "1.0.0", "geonames")
    assert (contract.managed, contract.roles, contract.sla) == (True, (), {"freshness": 5.0})
    assert list(contract.types) == ["country", "city"]
    country, city = contract.types["country"], contract.types["city"]
    assert (country.schema, country.table, country.graphql) == ("public", "countries", "Country")
    assert (country.single, country.plural, country.key) == ("country", "countries", ("iso",))
    assert (city.table, city.graphql, city.single, city.plural) == (
        "cities",
        "City",
        "city",
        "cities",
    )
    assert city.key == ("geonameid",)
    assert [
        (p.name, p.column, p.graphql, p.scalar, p.sql_type, p.array, p.required, p.unique)
        for p in country.properties
    ] == [
        ("iso", "iso", "iso", Scalar.STRING, "text", False, True, False),
        ("iso3", "iso3", "iso3", Scalar.STRING, "text", False, True, True),
        ("name", "name", "name", Scalar.STRING, "text", False, True, False),
        ("capital", "capital", "capital", Scalar.STRING, "text", False, False, False),
        ("continent", "continent", "continent", Scalar.STRING, "text", False, True, False),
        ("population", "population", "population", Scalar.BIGINT, "bigint", False, False, False),
        ("areaKm2", "area_km2", "areaKm2", Scalar.DECIMAL, "numeric(12,2)", False, False, False),
        ("currency", "currency", "currency", Scalar.STRING, "text", False, False, False),
        ("languages", "languages", "languages", Scalar.STRING, "text[]", True, False, False),
    ]
    assert [(p.column, p.scalar, p.sql_type) for p in city.properties] == [
        ("geonameid", Scalar.INT, "integer"),
        ("name", Scalar.STRING, "text"),
        ("alternate_names", Scalar.STRING, "text[]"),
        ("country_code", Scalar.STRING, "text"),
        ("admin1", Scalar.STRING, "text"),
        ("latitude", Scalar.FLOAT, "double precision"),
        ("longitude", Scalar.FLOAT, "double precision"),
        ("population", Scalar.INT, "integer"),
        ("timezone", Scalar.STRING, "text"),
    ]
    iso, latitude = country.by_name["iso"], city.by_name["latitude"]
    assert (iso.min_length, iso.max_length, iso.pattern) == (2, 2, "^[A-Z]{2}$")
    assert (latitude.minimum, latitude.maximum) == ("-90", "90")
    assert country.by_name["continent"].enum == ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
    name = city.by_name["name"].search
    assert (name.text, name.boost, name.suggest, name.sort, name.facet) == (
        True,
        4.0,
        True,
        True,
        False,
    )
    assert city.embeds == (Embed("country"),)
    (owner,) = city.relations
    (inverse,) = country.relations
    assert (owner.name, owner.target, owner.columns, owner.target_columns) == (
        "country", "country", ("country_code",), ("iso",),
    )  # fmt: skip
    assert (owner.many, owner.owner, owner.required, owner.inverse) == (False, True, True, "cities")
    assert (inverse.name, inverse.target, inverse.columns, inverse.target_columns) == (
        "cities", "city", ("iso",), ("country_code",),
    )  # fmt: skip
    assert (inverse.many, inverse.owner, inverse.inverse) == (True, False, "country")
    assert city.searchable
    assert contract.type("CITIES") is city


def test_every_logical_type_has_a_place_in_postgres(tmp_path: Path) -> None:
    cases = {
        "logicalType: string": ("text", Scalar.STRING),
        "logicalType: string, logicalTypeOptions: {format: uuid}": ("uuid", Scalar.UUID),
        "logicalType: string, logicalTypeOptions: {format: binary}": ("bytea", Scalar.BYTES),
        "logicalType: string, logicalTypeOptions: {format: email}": ("text", Scalar.STRING),
        "logicalType: string, physicalType: VARCHAR(20)": ("character varying(20)", Scalar.STRING),
        "logicalType: string, physicalType: char": ("character(1)", Scalar.STRING),
        "logicalType: integer": ("bigint", Scalar.BIGINT),
        "logicalType: integer, physicalType: INT": ("integer", Scalar.INT),
        "logicalType: integer, physicalType: int2": ("smallint", Scalar.INT),
        "logicalType: integer, physicalType: 'numeric(30,0)'": ("numeric(30,0)", Scalar.DECIMAL),
        "logicalType: integer, logicalTypeOptions: {format: i32}": ("integer", Scalar.INT),
        "logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 9}": (
            "integer",
            Scalar.INT,
        ),
        "logicalType: integer, logicalTypeOptions: {minimum: 0}": ("bigint", Scalar.BIGINT),
        "logicalType: integer, logicalTypeOptions: {format: u64}": (
            "numeric(20,0)",
            Scalar.DECIMAL,
        ),
        "logicalType: number": ("double precision", Scalar.FLOAT),
        "logicalType: number, logicalTypeOptions: {format: f32}": ("real", Scalar.FLOAT),
        "logicalType: number, physicalType: 'decimal(8, 3)'": ("numeric(8,3)", Scalar.DECIMAL),
        "logicalType: number, physicalType: numeric": ("numeric", Scalar.DECIMAL),
        "logicalType: boolean": ("boolean", Scalar.BOOLEAN),
        "logicalType: date": ("date", Scalar.DATE),
        "logicalType: timestamp": ("timestamp with time zone", Scalar.TIMESTAMP),
        "logicalType: timestamp, logicalTypeOptions: {timezone: false}": (
            "timestamp without time zone",
            Scalar.DATETIME,
        ),
        "logicalType: timestamp, physicalType: timestamptz(3)": (
            "timestamp(3) with time zone",
            Scalar.TIMESTAMP,
        ),
        "logicalType: time": ("time without time zone", Scalar.TIME),
        "logicalType: object": ("jsonb", Scalar.JSON),
        "logicalType: map, map: {key: {logicalType: string}, value: {logicalType: string}}": (
            "jsonb",
            Scalar.JSON,
        ),
        "logicalType: array, items: {logicalType: integer, physicalType: integer}": (
            "integer[]",
            Scalar.INT,
        ),
        "logicalType: array, physicalType: 'text[]'": ("text[]", Scalar.STRING),
        "logicalType: array, items: {logicalType: object}": ("jsonb", Scalar.JSON),
        "logicalType: array, items: {logicalType: array, items: {logicalType: string}}": (
            "jsonb",
            Scalar.JSON,
        ),
    }
    properties = [f"{{name: p{i}, {text}}}" for i, text in enumerate(cases)]
    contract = load(tmp_path, HEAD + record("thing", *properties))
    found = contract.types["thing"].by_name
    for i, (text, wanted) in enumerate(cases.items()):
        prop = found[f"p{i}"]
        assert (prop.sql_type, prop.scalar) == wanted, text
        assert prop.array == prop.sql_type.endswith("[]")


def test_the_spelling_of_numbers_and_words_is_kept(tmp_path: Path) -> None:
    contract = load(
        tmp_path,
        HEAD
        + record(
            "thing",
            "{name: no, logicalType: string, enum: [{value: no}, {value: on}, {value: 1.10}, {value: 2024-01-01}]}",
            "{name: p, logicalType: number, physicalType: 'numeric(5,2)', logicalTypeOptions: {minimum: 0.10}}",
        ),
    )
    assert contract.version == "1.10"
    assert contract.types["thing"].by_name["no"].enum == ("no", "on", "1.10", "2024-01-01")
    assert contract.types["thing"].by_name["p"].minimum == "0.10"


def test_quality_rules_that_say_the_same_as_a_constraint_are_one(tmp_path: Path) -> None:
    rule = "quality: [{{metric: {}, mustBe: 0{}}}]"
    more = rule.format("duplicateValues", ", arguments: {properties: [a, b]}")
    contract = load(
        tmp_path,
        HEAD
        + record(
            "thing",
            f"{{name: a, logicalType: string, {rule.format('nullValues', '')}}}",
            f"{{name: b, logicalType: string, {rule.format('duplicateValues', '')}}}",
            f"{{name: c, logicalType: string, {rule.format('invalidValues', ', arguments: {validValues: [x, y]}')}}}",
            more=f"    {more}\n",
        ),
    )
    thing = contract.types["thing"]
    assert thing.by_name["a"].required
    assert thing.by_name["b"].unique
    assert thing.by_name["c"].enum == ("x", "y")
    assert thing.unique_together == (("a", "b"),)


def test_a_key_of_several_columns_keeps_its_order(tmp_path: Path) -> None:
    text = HEAD + (
        "  - name: line\n    properties:\n"
        "      - {name: number, logicalType: integer, primaryKey: true, primaryKeyPosition: 2}\n"
        "      - {name: order, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}\n"
    )
    line = load(tmp_path, text).types["line"]
    assert line.key == ("order", "number")
    assert all(p.required for p in line.properties)


def test_relations_are_named_after_what_they_lead_to(tmp_path: Path) -> None:
    contract = load(
        tmp_path,
        HEAD
        + record("airport")
        + record(
            "flight",
            "{name: origin, logicalType: integer, relationships: [{to: airport.id}]}",
            "{name: destId, logicalType: integer, relationships: [{to: airport.id}]}",
            "{name: planeId, logicalType: integer, required: true, relationships: [{to: plane.id}]}",
        )
        + record("plane")
        + record(
            "category",
            "{name: parent_id, logicalType: integer, relationships: [{to: category.id}]}",
        ),
    )
    assert relations(contract, "flight") == {
        # The property has the name already, so the relation cannot.
        "originRef": ("airport", False, True, "flightsByOriginRef"),
        "dest": ("airport", False, True, "flightsByDest"),
        "plane": ("plane", False, True, "flights"),
    }
    assert relations(contract, "airport") == {
        "flightsByOriginRef": ("flight", True, False, "originRef"),
        "flightsByDest": ("flight", True, False, "dest"),
    }
    assert relations(contract, "plane") == {"flights": ("flight", True, False, "plane")}
    assert relations(contract, "category") == {
        "parent": ("category", False, True, "categories"),
        "categories": ("category", True, False, "parent"),
    }
    assert contract.types["flight"].relation_by_name["plane"].required
    assert not contract.types["flight"].relation_by_name["dest"].required


def test_children_where_the_plural_is_taken(tmp_path: Path) -> None:
    contract = load(
        tmp_path,
        HEAD
        + record(
            "category",
            "{name: categories, logicalType: integer}",
            "{name: parent_id, logicalType: integer, relationships: [{to: category.id}]}",
        ),
    )
    assert set(relations(contract, "category")) == {"parent", "children"}


def test_the_contract_s_own_names_win(tmp_path: Path) -> None:
    inverse = EXTENSION.format("inverse", "bought_by")
    contract = load(
        tmp_path,
        HEAD
        + record("person")
        + record(
            "order",
            f"{{name: buyer, logicalType: integer, relationships: [{{id: bought-from, to: person.id, customProperties: [{inverse}]}}]}}",
        ),
    )
    assert relations(contract, "order") == {"boughtFrom": ("person", False, True, "boughtBy")}
    assert relations(contract, "person") == {"boughtBy": ("order", True, False, "boughtFrom")}


def test_one_to_one_makes_the_column_unique(tmp_path: Path) -> None:
    one = EXTENSION.format("cardinality", "one-to-one")
    contract = load(
        tmp_path,
        HEAD
        + record("person")
        + record(
            "passport",
            f"{{name: ownerId, logicalType: integer, relationships: [{{id: owner, to: person.id, customProperties: [{one}]}}]}}",
        )
        + record(
            "desk",
            "{name: personId, logicalType: integer, unique: true, relationships: [{to: person.id}]}",
        ),
    )
    assert contract.types["passport"].by_name["ownerId"].unique
    assert relations(contract, "person") == {
        "passport": ("passport", False, False, "owner"),
        "desk": ("desk", False, False, "person"),
    }


def test_relationships_by_ids_and_of_several_properties(tmp_path: Path) -> None:
    contract = load(
        tmp_path,
        HEAD
        + "  - name: place\n    id: place_t\n    properties:\n"
        + "      - {name: land, id: land_p, logicalType: string, primaryKey: true}\n"
        + "      - {name: code, id: code_p, logicalType: string, primaryKey: true}\n"
        + "  - name: visit\n    relationships:\n"
        + "      - from: [visit.land, visit.code]\n"
        + "        to: [schema/place_t/properties/land_p, schema/place_t/properties/code_p]\n"
        + "    properties:\n"
        + "      - {name: id, logicalType: integer, primaryKey: true}\n"
        + "      - {name: land, logicalType: string}\n"
        + "      - {name: code, logicalType: string}\n",
    )
    (place,) = contract.types["visit"].relations
    assert (place.name, place.columns, place.target_columns) == (
        "place", ("land", "code"), ("land", "code"),
    )  # fmt: skip


def test_embeds_in_every_form_come_to_one_tree(tmp_path: Path) -> None:
    embed = EXTENSION.format("embed", '[shop.town, {relation: shop, embed: [owner]}, "lines"]')
    contract = load(
        tmp_path,
        HEAD
        + record("town")
        + record("owner")
        + record(
            "shop",
            "{name: townId, logicalType: integer, relationships: [{to: town.id}]}",
            "{name: ownerId, logicalType: integer, relationships: [{to: owner.id}]}",
        )
        + record(
            "order",
            "{name: shopId, logicalType: integer, relationships: [{to: shop.id}]}",
            more=f"    customProperties: [{embed}]\n",
        )
        + record("line", "{name: orderId, logicalType: integer, relationships: [{to: order.id}]}"),
    )
    assert contract.types["order"].embeds == (
        Embed("shop", (Embed("town"), Embed("owner"))),
        Embed("lines"),
    )


def test_access_and_limits(tmp_path: Path) -> None:
    extensions = ", ".join(
        (
            EXTENSION.format("expose", "{operations: [get, list], pageLimit: 50}"),
            EXTENSION.format(
                "rowFilter", "{partner: {or: [{id: {in: [1, 2]}}, {not: {name: {isNull: true}}}]}}"
            ),
            EXTENSION.format("generations", "3"),
        )
    )
    hidden = ", ".join(
        (
            EXTENSION.format("masking", "{partner: null, press: partial}"),
            EXTENSION.format("readRoles", "[partner, press]"),
        )
    )
    contract = load(
        tmp_path,
        HEAD.replace("schema:", "roles: [{role: partner}, {role: press}]\nschema:")
        + record(
            "person",
            f"{{name: name, logicalType: string, customProperties: [{hidden}]}}",
            more=f"    customProperties: [{extensions}]\n",
        ),
    )
    person = contract.types["person"]
    assert contract.roles == ("partner", "press")
    assert (person.expose.operations, person.expose.page_limit) == (frozenset({"get", "list"}), 50)
    assert person.generations == 3
    assert dict(person.row_filter) == {
        "partner": {"or": [{"id": {"in": [1, 2]}}, {"not": {"name": {"isNull": True}}}]}
    }
    name = person.by_name["name"]
    assert name.masking == (("partner", Masking.NULL), ("press", Masking.PARTIAL))
    assert name.read_roles == ("partner", "press")


def test_roles_of_operations_and_characters_that_a_mask_shows(tmp_path: Path) -> None:
    roles = "{read: [press], write: [], list: [press, partner]}"
    contract = load(
        tmp_path,
        HEAD.replace(
            "schema:",
            "roles: [{role: partner, access: Read}, {role: press, access: write}]\nschema:",
        )
        + record(
            "person",
            "{name: name, logicalType: string, customProperties: ["
            + EXTENSION.format("masking", "{partner: {partial: {last: 4}}, press: hash}")
            + "]}",
            more=f"    customProperties: [{EXTENSION.format('expose', f'{{roles: {roles}}}')}]\n",
        ),
    )
    assert contract.read_only_roles == ("partner",)
    person = contract.types["person"]
    both, one, none = ("press", "partner"), ("press",), ()
    assert dict(person.expose.roles) == {
        "get": one, "list": both, "aggregate": one, "search": one, "export": one,
        "create": none, "upsert": none, "update": none, "delete": none, "deleteMany": none,
    }  # fmt: skip
    assert person.by_name["name"].masking == (
        ("partner", Masking.PARTIAL),
        ("press", Masking.HASH),
    )
    assert person.by_name["name"].partial == (0, 4)


@pytest.mark.parametrize(
    ("value", "unit", "seconds"),
    [
        ("500", "ms", 0.5),
        ("2", "min", 120),
        ("1.5", "h", 5400),
        ("1", "d", 86400),
        ("1", "Years", 31536000),
    ],
)
def test_sla_units_come_to_seconds(tmp_path: Path, value: str, unit: str, seconds: float) -> None:
    sla = f"slaProperties: [{{property: latency, value: {value}, unit: {unit}}}, {{property: availability, value: 99.9, unit: percent}}]\n"
    assert load(tmp_path, HEAD + record("a") + sla).sla == {"latency": seconds}


def test_attached_tables_keep_their_names(tmp_path: Path) -> None:
    custom = ", ".join((EXTENSION.format("managed", "false"), EXTENSION.format("schema", "sales")))
    text = (
        HEAD
        + record(
            "OrderLine", "{name: unitPrice, logicalType: string, physicalType: public.money_kind}"
        )
        + record("far", more="    physicalName: other.Far Away\n")
        + record("dotted", more="""    physicalName: '"a.b"'\n""")
        + f"customProperties: [{custom}]\n"
    )
    contract = load(tmp_path, text)
    assert not contract.managed
    assert {t.name: (t.schema, t.table) for t in contract.types.values()} == {
        "OrderLine": ("sales", "OrderLine"),
        "far": ("other", "Far Away"),
        "dotted": ("sales", "a.b"),
    }
    price = contract.types["OrderLine"].by_name["unitPrice"]
    assert (price.column, price.scalar, price.sql_type) == (
        "unitPrice", Scalar.STRING, "public.money_kind",
    )  # fmt: skip


def test_a_folder_is_one_contract(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        HEAD
        + record(
            "order", "{name: personId, logicalType: integer, relationships: [{to: person.id}]}"
        )
    )
    (tmp_path / "b.yml").write_text(HEAD.replace("id: shop", "id: people") + record("person"))
    (tmp_path / "notes.txt").write_text("not a contract")
    contract = load_contract(tmp_path)
    assert (contract.id, set(contract.types)) == ("shop+people", {"order", "person"})
    assert relations(contract, "person") == {"orders": ("order", True, False, "person")}
    (tmp_path / "c.yaml").write_text(HEAD + record("person"))
    with pytest.raises(ContractError, match=r"c\.yaml:6:11: DUPLICATE_NAME") as raised:
        load_contract(tmp_path)
    assert len(raised.value.findings) == 1
    (tmp_path / "c.yaml").write_text(
        HEAD + record("pet") + f"customProperties: [{EXTENSION.format('managed', 'false')}]\n"
    )
    with pytest.raises(ContractError, match="MIXED_CONTRACTS"):
        load_contract(tmp_path)


def test_names_that_only_quoting_makes_possible_stay_physical(tmp_path: Path) -> None:
    contract = load(
        tmp_path,
        HEAD
        + record(
            "ort",
            "{name: size, physicalName: größe in m², logicalType: integer}",
            more="    physicalName: Örtchen\n",
        ),
    )
    ort = contract.types["ort"]
    size: Property = ort.by_name["size"]
    assert (ort.table, size.column, size.graphql) == ("Örtchen", "größe in m²", "size")


def test_rules_of_two_properties_may_have_one_id(tmp_path: Path) -> None:
    quality = (
        "quality: [{id: there, metric: nullValues, mustBe: 1}, {metric: nullValues, mustBe: 2}]"
    )
    text = HEAD + record(
        "a",
        f"{{name: x, logicalType: string, {quality}}}",
        f"{{name: y, logicalType: string, {quality}}}",
    )
    rules = load(tmp_path, text).types["a"].rules
    assert [rule.id for rule in rules] == ["there", "x-nullValues", "y-there", "y-nullValues"]


@pytest.mark.parametrize(
    ("line", "value", "types"),
    [
        ("{property: latency, value: 4, unit: d, element: a.id}", 4 * 86400.0, ("a",)),
        ('{property: ga, value: "2022-05-12T09:30:10-08:00"}', "2022-05-12T09:30:10-08:00", ()),
        ("{property: endOfLife, value: 2042-05-12}", "2042-05-12", ()),
        ("{property: re, value: 3, unit: y, element: a}", 3 * 365 * 86400.0, ("a",)),
        ("{property: fy, value: 1, valueExt: 1, unit: d}", 86400.0, ()),
        (
            "{property: timeOfAvailability, value: 09:00-08:00, driver: regulatory}",
            "09:00-08:00",
            (),
        ),
        ("{property: timeOfAvailability, value: 09:00}", "09:00", ()),
        ("{property: Av, value: 99.9, unit: percent}", 99.9, ()),
        ("{property: errorRate, value: 0}", 0.0, ()),
        ("{property: responseTime, value: 200, unit: ms}", 0.2, ()),
        ("{property: throughput, value: 60, unit: 1/min}", 1.0, ()),
    ],
)
def test_service_levels_are_taken_as_the_standard_writes_them(
    tmp_path: Path, line: str, value: object, types: tuple[str, ...]
) -> None:
    text = HEAD + record("a") + f"slaProperties: [{line}]\n"
    (found,) = load(tmp_path, text).objectives
    assert (found.value, found.types) == (value, types)
