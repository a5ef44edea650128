"""`ask` and `search`: one answer from the shell, with the rights of a role, without a gateway that
runs."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from recordgate.asking import LARGEST, Question, ask_there, understood
from recordgate.cli.app import build
from stores.errors import InputError, RecordgateError, StoreUnavailable
from tests.acceptance.access_rig import PEOPLE, RESTRICTED
from tests.acceptance.test_up import settings, started
from tests.shown import wait_until_loaded


def command(config: Path, *arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(build(arguments[0]), ["--config", str(config), *arguments])


def test_a_query_a_mutation_and_a_search_are_answered(database: str, tmp_path: Path) -> None:
    config = settings(tmp_path, database, name=f"ask{os.getpid()}")
    assert command(config, "apply", "--yes").exit_code == 0
    made = command(
        config,
        "ask",
        "--variables",
        '{"c": {"iso": "FR", "iso3": "FRA", "name": "Fr\\u001b[1mance", "continent": "EU"}}',
        "mutation($c: CountryInput!) { createCountry(input: $c) { token } }",
    )
    assert made.exit_code == 0, made.stderr
    token = json.loads(made.stdout)["createCountry"]["token"]
    found = command(config, "ask", '{ country(id: "FR") { name } }', "--token", token)
    assert json.loads(found.stdout) == {"country": {"name": "Fr\x1b[1mance"}}
    assert "\x1b" not in found.stdout
    wrong = command(config, "ask", "{ country(id: 1) { nam } }", "--json")
    assert wrong.exit_code == 1
    assert json.loads(wrong.stdout)["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "Cannot query field 'nam'" in wrong.stderr
    early = command(config, "search", "country", "france")
    assert early.exit_code == 1
    assert "`recordgate up`" in early.stderr
    role = command(config, "ask", "{ __typename }", "--role", "nobody")
    assert (role.exit_code, role.stdout) == (1, "")
    assert "has no role 'nobody'" in role.stderr
    with started(config, "up") as up:
        wait_until_loaded(up.url)
        hits = command(config, "search", "country", "1mance", "--token", token, "--url", up.url)
        assert hits.exit_code == 0, hits.stderr
        assert "Fr\\x1b[1mance" in hits.stdout
        assert "1 of 1 found" in hits.stdout
        assert json.loads(command(config, "search", "country", "x", "--json").stdout)["total"] == 0
        up.stop()
        told = up.log.read_text()
    assert f"search   {up.url}/search/country?q=" in told


class _Elsewhere(BaseHTTPRequestHandler):
    """A server that is no gateway."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(302 if self.path.startswith("/search/to") else 200)
        self.send_header("Location", "/stolen")
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.path == "/long":
                for _ in range(LARGEST // 2**20 + 2):
                    self.wfile.write(b" " * 2**20)
            self.wfile.write(b"<html>\x1b[2J")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (_Elsewhere,), {"seen": seen})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


def test_a_server_that_is_no_gateway_gets_no_credential_twice(
    elsewhere: tuple[str, list[str]],
) -> None:
    url, seen = elsewhere
    for path, told in (("/search/to", "no JSON"), ("/x", "no JSON"), ("/long", "longer than")):
        with pytest.raises(RecordgateError, match=told):
            ask_there(url, Question(path, headers={"authorization": "Bearer k"}))
    assert seen == ["/search/to", "/x", "/long"]


@pytest.mark.parametrize(
    "url",
    ["ftp://h", "h:8080", "http://", "http://u:p@h", "http://h/?q", "http://[h", "http://h:x"],
)
def test_a_url_that_is_none_is_refused_without_being_asked(url: str) -> None:
    with pytest.raises(InputError, match="--url"):
        ask_there(url, Question("/x"))


def test_nobody_there_is_said() -> None:
    with pytest.raises(StoreUnavailable, match="no gateway answers"):
        ask_there("http://127.0.0.1:1", Question("/x"))


def test_a_problem_keeps_its_code_and_errors_of_graphql_are_an_answer() -> None:
    with pytest.raises(RecordgateError) as refused:
        understood(404, b'{"code": "NOT_FOUND", "detail": "no such record type", "hint": "a, b"}')
    assert (refused.value.detail_code, refused.value.hint) == ("NOT_FOUND", "a, b")
    assert understood(400, b'{"errors": []}') == {"errors": []}


def test_a_role_sees_what_it_may_see_and_no_more(database: str, tmp_path: Path) -> None:
    config = tmp_path / "recordgate.toml"
    contract = tmp_path / "contract.odcs.yaml"
    contract.write_text(RESTRICTED.read_text("utf-8"))
    config.write_text(
        f'contract = "contract.odcs.yaml"\npostgres = {json.dumps(database)}\ndata_dir = "data"\n'
    )
    assert command(config, "apply", "--yes").exit_code == 0
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(PEOPLE.encode())
    ask = ("ask", '{ person(id: "1") { name salary } }', "--json")
    keys = [command(config, *ask, "--role", role) for role in ("hr", "staff")]
    salaries = [json.loads(done.stdout)["data"]["person"] for done in keys]
    assert [s and s.get("salary") for s in salaries] == [91000, None]
    assert command(config, "keys", "create", "--role", "hr").exit_code == 0
    closed = command(config, *ask)
    assert closed.exit_code == 1
    assert "--role" in closed.stderr
    wrote = command(
        config,
        "ask",
        'mutation { updatePerson(id: "1", input: {name: "X"}) { token } }',
        "--role",
        "staff",
    )
    assert "FORBIDDEN" in wrote.stderr
