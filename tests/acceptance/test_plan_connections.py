"""Connections to canonical, and what its errors become: a clear message that holds no value of a
row."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from recordgate.canonical_access import open_canonical
from recordgate.settings import load_settings
from stores.canonical.apply import apply_plan
from stores.canonical.connect import (
    connect,
    connect_async,
    make_pool,
    system_identity,
    text_order_is_bytewise,
)
from stores.canonical.driver_errors import translate
from stores.canonical.json_form import SESSION_SETTINGS
from stores.canonical.plan import make_plan
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import (
    ConflictError,
    ConstraintError,
    InputError,
    RecordgateError,
    SetupError,
    StoreUnavailable,
)
from tests.conftest import url_of

SECRET = "s3cret-value"


@pytest.fixture(scope="module")
def every_type() -> Contract:
    return load_contract(Path(__file__).with_name("every_type.odcs.yaml"))


def test_every_connection_has_the_session_settings(database: str) -> None:
    async def pooled() -> dict[str, str]:
        found: dict[str, str] = {}
        async with make_pool(database, 2) as pool, pool.connection() as conn:
            assert conn.autocommit
            for name in SESSION_SETTINGS:
                cursor = await conn.execute("SELECT current_setting(%s)", (name,))
                row = await cursor.fetchone()
                found[name] = row[0] if row else ""
        async with await connect_async(database) as one:
            assert one.autocommit
        return found

    wanted = {**SESSION_SETTINGS, "search_path": "pg_catalog"}
    assert asyncio.run(pooled()) == wanted
    hostile = f"{database}&options=-c%20search_path%3Devil%20-c%20TimeZone%3DAsia/Tokyo"
    with connect(hostile) as conn:
        for name, value in wanted.items():
            row = conn.execute("SELECT current_setting(%s)", (name,)).fetchone()
            assert row == (value,)


def test_a_database_is_known_by_its_identity_and_not_by_its_address(
    postgres: str, database: str
) -> None:
    with connect(database) as conn, connect(postgres) as other:
        assert system_identity(conn) != system_identity(other)
        assert system_identity(conn).partition("/")[0] == system_identity(other).partition("/")[0]
        assert text_order_is_bytewise(conn)


def failed(
    url: str, statement: str, contract: Contract | None = None, setup: str = ""
) -> RecordgateError:
    with connect(url, autocommit=False) as conn:
        conn.execute("SET search_path = public")
        if setup:
            conn.execute(setup.encode())
        with pytest.raises(psycopg.Error) as caught:
            conn.execute(statement.encode())
        conn.rollback()
    found = translate(caught.value, contract)
    assert SECRET not in str(found)
    assert "INSERT" not in str(found)
    return found


@pytest.mark.parametrize(
    ("statement", "field", "says"),
    [
        ("INSERT INTO teams (id, code) VALUES (1, 'x')", None, "team.id: another record"),
        (f"INSERT INTO teams (id, code) VALUES (2, '{SECRET}')", "code", "another record"),
        ("INSERT INTO teams (id) VALUES (3)", "code", "a value is required"),
        (
            "INSERT INTO teams (id, code, parent_team) VALUES (4, 'x', 99)",
            "parentTeam",
            "does not exist",
        ),
        (
            "INSERT INTO people (id, team_id, rank)"
            f" VALUES (gen_random_uuid(), 1, '{SECRET}')",
            "rank",
            "person.rank must be one of ",
        ),
        ("DELETE FROM teams WHERE id = 1", "teamId", "still reference"),
    ],
)  # fmt: skip
def test_a_broken_constraint_names_the_property_and_no_value(
    database: str, every_type: Contract, statement: str, field: str | None, says: str
) -> None:
    with connect(database) as conn:
        apply_plan(conn, every_type, make_plan(conn, every_type))
    setup = (
        f"INSERT INTO teams (id, code) VALUES (1, '{SECRET}');"
        "INSERT INTO people (id, team_id) VALUES (gen_random_uuid(), 1)"
    )
    found = failed(database, statement, every_type, setup)
    assert isinstance(found, ConstraintError)
    assert says in found.message
    assert found.field == field or (field is None and found.field == "id")


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        (f"SELECT '{SECRET}'::int", InputError, "BAD_USER_INPUT"),
        ("SELECT 99999999999::int", InputError, "BAD_USER_INPUT"),
        ("SELECT pg_sleep(5)", StoreUnavailable, "TIMEOUT"),
        ("SELECT * FROM missing", SetupError, "SETUP"),
        (f"SELECT '{SECRET}' FROM", RecordgateError, "STORE_REFUSED"),
        (
            "DO $$ BEGIN RAISE EXCEPTION SQLSTATE '40001'; END $$",
            ConflictError,
            "CONFLICT",
        ),
        (
            "DO $$ BEGIN RAISE EXCEPTION SQLSTATE '53100'; END $$",
            StoreUnavailable,
            "STORE_UNAVAILABLE",
        ),
    ],
)
def test_each_kind_of_trouble_has_its_error(
    database: str, statement: str, kind: type[RecordgateError], code: str
) -> None:
    found = failed(database, statement, setup="SET LOCAL statement_timeout = '50ms'")
    assert isinstance(found, kind)
    assert found.detail_code == code


def test_a_connection_that_is_lost_is_a_store_that_is_not_available(
    postgres: str, database: str
) -> None:
    with connect(database) as conn, psycopg.connect(postgres, autocommit=True) as killer:
        killer.execute("SELECT pg_terminate_backend(%s, 5000)", (conn.info.backend_pid,))
        for _ in range(2):
            with pytest.raises(psycopg.OperationalError) as caught:
                conn.execute("SELECT 1")
            assert isinstance(translate(caught.value), StoreUnavailable)


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ("host=/nowhere", StoreUnavailable, "not reachable"),
        ("password=wrong", SetupError, "refused the password"),
        ("dbname=missing", SetupError, "database does not exist"),
    ],
)
def test_a_server_that_is_not_reached_is_told_from_one_that_refuses(
    database: str, change: str, kind: type[RecordgateError], says: str
) -> None:
    url = f"{database}&{change}"
    with pytest.raises(kind, match=says) as caught:
        connect(url)
    assert "wrong" not in str(caught.value)
    with pytest.raises(kind, match=says):
        asyncio.run(connect_async(url))


def test_a_url_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(SetupError) as caught:
        connect(f"postgresql://user:{SECRET}@[bad")
    assert SECRET not in str(caught.value)


def test_the_password_may_be_in_a_file(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    with psycopg.connect(postgres) as conn:
        password = conn.info.password
    bare = url_of(postgres, "recordgate").replace(f":{password}@", "@")
    file = tmp_path / "password"
    file.write_text(f"{password}\nmore\n")
    settings = load_settings(None, postgres=bare, postgres_password_file=file)
    with open_canonical(settings) as access, connect(access.url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(SetupError, match="cannot be read"):
        open_canonical(load_settings(None, postgres=bare, postgres_password_file=tmp_path / "no"))
    with pytest.raises(SetupError, match="unknown URL scheme"):
        open_canonical(load_settings(None, postgres=f"mysql://{SECRET}@host/db"))
