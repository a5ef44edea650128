"""`plan` and `apply`: what the contract says is made, kept and changed, and nothing is lost
unasked."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from recordgate.migrations.run import migrate
from stores.canonical.apply import apply_plan
from stores.canonical.connect import connect
from stores.canonical.plan import make_plan
from stores.canonical.publication import publication_name
from stores.canonical.steps import SchemaPlan
from stores.contract.load import load_contract
from stores.contract.model import (
    Contract,
    Embed,
    Logical,
    Property,
    RecordType,
    Relation,
    Scalar,
)
from stores.errors import ConflictError, ConstraintError, InputError, SetupError

EVERY_TYPE = Path(__file__).with_name("every_type.odcs.yaml")


def text(name: str, **more: Any) -> Property:
    return Property(name, name, name, Logical.STRING, Scalar.STRING, "text", **more)


def whole(name: str, sql_type: str = "integer", **more: Any) -> Property:
    return Property(name, name, name, Logical.INTEGER, Scalar.INT, sql_type, **more)


def record(name: str, *properties: Property, key: tuple[str, ...] = ("id",), **more: Any) -> Any:
    return RecordType(name, "public", name, name.title(), name, name, properties, key, **more)


def contract(*types: RecordType, managed: bool = True, id: str = "shop") -> Contract:
    return Contract(id, id, "1.0.0", {t.name: t for t in types}, managed=managed)


def applied(url: str, wanted: Contract, **options: Any) -> SchemaPlan:
    with connect(url) as conn:
        plan = make_plan(conn, wanted)
        return apply_plan(conn, wanted, plan, **options)


def planned(url: str, wanted: Contract) -> SchemaPlan:
    with connect(url) as conn:
        return make_plan(conn, wanted)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


ITEM = record("item", whole("id"), text("name"))


def test_every_logical_type_is_made_once_and_then_nothing_is_left_to_do(database: str) -> None:
    wanted = load_contract(EVERY_TYPE)
    assert applied(database, wanted).steps
    assert planned(database, wanted) == SchemaPlan(())
    types = dict(
        ask(
            database,
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'people'::regclass AND attnum > 0",
        )
    )
    assert types == {p.column: p.sql_type for p in wanted.types["person"].properties}


GOOD_PERSON: dict[str, Any] = {
    "id": "00000000-0000-0000-0000-000000000001",
    "team_id": 1,
    "plain": "x",
    "short": "ab",
    "coloned": "a:b",
    "medium": 95,
    "unsigned": "18446744073709551615",
    "float8": 1.5,
    "price": "0.15",
    "born": "1900-01-01",
    "seen": "infinity",
    "tags": ["it's", "red"],
    "rank": "50%",
}


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("short", "a"),
        ("coloned", "a!b"),
        ("coloned", "50%d"),
        ("medium", -10),
        ("medium", 100),
        ("medium", 7),
        ("unsigned", "-1"),
        ("unsigned", "18446744073709551616"),
        ("float8", 0),
        ("float8", 1.6),
        ("float8", "NaN"),
        ("price", "0.17"),
        ("born", "1899-12-31"),
        ("tags", ["red", "blue"]),
        ("rank", "50"),
        ("team_id", None),
    ],
)
def test_each_rule_of_the_contract_is_kept_by_the_database(
    every_type: str, column: str, bad: Any
) -> None:
    def insert(conn: psycopg.Connection[Any], row: dict[str, Any]) -> None:
        conn.execute(
            sql.SQL("INSERT INTO people ({}) VALUES ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, row)),
                sql.SQL(", ").join(sql.Placeholder() * len(row)),
            ),
            list(row.values()),
        )

    with psycopg.connect(every_type) as conn:
        conn.execute("INSERT INTO teams (id, code) VALUES (1, 'a')")
        insert(conn, GOOD_PERSON)
        conn.execute("DELETE FROM people")
        with pytest.raises(psycopg.IntegrityError) as caught:
            insert(conn, GOOD_PERSON | {column: bad})
        assert "violates" in str(caught.value)
        conn.rollback()


@pytest.fixture(scope="module")
def every_type(postgres: str) -> Any:
    from tests.conftest import drop_database, url_of

    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute("CREATE DATABASE test_every_type")
    url = url_of(postgres, "test_every_type")
    applied(url, load_contract(EVERY_TYPE))
    yield url
    drop_database(postgres, "test_every_type")


def test_records_that_refer_to_each_other_go_in_by_one_transaction(every_type: str) -> None:
    with psycopg.connect(every_type) as conn:
        conn.execute("SET CONSTRAINTS ALL DEFERRED")
        person = GOOD_PERSON["id"]
        conn.execute(
            "INSERT INTO teams (id, code, parent_team, captain_id) VALUES (1, 'a', 2, %s)",
            (person,),
        )
        conn.execute("INSERT INTO teams (id, code) VALUES (2, 'b')")
        conn.execute("INSERT INTO people (id, team_id) VALUES (%s, 1)", (person,))
        conn.execute("INSERT INTO order_lines VALUES (1, 2, 1, 1), (1, 1, NULL, NULL)")
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        conn.execute("SET CONSTRAINTS ALL DEFERRED")
        conn.execute("DELETE FROM teams WHERE id = 2")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        conn.rollback()


def test_changes_of_the_contract_are_carried_out_and_rows_stay(database: str) -> None:
    before = contract(record("item", whole("id"), text("name"), whole("size", required=True)))
    applied(database, before)
    run(database, "INSERT INTO item SELECT n, 'name ' || n, n FROM generate_series(1, 100) n")
    after = contract(
        record(
            "item",
            whole("id", "bigint"),
            text("name", unique=True, required=True, min_length=3),
            whole("size", "bigint", minimum="0"),
            text("colour", enum=("red", "blue")),
            whole("group"),
            relations=(Relation("of", "of", "group", ("group",), ("id",), False, True, "items"),),
        ),
        record("group", whole("id")),
    )
    plan = applied(database, after)
    assert not plan.destructive
    assert {s.kind for s in plan.steps} >= {
        "create_table",
        "add_column",
        "alter_type",
        "set_not_null",
        "drop_not_null",
        "add_unique",
        "add_check",
        "add_index",
        "add_foreign_key",
        "alter_publication",
    }
    assert planned(database, after) == SchemaPlan(())
    assert ask(database, "SELECT count(*), sum(size) FROM item") == [(100, 5050)]
    back = contract(record("item", whole("id", "bigint"), text("name"), whole("size", "bigint")))
    plan = applied(database, back, allow_destructive=True)
    assert {s.text for s in plan.destructive} == {
        "drop column colour of public.item with all its values",
        "drop column group of public.item with all its values",
        "drop table public.group with all rows",
    }
    assert planned(database, back) == SchemaPlan(())
    assert ask(database, "SELECT count(*), sum(size) FROM item") == [(100, 5050)]


@pytest.mark.parametrize(
    ("after", "named"),
    [
        (contract(record("item", whole("id"))), "drop column name"),
        (contract(record("other", whole("id"))), "drop table public.item"),
        (contract(record("item", whole("id", "smallint"), text("name"))), "from integer to smal"),
        (contract(record("item", whole("id"), text("name"), key=("id", "name"))), "replace the key"),
        (contract(record("item", whole("id"), text("title"))), "drop column name"),
    ],
    ids=["drop column", "drop table", "narrow type", "replace key", "a rename is not guessed"],
)  # fmt: skip
def test_destructive_steps_are_named_and_refused_unless_allowed(
    database: str, after: Contract, named: str
) -> None:
    applied(database, contract(ITEM))
    run(database, "INSERT INTO item VALUES (1, 'one')")
    with pytest.raises(InputError, match=named) as caught:
        applied(database, after)
    assert caught.value.detail_code == "DESTRUCTIVE_REFUSED"
    assert "--allow-destructive" in caught.value.hint
    assert planned(database, contract(ITEM)) == SchemaPlan(())
    assert ask(database, "SELECT * FROM item") == [(1, "one")]
    applied(database, after, allow_destructive=True)
    assert planned(database, after) == SchemaPlan(())


def test_what_the_rows_do_not_allow_is_refused_and_nothing_is_changed(database: str) -> None:
    applied(database, contract(ITEM))
    run(database, "INSERT INTO item VALUES (1, NULL), (2, 'x')")
    required = contract(record("item", whole("id"), text("name", required=True)))
    with pytest.raises(SetupError, match="have no value in name"):
        applied(database, required, allow_destructive=True)
    new = contract(record("item", whole("id"), text("name"), text("more", required=True)))
    with pytest.raises(SetupError, match="add it as optional"):
        applied(database, new, allow_destructive=True)
    unique = contract(record("item", whole("id"), text("name", unique=True), text("extra")))
    run(database, "INSERT INTO item VALUES (3, 'x')")
    with pytest.raises(ConstraintError, match=r"make \(name\) of public.item unique") as caught:
        applied(database, unique)
    assert "x" not in str(caught.value).replace("extra", "").split()
    assert planned(database, contract(ITEM)) == SchemaPlan(())


def test_a_pattern_that_postgres_cannot_read_is_refused_before_anything_is_made(
    database: str,
) -> None:
    wanted = contract(record("item", whole("id"), text("name", pattern=r"\p{Lu}(")))
    with pytest.raises(SetupError, match="is not a valid regular expression in Postgres"):
        applied(database, wanted)
    assert ask(database, "SELECT to_regclass('public.item')") == [(None,)]


def test_two_at_once_make_it_once(database: str) -> None:
    wanted = load_contract(EVERY_TYPE)
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        try:
            with connect(database) as conn:
                plan = make_plan(conn, wanted)
                barrier.wait(30)
                apply_plan(conn, wanted, plan)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert planned(database, wanted) == SchemaPlan(())


def test_a_plan_that_somebody_overtook_is_refused(database: str) -> None:
    wanted = contract(record("item", whole("id"), text("name"), text("extra")))
    applied(database, contract(ITEM))
    with connect(database) as conn:
        plan = make_plan(conn, wanted)
        run(database, "ALTER TABLE item ADD COLUMN other int")
        with pytest.raises(ConflictError, match="since the plan was made"):
            apply_plan(conn, wanted, plan, allow_destructive=True)
        assert conn.autocommit


def test_what_was_made_by_hand_is_left_alone(database: str) -> None:
    applied(database, contract(ITEM))
    run(
        database,
        "CREATE TABLE foreign_to_us (id int PRIMARY KEY, item int REFERENCES item)",
        "CREATE INDEX for_speed ON item (name)",
        "ALTER TABLE item ADD CONSTRAINT by_hand CHECK (id > 0)",
        "ALTER TABLE item ADD CONSTRAINT own_unique UNIQUE (name, id)",
        "COMMENT ON TABLE item IS 'a remark'",
        "ALTER TABLE item ALTER COLUMN name SET DEFAULT 'x'",
    )
    assert planned(database, contract(ITEM)) == SchemaPlan(())


NASTY = [
    'a"b',
    "a'b",
    "select",
    "a.b",
    "a b",
    "100%s",
    ":name",
    "{0}",
    "-- x",
    '"; DROP TABLE item; --',
    "ü" * 31,
    "x" * 63,
    "Grün/日本",
    "\\",
]


def test_hostile_names_are_only_names(database: str) -> None:
    run(database, "CREATE TABLE item (id int)")
    types = []
    for number, name in enumerate(NASTY):
        target = RecordType(
            f"t{number}",
            "public" if number % 2 else 'sch"ema.x',
            name,
            f"T{number}",
            f"t{number}",
            f"t{number}s",
            (
                Property("id", name, "id", Logical.INTEGER, Scalar.INT, "integer"),
                Property("up", f"u{name}"[:31], "up", Logical.INTEGER, Scalar.INT, "integer"),
                Property("word", "word", "word", Logical.STRING, Scalar.STRING, "text",
                         enum=(name, "ok"), pattern=f"^({name.replace(chr(92), '.')}|.*)$"
                         if number not in (7, 13) else None),
            ),
            (name,),
            (Relation("up", "up", f"t{number}", (f"u{name}"[:31],), (name,), False, True, "down"),
             Relation("down", "down", f"t{number}", (name,), (f"u{name}"[:31],), True, False, "up")),
            unique_together=((name, "word"),),
            embeds=(Embed("down"),),
        )  # fmt: skip
        types.append(target)
    wanted = contract(*types, id="näughty'\"; --")
    applied(database, wanted)
    assert planned(database, wanted) == SchemaPlan(())
    assert ask(database, "SELECT to_regclass('item') IS NOT NULL") == [(True,)]
    for record_type in types:
        with psycopg.connect(database) as conn:
            table = sql.Identifier(record_type.schema, record_type.table)
            conn.execute(sql.SQL("INSERT INTO {} VALUES (1, 1, 'ok')").format(table))
            word = sql.Literal(record_type.table)
            conn.execute(sql.SQL("INSERT INTO {} VALUES (2, 1, {})").format(table, word))
            with pytest.raises(psycopg.errors.CheckViolation):
                conn.execute(sql.SQL("INSERT INTO {} VALUES (3, 1, 'no')").format(table))


def test_a_table_whose_old_rows_are_needed_says_them_in_full(database: str) -> None:
    line = record(
        "line",
        whole("id"),
        whole("order", required=True),
        relations=(Relation("of", "of", "order", ("order",), ("id",), False, True, "lines"),),
    )
    order = record(
        "order",
        whole("id"),
        relations=(Relation("lines", "lines", "line", ("id",), ("order",), True, False, "of"),),
    )

    def identities() -> dict[str, str]:
        query = (
            "SELECT relname, relreplident::text FROM pg_class WHERE relname IN ('line', 'order')"
        )
        return dict(ask(database, query))

    applied(database, contract(order, line))
    assert identities() == {"line": "d", "order": "d"}
    embedding = contract(replace(order, embeds=(Embed("lines"),)), line)
    applied(database, embedding)
    assert identities() == {"line": "f", "order": "d"}
    assert planned(database, embedding) == SchemaPlan(())
    applied(database, contract(order, line))
    assert identities() == {"line": "d", "order": "d"}


def test_the_publication_holds_exactly_the_contracts_tables(database: str) -> None:
    other = record("other", whole("id"))
    applied(database, contract(ITEM))
    run(database, "CREATE TABLE stranger (id int PRIMARY KEY)")
    applied(database, contract(ITEM, other))
    name = publication_name(contract(ITEM))
    query = f"SELECT tablename FROM pg_publication_tables WHERE pubname = '{name}' ORDER BY 1"
    assert ask(database, query) == [("item",), ("other",)]
    run(
        database,
        f"ALTER PUBLICATION {name} DROP TABLE other",
        f"ALTER PUBLICATION {name} SET (publish = 'insert')",
    )
    applied(database, contract(ITEM, other))
    assert ask(database, query) == [("item",), ("other",)]
    options = "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication"
    assert ask(database, options) == [(True, True, True, True, True)]


def test_attached_tables_get_the_publication_and_nothing_else(database: str) -> None:
    run(
        database,
        "CREATE TABLE item (id int PRIMARY KEY, name text, more int)",
        "CREATE TABLE part (id int, item int, day date, PRIMARY KEY (id, day))"
        " PARTITION BY RANGE (day)",
        "CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    )
    part = record(
        "part",
        whole("id"),
        whole("item"),
        Property("day", "day", "day", Logical.DATE, Scalar.DATE, "date"),
        key=("id", "day"),
        relations=(Relation("of", "of", "item", ("item",), ("id",), False, True, "parts"),),
    )
    item = replace(
        ITEM,
        relations=(Relation("parts", "parts", "part", ("id",), ("item",), True, False, "of"),),
        embeds=(Embed("parts"),),
    )
    wanted = contract(item, part, managed=False)
    plan = applied(database, wanted)
    assert {(s.kind, s.table) for s in plan.steps} == {
        ("replica_identity", "public.part"),
        ("replica_identity", "public.part_1"),
        ("create_publication", ""),
    }
    assert planned(database, wanted) == SchemaPlan(())
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'item'"
    assert ask(database, columns) == [(3,)]
    run(
        database,
        "INSERT INTO part VALUES (1, 1, '2020-02-02')",
        "UPDATE part SET item = 2",
        "DELETE FROM part",
    )


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("CREATE TABLE item (id int, name text)", "it has no key"),
        (
            "CREATE TABLE item (id int PRIMARY KEY, name text);"
            "ALTER TABLE item REPLICA IDENTITY NOTHING",
            "replica identity is NOTHING",
        ),
        ("CREATE VIEW item AS SELECT 1 AS id, ''::text AS name", "not a table"),
        ("CREATE TABLE item (id int PRIMARY KEY)", "column name does not exist"),
        ("CREATE TABLE item (id bigint PRIMARY KEY, name text)", "column id is bigint"),
        ("SELECT 1", "the table does not exist"),
    ],
)
def test_attached_tables_that_cannot_be_captured_are_refused_with_the_reason(
    database: str, made: str, why: str
) -> None:
    run(database, *made.split(";"))
    with pytest.raises(SetupError, match=why):
        applied(database, contract(ITEM, managed=False))
    assert ask(database, "SELECT count(*) FROM pg_publication") == [(0,)]


def test_apply_leaves_a_line_in_the_audit(database: str) -> None:
    migrate(database)
    applied(database, contract(ITEM))
    rows = ask(database, "SELECT action, detail->>'contract' FROM recordgate.audit")
    assert rows == [("apply", "shop")]


def test_a_table_in_use_is_a_conflict_and_not_an_endless_wait(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stores.canonical import apply

    monkeypatch.setattr(apply, "LOCK_TIMEOUT", "200ms")
    applied(database, contract(ITEM))
    wanted = contract(record("item", whole("id"), text("name"), text("extra")))
    with psycopg.connect(database) as reader:
        reader.execute("SELECT * FROM item")
        with pytest.raises(ConflictError, match="the table is in use"):
            applied(database, wanted)
    applied(database, wanted)


def test_a_second_contract_in_a_database_is_refused_before_anything_is_made(database: str) -> None:
    applied(database, contract(ITEM))
    other = contract(record("thing", whole("id")), id="other")
    with pytest.raises(SetupError, match=r"another contract.*recordgate_shop") as refused:
        applied(database, other)
    assert refused.value.hint
    assert not ask(database, "SELECT FROM pg_class WHERE relname = 'thing'")
    assert planned(database, contract(ITEM)) == SchemaPlan(())
