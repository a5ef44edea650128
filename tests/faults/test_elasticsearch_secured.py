"""Elasticsearch with its security on, and the account that compose/ makes in it: enough for all
that recordgate does, and for nothing of anybody else."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from compose.local import servers
from stores.errors import RecordgateError, StoreRefused
from stores.query import SearchQuery
from stores.registry import open_store
from stores.search.elasticsearch.store import ElasticsearchStore
from tests.conformance.store_backends import held, outcomes, publish
from tests.conformance.store_contract import CONTRACT, put
from tests.servers import fresh_folder, unless_it_cannot_be_had

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("elasticsearch_faults"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the account's script needs curl"),
]
ACCOUNT = Path(__file__).parents[2] / "compose" / "elasticsearch" / "account.sh"
PASSWORD = "abc123def"
HASH = "$2a$10$gUvUHZhjOljBmq3TevBGd.3H5QUnEZVZNnuF4eGIN3hhv.7hT4/di"
"""As `elasticsearch-users` writes it."""


@dataclass
class Secured:
    """`folder` holds a file with the password of the account."""

    url: str
    folder: Path

    def store(
        self, prefix: str, user: str = "recordgate", password: str = ""
    ) -> ElasticsearchStore:
        file = self.folder / "elasticsearch_password"
        login = f"{user}:{password}" if password else user
        more = "" if password else f"?password_file={file}"
        address = self.url.replace("http://", f"elasticsearch://{login}@")
        store = open_store(f"{address}/{prefix}{more}", Path())
        assert isinstance(store, ElasticsearchStore)
        return store


def make_account(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ACCOUNT)],
        env={**os.environ, "ELASTICSEARCH": url, "SECRETS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def with_passwords(folder: Path) -> Path:
    for name in ("elasticsearch_admin_password", "elasticsearch_password"):
        (folder / name).write_text(secrets.token_hex(12))
    return folder


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The role that the script makes."""
    with recording() as (url, asked):
        folder = with_passwords(tmp_path_factory.mktemp("role"))
        assert make_account(url, folder).returncode == 0
    found: dict[str, Any] = json.loads(asked[0][2])
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, role: dict[str, Any]) -> Iterator[Secured]:
    """Accounts are files here: the server to be had lacks what the index of accounts is analyzed
    with."""
    passwords = tmp_path_factory.mktemp("passwords")
    (passwords / "elasticsearch_password").write_text(PASSWORD)
    with fresh_folder("elasticsearch-secured") as folder:
        with unless_it_cannot_be_had():
            (folder / "config").mkdir()
            (folder / "config" / "roles.yml").write_text(json.dumps({"recordgate": role}))
            (folder / "config" / "users").write_text(f"recordgate:{HASH}\n")
            (folder / "config" / "users_roles").write_text("recordgate:recordgate\n")
            process, url = servers.start_elasticsearch(
                folder, settings={"xpack.security.enabled": "true"}
            )
        try:
            yield Secured(url, passwords)
        finally:
            process.kill()


@contextmanager
def recording() -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    """A server that takes every PUT; (path, credentials, body) of each."""
    asked: list[tuple[str, str, bytes]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            login = base64.b64decode(self.headers["authorization"].removeprefix("Basic ")).decode()
            asked.append((self.path, login, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    found = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", asked
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


async def refusal(store: ElasticsearchStore) -> RecordgateError:
    try:
        with pytest.raises(RecordgateError) as told:
            await store.open(CONTRACT, write=True)
        assert not (await store.health()).ok
    finally:
        await store.close()
    return told.value


def test_the_script_makes_the_role_and_the_account_and_prints_no_password(tmp_path: Path) -> None:
    folder = with_passwords(tmp_path)
    admin = (folder / "elasticsearch_admin_password").read_text()
    password = (folder / "elasticsearch_password").read_text()
    with recording() as (url, asked):
        made = make_account(url, folder)
    assert made.returncode == 0, made.stderr
    assert [path for path, _, _ in asked] == [
        "/_security/role/recordgate",
        "/_security/user/recordgate",
    ]
    assert {login for _, login, _ in asked} == {f"elastic:{admin}"}
    assert json.loads(asked[1][2]) == {"password": password, "roles": ["recordgate"]}
    assert admin not in made.stdout + made.stderr
    assert password not in made.stdout + made.stderr


def test_the_account_may_do_all_that_is_needed_and_nothing_else(server: Secured) -> None:
    async def story() -> None:
        store = server.store("recordgate")
        await store.open(CONTRACT, write=True)
        try:
            for generation in (1, 2):
                await store.create_generation("author", generation)
            assert await outcomes(store, [put("a", 1), put("b", 2)])
            await store.activate("author", 1)
            await publish(store, 5)
            assert await held(store) == {"a": 1, "b": 2}
            assert (await store.search(SearchQuery("author"))).total == 2
            await store.activate("author", 2)
            await store.drop_generation("author", 1)
            health = await store.health()
            assert health.ok, health.problem
        finally:
            await store.close()
        error = await refusal(server.store("theirs"))
        assert isinstance(error, StoreRefused)
        assert "denies the request" in error.message

    asyncio.run(story())


def test_a_wrong_password_is_told(server: Secured) -> None:
    for user in ("recordgate", "nobody"):
        error = asyncio.run(refusal(server.store("recordgate", user, "s3cret")))
        assert isinstance(error, StoreRefused)
        assert "login" in error.message
        assert "s3cret" not in str(error)
        assert error.hint


def test_a_password_that_would_break_the_script_is_refused(tmp_path: Path) -> None:
    for name in ("elasticsearch_admin_password", "elasticsearch_password"):
        (tmp_path / name).write_text('a"\nurl = "http://elsewhere.example')
    with recording() as (url, asked):
        told = make_account(url, tmp_path)
    assert (told.returncode, asked) == (1, [])
    assert "elsewhere" not in told.stdout + told.stderr
