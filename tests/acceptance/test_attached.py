"""Attached mode, from tables that are there already to stores that equal them: `contract init`,
lint, `apply`, load, changes, verify; and whatever the application writes, it never fails because of
us.

The tables are of the kinds that break followers of changes: without a key, with a composite key,
partitioned, with generated columns stored and virtual, enums, domains, arrays, inherited, with
identity NOTHING, views, mixed case, of other schemas.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from stores.canonical.connect import connect
from stores.contract.load import load_contract
from stores.contract.model import Contract
from tests.sync_world import SINKS, World

TABLES = r"""
CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE TYPE app.mood AS ENUM ('sad', 'ok', '1e5', 'A b');
CREATE DOMAIN app.email AS text CHECK (value LIKE '%@%');
CREATE DOMAIN app.price AS numeric(10,2) CHECK (value >= 0);

CREATE TABLE app.without_key (a int, b text);
CREATE TABLE app.pair (a int, b text, note text, PRIMARY KEY (b, a));
CREATE TABLE app.reading (sensor int, day date, value real, PRIMARY KEY (sensor, day)) PARTITION BY RANGE (day);
CREATE TABLE app.reading_24 PARTITION OF app.reading FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE app.reading_25 PARTITION OF app.reading FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')
    PARTITION BY LIST (sensor);
