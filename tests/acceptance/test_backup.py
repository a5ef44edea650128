"""`backup` and `restore`: canonical with recordgate's own tables, from one folder, whole or not at
all."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from recordgate.backups.manifest import read_backup
from recordgate.backups.programs import find_programs, reaching, why
from recordgate.cli.app import build
from recordgate.migrations.run import HEAD
from stores.errors import InputError
from tests.acceptance.gateway_rig import ROWS
from tests.acceptance.test_up import settings, started
from tests.conftest import drop_database, url_of
from tests.shown import wait_until_loaded


def command(config: Path, *arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(build(arguments[0]), ["--config", str(config), *arguments])


def execute(database: str, text: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(text.encode())


def rows(database: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


@pytest.fixture
def product(database: str, tmp_path: Path) -> Path:
    """The settings of a product with rows, one of which is set aside."""
    config = settings(tmp_path, database, name=f"bk{secrets.token_hex(4)}")
    assert command(config, "apply", "--yes").exit_code == 0
    execute(database, ROWS)
    bad = tmp_path / "bad.ndjson"
    bad.write_text(
        '{"iso": "DE", "iso3": "DEU", "name": "Germany", "continent": "EU"}\n{"iso": 1}\n'
    )
    assert command(config, "import", "country", str(bad), "--max-rejects", "1").exit_code == 3
    return config


@pytest.fixture
def empty(postgres: str) -> Iterator[str]:
    """The URL of another database on the same server."""
    name = f"test_{secrets.token_hex(6)}"
    execute(postgres, f"CREATE DATABASE {name}")
    yield url_of(postgres, name)
    drop_database(postgres, name)


DEAD = "SELECT id, type, code, hint, raw::text FROM recordgate.dead_letters ORDER BY id"


def test_stores_load_what_was_restored_and_equal_it(
    product: Path, database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "monday"
    with started(product, "up") as up:
        wait_until_loaded(up.url)
        dead = rows(database, "SELECT count(*) FROM recordgate.dead_letters")
        made = command(product, "backup", str(folder))
        assert made.exit_code == 0, made.output
        execute(database, "UPDATE cities SET name = 'Lutetia' WHERE geonameid = 2988507")
        execute(database, "DELETE FROM cities WHERE geonameid = 2996944")
        written = up.graphql('mutation { deleteCountry(id: "DE") { token } }')
        up.graphql(
            '{ country(id: "DE") { name } searchCities(query: "lutetia") { totalCount } }',
            **{
                "Recordgate-Wait-Up-To": "20s",
                "Recordgate-Token": written["data"]["deleteCountry"]["token"],
            },
        )
        running = command(product, "restore", str(folder), "--replace")
        assert running.exit_code == 1
        assert "run on the database" in running.output
        up.stop()
    refused = command(product, "restore", str(folder))
    assert refused.exit_code == 1
    assert "--replace" in refused.output
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    execute(
        database,
        "CREATE TABLE public.later (id int PRIMARY KEY); DELETE FROM recordgate.dead_letters",
    )
    done = command(product, "restore", str(folder), "--replace", "--json")
    assert done.exit_code == 0, done.output
    assert rows(database, "SELECT count(*) FROM recordgate.dead_letters") == dead
    assert rows(database, "SELECT to_regclass('public.later')") == [(None,)]
    with started(product, "up") as up:
        wait_until_loaded(up.url)
        seen = up.graphql(
            '{ paris: city(id: "2988507") { name } lyon: city(id: "2996944") { name }'
            ' country(id: "DE") { name } searchCities(query: "lutetia") { nodes { name } } }'
        )
        # Lutetia is an alternate name of Paris.
        assert seen["data"] == {
            "paris": {"name": "Paris"},
            "lyon": {"name": "Lyon"},
            "country": {"name": "Germany"},
            "searchCities": {"nodes": [{"name": "Paris"}]},
        }
        stores = {f["store"] for f in seen["extensions"]["recordgate"]["fields"].values()}
        assert stores == {"documents", "search"}
        verified = command(product, "verify")
        assert verified.exit_code == 0, verified.output


def test_an_empty_database_gets_the_product_its_secrets_and_its_settings(
    product: Path, empty: str, tmp_path: Path
) -> None:
    key = command(product, "keys", "create").stdout.strip()
    command(product, "ask", "{ __typename }")
    assert command(product, "backup", str(tmp_path / "b")).exit_code == 0
    new = tmp_path / "new"
    assert (
        command(product, "restore", str(tmp_path / "b"), "--settings-into", str(new)).exit_code == 0
    )
    assert (new / "settings" / "recordgate.toml").read_text() == product.read_text()
    config = new / "recordgate.toml"
    config.write_text(
        f'contract = "contract/contract.odcs.yaml"\npostgres = {json.dumps(empty)}\ndata_dir ='
        f' "data"\n'
    )
    done = command(config, "restore", str(tmp_path / "b"), "--json")
    assert done.exit_code == 0, done.output
    assert {Path(p).name for p in json.loads(done.stdout)["secrets"]} == {
        "api_keys.json",
        "token.secret",
    }
    assert stat.S_IMODE((new / "data" / "api_keys.json").stat().st_mode) == 0o600
    assert key.split("_")[1] in command(config, "keys", "list").stdout
    assert rows(empty, "SELECT count(*) FROM cities") == [(3,)]
    # What was revoked after the backup does not come back.
    assert command(config, "keys", "revoke", key.split("_")[1]).exit_code == 0
    assert command(config, "restore", str(tmp_path / "b"), "--replace").exit_code == 0
    assert command(config, "keys", "list").stdout.strip() == "no keys"


@pytest.mark.parametrize("how", ["exit 1", "kill -9 $PPID", "head -c 20 /dev/urandom; exit 0"])
def test_a_restore_that_ends_in_the_middle_changes_nothing(
    how: str, product: Path, database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    assert command(product, "backup", str(folder)).exit_code == 0
    execute(database, "UPDATE cities SET name = 'Lutetia' WHERE geonameid = 2988507")
    before = rows(database, "SELECT name FROM cities ORDER BY 1")
    real = find_programs(16)
    # All but the last third of the SQL, which ends amid rows or commands; then what happens.
    fake_programs(
        tmp_path / "bin",
        real,
        pg_restore=f'all=$("{real}/pg_restore" "$@") && printf %s'
        f' "${{all:0:$((${{#all}} * 2 / 3))}}"; {how}',
    )
    done = run_with(tmp_path / "bin", product, "restore", str(folder), "--replace")
    assert done.returncode != 0
    assert rows(database, "SELECT name FROM cities ORDER BY 1") == before
    assert command(product, "restore", str(folder), "--replace").exit_code == 0
    assert rows(database, "SELECT name FROM cities ORDER BY 1") != before
    name = database.rpartition("/")[2].partition("?")[0]
    left = "SELECT datname FROM pg_database WHERE datname LIKE '%\\_recordgate\\_%'"
    assert not [found for (found,) in rows(database, left) if str(found).startswith(name)]
    assert rows(database, "SELECT count(*) FROM recordgate.dead_letters") == [(1,)]


@pytest.mark.parametrize("how", ["exit 1", "kill -9 $PPID"])
def test_a_backup_that_ends_in_the_middle_is_not_there(
    how: str, product: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    real = find_programs(16)
    fake_programs(
        tmp_path / "bin", real, pg_dump=f'"{real}/pg_dump" "$@"; [ $# -gt 1 ] && {how}; exit 0'
    )
    done = run_with(tmp_path / "bin", product, "backup", str(folder))
    assert done.returncode != 0
    assert not folder.exists()
    for path in tmp_path.glob(".b.partial-*"):
        os.utime(path, (1, 1))
    assert command(product, "backup", str(folder)).exit_code == 0
    assert not list(tmp_path.glob(".b.partial-*"))
    again = command(product, "backup", str(folder))
    assert again.exit_code == 1
    assert "already exists" in again.output


def test_a_disk_that_is_full_is_said_and_leaves_nothing(product: Path, tmp_path: Path) -> None:
    line = (
        f"ulimit -f 8; exec {sys.executable} -m recordgate --config {product} backup {tmp_path}/b"
    )
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*b*/manifest.json"))


def fake_programs(folder: Path, real: Path, **scripts: str) -> None:
    folder.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        path = folder / name
        script = scripts.get(name, f'exec {real}/{name} "$@"')
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)


def run_with(folder: Path, config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with programs that are not what they should be."""
    program = (
        "import sys; from pathlib import Path; from recordgate.backups import restoring, taking\n"
        "taking.find_programs = restoring.find_programs = lambda _: Path(sys.argv.pop(1))\n"
        "from recordgate.cli.app import main; main()"
    )
    argv = [sys.executable, "-c", program, str(folder), "--config", str(config), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_no_whole_backup_is_refused_before_anything_is_touched(
    product: Path, database: str, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    assert command(product, "backup", str(folder)).exit_code == 0
    manifest = folder / "manifest.json"
    text = manifest.read_text()
    dump = folder / "canonical.dump"
    body = dump.read_bytes()

    def refused(told: str) -> None:
        done = command(product, "restore", str(folder), "--replace")
        assert done.exit_code == 1
        assert re.search(told, done.output), done.output
        assert rows(database, "SELECT count(*) FROM cities") == [(3,)]

    dump.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    refused("digest differs")
    dump.write_bytes(body)
    for changed, told in (
        (text.replace('"format": 1', '"format": 2'), "form 2"),
        (text.replace(f'"revision": "{HEAD}"', '"revision": "9999"'), "newer recordgate"),
        (text.replace('"canonical.dump"', '"other.dump"'), "has no canonical.dump"),
        (text.replace('"contract/contract.odcs.yaml"', '"../../x"'), "outside"),
        (text.replace('"contract/contract.odcs.yaml"', '"/etc/passwd"'), "outside"),
        (text[:40], "none of recordgate's"),
    ):
        assert changed != text
        manifest.write_text(changed)
        refused(told)
    manifest.unlink()
    refused("is no backup")
    manifest.write_text(text)
    (folder / "contract" / "contract.odcs.yaml").unlink()
    (folder / "contract" / "contract.odcs.yaml").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="cannot be read"):
        read_backup(folder)


def test_a_backup_of_an_earlier_version_is_restored_under_this_one(
    database: str, empty: str, tmp_path: Path
) -> None:
    config = settings(tmp_path, database, name=f"old{secrets.token_hex(4)}")
    from alembic import command as alembic
    from alembic.config import Config

    from recordgate.migrations import run as migrations
    from stores.canonical.connect import connect, transaction_for_ddl

    with connect(database) as conn, transaction_for_ddl(conn) as bound:
        old = Config()
        old.set_main_option("script_location", str(Path(migrations.__file__).parent))
        old.set_main_option("path_separator", "os")
        conn.execute("CREATE SCHEMA recordgate")
        old.attributes["connection"] = bound
        alembic.upgrade(old, "0005")
    execute(
        database,
        "INSERT INTO recordgate.watermarks (sink, system, lsn, as_of)"
        " VALUES ('search', 'x', '0/1', now())",
    )
    made = command(config, "backup", str(tmp_path / "b"))
    assert made.exit_code == 0, made.output
    config.write_text(config.read_text().replace(json.dumps(database), json.dumps(empty)))
    done = command(config, "restore", str(tmp_path / "b"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["migrated"] is True
    assert rows(empty, "SELECT version_num FROM recordgate.schema_version") == [(HEAD,)]
    found = rows(empty, "SELECT system FROM recordgate.watermarks")
    assert found == [("restored from a backup",)]


def test_no_secret_and_no_value_is_told() -> None:
    url = "postgresql://u:pass%20word@h:5/d?sslmode=require"
    with reaching(url) as environment:
        file = Path(environment["PGSERVICEFILE"])
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "password=pass word" in file.read_text()
        assert not any("pass word" in value for value in environment.values())
    assert not file.exists()
    told = (
        "psql:<stdin>:4: ERROR:  duplicate key value\nDETAIL:  Key (id)=(secret)\nCONTEXT:  COPY x"
    )
    assert why(told) == "duplicate key value"
    assert why("") == "it told no reason"
