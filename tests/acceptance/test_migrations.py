"""The platform's own tables are migrated once, by whoever comes first, and a check costs next to
nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from recordgate import migrations
from recordgate.migrations.run import HEAD, current, migrate
from stores.canonical.connect import connect
from stores.errors import SetupError

TABLES = {
    "watermarks",
    "backlog",
    "dead_letters",
    "import_batches",
    "generations",
    "workers",
    "audit",
    "schema_version",
}


def test_the_head_that_run_knows_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_several_processes_at_once_migrate_once(database: str) -> None:
    done: list[bool] = []
    threads = [threading.Thread(target=lambda: done.append(migrate(database))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [False, False, False, True]
    with psycopg.connect(database) as conn:
        found = conn.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'recordgate'"
        ).fetchall()
    assert {name for (name,) in found} >= TABLES


def test_up_to_date_is_seen_at_once(database: str) -> None:
    migrate(database)
    with connect(database) as conn:
        best = 1.0
        for _ in range(5):
            began = time.perf_counter()
            assert migrate(conn) is False
            best = min(best, time.perf_counter() - began)
        assert best < 0.02
        assert conn.autocommit


def test_a_database_of_a_newer_recordgate_is_left_alone(database: str) -> None:
    migrate(database)
    with connect(database) as conn:
        conn.execute("UPDATE recordgate.schema_version SET version_num = '9999'")
        with pytest.raises(SetupError, match="newer recordgate"):
            migrate(conn)
        assert current(conn) == "9999"


def test_a_migration_that_fails_leaves_nothing(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA recordgate")
        conn.execute("CREATE TABLE recordgate.audit (other int)")
    with pytest.raises(Exception, match=r"audit|canonical refused"):
        migrate(database)
    with psycopg.connect(database) as conn:
        found = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'recordgate'")
        assert found.fetchall() == [("audit",)]


def test_a_sink_has_one_dead_letter_per_key_and_imports_as_many_as_they_need(
    database: str,
) -> None:
    migrate(database)
    insert = (
        "INSERT INTO recordgate.dead_letters (kind, sink, type, key, code, reasons)"
        " VALUES (%s, 's', 't', 'k', 'C', '[]')"
    )
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(insert, ("import",))
        conn.execute(insert, ("import",))
        conn.execute(insert, ("sink",))
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute(insert, ("sink",))
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(insert, ("other",))
