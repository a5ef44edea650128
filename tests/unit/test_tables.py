"""Names, type changes and replica identities that follow from a contract alone."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from stores.canonical.constraint_names import (
    LIMIT,
    check_name,
    constraint_name,
    is_check_of_ours,
)
from stores.canonical.publication import full_identity_types, publication_name, slot_name
from stores.canonical.tables import constraint_columns, metadata_for
from stores.canonical.type_changes import keeps_values, rewrites_table
from stores.contract.model import (
    Contract,
    Embed,
    Logical,
    Property,
    RecordType,
    Relation,
    Scalar,
)
from stores.errors import ContractError


def whole(name: str, sql_type: str = "integer") -> Property:
    return Property(name, name, name, Logical.INTEGER, Scalar.INT, sql_type)


def record(
    name: str,
    *properties: Property,
    key: tuple[str, ...] = ("id",),
    relations: tuple[Relation, ...] = (),
    embeds: tuple[Embed, ...] = (),
) -> RecordType:
    return RecordType(
        name,
        "public",
        name,
        name.title(),
        name,
        name,
        (whole("id"), *properties),
        key,
        relations,
        embeds,
    )


def contract(*types: RecordType, id: str = "shop") -> Contract:
    return Contract(id, id, "1.0.0", {t.name: t for t in types})


@pytest.mark.parametrize("kind", ["pkey", "key", "fkey", "idx"])
def test_names_fit_postgres_and_stay_apart(kind: str) -> None:
    tables = ["t", "x" * 63, "x" * 62 + "y", "日本" * 10, "日本" * 9 + "本日"]
    columns = ("a",) if kind == "pkey" else ("a", "b" * 63)
    names = {constraint_name(kind, t, (c,)) for t in tables for c in columns}
    assert all(len(n.encode()) <= LIMIT for n in names)
    assert len(names) == len(tables) * len(columns)


def test_a_changed_rule_is_another_check_and_known_as_ours() -> None:
    one, two = (check_name("t", "c", "min", f"c >= {n}") for n in (1, 2))
    assert one != two
    long = check_name("x" * 63, "y" * 63, "pattern", "z")
    assert len(long.encode()) <= LIMIT
    assert all(map(is_check_of_ours, (one, two, long)))
    assert not any(map(is_check_of_ours, ("t_c_check", "positive", "t_min_1")))


@pytest.mark.parametrize(
    ("old", "new", "keeps"),
    [
        ("smallint", "bigint", True),
        ("bigint", "integer", False),
        ("integer", "numeric", True),
        ("bigint", "numeric(10,0)", False),
        ("integer", "numeric(12,2)", True),
        ("real", "double precision", True),
        ("double precision", "real", False),
        ("integer", "double precision", False),
        ("numeric(10,2)", "numeric(12,2)", True),
        ("numeric(10,2)", "numeric(12,4)", True),
        ("numeric(10,2)", "numeric(12,5)", False),
        ("numeric", "numeric(10,2)", False),
        ("numeric(10,2)", "numeric", True),
        ("character varying(10)", "character varying(20)", True),
        ("character varying(20)", "character varying(10)", False),
        ("character varying", "character varying(10)", False),
        ("character varying(10)", "text", True),
        ("text", "character varying(10)", False),
        ("character(3)", "text", False),
        ("text", "integer", False),
        ("uuid", "text", True),
        ("timestamp with time zone", "timestamp without time zone", False),
        ("timestamp(3) with time zone", "timestamp with time zone", True),
        ("timestamp with time zone", "timestamp(3) with time zone", False),
        ("text[]", "jsonb", False),
    ],
)
def test_only_a_change_that_keeps_every_value_passes_unasked(
    old: str, new: str, keeps: bool
) -> None:
    assert keeps_values(old, new) is keeps


def test_a_wider_text_does_not_rewrite_the_table_and_a_wider_number_does() -> None:
    assert not rewrites_table("character varying(10)", "text")
    assert not rewrites_table("numeric(10,2)", "numeric(12,2)")
    assert rewrites_table("integer", "bigint")
    assert rewrites_table("numeric(10,2)", "numeric(12,4)")


def one(name: str, target: str, column: str, inverse: str) -> Relation:
    return Relation(name, name, target, (column,), ("id",), False, True, inverse)


def many(name: str, target: str, column: str, inverse: str, *, single: bool = False) -> Relation:
    return Relation(name, name, target, ("id",), (column,), not single, False, inverse)


def test_children_in_a_parents_document_need_their_old_rows_at_any_depth() -> None:
    country = record("country", relations=(many("cities", "city", "country", "in"),))
    city = record(
        "city",
        whole("country"),
        relations=(one("in", "country", "country", "cities"), many("streets", "street", "city", "of")),
    )  # fmt: skip
    street = record("street", whole("city"), relations=(one("of", "city", "city", "streets"),))
    plain = contract(country, city, street)
    assert full_identity_types(plain) == frozenset()

    deep = Embed("cities", (Embed("streets"),))
    embedding = RecordType(**{**country.__dict__, "embeds": (deep,)})
    assert full_identity_types(contract(embedding, city, street)) == {"city", "street"}

    upward = RecordType(**{**street.__dict__, "embeds": (Embed("of", (Embed("in"),)),)})
    assert full_identity_types(contract(country, city, upward)) == frozenset()

    sideways = RecordType(**{**street.__dict__, "embeds": (Embed("of", (Embed("streets"),)),)})
    assert full_identity_types(contract(country, city, sideways)) == {"street"}


def test_a_child_whose_key_holds_its_parent_needs_no_more_than_its_key() -> None:
    order = record(
        "order", relations=(many("lines", "line", "order", "of"),), embeds=(Embed("lines"),)
    )
    line = record(
        "line", whole("order"), key=("order", "id"), relations=(one("of", "order", "order", "lines"),)
    )  # fmt: skip
    assert full_identity_types(contract(order, line)) == frozenset()


def test_an_inverse_to_one_is_as_an_inverse_to_many() -> None:
    person = record(
        "person",
        relations=(many("passport", "passport", "person", "of", single=True),),
        embeds=(Embed("passport"),),
    )
    passport = record(
        "passport", whole("person"), relations=(one("of", "person", "person", "passport"),)
    )
    assert full_identity_types(contract(person, passport)) == {"passport"}


def test_publication_and_slot_are_named_after_the_contract() -> None:
    hostile = contract(record("t"), id='Shop "x"; -- ' + "y" * 100)
    assert slot_name(hostile, "a") != slot_name(hostile, "b")
    for name in (publication_name(hostile), slot_name(hostile, 'd"b')):
        assert name.startswith("recordgate_shop")
        assert len(name) <= LIMIT
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")


def test_the_name_of_a_broken_constraint_leads_to_its_property() -> None:
    city = record("city", whole("country"), relations=(one("in", "country", "country", "cities"),))
    assert constraint_columns(city)["city_country_fkey"] == ("country",)
    assert constraint_columns(city)["city_pkey"] == ("id",)


@pytest.mark.parametrize("text", ["integer; DROP TABLE x", "text DEFAULT now()", "", "text)--"])
def test_a_type_cannot_smuggle_anything_into_a_statement(text: str) -> None:
    with pytest.raises(ContractError, match="is not a Postgres type"):
        metadata_for(contract(record("t", whole("a", text))))


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "a\0b"])
def test_a_name_that_postgres_would_cut_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="is not a valid identifier"):
        metadata_for(contract(record("t", whole(name))))


def test_the_metadata_names_every_constraint() -> None:
    country = record("country")
    city = record("city", whole("country"), relations=(one("in", "country", "country", "cities"),))
    metadata = metadata_for(contract(city, country))
    table = metadata.tables["public.city"]
    assert all(c.name for c in table.constraints)
    assert {i.name for i in table.indexes} == {"city_country_idx"}
    made = str(CreateTable(table).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert 'FOREIGN KEY("country") REFERENCES "public"."country" ("id") DEFERRABLE' in made
    assert isinstance(table.c.id.type, sa.types.UserDefinedType)