CREATE TABLE app.reading_25_1 PARTITION OF app.reading_25 FOR VALUES IN (1, 2, 3);
CREATE TABLE app.reading_25_rest PARTITION OF app.reading_25 DEFAULT;
CREATE TABLE app.reading_rest PARTITION OF app.reading DEFAULT;
CREATE TABLE app.stored (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TABLE app.stored_key (a int, k text GENERATED ALWAYS AS ('k' || a) STORED PRIMARY KEY, note text);
CREATE TABLE app.virtual (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL);
CREATE TABLE app.feeling (id int PRIMARY KEY, mood app.mood NOT NULL, all_moods app.mood[]);
CREATE TABLE app.account (id int PRIMARY KEY, email app.email NOT NULL, price app.price, prices app.price[]);
CREATE TABLE app.listing (id int PRIMARY KEY, tags text[], numbers int[], days date[]);
CREATE TABLE app.parent (id int PRIMARY KEY, note text);
CREATE TABLE app.child (more text, PRIMARY KEY (id)) INHERITS (app.parent);
CREATE TABLE app.nothing (id int PRIMARY KEY, note text);
ALTER TABLE app.nothing REPLICA IDENTITY NOTHING;
CREATE VIEW app.a_view AS SELECT id, note FROM app.parent;
CREATE MATERIALIZED VIEW app.a_matview AS SELECT id, note FROM app.parent;
CREATE TABLE app."Mixed Case" ("Id" int PRIMARY KEY, "userName" text, "Order" int, "a.b" text);
CREATE TABLE app.by_index (id int PRIMARY KEY, code text NOT NULL UNIQUE, note text);
ALTER TABLE app.by_index REPLICA IDENTITY USING INDEX by_index_code_key;
CREATE TABLE app.in_full (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, doc jsonb);
ALTER TABLE app.in_full REPLICA IDENTITY FULL;
CREATE TABLE other.far (id int PRIMARY KEY, note text);
CREATE TABLE app.near (id int PRIMARY KEY, far_id int REFERENCES other.far, pair_a int, pair_b text,
    FOREIGN KEY (pair_b, pair_a) REFERENCES app.pair (b, a) ON UPDATE CASCADE ON DELETE SET NULL);
"""

BEFORE = """
INSERT INTO app.without_key VALUES (1, 'x'), (1, 'x');
INSERT INTO app.pair SELECT i, 'b,' || i, 'note' FROM generate_series(1, 20) i;
INSERT INTO app.reading SELECT i % 5, date '2023-12-25' + i, i / 3.0 FROM generate_series(1, 800) i;
INSERT INTO app.stored (id, n) SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO app.stored_key (a, note) SELECT i, 'n' FROM generate_series(1, 20) i;
INSERT INTO app.virtual (id, n) SELECT i, i FROM generate_series(1, 20) i;
INSERT INTO app.feeling SELECT i, 'ok', '{sad,"A b"}' FROM generate_series(1, 20) i;
INSERT INTO app.account SELECT i, i || '@x', i, ARRAY[i, i + 0.5] FROM generate_series(1, 20) i;
INSERT INTO app.listing SELECT i, '{"a,b","\\"q\\"",NULL}', '{1,2}', '{2024-02-29}' FROM generate_series(1, 20) i;
INSERT INTO app.parent SELECT i, 'p' FROM generate_series(1, 5) i;
INSERT INTO app.child SELECT i, 'c', 'm' FROM generate_series(6, 20) i;
INSERT INTO app.nothing SELECT i, 'n' FROM generate_series(1, 20) i;
INSERT INTO app."Mixed Case" SELECT i, 'u' || i, i, 'dot' FROM generate_series(1, 20) i;
INSERT INTO app.by_index SELECT i, 'c' || i, 'n' FROM generate_series(1, 20) i;
INSERT INTO app.in_full (id, n, doc) SELECT i, i, '{"a": [1, null]}' FROM generate_series(1, 20) i;
INSERT INTO other.far SELECT i, 'f' FROM generate_series(1, 20) i;
INSERT INTO app.near SELECT i, i, i, 'b,' || i FROM generate_series(1, 20) i;
"""

AFTER = r"""
INSERT INTO app.without_key VALUES (2, 'y'); UPDATE app.without_key SET b = 'z'; DELETE FROM app.without_key WHERE a = 1;
UPDATE app.pair SET note = 'new' WHERE a < 5; UPDATE app.pair SET a = 100 WHERE a = 6; DELETE FROM app.pair WHERE a = 7;
UPDATE app.reading SET value = 0 WHERE sensor = 1; DELETE FROM app.reading WHERE sensor = 2;
UPDATE app.reading SET day = day + 401 WHERE sensor = 3 AND day < '2024-03-01';
UPDATE app.stored SET n = n + 1 WHERE id < 10; UPDATE app.stored SET id = 200 WHERE id = 11; DELETE FROM app.stored WHERE id > 15;
UPDATE app.stored_key SET note = 'new' WHERE a < 5; UPDATE app.stored_key SET a = 300 WHERE a = 6; DELETE FROM app.stored_key WHERE a = 7;
UPDATE app.virtual SET n = n + 1 WHERE id < 10; UPDATE app.virtual SET id = 200 WHERE id = 11; DELETE FROM app.virtual WHERE id > 15;
UPDATE app.feeling SET mood = '1e5', all_moods = NULL WHERE id < 9; DELETE FROM app.feeling WHERE id = 9;
UPDATE app.account SET email = 'new@x', price = NULL, prices = '{}' WHERE id < 9; DELETE FROM app.account WHERE id = 9;
UPDATE app.listing SET tags = array_append(tags, 'more'), numbers = NULL WHERE id < 9; DELETE FROM app.listing WHERE id = 9;
UPDATE app.parent SET note = 'new'; UPDATE app.child SET more = 'new' WHERE id < 9; DELETE FROM ONLY app.parent WHERE id = 1; DELETE FROM app.parent WHERE id = 20;
UPDATE app.nothing SET note = 'new' WHERE id < 9; DELETE FROM app.nothing WHERE id = 9;
UPDATE app."Mixed Case" SET "userName" = 'new' WHERE "Id" < 9; UPDATE app."Mixed Case" SET "Id" = 200 WHERE "Id" = 9; DELETE FROM app."Mixed Case" WHERE "Id" = 10;
UPDATE app.by_index SET code = 'new' || id WHERE id < 9; UPDATE app.by_index SET id = 200 WHERE id = 9; DELETE FROM app.by_index WHERE id = 10;
UPDATE app.in_full SET n = n + 1 WHERE id < 9; UPDATE app.in_full SET doc = NULL WHERE id = 9; DELETE FROM app.in_full WHERE id = 10;
UPDATE other.far SET note = 'new' WHERE id < 9; DELETE FROM app.near WHERE far_id = 12; DELETE FROM other.far WHERE id = 12;
UPDATE app.near SET pair_a = NULL WHERE id = 1; DELETE FROM app.near WHERE id = 2;
MERGE INTO app.pair p USING (VALUES (1, 'b,1', 'merged'), (500, 'new', 'merged')) v (a, b, note) ON p.a = v.a AND p.b = v.b
    WHEN MATCHED THEN UPDATE SET note = v.note WHEN NOT MATCHED THEN INSERT VALUES (v.a, v.b, v.note);
COPY app.listing FROM STDIN;
TRUNCATE app.feeling;
INSERT INTO app.feeling VALUES (1000, 'sad', '{}');
"""
LEFT_OUT = {"without_key", "parent", "a_view", "a_matview"}


def run(*arguments: str) -> Any:
    found = CliRunner().invoke(build(), arguments)
    assert found.exit_code == 0, found.output
    return found


def write(url: str, script: str) -> None:
    """Each statement in a transaction of its own, as an application would. None may fail."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in script.split(";"):
            if "COPY" in statement:
                with conn.cursor().copy(statement.encode()) as copy:
                    copy.write_row((500, ["copied"], [1], ["2024-01-01"]))
            elif statement.strip():
                conn.execute(statement.encode())


@dataclass
class Attached:
    """A database of somebody else's, with a contract for a schema, and a settings file."""

    url: str
    folder: Path
    config: Path

    def contract(self, schema: str) -> Contract:
        """As `contract init` writes it, linted."""
        file = self.folder / f"{schema}.odcs.yaml"
        run("contract", "init", "--from", self.url, "--schema", schema, "--output", str(file))
        run("contract", "lint", str(file))
        self.config.write_text(
            f'contract = "{file}"\npostgres = "{self.url}"\ndata_dir = "{self.folder / schema}"\n'
        )
        return load_contract(file)

    def apply(self) -> Any:
        return CliRunner().invoke(build(), ["--config", str(self.config), "apply", "--yes"])


@pytest.fixture
def attached(database: str, tmp_path: Path) -> Attached:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLES.encode())
    return Attached(database, tmp_path, tmp_path / "recordgate.toml")


def shape(url: str) -> list[tuple[Any, ...]]:
    """Everything about the application's tables but their replica identities."""
    with psycopg.connect(url) as conn:
        return conn.execute(
            """
            SELECT n.nspname, c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                   (SELECT json_agg(pg_get_constraintdef(k.oid) ORDER BY k.oid) FROM pg_constraint k
                     WHERE k.conrelid = c.oid)::text,
                   (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid)
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE n.nspname IN ('app', 'other') ORDER BY 1, 2, a.attnum
            """
        ).fetchall()


def test_tables_of_every_kind_are_followed_and_the_application_never_fails(
    attached: Attached,
) -> None:
    write(attached.url, BEFORE)
    before = shape(attached.url)
    contract = attached.contract("app")
    followed = {t.table for t in contract.types.values()}
    # Identity NOTHING stands in the way of publishing; its owner is told so, and nothing was
    # touched.
    refused = attached.apply()
    assert refused.exit_code == 1
    assert "app.nothing" in refused.output
    assert "REPLICA IDENTITY DEFAULT" in refused.output
    with psycopg.connect(attached.url, autocommit=True) as conn:
        assert conn.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
        conn.execute("UPDATE app.nothing SET note = 'still mine'")
        conn.execute("ALTER TABLE app.nothing REPLICA IDENTITY DEFAULT")
    assert not followed & LEFT_OUT
    assert {
        "pair",
        "reading",
        "stored",
        "stored_key",
        "virtual",
        "Mixed Case",
        "in_full",
    } <= followed
    assert attached.apply().exit_code == 0
    assert shape(attached.url) == before

    async def story() -> None:
        with connect(attached.url) as conn:
            world = World(contract, attached.url, attached.folder / "app", conn)
            async with world.running():
                await world.synced()
                await asyncio.to_thread(write, attached.url, AFTER)
                await world.synced()
                keys = {sink: set(await world.held(sink, "pair")) for sink in SINKS}
                for sink in SINKS:
                    assert keys[sink] == {
                        f"{row['b']}".replace(",", "\\,") + f",{row['a']}"
                        for row in world.rows("SELECT a, b FROM app.pair")
                    }
                    virtual = await world.held(sink, "virtual")
                    assert {k: d["twice"] for k, d in virtual.items()} == {
                        str(row["id"]): row["twice"] for row in world.rows("TABLE app.virtual")
                    }
                    assert set(await world.held(sink, "feeling")) == {"1000"}

    asyncio.run(story())
    run("--config", str(attached.config), "verify")


def test_a_contract_of_another_schema_is_followed_beside_the_first(attached: Attached) -> None:
    write(attached.url, BEFORE)
    contract = attached.contract("other")
    assert [(t.schema, t.table) for t in contract.types.values()] == [("other", "far")]
    assert attached.apply().exit_code == 0
    write(attached.url, "UPDATE other.far SET note = 'new'; UPDATE app.nothing SET note = 'new'")


ODD_TABLES = r"""
CREATE SCHEMA app;
CREATE TABLE app."x" ("a""b" text, "c%s" text, "{d}" text, "e\f" text, "g;--" text, "'h'" text, "%(keys)s" text,
    "x" int PRIMARY KEY, "X y" text, "row" text, "None" text, "class" text, "v0" text, "self" text, "$1" text, "_id" text,
    "__typename" text, "größe" text, "oid" text, "excluded" text, "t" text, "doc" text);
CREATE TABLE app."a""b" (id int PRIMARY KEY);
CREATE TABLE app."n0" ("own" int PRIMARY KEY, "asked" int REFERENCES app."x", "t" text);
ALTER TABLE app."x" REPLICA IDENTITY FULL;
ALTER TABLE app."n0" REPLICA IDENTITY FULL;
"""
ODD_ROWS = """
INSERT INTO app."x" ("x", "a""b", "x y", "row", "_id", "t") SELECT i, 'q', 's', 'r' || i, '_', 't' FROM generate_series(1, 9) i
""".replace('"x y"', '"X y"')


def test_names_that_no_contract_can_have_stand_in_nobodys_way(
    database: str, tmp_path: Path
) -> None:
    """What cannot be in a contract is left out by name; what is beside it is followed."""
    write(database, ODD_TABLES.replace(";--", "§"))
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute('ALTER TABLE app."x" RENAME COLUMN "g§" TO "g;--"')
    attached = Attached(database, tmp_path, tmp_path / "recordgate.toml")
    contract = attached.contract("app")
    text = (tmp_path / "app.odcs.yaml").read_text("utf-8")
    assert {t.table for t in contract.types.values()} == {"x", "n0"}
    for left_out in ('a"b', "c%s", "{d}", r"e\f", "g;--", "'h'", "%(keys)s"):
        assert repr(left_out) in text
    columns = {p.column for t in contract.types.values() if t.table == "x" for p in t.properties}
    assert {"x", "X y", "None", "$1", "__typename", "größe", "oid"} <= columns
    assert attached.apply().exit_code == 0
    write(database, ODD_ROWS)
    write(database, 'INSERT INTO app."n0" SELECT "x", "x", \'t\' FROM app."x"')

    async def story() -> None:
        with connect(database) as conn:
            world = World(contract, database, tmp_path / "app", conn)
            async with world.running():
                await world.synced()
                world.sql(
                    """UPDATE app."x" SET "a""b" = NULL, "row" = 'new' WHERE "x" < 4""",
                    """UPDATE app."n0" SET "own" = 100, "asked" = 3 WHERE "own" = 2""",
                    """DELETE FROM app."n0" WHERE "own" = 5""",
                )
                await world.synced()
                for sink in SINKS:
                    held = await world.held(sink, next(n for n, t in contract.types.items() if t.table == "x"))  # fmt: skip
                    assert {k: d["row"] for k, d in held.items()} == {
                        str(r["x"]): r["row"] for r in world.rows('SELECT "x", "row" FROM app."x"')
                    }

    asyncio.run(story())
    run("--config", str(attached.config), "verify")


EMBEDDING = """
CREATE SCHEMA app;
CREATE TABLE app.invoice (id int PRIMARY KEY);
CREATE TABLE app.line (id int PRIMARY KEY, invoice_id int REFERENCES app.invoice, n int, twice int {generated});
INSERT INTO app.invoice VALUES (1), (2);
INSERT INTO app.line (id, invoice_id, n) SELECT i, 1 + i % 2, i FROM generate_series(1, 10) i;
"""


def embedding(database: str, folder: Path, generated: str) -> tuple[Attached, Contract]:
    """Invoices with their lines inside: lines need REPLICA IDENTITY FULL."""
    write(database, EMBEDDING.format(generated=generated))
    attached = Attached(database, folder, folder / "recordgate.toml")
    attached.contract("app")
    file = folder / "app.odcs.yaml"
    text = file.read_text("utf-8")
    wanted = "  - property: singular\n    vendor: recordgate\n    value: invoice\n"
    assert wanted in text
    more = "  - property: embed\n    vendor: recordgate\n    value: [lines]\n"
    file.write_text(text.replace(wanted, wanted + more))
    run("contract", "lint", str(file))
    return attached, load_contract(file)


def test_a_stored_generated_column_in_a_full_identity_is_published(
    database: str, tmp_path: Path
) -> None:
    attached, contract = embedding(database, tmp_path, "GENERATED ALWAYS AS (n * 2) STORED")
    assert attached.apply().exit_code == 0
    script = "UPDATE app.line SET n = n + 1; UPDATE app.line SET invoice_id = 2 WHERE id = 2; DELETE FROM app.line WHERE id = 3"

    async def story() -> None:
        with connect(database) as conn:
            world = World(contract, database, tmp_path / "app", conn)
            async with world.running():
                await world.synced()
                await asyncio.to_thread(write, database, script)
                await world.synced()
                held = await world.held("documents", "invoice")
                assert {
                    k: [(line["id"], line["twice"]) for line in d["lines"]] for k, d in held.items()
                } == {
                    str(invoice): [
                        (r["id"], r["twice"])
                        for r in world.rows(
                            f"SELECT id, twice FROM app.line WHERE invoice_id = {invoice} ORDER BY id"
                        )
                    ]
                    for invoice in (1, 2)
                }

    asyncio.run(story())


def test_a_virtual_column_in_a_full_identity_is_refused_before_anything_is_published(
    database: str, tmp_path: Path
) -> None:
    attached, _ = embedding(database, tmp_path, "GENERATED ALWAYS AS (n * 2) VIRTUAL")
    refused = attached.apply()
    assert refused.exit_code == 1
    assert "twice" in refused.output
    assert "STORED" in refused.output
    write(database, "UPDATE app.line SET n = n + 1; DELETE FROM app.line WHERE id = 3")
    # That it would have failed is Postgres' rule, not ours.
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("ALTER TABLE app.line REPLICA IDENTITY FULL")
        conn.execute(
            "CREATE PUBLICATION p FOR TABLE app.line WITH (publish_generated_columns = stored)"
        )
        with pytest.raises(psycopg.errors.Error, match="cannot update table"):
            conn.execute("UPDATE app.line SET n = n + 1")


def test_a_virtual_column_where_the_owner_chose_full_is_refused(
    database: str, tmp_path: Path
) -> None:
    write(
        database,
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int, v int GENERATED ALWAYS AS (n) VIRTUAL);"
        "ALTER TABLE app.t REPLICA IDENTITY FULL; INSERT INTO app.t (id, n) VALUES (1, 1)",
    )
    attached = Attached(database, tmp_path, tmp_path / "recordgate.toml")
    attached.contract("app")
    refused = attached.apply()
    assert refused.exit_code == 1
    assert "REPLICA IDENTITY DEFAULT" in refused.output
    write(database, "UPDATE app.t SET n = 2")
    write(database, "ALTER TABLE app.t REPLICA IDENTITY DEFAULT")
    assert attached.apply().exit_code == 0
    write(database, "UPDATE app.t SET n = 3; DELETE FROM app.t")
